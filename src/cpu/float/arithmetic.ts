/**
 * FADD, FSUB, FMUL, FDIV and FSQRT. Unprivileged ISA (20240411) §20.6, §21.4; IEEE 754-2008 §5.4.1, special operands
 * §6 and §7.2. Each computes the exact result, or one with a sticky bit, and rounds it once. A NaN among the operands
 * gives the canonical NaN, and NV if it is a signaling one (§20.3).
 */
import {
  exponentField,
  exponentOf,
  type FloatFormat,
  isAnyNaN,
  isInfinite,
  isSignalingNaN,
  isZero,
  significandOf,
} from './format.ts';
import {
  bitLength,
  cancelledZero,
  FFLAGS,
  type FloatEnvironment,
  invalid,
  roundPack,
  roundSum,
} from './rounding.ts';

/** The result of an operation that has a NaN among its operands. */
function nanOf(f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): bigint {
  return isSignalingNaN(f, a) || isSignalingNaN(f, b) ? invalid(f, env) : f.canonicalNaN;
}

export function add(f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): bigint {
  const fieldA = exponentField(f, a);
  const fieldB = exponentField(f, b);
  if (fieldA === f.specialField || fieldB === f.specialField) return addSpecial(f, env, a, b);
  const signA = a & f.signBit;
  const signB = b & f.signBit;
  const significandA = significandOf(f, fieldA, a);
  const significandB = significandOf(f, fieldB, b);
  if (significandA === 0n) {
    if (significandB !== 0n) return b;
    return signA === signB ? a : cancelledZero(f, env);
  }
  if (significandB === 0n) return a;
  const exponentA = exponentOf(f, fieldA);
  const exponentB = exponentOf(f, fieldB);
  return roundSum(f, env, signA, exponentA, significandA, signB, exponentB, significandB);
}

function addSpecial(f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): bigint {
  if (isAnyNaN(f, a) || isAnyNaN(f, b)) return nanOf(f, env, a, b);
  if (!isInfinite(f, b)) return a;
  // ∞ − ∞.
  if (isInfinite(f, a) && a !== b) return invalid(f, env);
  return b;
}

/** a − b: no NaN keeps its sign, so b may be negated whatever it is. */
export const sub = (f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): bigint =>
  add(f, env, a, b ^ f.signBit);

export function mul(f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): bigint {
  const sign = (a ^ b) & f.signBit;
  const fieldA = exponentField(f, a);
  const fieldB = exponentField(f, b);
  if (fieldA === f.specialField || fieldB === f.specialField) {
    if (isAnyNaN(f, a) || isAnyNaN(f, b)) return nanOf(f, env, a, b);
    return isZero(f, a) || isZero(f, b) ? invalid(f, env) : sign | f.infinity;
  }
  const product = significandOf(f, fieldA, a) * significandOf(f, fieldB, b);
  if (product === 0n) return sign;
  return roundPack(f, env, sign, exponentOf(f, fieldA) + exponentOf(f, fieldB), product);
}

export function div(f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): bigint {
  const sign = (a ^ b) & f.signBit;
  const fieldA = exponentField(f, a);
  const fieldB = exponentField(f, b);
  if (fieldA === f.specialField || fieldB === f.specialField) {
    if (isAnyNaN(f, a) || isAnyNaN(f, b)) return nanOf(f, env, a, b);
    if (!isInfinite(f, a)) return sign;
    return isInfinite(f, b) ? invalid(f, env) : sign | f.infinity;
  }
  const dividend = significandOf(f, fieldA, a);
  const divisor = significandOf(f, fieldB, b);
  if (divisor === 0n) {
    if (dividend === 0n) return invalid(f, env);
    env.fflags |= FFLAGS.DZ;
    return sign | f.infinity;
  }
  if (dividend === 0n) return sign;
  // The quotient gets p + 2 bits at least; subnormals are shorter than the format's precision.
  const isShort = fieldA === 0 || fieldB === 0;
  const scale = f.precision + 2 + (isShort ? bitLength(divisor) - bitLength(dividend) : 0);
  const scaled = dividend << BigInt(scale);
  const quotient = scaled / divisor;
  const sticky = quotient * divisor === scaled ? 0n : 1n;
  const exponent = exponentOf(f, fieldA) - exponentOf(f, fieldB) - scale;
  return roundPack(f, env, sign, exponent, quotient | sticky);
}

export function sqrt(f: FloatFormat, env: FloatEnvironment, a: bigint): bigint {
  const field = exponentField(f, a);
  if (isAnyNaN(f, a)) return nanOf(f, env, a, a);
  // √−0 is −0.
  if (isZero(f, a)) return a;
  if ((a & f.signBit) !== 0n) return invalid(f, env);
  if (field === f.specialField) return a;
  const significand = significandOf(f, field, a);
  const exponent = exponentOf(f, field);
  // A radicand of 2(p + 2) bits or one more, with an even exponent, has a root of p + 2 bits at least.
  const wanted = 2 * (f.precision + 2) - bitLength(significand);
  const shift = (exponent - wanted) % 2 === 0 ? wanted : wanted + 1;
  const radicand = significand << BigInt(shift);
  const root = integerRoot(radicand);
  const sticky = root * root === radicand ? 0n : 1n;
  return roundPack(f, env, 0n, (exponent - shift) / 2, root | sticky);
}

/** The largest integer whose square is not above n; n has at most 128 bits. */
function integerRoot(n: bigint): bigint {
  let root = BigInt(Math.floor(Math.sqrt(Number(n))));
  // The double is right to some 52 bits. A step of Newton's doubles that, and never leads below the root.
  root = (root + n / root) >> 1n;
  while (root * root > n) root -= 1n;
  return root;
}
