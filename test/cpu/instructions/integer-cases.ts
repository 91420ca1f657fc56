/** I and M. Unprivileged ISA (20240411), chapters 2, 4 and 13. */
import { BYTES, branch, type Cases, immediate, load, PC, store, two, u64, word } from './instruction-case.ts';

const MIN = 1n << 63n;
const MAX = MIN - 1n;
const ALL = u64(-1n);
const MIN32 = 0x8000_0000n;
/** A word's smallest value as a register has it. */
const MIN_WORD = word(MIN32);

export const INTEGER_CASES: Cases = {
  lui: [
    { operands: { rd: 7, imm: 0x1234_5000 }, gives: { x: { 7: 0x1234_5000n } } },
    { operands: { rd: 7, imm: -0x8000_0000 }, gives: { x: { 7: MIN_WORD } } },
  ],
  auipc: [
    { operands: { rd: 7, imm: 0x1000 }, gives: { x: { 7: PC + 0x1000n } } },
    { operands: { rd: 7, imm: -0x1000 }, gives: { x: { 7: PC - 0x1000n } } },
  ],
  addi: [
    immediate(5n, -7, u64(-2n)),
    immediate(MAX, 1, MIN),
    immediate(0n, 2047, 2047n),
    // A result for x0 is lost.
    { operands: { rd: 0, rs1: 5, imm: 1 }, given: { x: { 5: 1n } } },
  ],
  slti: [immediate(ALL, 0, 1n), immediate(5n, 5, 0n), immediate(MIN, -2048, 1n)],
  // The immediate is sign-extended, then compared as unsigned.
  sltiu: [immediate(1n, -1, 1n), immediate(ALL, -1, 0n), immediate(0n, 1, 1n)],
  xori: [immediate(0b1100n, 0b1010, 0b0110n), immediate(5n, -1, u64(-6n))],
  ori: [immediate(0b1100n, 0b1010, 0b1110n), immediate(MIN, -2048, u64(-2048n))],
  andi: [immediate(0b1100n, 0b1010, 0b1000n), immediate(ALL, -2048, u64(-2048n))],
  slli: [immediate(3n, 63, MIN), immediate(3n, 0, 3n)],
  srli: [immediate(MIN, 63, 1n), immediate(ALL, 32, 0xffff_ffffn)],
  srai: [immediate(MIN, 63, ALL), immediate(MAX, 62, 1n)],
  add: [two(ALL, 2n, 1n), two(MAX, MAX, u64(-2n))],
  sub: [two(0n, 1n, ALL), two(MIN, 1n, MAX)],
  // Of the shift amount, the low six bits count.
  sll: [two(3n, 63n, MIN), two(3n, 65n, 6n)],
  slt: [two(ALL, 0n, 1n), two(0n, MIN, 0n), two(4n, 4n, 0n)],
  sltu: [two(ALL, 0n, 0n), two(0n, MIN, 1n), two(4n, 4n, 0n)],
  xor: [two(0x0ff0n, 0x00ffn, 0x0f0fn)],
  srl: [two(MIN, 63n, 1n), two(MIN, 64n, MIN)],
  sra: [two(MIN, 63n, ALL), two(MIN, 65n, 3n << 62n)],
  or: [two(0x0ff0n, 0x00ffn, 0x0fffn)],
  and: [two(0x0ff0n, 0x00ffn, 0x00f0n)],

  addiw: [immediate(0x7fff_ffffn, 1, MIN_WORD), immediate(0x1_0000_0001n, -2, ALL)],
  slliw: [immediate(1n, 31, MIN_WORD), immediate(0xffff_ffff_0000_0003n, 1, 6n)],
  srliw: [immediate(0xabcd_ef01_8000_0000n, 31, 1n), immediate(MIN32, 0, MIN_WORD)],
  sraiw: [immediate(MIN32, 31, ALL), immediate(0xffff_ffff_4000_0000n, 30, 1n)],
  addw: [two(0xffff_ffffn, 1n, 0n), two(0x7fff_ffffn, 1n, MIN_WORD)],
  subw: [two(0n, 1n, ALL), two(MIN32, 1n, 0x7fff_ffffn)],
  // The low five bits of the shift amount.
  sllw: [two(1n, 31n + 32n, MIN_WORD), two(1n, 32n, 1n)],
  srlw: [two(0xffff_ffff_8000_0000n, 31n, 1n), two(MIN32, 32n, MIN_WORD)],
  sraw: [two(MIN32, 31n + 32n, ALL), two(0x7fff_ffffn, 30n, 1n)],

  jal: [
    { operands: { rd: 1, imm: 0x100 }, gives: { x: { 1: PC + 4n }, pc: PC + 0x100n } },
    { operands: { rd: 0, imm: -0x800 }, gives: { pc: PC - 0x800n } },
  ],
  // The lowest bit of the sum is dropped; rs1 is read before rd is written.
  jalr: [
    {
      operands: { rd: 1, rs1: 5, imm: -3 },
      given: { x: { 5: PC + 20n } },
      gives: { x: { 1: PC + 4n }, pc: PC + 16n },
    },
    {
      operands: { rd: 5, rs1: 5, imm: 64 },
      given: { x: { 5: PC } },
      gives: { x: { 5: PC + 4n }, pc: PC + 64n },
    },
  ],
  beq: [...branch(4n, 4n, true), ...branch(4n, 5n, false)],
  bne: [...branch(4n, 4n, false), ...branch(4n, 1n << 40n, true)],
  blt: [...branch(ALL, 0n, true), ...branch(0n, ALL, false), ...branch(4n, 4n, false)],
  bge: [...branch(ALL, 0n, false), ...branch(0n, ALL, true), ...branch(4n, 4n, true)],
  bltu: [...branch(ALL, 0n, false), ...branch(0n, ALL, true), ...branch(4n, 4n, false)],
  bgeu: [...branch(ALL, 0n, true), ...branch(0n, ALL, false), ...branch(4n, 4n, true)],

  lb: [...load(0, u64(-9n)), ...load(7, u64(-0x80n))],
  lh: [...load(0, 0xffff_ffff_ffff_e6f7n), ...load(1, 0xffff_ffff_ffff_d5e6n)],
  lw: [...load(4, 0xffff_ffff_8091_a2b3n), ...load(2, 0xffff_ffff_a2b3_c4d5n)],
  ld: [...load(0, BYTES[0] as bigint), ...load(3, 0xa697_8880_91a2_b3c4n)],
  lbu: [...load(0, 0xf7n), ...load(7, 0x80n)],
  lhu: [...load(0, 0xe6f7n), ...load(7, 0x8880n)],
  lwu: [...load(4, 0x8091_a2b3n), ...load(6, 0x9788_8091n)],
  sb: [...store(1, 0xabcd_efn, 0x1111_1111_1111_ef11n)],
  sh: [
    ...store(2, 0x1234_5678n, 0x1111_1111_5678_1111n),
    ...store(7, 0x5678n, 0x7811_1111_1111_1111n, 0x1111_1111_1111_1156n),
  ],
  sw: [...store(4, 0xdead_beef_89ab_cdefn, 0x89ab_cdef_1111_1111n)],
  sd: [
    ...store(0, 0xdead_beef_89ab_cdefn, 0xdead_beef_89ab_cdefn),
    ...store(4, 0xdead_beef_89ab_cdefn, 0x89ab_cdef_1111_1111n, 0x1111_1111_dead_beefn),
    // Where nothing is.
    { operands: { rs1: 0, rs2: 5, imm: 0x208 }, given: { x: { 5: 1n } }, trap: { cause: 7, tval: 0x208n } },
  ],

  fence: [{ operands: { imm: 0x0ff } }, { operands: { imm: -0x7cd, rd: 3, rs1: 4 } }],
  ecall: [
    { trap: { cause: 11 } },
    { given: { privilege: 1 }, trap: { cause: 9 } },
    { given: { privilege: 0 }, trap: { cause: 8 } },
  ],
  ebreak: [{ trap: { cause: 3, tval: PC } }],

  mul: [two(0x1_0000_0001n, 0x1_0000_0003n, 0x4_0000_0003n), two(ALL, ALL, 1n)],
  mulh: [two(MIN, MIN, 1n << 62n), two(ALL, 2n, ALL), two(ALL, ALL, 0n)],
  mulhsu: [two(ALL, ALL, ALL), two(2n, MIN, 1n), two(MIN, 2n, ALL)],
  mulhu: [two(ALL, ALL, u64(-2n)), two(MIN, 2n, 1n)],
  mulw: [two(0x1_0000n, 0x8000n, MIN_WORD), two(0xffff_ffff_0000_0003n, 5n, 15n)],
  // Division by zero and overflow have results, no traps.
  div: [two(u64(-7n), 2n, u64(-3n)), two(7n, 0n, ALL), two(MIN, ALL, MIN)],
  divu: [two(ALL, 2n, MAX), two(5n, 0n, ALL)],
  rem: [two(u64(-7n), 2n, ALL), two(7n, u64(-2n), 1n), two(5n, 0n, 5n), two(MIN, ALL, 0n)],
  remu: [two(ALL, 10n, 5n), two(5n, 0n, 5n)],
  divw: [two(0x1_0000_0007n, u64(-2n), u64(-3n)), two(MIN32, ALL, MIN_WORD), two(5n, 1n << 32n, ALL)],
  divuw: [two(ALL, 1n, ALL), two(MIN32, 2n, 0x4000_0000n), two(1n, 1n << 32n, ALL)],
  remw: [two(u64(-7n), 2n, ALL), two(MIN32, ALL, 0n), two(0x8000_0005n, 0n, word(0x8000_0005n))],
  remuw: [two(0xffff_ffffn, 16n, 15n), two(0x8000_0005n, 0n, word(0x8000_0005n))],
};
