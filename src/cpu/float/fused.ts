/**
 * FMADD, FMSUB, FNMSUB and FNMADD: a product and a sum that are rounded once.
 * Unprivileged ISA (20240411) §20.6, §21.4; IEEE 754-2008 §5.4.1, §7.2.
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
import { cancelledZero, type FloatEnvironment, invalid, roundPack, roundSum } from './rounding.ts';

/** a × b + c. */
export function fmadd(f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint, c: bigint): bigint {
  const fieldA = exponentField(f, a);
  const fieldB = exponentField(f, b);
  const fieldC = exponentField(f, c);
  const sign = (a ^ b) & f.signBit;
  if (fieldA === f.specialField || fieldB === f.specialField || fieldC === f.specialField) {
    return fmaddSpecial(f, env, a, b, c, sign);
  }
  const signC = c & f.signBit;
  const product = significandOf(f, fieldA, a) * significandOf(f, fieldB, b);
  const exponent = exponentOf(f, fieldA) + exponentOf(f, fieldB);
  const addend = significandOf(f, fieldC, c);
  if (product === 0n) {
    if (addend !== 0n) return c;
    return sign === signC ? sign : cancelledZero(f, env);
  }
  if (addend === 0n) return roundPack(f, env, sign, exponent, product);
  return roundSum(f, env, sign, exponent, product, signC, exponentOf(f, fieldC), addend);
}

/** With an infinity or a NaN among the operands. */
function fmaddSpecial(
  f: FloatFormat,
  env: FloatEnvironment,
  a: bigint,
  b: bigint,
  c: bigint,
  sign: bigint,
): bigint {
  // §20.6: ∞ × 0 raises NV even when the addend is a quiet NaN.
  if ((isInfinite(f, a) && isZero(f, b)) || (isZero(f, a) && isInfinite(f, b))) return invalid(f, env);
  if (isAnyNaN(f, a) || isAnyNaN(f, b) || isAnyNaN(f, c)) {
    const signals = isSignalingNaN(f, a) || isSignalingNaN(f, b) || isSignalingNaN(f, c);
    return signals ? invalid(f, env) : f.canonicalNaN;
  }
  if (!isInfinite(f, a) && !isInfinite(f, b)) return c;
  const product = sign | f.infinity;
  // ∞ − ∞.
  return isInfinite(f, c) && c !== product ? invalid(f, env) : product;
}

/** a × b − c. */
export const fmsub = (f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint, c: bigint): bigint =>
  fmadd(f, env, a, b, c ^ f.signBit);

/** −(a × b) + c. */
export const fnmsub = (f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint, c: bigint): bigint =>
  fmadd(f, env, a ^ f.signBit, b, c);

/** −(a × b) − c. */
export const fnmadd = (f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint, c: bigint): bigint =>
  fmadd(f, env, a ^ f.signBit, b, c ^ f.signBit);
