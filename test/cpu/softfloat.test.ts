/**
 * The soft-float on its own: against JavaScript's numbers where those follow the same standard, against itself where
 * operations and modes must agree, and rule by rule. Sections are those of the Unprivileged ISA (20240411).
 * GODWIT_FLOAT_SEED gives other random operands.
 */
import { describe, expect, test } from 'vitest';
import { add, div, mul, sqrt, sub } from '../../src/cpu/float/arithmetic.ts';
import { feq, fle, flt } from '../../src/cpu/float/compare.ts';
import { convertFormat, fromInteger, INTEGER, toInteger } from '../../src/cpu/float/convert.ts';
import { BINARY32, BINARY64, type FloatFormat, isAnyNaN, magnitude } from '../../src/cpu/float/format.ts';
import { fmadd, fmsub } from '../../src/cpu/float/fused.ts';
import { FFLAGS, type FloatEnvironment, RM, type RoundingMode } from '../../src/cpu/float/rounding.ts';
import { Random } from '../support/random.ts';

const { NV, DZ, OF, UF, NX } = FFLAGS;
const { RNE, RTZ, RDN, RUP, RMM } = RM;
const SEED = Number(process.env.GODWIT_FLOAT_SEED ?? 20240411);
const ROUNDS = 2000;

const single = BINARY32;
const double = BINARY64;
const FORMATS = [
  ['binary32', single],
  ['binary64', double],
] as const;

/** Result and flags of one operation. */
function run<T>(rm: RoundingMode, operation: (env: FloatEnvironment) => T): [T, number] {
  const env: FloatEnvironment = { rm, fflags: 0 };
  return [operation(env), env.fflags];
}

const view = new DataView(new ArrayBuffer(8));
/** The number that bits stand for. */
function numberOf(f: FloatFormat, bits: bigint): number {
  view.setBigUint64(0, bits);
  return f === double ? view.getFloat64(0) : view.getFloat32(4);
}
/** The bits of a number, rounded to nearest; of NaN the canonical ones. */
function bitsOf(f: FloatFormat, value: number): bigint {
  if (Number.isNaN(value)) return f.canonicalNaN;
  view.setBigUint64(0, 0n);
  if (f === double) view.setFloat64(0, value);
  else view.setFloat32(4, value);
  return view.getBigUint64(0);
}
const S = (value: number): bigint => bitsOf(single, value);
const D = (value: number): bigint => bitsOf(double, value);

/** Any bits, or bits with an exponent near that of 1: subnormals, infinities and NaNs come now and then. */
function randomBits(random: Random, f: FloatFormat): bigint {
  const field = BigInt(
    random.weighted([
      [6, (f.specialField >> 1) + random.between(-f.precision, f.precision)],
      [3, random.below(f.specialField + 1)],
      [1, random.pick([0, 1, f.specialField - 1, f.specialField])],
    ]),
  );
  const fraction =
    random.u64() & f.fractionMask & (random.chance(0.3) ? -1n << BigInt(random.below(f.precision)) : -1n);
  return (random.chance(0.5) ? f.signBit : 0n) | (field << f.fractionWidth) | fraction;
}

/** Calls with triples of random bits. */
function forTriples(f: FloatFormat, check: (a: bigint, b: bigint, c: bigint) => void): void {
  const random = new Random(SEED, f.width);
  for (let i = 0; i < ROUNDS; i++) check(randomBits(random, f), randomBits(random, f), randomBits(random, f));
}

/** The arithmetic that JavaScript has too. Rounding its result again to binary32 is innocuous: 53 ≥ 2 × 24 + 2. */
const NATIVE: readonly [string, typeof add, (a: number, b: number) => number][] = [
  ['add', add, (a, b) => a + b],
  ['sub', sub, (a, b) => a - b],
  ['mul', mul, (a, b) => a * b],
  ['div', div, (a, b) => a / b],
  ['sqrt', (f, env, a) => sqrt(f, env, a), (a) => Math.sqrt(a)],
];

