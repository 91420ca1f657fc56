/**
 * B: bit manipulation, which is Zba, Zbb and Zbs. Unprivileged ISA (20240411), chapter 28: §28.4 lists what belongs to
 * each of them, §28.5 has every instruction in alphabetical order.
 */
import { i32 } from '../wasm/expr.ts';
import { type Extension, instruction as insn, sections } from './instruction.ts';
import { type Expr, i64, imm, rs1, rs2, select, set } from './semantics.ts';

const ones = i64.const(-1);
const not = (value: Expr): Expr => i64.xor(value, ones);
/** The low 32 bits, zero-extended: the ".uw" operand. */
const unsignedWord = (value: Expr): Expr => i64.and(value, i64.const(0xffff_ffffn));
const low32 = i32.wrap_i64;
/** Rotates the low 32 bits; wasm takes the amount modulo 32. */
const rotateWord = (rotate: (a: Expr, b: Expr) => Expr, amount: Expr): Expr =>
  i64.extend_i32_s(rotate(low32(rs1), low32(amount)));

/** The bit that an index names, as a mask; wasm takes the index modulo 64 (§28.4.4). */
const bit = (index: Expr): Expr => i64.shl(i64.const(1), index);

/** Bytes, halfwords and words swapped pairwise: `mask` has the lower of each pair. */
function swapped(value: Expr, width: number, mask: bigint): Expr {
  const lower = i64.shl(i64.and(value, i64.const(mask)), i64.const(width));
  return i64.or(lower, i64.and(i64.shr_u(value, i64.const(width)), i64.const(mask)));
}

const byteReversed = i64.rotl(
  swapped(swapped(rs1, 8, 0x00ff_00ff_00ff_00ffn), 16, 0x0000_ffff_0000_ffffn),
  i64.const(32),
);

/** 0xff for each byte that is not zero: its low seven bits carry into the eighth unless they are all zero. */
function orCombined(value: Expr): Expr {
  const sevens = i64.const(0x7f7f_7f7f_7f7f_7f7fn);
  const eighth = i64.or(i64.add(i64.and(value, sevens), sevens), value);
  const perByte = i64.and(i64.shr_u(eighth, i64.const(7)), i64.const(0x0101_0101_0101_0101n));
  return i64.mul(perByte, i64.const(0xff));
}

/** shNadd and shNadd.uw: name's digit, funct3. */
const SHIFT_ADDS = [
  [1, '010'],
  [2, '100'],
  [3, '110'],
] as const;

export const zba: Extension = {
  name: 'Zba',
  instructions: sections('Unprivileged ISA', [
    '§28.4.1 Address generation',
    insn('add.uw', '0000100 rs2 rs1 000 rd 0111011', set(i64.add(unsignedWord(rs1), rs2))),
    ...SHIFT_ADDS.flatMap(([shift, funct3]) => {
      const shifted = (value: Expr): Expr => i64.shl(value, i64.const(shift));
      const add = (value: Expr) => set(i64.add(shifted(value), rs2));
      return [
        insn(`sh${shift}add`, `0010000 rs2 rs1 ${funct3} rd 0110011`, add(rs1)),
        insn(`sh${shift}add.uw`, `0010000 rs2 rs1 ${funct3} rd 0111011`, add(unsignedWord(rs1))),
      ];
    }),
    insn('slli.uw', '000010 shamt[5:0] rs1 001 rd 0011011', set(i64.shl(unsignedWord(rs1), imm))),
  ]),
};

