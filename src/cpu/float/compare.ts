/**
 * FMIN, FMAX, FEQ, FLT, FLE and FCLASS. Unprivileged ISA (20240411) §20.6, §20.8, §20.9 and §21.4, §21.6, §21.7.
 * None of them rounds.
 */
import {
  exponentField,
  type FloatFormat,
  isAnyNaN,
  isInfinite,
  isSignalingNaN,
  isZero,
  magnitude,
} from './format.ts';
import { FFLAGS, type FloatEnvironment } from './rounding.ts';

/** The order of FMIN and FMAX: numbers by their value, and −0 below +0. */
function isBelow(f: FloatFormat, a: bigint, b: bigint): boolean {
  const negativeA = (a & f.signBit) !== 0n;
  const negativeB = (b & f.signBit) !== 0n;
  if (negativeA !== negativeB) return negativeA;
  return negativeA ? a > b : a < b;
}

/** §20.6: minimumNumber and maximumNumber of IEEE 754-2019 (F 2.2): a NaN yields to a number. */
function select(f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint, wantsBelow: boolean): bigint {
  if (isSignalingNaN(f, a) || isSignalingNaN(f, b)) env.fflags |= FFLAGS.NV;
  if (isAnyNaN(f, a)) return isAnyNaN(f, b) ? f.canonicalNaN : b;
  if (isAnyNaN(f, b)) return a;
  return isBelow(f, a, b) === wantsBelow ? a : b;
}

export const min = (f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): bigint =>
  select(f, env, a, b, true);

export const max = (f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): bigint =>
  select(f, env, a, b, false);

/** §20.8: FEQ is quiet: only a signaling NaN raises NV. */
export function feq(f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): boolean {
  if (isAnyNaN(f, a) || isAnyNaN(f, b)) {
    if (isSignalingNaN(f, a) || isSignalingNaN(f, b)) env.fflags |= FFLAGS.NV;
    return false;
  }
  return a === b || (isZero(f, a) && isZero(f, b));
}

/** §20.8: FLT and FLE are signaling: any NaN raises NV. */
function isOrdered(f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): boolean {
  if (!isAnyNaN(f, a) && !isAnyNaN(f, b)) return true;
  env.fflags |= FFLAGS.NV;
  return false;
}

export const flt = (f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): boolean =>
  isOrdered(f, env, a, b) && isBelow(f, a, b) && !(isZero(f, a) && isZero(f, b));

export const fle = (f: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): boolean =>
  isOrdered(f, env, a, b) && (!isBelow(f, b, a) || (isZero(f, a) && isZero(f, b)));

/** Bit numbers of FCLASS's result (§20.9). */
export const CLASS = {
  negativeInfinity: 0,
  negativeNormal: 1,
  negativeSubnormal: 2,
  negativeZero: 3,
  positiveZero: 4,
  positiveSubnormal: 5,
  positiveNormal: 6,
  positiveInfinity: 7,
  signalingNaN: 8,
  quietNaN: 9,
} as const;

/** @returns one bit of CLASS. Raises nothing. */
export function fclass(f: FloatFormat, a: bigint): bigint {
  if (isAnyNaN(f, a)) return 1n << BigInt(isSignalingNaN(f, a) ? CLASS.signalingNaN : CLASS.quietNaN);
  const negative = (a & f.signBit) !== 0n;
  if (isInfinite(f, a)) return 1n << BigInt(negative ? CLASS.negativeInfinity : CLASS.positiveInfinity);
  if (magnitude(f, a) === 0n) return 1n << BigInt(negative ? CLASS.negativeZero : CLASS.positiveZero);
  if (exponentField(f, a) === 0) {
    return 1n << BigInt(negative ? CLASS.negativeSubnormal : CLASS.positiveSubnormal);
  }
  return 1n << BigInt(negative ? CLASS.negativeNormal : CLASS.positiveNormal);
}
