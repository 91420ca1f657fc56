/**
 * Rounding of exact results into a format, with the exception flags that this raises.
 * Unprivileged ISA (20240411) §20.2 (rounding modes, flags); IEEE 754-2008 §4.3, §7.4 to §7.6. Tininess is detected
 * after rounding (§20.2).
 */
import type { FloatFormat } from './format.ts';

/** Rounding modes as `frm` and an instruction's `rm` field encode them (§20.2). */
export const RM = {
  /** To nearest, ties to even. */
  RNE: 0,
  /** Towards zero. */
  RTZ: 1,
  /** Down, towards −∞. */
  RDN: 2,
  /** Up, towards +∞. */
  RUP: 3,
  /** To nearest, ties to the larger magnitude. */
  RMM: 4,
} as const;
export type RoundingMode = (typeof RM)[keyof typeof RM];

/** Accrued exception flags, as bits of `fflags` (§20.2). */
export const FFLAGS = {
  /** Inexact. */
  NX: 1,
  /** Underflow. */
  UF: 2,
  /** Overflow. */
  OF: 4,
  /** Divide by zero. */
  DZ: 8,
  /** Invalid operation. */
  NV: 16,
} as const;

/** What every operation reads (`rm`) and adds to (`fflags`): nothing else outlives an operation. */
export interface FloatEnvironment {
  /** The rounding mode in effect: DYN is resolved, and reserved modes are trapped, by the caller. */
  rm: RoundingMode;
  /** FFLAGS. Operations only set bits. */
  fflags: number;
}

export function invalid(f: FloatFormat, env: FloatEnvironment): bigint {
  env.fflags |= FFLAGS.NV;
  return f.canonicalNaN;
}

/** An exact zero that is the sum of x and −x (IEEE 754-2008 §6.3). */
export const cancelledZero = (f: FloatFormat, env: FloatEnvironment): bigint =>
  env.rm === RM.RDN ? f.signBit : 0n;

const asFloat = new Float64Array(1);
const asWords = new Uint32Array(asFloat.buffer);
const HIGH_WORD = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? 1 : 0;

/** Bits of a positive integer below 2¹⁰²³: 1 for 1, 2 for 2 and 3. */
export function bitLength(value: bigint): number {
  asFloat[0] = Number(value);
  const length = ((asWords[HIGH_WORD] as number) >>> 20) - 1022;
  // The conversion may have rounded up to the next power of two.
  return length > 53 && value >> BigInt(length - 1) === 0n ? length - 1 : length;
}

/**
 * Whether value ÷ 2^shift has to be rounded away from zero.
 * @param floor value ÷ 2^shift without its remainder
 * @param rest the remainder, not 0
 */
export function roundsAway(
  rm: RoundingMode,
  negative: boolean,
  floor: bigint,
  rest: bigint,
  shift: number,
): boolean {
  switch (rm) {
    case RM.RTZ:
      return false;
    case RM.RDN:
      return negative;
    case RM.RUP:
      return !negative;
  }
  const half = 1n << BigInt(shift - 1);
  if (rest !== half) return rest > half;
  return rm === RM.RMM || (floor & 1n) !== 0n;
}

/**
 * The value (−1)^sign × significand × 2^exponent in the format, rounded, with OF, UF and NX.
 * @param sign 0 or the format's sign bit
 * @param significand positive. It may stand for a number that isn't a multiple of its lowest bit: then that bit is set
 *   (is "sticky") and there are at least two more bits than the format's precision
 */
export function roundPack(
  f: FloatFormat,
  env: FloatEnvironment,
  sign: bigint,
  exponent: number,
  significand: bigint,
): bigint {
  const leading = exponent + bitLength(significand) - 1;
  const normalExponent = leading - (f.precision - 1);
  // Exponent of the result's lowest bit.
  const lowest = Math.max(normalExponent, f.minExponent);
  const shift = lowest - exponent;
  let rounded: bigint;
  if (shift <= 0) {
    rounded = significand << BigInt(-shift);
  } else {
    rounded = significand >> BigInt(shift);
    const rest = BigInt.asUintN(shift, significand);
    if (rest !== 0n) {
      const negative = sign !== 0n;
      env.fflags |= FFLAGS.NX;
      if (
        normalExponent < f.minExponent &&
        (normalExponent < f.minExponent - 1 || !reachesNormal(f, env.rm, negative, significand, shift - 1))
      ) {
        env.fflags |= FFLAGS.UF;
      }
      if (roundsAway(env.rm, negative, rounded, rest, shift)) rounded += 1n;
    }
  }
  // Adding carries into the exponent field: from a normal's hidden bit, and where rounding made one bit more.
  const bits = (BigInt(lowest - f.minExponent) << f.fractionWidth) + rounded;
  return sign | (bits < f.infinity ? bits : overflow(f, env, sign));
}

/**
 * Whether a number just below the normal ones becomes one when it is rounded to full precision, as if exponents had no
 * lower bound: then it is not tiny.
 * @param shift bits of the significand below that precision
 */
function reachesNormal(
  f: FloatFormat,
  rm: RoundingMode,
  negative: boolean,
  significand: bigint,
  shift: number,
): boolean {
  const floor = significand >> BigInt(shift);
  const rest = BigInt.asUintN(shift, significand);
  return floor === 2n * f.hiddenBit - 1n && rest !== 0n && roundsAway(rm, negative, floor, rest, shift);
}

/** The magnitude of a result that is too large (IEEE 754-2008 §7.4). */
function overflow(f: FloatFormat, env: FloatEnvironment, sign: bigint): bigint {
  env.fflags |= FFLAGS.OF | FFLAGS.NX;
  const staysFinite = env.rm === RM.RTZ || env.rm === (sign === 0n ? RM.RDN : RM.RUP);
  return staysFinite ? f.maxFinite : f.infinity;
}

/**
 * The sum of two exact non-zero numbers, rounded. Significands may have up to 2p bits.
 * @param signA 0 or the format's sign bit, as signB
 */
export function roundSum(
  f: FloatFormat,
  env: FloatEnvironment,
  signA: bigint,
  exponentA: number,
  significandA: bigint,
  signB: bigint,
  exponentB: number,
  significandB: bigint,
): bigint {
  if (exponentA < exponentB) {
    return roundSum(f, env, signB, exponentB, significandB, signA, exponentA, significandA);
  }
  let distance = exponentA - exponentB;
  let exponent = exponentB;
  let b = significandB;
  if (distance > 3 * f.precision + 3) {
    // b is below 2^−(p+3) of a's lowest bit: all that matters is that there is something, and its sign.
    distance = f.precision + 3;
    exponent = exponentA - distance;
    b = 1n;
  }
  const a = significandA << BigInt(distance);
  if (signA === signB) return roundPack(f, env, signA, exponent, a + b);
  if (a === b) return cancelledZero(f, env);
  return a > b ? roundPack(f, env, signA, exponent, a - b) : roundPack(f, env, signB, exponent, b - a);
}