describe.each(FORMATS)('%s', (_name, f) => {
  test.each(NATIVE)('%s rounds to nearest as JavaScript does', (_operation, soft, native) => {
    forTriples(f, (a, b) => {
      const [bits] = run(RNE, (env) => soft(f, env, a, b));
      expect(bits).toBe(bitsOf(f, native(numberOf(f, a), numberOf(f, b))));
    });
  });

  test.each(NATIVE)(
    '%s: the modes enclose the exact result, and differ only where NX says so',
    (_op, soft) => {
      /** Bits as an integer that grows with the number. */
      const rank = (bits: bigint): bigint => ((bits & f.signBit) === 0n ? bits : -magnitude(f, bits));
      const distance = (bits: bigint): bigint => magnitude(f, bits);
      forTriples(f, (a, b) => {
        const inMode = (rm: RoundingMode): [bigint, number] => run(rm, (env) => soft(f, env, a, b));
        const [[down, flags], [up], [near], [tie], [zero]] = [
          inMode(RDN),
          inMode(RUP),
          inMode(RNE),
          inMode(RMM),
          inMode(RTZ),
        ];
        if (isAnyNaN(f, down)) return;
        expect(rank(up) - rank(down)).toBe((flags & NX) === 0 ? 0n : 1n);
        expect([down, up]).toContain(near);
        expect([down, up]).toContain(tie);
        expect(distance(zero)).toBe(distance(down) < distance(up) ? distance(down) : distance(up));
      });
    },
  );

  test('a fused operation without a sum or a product is the simple one, in bits and flags', () => {
    const one = bitsOf(f, 1);
    forTriples(f, (a, b) => {
      for (const rm of Object.values(RM)) {
        expect(run(rm, (env) => fmadd(f, env, a, one, b))).toEqual(run(rm, (env) => add(f, env, a, b)));
        const zero = (a ^ b) & f.signBit;
        expect(run(rm, (env) => fmadd(f, env, a, b, zero))).toEqual(run(rm, (env) => mul(f, env, a, b)));
      }
    });
  });

  test('comparisons order numbers as JavaScript does', () => {
    forTriples(f, (a, b) => {
      const [x, y] = [numberOf(f, a), numberOf(f, b)];
      expect([feq, flt, fle].map((holds) => run(RNE, (env) => holds(f, env, a, b))[0])).toEqual([
        x === y,
        x < y,
        x <= y,
      ]);
    });
  });

  test('§20.7: conversions from and to integers agree with exact arithmetic', () => {
    const random = new Random(SEED, 3);
    forTriples(f, (a) => {
      const integer = random.u64() >> BigInt(random.below(64));
      const [bits] = run(RNE, (env) => fromInteger(f, env, INTEGER.lu, integer));
      // To binary32 the number would be rounded twice: only where binary64 holds it.
      if (f === double || integer < 2n ** 53n) expect(bits).toBe(bitsOf(f, Number(integer)));
      const x = numberOf(f, a);
      if (Math.abs(x) < 2 ** 63) {
        expect(run(RTZ, (env) => toInteger(f, env, INTEGER.l, a))[0]).toBe(BigInt(Math.trunc(x)));
        expect(run(RDN, (env) => toInteger(f, env, INTEGER.l, a))[0]).toBe(BigInt(Math.floor(x)));
        expect(run(RUP, (env) => toInteger(f, env, INTEGER.l, a))[1]).toBe(Number.isInteger(x) ? 0 : NX);
      }
    });
  });
});

test('§21.5: narrowing is Math.fround, widening is exact', () => {
  forTriples(double, (a) => {
    const [bits] = run(RNE, (env) => convertFormat(double, single, env, a));
    expect(bits).toBe(bitsOf(single, numberOf(double, a)));
  });
  forTriples(single, (a) => {
    if (isAnyNaN(single, a)) return;
    expect(run(RNE, (env) => convertFormat(single, double, env, a))).toEqual([D(numberOf(single, a)), 0]);
  });
});

const INF = S(Infinity);
const NEGATIVE = single.signBit;
const QNAN = single.canonicalNaN;
const ZERO = 0n;

