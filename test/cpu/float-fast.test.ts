/**
 * The fast ways of floating-point instructions in generated code against the exact soft-float, to the bit. They are only
 * taken while NX is set. Unprivileged ISA §20, §21.
 */
import { expect, test } from 'vitest';
import type { RoundingMode } from '../../src/cpu/float/rounding.ts';
import { floatOperation } from '../../src/cpu/float-operations.ts';
import { MSTATUS } from '../../src/cpu/hart.ts';
import { INSTRUCTIONS } from '../../src/isa/table.ts';
import { assemble, BareMachine, RAM_BASE } from '../support/bare-machine.ts';
import { Random } from '../support/random.ts';

const SEED = Number(process.env.GODWIT_FLOAT_SEED ?? Date.now() % 2 ** 31);
const ROUNDS = 1500;
const NX = 1;

const FAST = INSTRUCTIONS.filter(({ action }) => action.kind === 'float' && action.fast !== undefined);

/** Doubles near 1 mostly, so that sums cancel and round; some of any size, zeros, infinities and NaNs. */
function operand(random: Random, isSingle: boolean, previous: bigint): bigint {
  const [bits, fraction, middle, all] = isSingle ? [32n, 23n, 127, 255] : [64n, 52n, 1023, 2047];
  if (random.chance(0.05))
    return random.pick([0n, 1n << (bits - 1n), BigInt(all) << fraction]) | box(isSingle);
  // What it was but for its last bits, or its sign: what is left of a difference.
  if (random.chance(0.15)) return (previous ^ BigInt(random.below(4))) | box(isSingle);
  const spread = random.pick([2, 30, 60, middle]);
  const exponent = Math.min(Math.max(middle + random.between(-spread, spread), 0), all);
  const mask = random.chance(0.4) ? -1n << BigInt(random.below(Number(fraction))) : -1n;
  const value = (BigInt(exponent) << fraction) | (random.u64() & mask & ((1n << fraction) - 1n));
  return value | (random.chance(0.5) ? 1n << (bits - 1n) : 0n) | box(isSingle);
}

const box = (isSingle: boolean): bigint => (isSingle ? 0xffff_ffff_0000_0000n : 0n);

test.each(FAST.map((instruction) => [instruction.name, instruction] as const))(
  `%s (GODWIT_FLOAT_SEED=${SEED})`,
  (name, instruction) => {
    const random = new Random(SEED, FAST.indexOf(instruction));
    const m = new BareMachine(1, 'table');
    const operands = new Set(instruction.encoding.fields.map(({ operand: of }) => of));
    const modes = operands.has('rm') ? [0, 1, 7] : [0];
    const code = modes.map((rm) =>
      assemble([
        name,
        {
          ...(operands.has('rm') ? { rm } : {}),
          ...(operands.has('frd') ? { frd: 4 } : { rd: 10 }),
          ...(operands.has('frs1') ? { frs1: 1 } : { rs1: 11 }),
          ...(operands.has('frs2') ? { frs2: 2 } : {}),
          ...(operands.has('frs3') ? { frs3: 3 } : {}),
        },
      ]),
    );
    for (const [i, bytes] of code.entries()) m.load(bytes, RAM_BASE + 4 * i);
    m.hart.setCsr('mstatus', m.hart.csr('mstatus') | MSTATUS.fs | MSTATUS.sd);
    const isSingle = name.split('.').at(-1) === 's' || (name.startsWith('fcvt.') && name.endsWith('.s'));
    const reads = name === 'fcvt.s.d' ? false : name === 'fcvt.d.s' ? true : isSingle;
    const exact = floatOperation((instruction.action as { operation: string }).operation);
    for (let round = 0; round < ROUNDS; round++) {
      const a = operand(random, reads, 0n);
      const b = operand(random, reads, a);
      const c = operand(random, reads, random.pick([a, b]));
      const x = random.u64() >> BigInt(random.below(64));
      const which = random.below(modes.length);
      m.hart.setF(1, a);
      m.hart.setF(2, b);
      m.hart.setF(3, c);
      m.hart.setX(11, x);
      m.hart.setCsr('fcsr', BigInt(NX));
      m.hart.updateFloat();
      m.hart.pc = BigInt(RAM_BASE + 4 * which);
      m.run(1);
      const mode = modes[which] as number;
      const environment = { rm: (mode === 7 ? 0 : mode) as RoundingMode, fflags: NX };
      const wanted = exact(environment, { a, b, c, x });
      const got = operands.has('frd') ? m.hart.f(4) : m.hart.x(10);
      const show = (bits: bigint, flags: number | bigint): string =>
        `${[a, b, c, x].map((word) => word.toString(16)).join(' ')} rm ${mode}: ${bits.toString(16)}, flags ${flags}`;
      const text = show(got, m.hart.csr('fcsr') & 31n);
      if (text !== show(BigInt.asUintN(64, wanted), environment.fflags)) {
        expect(text).toBe(show(BigInt.asUintN(64, wanted), environment.fflags));
      }
    }
  },
);
