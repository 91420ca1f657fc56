/**
 * The two floating-point formats, what a bit pattern of them means, and NaN boxing.
 * IEEE 754-2008 §3.4 (binary32, binary64); Unprivileged ISA (20240411) §20.3 (canonical NaN), §21.2 (NaN boxing).
 *
 * A value is its raw bits, as an unsigned bigint of the format's width. Read as a number it is
 * (−1)^sign × significand × 2^exponent, the significand being an integer.
 */

export interface FloatFormat {
  /** Width, in bits. */
  readonly width: number;
  /** p: bits of a significand, the hidden one included. */
  readonly precision: number;
  /** Exponent of a subnormal's lowest bit: the smallest number is 2^minExponent. */
  readonly minExponent: number;
  /** p − 1: bits of the fraction field, and where the exponent field begins. */
  readonly fractionWidth: bigint;
  readonly signBit: bigint;
  /** All bits but the sign. */
  readonly magnitudeMask: bigint;
  /** Bits of the exponent field; also the bits of +∞. */
  readonly infinity: bigint;
  readonly fractionMask: bigint;
  /** The leading bit of a normal significand, which is not stored. */
  readonly hiddenBit: bigint;
  /** The fraction's highest bit: set in a quiet NaN, clear in a signaling one. */
  readonly quietBit: bigint;
  readonly canonicalNaN: bigint;
  /** The largest finite number. */
  readonly maxFinite: bigint;
  /** Exponent field of infinities and NaNs. */
  readonly specialField: number;
}

function describeFormat(width: number, precision: number): FloatFormat {
  const fractionWidth = BigInt(precision - 1);
  const hiddenBit = 1n << fractionWidth;
  const specialField = 2 ** (width - precision) - 1;
  const infinity = BigInt(specialField) << fractionWidth;
  const quietBit = hiddenBit >> 1n;
  return {
    width,
    precision,
    // The bias is half the special field, rounded down; field 1 is the exponent of the subnormals too.
    minExponent: 1 - (specialField >> 1) - (precision - 1),
    fractionWidth,
    signBit: 1n << BigInt(width - 1),
    magnitudeMask: (1n << BigInt(width - 1)) - 1n,
    infinity,
    fractionMask: hiddenBit - 1n,
    hiddenBit,
    quietBit,
    canonicalNaN: infinity | quietBit,
    maxFinite: infinity - 1n,
    specialField,
  };
}

/** F: single precision. */
export const BINARY32 = describeFormat(32, 24);
/** D: double precision. */
export const BINARY64 = describeFormat(64, 53);

/** The biased exponent. */
export const exponentField = (f: FloatFormat, a: bigint): number =>
  Number((a & f.infinity) >> f.fractionWidth);

/** Exponent of the significand's lowest bit, for the exponent field of a finite value. */
export const exponentOf = (f: FloatFormat, field: number): number =>
  field === 0 ? f.minExponent : f.minExponent + field - 1;

/** The significand of a finite value whose exponent field is given: 0 for a zero. */
export const significandOf = (f: FloatFormat, field: number, a: bigint): bigint =>
  field === 0 ? a & f.fractionMask : (a & f.fractionMask) | f.hiddenBit;

/** The value without its sign. */
export const magnitude = (f: FloatFormat, a: bigint): bigint => a & f.magnitudeMask;

export const isAnyNaN = (f: FloatFormat, a: bigint): boolean => magnitude(f, a) > f.infinity;
export const isSignalingNaN = (f: FloatFormat, a: bigint): boolean =>
  isAnyNaN(f, a) && (a & f.quietBit) === 0n;
export const isInfinite = (f: FloatFormat, a: bigint): boolean => magnitude(f, a) === f.infinity;
export const isZero = (f: FloatFormat, a: bigint): boolean => magnitude(f, a) === 0n;

/** Upper half of a register that holds a binary32 (§21.2). */
const BOX = 0xffff_ffff_0000_0000n;

/** The 64-bit register that holds a binary32. */
export const box32 = (bits: bigint): bigint => BOX | bits;

/**
 * The binary32 in a 64-bit register, signed or not; the canonical NaN if it is not boxed (§21.2). Only computation
 * reads registers like this: FMV.X.W and FSW take the low half as it is.
 */
export function unbox32(register: bigint): bigint {
  const bits = BigInt.asUintN(64, register);
  return bits >= BOX ? bits & 0xffff_ffffn : BINARY32.canonicalNaN;
}
