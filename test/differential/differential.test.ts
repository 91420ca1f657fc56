/**
 * The differential suite: random instruction sequences run here and in QEMU 7.2, and must leave the same registers,
 * CSRs, traps and memory.
 *
 * Sequences come from the ISA table (steps.ts, generator.ts): each is a list of *steps* that are defined whatever the
 * registers hold. There are two kinds (kinds.ts): plain ones in machine mode, and privileged ones (privileged-*.ts) in all
 * modes, with paging, delegation, memory protection and interrupts. Many of them make an image which both machines run
 * (machines.ts); afterwards the block of each sequence is compared in memory. Of the first one that differs the report
 * (compare.ts) shows what is left when all steps that don't matter are taken away.
 *
 *     GODWIT_SEED=123                     the batch to begin with; without it, another one each time
 *     GODWIT_DIFF_INSTRUCTIONS=5000000    how many instructions of each kind to run at least
 *     GODWIT_DIFF_KIND=privileged         one kind only
 *     GODWIT_ACCEL=jit                    one way to run guest code only; without it, all of them in turn
 */
import { expect, test } from 'vitest';
import { ACCELERATORS } from '../../src/cpu/accelerator.ts';
import { decode } from '../../src/isa/decode.ts';
import { Random } from '../support/random.ts';
import { LINES } from '../support/random-word.ts';
import { hasTool } from '../support/tool.ts';
import { runBatch } from './compare.ts';
import { KINDS } from './kinds.ts';
import { QEMU, WAYS } from './machines.ts';
import { NOT_RUN } from './steps.ts';

const SEED = Number(process.env.GODWIT_SEED ?? Date.now() % 2 ** 31);
const INSTRUCTIONS = Number(process.env.GODWIT_DIFF_INSTRUCTIONS ?? 100_000);
const chosenKinds = KINDS.filter(({ name }) => name === (process.env.GODWIT_DIFF_KIND ?? name));
const ways = ACCELERATORS.filter((name) => name === (process.env.GODWIT_ACCEL ?? name)).flatMap(
  (name) => WAYS[name],
);

test('every line of the ISA table takes part in some sequence, or it is said why not', () => {
  const seen = new Set<string>();
  for (const kind of KINDS) {
    for (let i = 0; i < 150; i++) {
      for (const { bits } of kind.generate(new Random(1, i), i).words) {
        const found = decode(bits);
        if (found !== undefined) seen.add((found.compressed ?? found.instruction).name);
      }
    }
  }
  const absent = LINES.map((line) => line.name).filter((name) => !seen.has(name));
  expect(absent.sort()).toEqual(Object.keys(NOT_RUN).sort());
});

test.each(KINDS)('the same seed makes the same $name sequence', (kind) => {
  const make = () => kind.generate(new Random(SEED, 3), 3);
  expect(make()).toEqual(make());
});

test.skipIf(!hasTool(QEMU)).each(chosenKinds)(
  `${INSTRUCTIONS} random instructions, $name, do what they do in ${QEMU} (GODWIT_SEED=${SEED})`,
  (kind) => {
    let done = 0;
    for (let batch = 0; done < INSTRUCTIONS || batch < ways.length; batch++) {
      const { instructions, report } = runBatch(kind, SEED + batch, ways[batch % ways.length] ?? {});
      if (report !== undefined) expect.fail(report);
      done += instructions;
    }
    console.log(`GODWIT_SEED=${SEED}: ${done} instructions, ${kind.name}, all as in QEMU`);
  },
  120_000 + 3 * INSTRUCTIONS,
);