export const zbb: Extension = {
  name: 'Zbb',
  instructions: sections('Unprivileged ISA', [
    '§28.4.2 Basic bit manipulation',
    // Logical with negate
    insn('andn', '0100000 rs2 rs1 111 rd 0110011', set(i64.and(rs1, not(rs2)))),
    insn('orn', '0100000 rs2 rs1 110 rd 0110011', set(i64.or(rs1, not(rs2)))),
    insn('xnor', '0100000 rs2 rs1 100 rd 0110011', set(not(i64.xor(rs1, rs2)))),

    // Count leading/trailing zero bits; all 64 or 32 of them for 0, as in wasm
    insn('clz', '011000000000 rs1 001 rd 0010011', set(i64.clz(rs1))),
    insn('clzw', '011000000000 rs1 001 rd 0011011', set(i64.extend_i32_u(i32.clz(low32(rs1))))),
    insn('ctz', '011000000001 rs1 001 rd 0010011', set(i64.ctz(rs1))),
    insn('ctzw', '011000000001 rs1 001 rd 0011011', set(i64.extend_i32_u(i32.ctz(low32(rs1))))),

    // Count population
    insn('cpop', '011000000010 rs1 001 rd 0010011', set(i64.popcnt(rs1))),
    insn('cpopw', '011000000010 rs1 001 rd 0011011', set(i64.popcnt(unsignedWord(rs1)))),

    // Integer minimum/maximum
    insn('min', '0000101 rs2 rs1 100 rd 0110011', set(select(rs1, rs2, i64.lt_s(rs1, rs2)))),
    insn('minu', '0000101 rs2 rs1 101 rd 0110011', set(select(rs1, rs2, i64.lt_u(rs1, rs2)))),
    insn('max', '0000101 rs2 rs1 110 rd 0110011', set(select(rs1, rs2, i64.gt_s(rs1, rs2)))),
    insn('maxu', '0000101 rs2 rs1 111 rd 0110011', set(select(rs1, rs2, i64.gt_u(rs1, rs2)))),

    // Sign extension and zero extension; with another rs2, zext.h would be Zbkb's packw
    insn('sext.b', '011000000100 rs1 001 rd 0010011', set(i64.extend8_s(rs1))),
    insn('sext.h', '011000000101 rs1 001 rd 0010011', set(i64.extend16_s(rs1))),
    insn('zext.h', '0000100 00000 rs1 100 rd 0111011', set(i64.and(rs1, i64.const(0xffff)))),

    // Bitwise rotation
    insn('rol', '0110000 rs2 rs1 001 rd 0110011', set(i64.rotl(rs1, rs2))),
    insn('rolw', '0110000 rs2 rs1 001 rd 0111011', set(rotateWord(i32.rotl, rs2))),
    insn('ror', '0110000 rs2 rs1 101 rd 0110011', set(i64.rotr(rs1, rs2))),
    insn('rori', '011000 shamt[5:0] rs1 101 rd 0010011', set(i64.rotr(rs1, imm))),
    insn('roriw', '0110000 shamt[4:0] rs1 101 rd 0011011', set(rotateWord(i32.rotr, imm))),
    insn('rorw', '0110000 rs2 rs1 101 rd 0111011', set(rotateWord(i32.rotr, rs2))),

    // OR combine, byte-reverse: the only forms of the generalised gorci and grevi that were kept
    insn('orc.b', '001010000111 rs1 101 rd 0010011', set(orCombined(rs1))),
    insn('rev8', '011010111000 rs1 101 rd 0010011', set(byteReversed)),
  ]),
};

/** Each with the index in rs2 and as an immediate: name, funct6 (of both), funct3, meaning. */
const SINGLE_BITS: readonly (readonly [string, string, string, (index: Expr) => Expr])[] = [
  ['bclr', '010010', '001', (index) => i64.and(rs1, not(bit(index)))],
  ['bext', '010010', '101', (index) => i64.and(i64.shr_u(rs1, index), i64.const(1))],
  ['binv', '011010', '001', (index) => i64.xor(rs1, bit(index))],
  ['bset', '001010', '001', (index) => i64.or(rs1, bit(index))],
];

export const zbs: Extension = {
  name: 'Zbs',
  instructions: sections('Unprivileged ISA', [
    '§28.4.4 Single-bit instructions',
    ...SINGLE_BITS.flatMap(([name, funct6, funct3, result]) => [
      insn(name, `${funct6}0 rs2 rs1 ${funct3} rd 0110011`, set(result(rs2))),
      insn(`${name}i`, `${funct6} shamt[5:0] rs1 ${funct3} rd 0010011`, set(result(imm))),
    ]),
  ]),
};
