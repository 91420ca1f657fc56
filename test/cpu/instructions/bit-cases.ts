/** Zba, Zbb and Zbs, on values where each could go wrong. Unprivileged ISA (20240411), §28.5. */
import { type Cases, immediate, one, two, u64, word } from './instruction-case.ts';

const A = 0x8123_4567_89ab_cdefn;
const B = 0x0f0f_0000_ffff_8021n; // shift amount 33, or 1 in 32 bits
const ALL = u64(-1n);

export const BIT_CASES: Cases = {
  'add.uw': [two(A, B, 0x0f0f_0001_89ab_4e10n)],
  sh1add: [two(A, B, u64(2n * A + B))],
  sh2add: [two(A, B, u64(4n * A + B))],
  sh3add: [two(A, B, u64(8n * A + B))],
  'sh1add.uw': [two(A, B, u64(2n * 0x89ab_cdefn + B))],
  'sh2add.uw': [two(A, B, u64(4n * 0x89ab_cdefn + B))],
  'sh3add.uw': [two(A, B, u64(8n * 0x89ab_cdefn + B))],
  'slli.uw': [immediate(A, 63, 1n << 63n), immediate(A, 4, 0x8_9abc_def0n)],

  andn: [two(A, B, 0x8020_4567_0000_4dcen)],
  orn: [two(A, B, 0xf1f3_ffff_89ab_ffffn)],
  xnor: [two(A, B, 0x71d3_ba98_89ab_b231n)],
  clz: [one(0n, 64n), one(1n, 63n), one(ALL, 0n)],
  clzw: [one(1n << 63n, 32n), one(0x1_0000_8000n, 16n)],
  ctz: [one(0n, 64n), one(1n << 40n, 40n)],
  ctzw: [one(1n << 40n, 32n), one(0xffff_ffff_8000_0000n, 31n)],
  cpop: [one(A, 33n), one(ALL, 64n), one(0n, 0n)],
  cpopw: [one(ALL, 32n), one(A, 20n)],
  min: [two(A, B, A), two(B, A, A)],
  minu: [two(A, B, B), two(B, A, B)],
  max: [two(A, B, B), two(B, A, B)],
  maxu: [two(A, B, A), two(B, A, A)],
  'sext.b': [one(0x1280n, u64(-128n)), one(0xff7fn, 0x7fn)],
  'sext.h': [one(0x1_8000n, u64(-32768n)), one(0xff_7fffn, 0x7fffn)],
  'zext.h': [one(A, 0xcdefn)],
  rol: [two(A, B, 0x1357_9bdf_0246_8acfn)],
  rolw: [two(A, B, 0x1357_9bdfn)],
  ror: [two(A, 4n, 0xf812_3456_789a_bcden)],
  rori: [immediate(A, 60, 0x1234_5678_9abc_def8n), immediate(A, 0, A)],
  roriw: [immediate(A, 31, 0x1357_9bdfn), immediate(A, 0, word(A))],
  rorw: [two(A, B, word(0xc4d5_e6f7n))],
  'orc.b': [one(0x8001_0000_7f00_1000n, 0xffff_0000_ff00_ff00n)],
  rev8: [one(A, 0xefcd_ab89_6745_2381n)],

  // The index is taken modulo 64.
  bclr: [two(A, 64n, A - 1n), two(A, 4n, A)],
  bclri: [immediate(A, 63, 0x0123_4567_89ab_cdefn)],
  bext: [two(A, 63n + 64n, 1n), two(A, 4n, 0n)],
  bexti: [immediate(A, 0, 1n), immediate(A, 4, 0n)],
  binv: [two(A, B, A ^ (1n << 33n))],
  binvi: [immediate(A, 63, 0x0123_4567_89ab_cdefn)],
  bset: [two(0n, B, 1n << 33n)],
  bseti: [immediate(0n, 31, 0x8000_0000n)],
};
