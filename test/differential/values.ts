/** Register values: special ones as often as random ones. */
import type { Random } from '../support/random.ts';

const SPECIAL: readonly bigint[] = [
  0n,
  1n,
  -1n,
  2n,
  -2n,
  2n ** 63n,
  2n ** 63n - 1n,
  -(2n ** 63n) + 1n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 31n + 1n,
  -(2n ** 31n),
  -(2n ** 31n) - 1n,
  2n ** 32n - 1n,
  2n ** 32n,
  0x8000_0000_8000_0000n,
  0x5555_5555_5555_5555n,
  0xaaaa_aaaa_aaaa_aaaan,
  0x0123_4567_89ab_cdefn,
  0x00ff_0000_0100_8000n,
  0xffff_ffff_0000_0000n,
];

/** 64 bits, unsigned. */
export function value(random: Random): bigint {
  return BigInt.asUintN(
    64,
    random.weighted<() => bigint>([
      [3, () => random.pick(SPECIAL)],
      [1, () => 1n << BigInt(random.below(64))],
      [1, () => (1n << BigInt(random.below(64))) - 1n],
      [1, () => BigInt(random.between(-130, 130))],
      [1, () => BigInt(random.u32() | 0)],
      [3, () => random.u64()],
    ])(),
  );
}

/** What a floating-point format has at its edges: mantissa bits, exponent bits. */
const FORMATS = { single: [23, 8], double: [52, 11] } as const;

/** Zeros, subnormals, numbers around 1, the integers' limits, the largest ones, infinities, NaNs of both kinds. */
function floatBits(random: Random, format: keyof typeof FORMATS): bigint {
  const [fraction, exponents] = FORMATS[format];
  const most = (1 << exponents) - 1;
  const bias = most >> 1;
  const exponent = random.weighted([
    [2, 0],
    [1, 1],
    [2, bias + random.between(-2, 2)],
    [2, bias + random.pick([30, 31, 32, 62, 63, 64, -fraction, fraction])],
    [1, bias + random.between(-70, 70)],
    [1, most - 1],
    [1, most],
    [1, random.below(most + 1)],
  ]);
  const ones = (1n << BigInt(fraction)) - 1n;
  const mantissa = random.weighted([
    [3, 0n],
    [1, 1n],
    [1, ones],
    [1, 1n << BigInt(fraction - 1)],
    [1, 1n << BigInt(random.below(fraction))],
    [3, random.u64() & ones],
  ]);
  const sign = BigInt(random.below(2)) << BigInt(fraction + exponents);
  return sign | (BigInt(Math.max(0, Math.min(most, exponent))) << BigInt(fraction)) | mantissa;
}

/** A double, a boxed single, or now and then a single that is not boxed. */
export function floatValue(random: Random): bigint {
  return random.weighted<() => bigint>([
    [5, () => floatBits(random, 'double')],
    [5, () => 0xffff_ffff_0000_0000n | floatBits(random, 'single')],
    [0.3, () => floatBits(random, 'single')],
  ])();
}