describe('§20.2 rounding modes and flags', () => {
  /** 1 + 2^−24 and 1 + 3 × 2^−24 lie in the middle between two numbers. */
  test.each([
    [RNE, 0x3f80_0000n, 0x3f80_0002n, 0xbf80_0000n],
    [RTZ, 0x3f80_0000n, 0x3f80_0001n, 0xbf80_0000n],
    [RDN, 0x3f80_0000n, 0x3f80_0001n, 0xbf80_0001n],
    [RUP, 0x3f80_0001n, 0x3f80_0002n, 0xbf80_0000n],
    [RMM, 0x3f80_0001n, 0x3f80_0002n, 0xbf80_0001n],
  ] as const)('ties, mode %i', (rm, even, odd, negative) => {
    expect(run(rm, (env) => add(single, env, S(1), S(2 ** -24)))).toEqual([even, NX]);
    expect(run(rm, (env) => add(single, env, S(1 + 2 ** -23), S(2 ** -24)))).toEqual([odd, NX]);
    expect(run(rm, (env) => add(single, env, S(-1), S(-(2 ** -24))))).toEqual([negative, NX]);
  });

  test.each([
    [RNE, INF, INF | NEGATIVE],
    [RTZ, single.maxFinite, single.maxFinite | NEGATIVE],
    [RDN, single.maxFinite, INF | NEGATIVE],
    [RUP, INF, single.maxFinite | NEGATIVE],
    [RMM, INF, INF | NEGATIVE],
  ] as const)('overflow, mode %i', (rm, positive, negative) => {
    expect(run(rm, (env) => mul(single, env, S(2 ** 100), S(2 ** 100)))).toEqual([positive, OF | NX]);
    expect(run(rm, (env) => mul(single, env, S(-(2 ** 100)), S(2 ** 100)))).toEqual([negative, OF | NX]);
  });

  test('tininess is detected after rounding', () => {
    // 2^−126 × (1 − 2^−46): full precision would round it to 2^−126, which is normal.
    expect(run(RNE, (env) => mul(single, env, 0x0080_0001n, 0x3f7f_fffen))).toEqual([0x0080_0000n, NX]);
    expect(run(RTZ, (env) => mul(single, env, 0x0080_0001n, 0x3f7f_fffen))).toEqual([0x007f_ffffn, UF | NX]);
    // 2^−126 × (1 − 2^−24) has full precision: tiny, although the subnormal grid rounds it to 2^−126.
    expect(run(RNE, (env) => mul(single, env, 0x0080_0000n, 0x3f7f_ffffn))).toEqual([0x0080_0000n, UF | NX]);
  });

  test('§20.4: an exact subnormal result raises nothing', () => {
    expect(run(RNE, (env) => add(single, env, 1n, 1n))).toEqual([2n, 0]);
    expect(run(RNE, (env) => mul(single, env, 0x0080_0000n, S(0.5)))).toEqual([0x0040_0000n, 0]);
    expect(run(RUP, (env) => mul(single, env, 1n, 1n))).toEqual([1n, UF | NX]);
  });

  test('division by zero raises DZ; invalid operations NV and the canonical NaN', () => {
    expect(run(RNE, (env) => div(single, env, S(-1), ZERO))).toEqual([INF | NEGATIVE, DZ]);
    expect(run(RNE, (env) => div(single, env, INF, ZERO))).toEqual([INF, 0]);
    expect(run(RNE, (env) => div(single, env, ZERO, ZERO))).toEqual([QNAN, NV]);
    expect(run(RNE, (env) => div(single, env, INF, INF))).toEqual([QNAN, NV]);
    expect(run(RNE, (env) => sub(single, env, INF, INF))).toEqual([QNAN, NV]);
    expect(run(RNE, (env) => mul(single, env, INF, ZERO))).toEqual([QNAN, NV]);
    expect(run(RNE, (env) => sqrt(single, env, S(-1)))).toEqual([QNAN, NV]);
    expect(run(RNE, (env) => sqrt(single, env, NEGATIVE))).toEqual([NEGATIVE, 0]);
  });

  test.each(Object.values(RM))('a sum that cancels is −0 only when rounding down, mode %i', (rm) => {
    const zero = rm === RDN ? NEGATIVE : ZERO;
    expect(run(rm, (env) => sub(single, env, S(3), S(3)))).toEqual([zero, 0]);
    expect(run(rm, (env) => add(single, env, ZERO, NEGATIVE))).toEqual([zero, 0]);
    expect(run(rm, (env) => fmsub(single, env, S(3), S(3), S(9)))).toEqual([zero, 0]);
    expect(run(rm, (env) => add(single, env, NEGATIVE, NEGATIVE))).toEqual([NEGATIVE, 0]);
  });

  test('flags accrue', () => {
    const env: FloatEnvironment = { rm: RNE, fflags: DZ };
    add(single, env, S(1), S(2 ** -30));
    expect(env.fflags).toBe(DZ | NX);
  });
});
