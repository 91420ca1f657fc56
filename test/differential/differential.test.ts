/**
 * The differential suite: random instruction sequences run here and in QEMU 7.2, and must leave the same registers,
 * CSRs, traps and memory.
 *
 * Sequences come from the ISA table (steps.ts, generator.ts): each is a list of *steps* that are defined whatever the
 * registers hold. Many of them make an image (image.ts) which both machines run (machines.ts); afterwards the block of
 * each sequence (block.ts) is compared in memory. Of the first one that differs the report (compare.ts) shows what is
 * left when all steps that don't matter are taken away.
 *
 *     GODWIT_SEED=123                     the batch to begin with; without it, another one each time
 *     GODWIT_DIFF_INSTRUCTIONS=5000000    how many instructions to run at least
 */
import { expect, test } from 'vitest';
import { decode } from '../../src/isa/decode.ts';
import { Random } from '../support/random.ts';
import { LINES } from '../support/random-word.ts';
import { hasTool } from '../support/tool.ts';
import { runBatch } from './compare.ts';
import { generate } from './generator.ts';
import { blockAddress } from './image.ts';
import { QEMU } from './machines.ts';
import { NOT_RUN } from './steps.ts';

const SEED = Number(process.env.GODWIT_SEED ?? Date.now() % 2 ** 31);
const INSTRUCTIONS = Number(process.env.GODWIT_DIFF_INSTRUCTIONS ?? 100_000);

test('every line of the ISA table takes part in some sequence, or it is said why not', () => {
  const seen = new Set<string>();
  for (let i = 0; i < 150; i++) {
    for (const { bits } of generate(new Random(1, i), blockAddress(i), 300).words) {
      const found = decode(bits);
      if (found !== undefined) seen.add((found.compressed ?? found.instruction).name);
    }
  }
  const absent = LINES.map((line) => line.name).filter((name) => !seen.has(name));
  expect(absent.sort()).toEqual(Object.keys(NOT_RUN).sort());
});

test('the same seed makes the same sequence', () => {
  const make = () => generate(new Random(SEED, 3), blockAddress(3), 300);
  expect(make()).toEqual(make());
});

test.skipIf(!hasTool(QEMU))(
  `${INSTRUCTIONS} random instructions do what they do in ${QEMU} (GODWIT_SEED=${SEED})`,
  () => {
    let done = 0;
    for (let batch = 0; done < INSTRUCTIONS; batch++) {
      const { instructions, report } = runBatch(SEED + batch, batch % 2 === 0 ? 'tree' : 'table');
      if (report !== undefined) expect.fail(report);
      done += instructions;
    }
    console.log(`GODWIT_SEED=${SEED}: ${done} instructions, all as in QEMU`);
  },
  60_000 + INSTRUCTIONS,
);
