/**
 * The rules that are RISC-V's own: NaNs, minimum and maximum, fused forms, comparisons, classes, conversions, boxing.
 * Sections are those of the Unprivileged ISA (20240411).
 */
import { describe, expect, test } from 'vitest';
import { add, div, mul, sqrt, sub } from '../../src/cpu/float/arithmetic.ts';
import { CLASS, fclass, feq, fle, flt, max, min } from '../../src/cpu/float/compare.ts';
import { convertFormat, fromInteger, INTEGER, toInteger } from '../../src/cpu/float/convert.ts';
import { BINARY32, BINARY64, box32, type FloatFormat, unbox32 } from '../../src/cpu/float/format.ts';
import { fmadd, fmsub, fnmadd, fnmsub } from '../../src/cpu/float/fused.ts';
import { FFLAGS, type FloatEnvironment, RM, type RoundingMode } from '../../src/cpu/float/rounding.ts';

const { NV, NX } = FFLAGS;

/** Result and flags of one operation. */
function run<T>(operation: (env: FloatEnvironment) => T, rm: RoundingMode = RM.RNE): [T, number] {
  const env: FloatEnvironment = { rm, fflags: 0 };
  return [operation(env), env.fflags];
}

const view = new DataView(new ArrayBuffer(8));
function bitsOf(f: FloatFormat, value: number): bigint {
  view.setBigUint64(0, 0n);
  if (f === BINARY64) view.setFloat64(0, value);
  else view.setFloat32(4, value);
  return view.getBigUint64(0);
}

