/** Zba, Zbb and Zbs: every instruction on values where it could go wrong. Unprivileged ISA (20240411), §28.5. */
import { expect, test } from 'vitest';
import { assemble, BareMachine } from '../support/bare-machine.ts';

const A = 0x8123_4567_89ab_cdefn;
const B = 0x0f0f_0000_ffff_8021n; // shift amount 33, or 1 in 32 bits

const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
/** A word's sign extension. */
const word = (value: bigint): bigint => u64(BigInt.asIntN(32, value));

test.each<readonly [name: string, rs1: bigint, rs2OrImm: bigint, result: bigint]>([
  // §28.4.1 Zba
  ['add.uw', A, B, u64(0x89ab_cdefn + B)],
  ['sh1add', A, B, u64((A << 1n) + B)],
  ['sh2add', A, B, u64((A << 2n) + B)],
  ['sh3add', A, B, u64((A << 3n) + B)],
  ['sh1add.uw', A, B, u64((0x89ab_cdefn << 1n) + B)],
  ['sh2add.uw', A, B, u64((0x89ab_cdefn << 2n) + B)],
  ['sh3add.uw', A, B, u64((0x89ab_cdefn << 3n) + B)],
  ['slli.uw', A, 63n, 1n << 63n],
  ['slli.uw', A, 4n, 0x8_9abc_def0n],
  // §28.4.2 Zbb
  ['andn', A, B, A & ~B],
  ['orn', A, B, u64(A | ~B)],
  ['xnor', A, B, u64(~(A ^ B))],
  ['clz', 0n, 0n, 64n],
  ['clz', 1n, 0n, 63n],
  ['clzw', A << 32n, 0n, 32n],
  ['clzw', 0x1_0000_8000n, 0n, 16n],
  ['ctz', 0n, 0n, 64n],
  ['ctz', 1n << 40n, 0n, 40n],
  ['ctzw', 1n << 40n, 0n, 32n],
  ['ctzw', 0xffff_ffff_8000_0000n, 0n, 31n],
  ['cpop', A, 0n, 33n],
  ['cpop', u64(-1n), 0n, 64n],
  ['cpopw', u64(-1n), 0n, 32n],
  ['min', A, B, A],
  ['minu', A, B, B],
  ['max', A, B, B],
  ['maxu', A, B, A],
  ['sext.b', 0x1280n, 0n, u64(-128n)],
  ['sext.h', 0x1_8000n, 0n, u64(-32768n)],
  ['zext.h', A, 0n, 0xcdefn],
  ['rol', A, B, u64((A << 33n) | (A >> 31n))],
  ['ror', A, B, u64((A >> 33n) | (A << 31n))],
  ['rori', A, 33n, u64((A >> 33n) | (A << 31n))],
  ['rori', A, 0n, A],
  ['rolw', A, B, word(0x89ab_cdefn * 2n + 1n)],
  ['rorw', A, B, word((0x89ab_cdefn >> 1n) | (1n << 31n))],
  ['roriw', A, 31n, word(0x89ab_cdefn * 2n + 1n)],
  ['orc.b', 0x8001_0000_7f00_1000n, 0n, 0xffff_0000_ff00_ff00n],
  ['rev8', A, 0n, 0xefcd_ab89_6745_2381n],
  // §28.4.4 Zbs
  ['bclr', A, 64n, A & ~1n],
  ['bclri', A, 63n, A & ~(1n << 63n)],
  ['bext', A, 63n + 64n, 1n],
  ['bexti', A, 4n, 0n],
  ['binv', A, B, A ^ (1n << 33n)],
  ['binvi', A, 63n, A ^ (1n << 63n)],
  ['bset', 0n, B, 1n << 33n],
  ['bseti', 0n, 31n, 1n << 31n],
])('%s of %i and %i', (name, rs1, other, result) => {
  const machine = new BareMachine();
  const immediate = /i(w|\.uw)?$/.test(name) && name !== 'max';
  const unary = /^(clz|ctz|cpop|sext|zext|orc|rev)/.test(name);
  const second = unary ? {} : immediate ? { imm: Number(other) } : { rs2: 6 };
  machine.load(assemble([name, { rd: 7, rs1: 5, ...second }]));
  machine.hart.setX(5, rs1);
  machine.hart.setX(6, other);
  machine.run(1);
  expect(machine.hart.x(7)).toBe(result);
});
