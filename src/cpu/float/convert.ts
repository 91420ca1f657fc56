/**
 * FCVT: between the two formats, and between them and integers.
 * Unprivileged ISA (20240411) §20.7 (conversions with integers and their valid ranges), §21.5.
 */
import {
  exponentField,
  exponentOf,
  type FloatFormat,
  isAnyNaN,
  isSignalingNaN,
  significandOf,
} from './format.ts';
import { FFLAGS, type FloatEnvironment, invalid, roundPack, roundsAway } from './rounding.ts';

/** An integer type of FCVT. */
export interface IntegerFormat {
  readonly width: 32 | 64;
  readonly min: bigint;
  readonly max: bigint;
}

/** By the suffix in the instruction's name. */
export const INTEGER = {
  w: { width: 32, min: -(2n ** 31n), max: 2n ** 31n - 1n },
  wu: { width: 32, min: 0n, max: 2n ** 32n - 1n },
  l: { width: 64, min: -(2n ** 63n), max: 2n ** 63n - 1n },
  lu: { width: 64, min: 0n, max: 2n ** 64n - 1n },
} as const satisfies Record<string, IntegerFormat>;

/** Bits beyond which a significand times a power of two exceeds every integer type. */
const WIDEST = 64;

/**
 * FCVT.W[U], FCVT.L[U]: the integer, rounded. What is out of range after rounding, and NaN, gives the nearest end of
 * the range (NaN: the upper one) and NV alone (§20.7).
 * @returns the 64-bit register, signed: 32-bit results are sign-extended, the unsigned ones too (§20.7)
 */
export function toInteger(f: FloatFormat, env: FloatEnvironment, to: IntegerFormat, a: bigint): bigint {
  const field = exponentField(f, a);
  const negative = (a & f.signBit) !== 0n;
  let value: bigint;
  let inexact = false;
  if (field === f.specialField) {
    value = negative && !isAnyNaN(f, a) ? to.min - 1n : to.max + 1n;
  } else {
    const significand = significandOf(f, field, a);
    const exponent = exponentOf(f, field);
    if (exponent >= 0) {
      value = significand << BigInt(Math.min(exponent, WIDEST));
    } else {
      // Past p + 1 bits all is remainder, and less than half.
      const shift = Math.min(-exponent, f.precision + 1);
      value = significand >> BigInt(shift);
      const rest = BigInt.asUintN(shift, significand);
      inexact = rest !== 0n;
      if (inexact && roundsAway(env.rm, negative, value, rest, shift)) value += 1n;
    }
    if (negative) value = -value;
  }
  if (value < to.min || value > to.max) {
    env.fflags |= FFLAGS.NV;
    value = value < to.min ? to.min : to.max;
  } else if (inexact) {
    env.fflags |= FFLAGS.NX;
  }
  return BigInt.asIntN(to.width, value);
}

/**
 * FCVT.S.x, FCVT.D.x: the integer in the low bits of a register, rounded. Zero gives +0.
 * @param register signed or not: only the integer's own bits count
 */
export function fromInteger(
  f: FloatFormat,
  env: FloatEnvironment,
  from: IntegerFormat,
  register: bigint,
): bigint {
  const value = from.min < 0n ? BigInt.asIntN(from.width, register) : BigInt.asUintN(from.width, register);
  if (value === 0n) return 0n;
  return value < 0n ? roundPack(f, env, f.signBit, 0, -value) : roundPack(f, env, 0n, 0, value);
}

/** FCVT.S.D, FCVT.D.S (§21.5): widening is always exact; a NaN becomes the canonical one. */
export function convertFormat(from: FloatFormat, to: FloatFormat, env: FloatEnvironment, a: bigint): bigint {
  const field = exponentField(from, a);
  if (isAnyNaN(from, a)) return isSignalingNaN(from, a) ? invalid(to, env) : to.canonicalNaN;
  const sign = (a & from.signBit) === 0n ? 0n : to.signBit;
  if (field === from.specialField) return sign | to.infinity;
  const significand = significandOf(from, field, a);
  return significand === 0n ? sign : roundPack(to, env, sign, exponentOf(from, field), significand);
}
