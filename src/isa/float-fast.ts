/**
 * Fast ways of floating-point operations that wasm has no instruction for: fused multiply-add, minimum and maximum,
 * and conversions to integers. Each gives RISC-V's result under the condition that stands beside it, and no new flag.
 */
import { f32, f64 } from '../wasm/expr.ts';
import { type Expr, frs1, frs2, frs3, i32, i64, imm, inexact, nearest, result, select } from './semantics.ts';

/** A value and the condition under which it may be taken. */
export interface FastWay {
  readonly value: Expr;
  readonly when: Expr;
}

export const and = (...terms: Expr[]): Expr => terms.reduce((a, b) => i32.and(a, b));

const SIGN64 = i64.const(1n << 63n);
const number = (value: number): Expr => {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return f64.reinterpret_i64(i64.const(view.getBigInt64(0)));
};

/** a + b, and what rounding took from it: both exact (Knuth's TwoSum). */
function twoSum(a: Expr, b: Expr): { sum: Expr; error: Expr } {
  const sum = f64.add(a, b);
  const ofB = f64.sub(sum, a);
  const error = f64.add(f64.sub(a, f64.sub(sum, ofB)), f64.sub(b, ofB));
  return { sum, error };
}

/** a × b, and what rounding took from it (Dekker's product, with Veltkamp's splitting). */
function twoProduct(a: Expr, b: Expr): { product: Expr; error: Expr } {
  const split = (x: Expr): [Expr, Expr] => {
    const scaled = f64.mul(x, number(2 ** 27 + 1));
    const high = f64.sub(scaled, f64.sub(scaled, x));
    return [high, f64.sub(x, high)];
  };
  const product = f64.mul(a, b);
  const [ah, al] = split(a);
  const [bh, bl] = split(b);
  const rest = f64.add(f64.add(f64.sub(f64.mul(ah, bh), product), f64.mul(ah, bl)), f64.mul(al, bh));
  return { product, error: f64.add(rest, f64.mul(al, bl)) };
}

/** A sum rounded to odd: if it is not exact, the last bit of what it is cut to is 1, so that rounding it again is right. */
function oddSum(a: Expr, b: Expr): Expr {
  const { sum, error } = twoSum(a, b);
  const bits = i64.reinterpret_f64(sum);
  const isExact = f64.eq(error, number(0));
  const isOdd = i32.wrap_i64(i64.and(bits, i64.const(1)));
  // One step towards the error: outwards if both have one sign.
  const sameSign = i64.ge_s(i64.xor(bits, i64.reinterpret_f64(error)), i64.const(0));
  const step = select(i64.const(1), i64.const(-1), sameSign);
  return f64.reinterpret_i64(select(bits, i64.add(bits, step), i32.or(isExact, isOdd)));
}

/** i32: `low` ≤ exponent field of a double ≤ `high`. */
function exponentWithin(bits: Expr, low: number, high: number): Expr {
  const exponent = i64.and(i64.shr_u(bits, i64.const(52)), i64.const(0x7ff));
  return i64.le_u(i64.sub(exponent, i64.const(low)), i64.const(high - low));
}

/**
 * ±(a × b) ± c with one rounding, in doubles: Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums:
 * proved algorithms using rounding to odd" (2008). The exponents keep every intermediate result clear of overflow and
 * underflow; c may be zero.
 */
export function fusedDouble(
  negateProduct: boolean,
  negateAddend: boolean,
  normal: (bits: Expr) => Expr,
): FastWay {
  const operand = (bits: Expr, negate: boolean): Expr =>
    f64.reinterpret_i64(negate ? i64.xor(bits, SIGN64) : bits);
  const { product, error } = twoProduct(operand(frs1, negateProduct), operand(frs2, false));
  const low = twoSum(operand(frs3, negateAddend), error);
  const high = twoSum(product, low.sum);
  const value = f64.add(high.sum, oddSum(low.error, high.error));
  const addend = i32.or(exponentWithin(frs3, 200, 1850), i64.eqz(i64.shl(frs3, i64.const(1))));
  return {
    value: i64.reinterpret_f64(value),
    when: and(
      nearest,
      exponentWithin(frs1, 550, 1500),
      exponentWithin(frs2, 550, 1500),
      addend,
      normal(result),
    ),
  };
}

/** The same in singles: a product of two is exact in a double, so that only the sum has to be rounded to odd. */
export function fusedSingle(
  negateProduct: boolean,
  negateAddend: boolean,
  format: {
    readonly from: (register: Expr) => Expr;
    readonly to: (value: Expr) => Expr;
    readonly valid: (register: Expr) => Expr;
    readonly normal: (bits: Expr) => Expr;
  },
): FastWay {
  const operand = (register: Expr, negate: boolean): Expr => {
    const wide = f64.promote_f32(format.from(register));
    return negate ? f64.reinterpret_i64(i64.xor(i64.reinterpret_f64(wide), SIGN64)) : wide;
  };
  const product = f64.mul(operand(frs1, negateProduct), operand(frs2, false));
  const value = format.to(f32.demote_f64(oddSum(product, operand(frs3, negateAddend))));
  // Infinities and NaNs give results that are not normal.
  return {
    value,
    when: and(nearest, format.normal(result), format.valid(frs1), format.valid(frs2), format.valid(frs3)),
  };
}

/** Conversions to integers, cutting off what follows the point, as C does. */
export function toInteger(integer: 'w' | 'wu' | 'l' | 'lu', x: Expr, valid: Expr): FastWay {
  const { cut, low, high } = {
    w: { cut: i64.extend_i32_s(i32.trunc_sat_f64_s(x)), low: -(2 ** 31) - 1, high: 2 ** 31 },
    wu: { cut: i64.extend_i32_s(i32.trunc_sat_f64_u(x)), low: -1, high: 2 ** 32 },
    // The double below −2⁶³ is far from it: none lies between.
    l: { cut: i64.trunc_sat_f64_s(x), low: -(2 ** 63) - 2048, high: 2 ** 63 },
    lu: { cut: i64.trunc_sat_f64_u(x), low: -1, high: 2 ** 64 },
  }[integer];
  const towardsZero = i32.eq(i32.and(i32.wrap_i64(imm), i32.const(7)), i32.const(1));
  return {
    value: cut,
    when: and(inexact, towardsZero, valid, f64.lt(number(low), x), f64.lt(x, number(high))),
  };
}