describe.each([
  ['binary32', BINARY32, 0x7fc0_0000n],
  ['binary64', BINARY64, 0x7ff8_0000_0000_0000n],
] as const)('%s', (_name, f, canonical) => {
  const of = (value: number): bigint => bitsOf(f, value);
  const [zero, one, inf, negative] = [0n, of(1), f.infinity, f.signBit];
  /** A quiet and a signaling NaN with sign and payload. */
  const quiet = negative | canonical | 5n;
  const signaling = negative | inf | 5n;

  test('§20.3: every result that is NaN is the canonical one; a signaling operand raises NV', () => {
    for (const [nan, flags] of [
      [quiet, 0],
      [signaling, NV],
    ] as const) {
      for (const operation of [add, sub, mul, div]) {
        expect(run((env) => operation(f, env, nan, one))).toEqual([canonical, flags]);
        expect(run((env) => operation(f, env, one, nan))).toEqual([canonical, flags]);
        expect(run((env) => operation(f, env, inf, nan))).toEqual([canonical, flags]);
      }
      expect(run((env) => sqrt(f, env, nan))).toEqual([canonical, flags]);
      expect(run((env) => fmadd(f, env, nan, one, one))).toEqual([canonical, flags]);
      expect(run((env) => fmadd(f, env, one, nan, one))).toEqual([canonical, flags]);
      expect(run((env) => fmadd(f, env, one, one, nan))).toEqual([canonical, flags]);
    }
  });

  test('§20.6: minimum and maximum prefer a number, order −0 below +0, and raise NV for signaling NaNs', () => {
    expect(run((env) => min(f, env, zero, negative))).toEqual([negative, 0]);
    expect(run((env) => min(f, env, negative, zero))).toEqual([negative, 0]);
    expect(run((env) => max(f, env, zero, negative))).toEqual([zero, 0]);
    expect(run((env) => max(f, env, negative, zero))).toEqual([zero, 0]);
    expect(run((env) => min(f, env, of(-2), of(-3)))).toEqual([of(-3), 0]);
    expect(run((env) => max(f, env, of(-2), inf))).toEqual([inf, 0]);
    for (const operation of [min, max]) {
      expect(run((env) => operation(f, env, one, quiet))).toEqual([one, 0]);
      expect(run((env) => operation(f, env, quiet, one))).toEqual([one, 0]);
      expect(run((env) => operation(f, env, signaling, one))).toEqual([one, NV]);
      expect(run((env) => operation(f, env, one, signaling))).toEqual([one, NV]);
      expect(run((env) => operation(f, env, quiet, quiet))).toEqual([canonical, 0]);
      expect(run((env) => operation(f, env, quiet, signaling))).toEqual([canonical, NV]);
    }
  });

  test('§20.6: the four fused forms negate product and addend', () => {
    const [a, b, c] = [of(3), of(5), of(7)];
    expect(run((env) => fmadd(f, env, a, b, c))).toEqual([of(22), 0]);
    expect(run((env) => fmsub(f, env, a, b, c))).toEqual([of(8), 0]);
    expect(run((env) => fnmsub(f, env, a, b, c))).toEqual([of(-8), 0]);
    expect(run((env) => fnmadd(f, env, a, b, c))).toEqual([of(-22), 0]);
  });

  test('§20.6: a fused operation rounds once', () => {
    // (1 + u)(1 − u) − 1 = −u².
    const u = 2 ** (1 - f.precision);
    expect(run((env) => fmsub(f, env, of(1 + u), of(1 - u), one))).toEqual([of(-u * u), 0]);
    // Products in the middle between two numbers, with addends far below that decide.
    const half = of(1.5);
    expect(run((env) => mul(f, env, of(1 + u), half))).toEqual([half + 2n, NX]);
    expect(run((env) => fmsub(f, env, of(1 + u), half, 1n))).toEqual([half + 1n, NX]);
    expect(run((env) => mul(f, env, of(1 + 3 * u), half))).toEqual([half + 4n, NX]);
    expect(run((env) => fmadd(f, env, of(1 + 3 * u), half, 1n))).toEqual([half + 5n, NX]);
    expect(run((env) => fmadd(f, env, one, one, 1n), RM.RUP)).toEqual([one + 1n, NX]);
    expect(run((env) => fmsub(f, env, one, one, 1n), RM.RDN)).toEqual([one - 1n, NX]);
  });

  test('§20.6: ∞ × 0 raises NV even when the addend is a quiet NaN; ∞ − ∞ raises it too', () => {
    expect(run((env) => fmadd(f, env, inf, zero, quiet))).toEqual([canonical, NV]);
    expect(run((env) => fmadd(f, env, negative, inf, quiet))).toEqual([canonical, NV]);
    expect(run((env) => fmadd(f, env, inf, zero, one))).toEqual([canonical, NV]);
    expect(run((env) => fmsub(f, env, inf, one, inf))).toEqual([canonical, NV]);
    expect(run((env) => fnmadd(f, env, inf, one, inf))).toEqual([inf | negative, 0]);
    expect(run((env) => fmadd(f, env, one, one, inf))).toEqual([inf, 0]);
  });

  test('§20.8: FEQ is quiet, FLT and FLE are signaling; zeros are equal', () => {
    expect(run((env) => feq(f, env, one, quiet))).toEqual([false, 0]);
    expect(run((env) => feq(f, env, signaling, one))).toEqual([false, NV]);
    expect(run((env) => feq(f, env, zero, negative))).toEqual([true, 0]);
    for (const holds of [flt, fle]) {
      expect(run((env) => holds(f, env, one, quiet))).toEqual([false, NV]);
      expect(run((env) => holds(f, env, signaling, one))).toEqual([false, NV]);
    }
    expect(run((env) => flt(f, env, negative, zero))).toEqual([false, 0]);
    expect(run((env) => fle(f, env, zero, negative))).toEqual([true, 0]);
  });

  test('§20.9: the ten classes', () => {
    const examples: Record<keyof typeof CLASS, bigint> = {
      negativeInfinity: negative | inf,
      negativeNormal: of(-1),
      negativeSubnormal: negative | 1n,
      negativeZero: negative,
      positiveZero: zero,
      positiveSubnormal: f.fractionMask,
      positiveNormal: f.hiddenBit,
      positiveInfinity: inf,
      signalingNaN: signaling,
      quietNaN: quiet,
    };
    for (const [name, bits] of Object.entries(examples)) {
      expect(fclass(f, bits), name).toBe(1n << BigInt(CLASS[name as keyof typeof CLASS]));
    }
  });

  // §20.7: the ends of the ranges, as registers hold them.
  test.each([
    ['w', -(2n ** 31n), 2n ** 31n - 1n],
    ['wu', 0n, -1n],
    ['l', -(2n ** 63n), 2n ** 63n - 1n],
    ['lu', 0n, -1n],
  ] as const)('§20.7: FCVT.%s saturates with NV alone', (type, lowest, highest) => {
    const convert = (a: bigint, rm: RoundingMode): [bigint, number] =>
      run((env) => toInteger(f, env, INTEGER[type], a), rm);
    for (const rm of Object.values(RM)) {
      expect(convert(quiet, rm)).toEqual([highest, NV]);
      expect(convert(signaling, rm)).toEqual([highest, NV]);
      expect(convert(inf, rm)).toEqual([highest, NV]);
      expect(convert(inf | negative, rm)).toEqual([lowest, NV]);
      expect(convert(of(2 ** 64), rm)).toEqual([highest, NV]);
      expect(convert(of(-(2 ** 64)), rm)).toEqual([lowest, NV]);
      expect(convert(f.maxFinite, rm)).toEqual([highest, NV]);
    }
  });

  test.each([
    [RM.RNE, [0n, 2n, 2n, 0n, -2n]],
    [RM.RTZ, [0n, 1n, 2n, 0n, -1n]],
    [RM.RDN, [0n, 1n, 2n, -1n, -2n]],
    [RM.RUP, [1n, 2n, 3n, 0n, -1n]],
    [RM.RMM, [1n, 2n, 3n, -1n, -2n]],
  ] as const)('§20.7: to integers in mode %i', (rm, integers) => {
    const results = [0.5, 1.5, 2.5, -0.5, -1.5].map((x) =>
      run((env) => toInteger(f, env, INTEGER.w, of(x)), rm),
    );
    expect(results).toEqual(integers.map((integer) => [integer, NX]));
    // The smallest number of all is above nothing but zero.
    const [tiny] = run((env) => toInteger(f, env, INTEGER.l, 1n), rm);
    expect(tiny).toBe(rm === RM.RUP ? 1n : 0n);
  });

  test('§20.7: an unsigned conversion takes what rounds to zero, and no other negative number', () => {
    expect(run((env) => toInteger(f, env, INTEGER.wu, of(-0.5)))).toEqual([0n, NX]);
    expect(run((env) => toInteger(f, env, INTEGER.wu, of(-0.75)), RM.RTZ)).toEqual([0n, NX]);
    expect(run((env) => toInteger(f, env, INTEGER.wu, of(-0.75)))).toEqual([0n, NV]);
    expect(run((env) => toInteger(f, env, INTEGER.lu, negative))).toEqual([0n, 0]);
  });

  test('§20.7: integers are read in their own width', () => {
    expect(run((env) => fromInteger(f, env, INTEGER.w, 0x1_ffff_ffffn))).toEqual([of(-1), 0]);
    expect(run((env) => fromInteger(f, env, INTEGER.lu, -(2n ** 63n)))).toEqual([of(2 ** 63), 0]);
    expect(run((env) => fromInteger(f, env, INTEGER.l, -(2n ** 63n)))).toEqual([of(-(2 ** 63)), 0]);
    expect(run((env) => fromInteger(f, env, INTEGER.w, 0n), RM.RDN)).toEqual([zero, 0]);
    expect(run((env) => fromInteger(f, env, INTEGER.lu, -1n))).toEqual([of(2 ** 64), NX]);
  });
});

test('§21.5: conversions between formats make NaNs canonical, and raise NV for signaling ones', () => {
  const narrow = (a: bigint): [bigint, number] => run((env) => convertFormat(BINARY64, BINARY32, env, a));
  const widen = (a: bigint): [bigint, number] => run((env) => convertFormat(BINARY32, BINARY64, env, a));
  expect(widen(0xffc0_0005n)).toEqual([BINARY64.canonicalNaN, 0]);
  expect(widen(0x7f80_0001n)).toEqual([BINARY64.canonicalNaN, NV]);
  expect(narrow(0xfff0_0000_0000_0001n)).toEqual([BINARY32.canonicalNaN, NV]);
  expect(narrow(0x8000_0000_0000_0000n)).toEqual([0x8000_0000n, 0]);
  expect(widen(0xff80_0000n)).toEqual([0xfff0_0000_0000_0000n, 0]);
  expect(narrow(bitsOf(BINARY64, 1e300))).toEqual([BINARY32.infinity, FFLAGS.OF | NX]);
  expect(narrow(1n)).toEqual([0n, FFLAGS.UF | NX]);
});

test('§21.2: a binary32 is boxed in ones; without them it reads as the canonical NaN', () => {
  const one = bitsOf(BINARY32, 1);
  expect(box32(one)).toBe(0xffff_ffff_3f80_0000n);
  expect(unbox32(0xffff_ffff_3f80_0000n)).toBe(one);
  expect(unbox32(BigInt.asIntN(64, 0xffff_ffff_3f80_0000n))).toBe(one);
  expect(unbox32(one)).toBe(BINARY32.canonicalNaN);
  expect(unbox32(0xffff_fffe_3f80_0000n)).toBe(BINARY32.canonicalNaN);
  expect(unbox32(0x7fff_ffff_3f80_0000n)).toBe(BINARY32.canonicalNaN);
});
