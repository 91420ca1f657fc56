/** RV64I base integer instructions. The RISC-V Instruction Set Manual, Volume I (20240411), chapters 2 and 4. */
import { type Extension, instruction as insn } from './instruction.ts';
import {
  branch,
  type Expr,
  helper,
  i64,
  imm,
  jump,
  load,
  nothing,
  pc,
  relativeTarget,
  rs1,
  rs2,
  set,
  store,
  truth,
  word,
} from './semantics.ts';

/** wasm takes shift amounts modulo 64; a word shift takes them modulo 32. */
const amount5 = (amount: Expr): Expr => i64.and(amount, i64.const(31));
const unsignedWord = (value: Expr): Expr => i64.and(value, i64.const(0xffff_ffffn));

export const rv64i: Extension = {
  name: 'I',
  section: 'Unprivileged ISA §2 (RV32I), §4 (RV64I)',
  instructions: [
    // §2.4 Integer computational instructions
    insn('lui', 'imm[31:12] rd 0110111', set(imm)),
    insn('auipc', 'imm[31:12] rd 0010111', set(i64.add(pc, imm))),
    insn('addi', 'imm[11:0] rs1 000 rd 0010011', set(i64.add(rs1, imm))),
    insn('slti', 'imm[11:0] rs1 010 rd 0010011', set(truth(i64.lt_s(rs1, imm)))),
    insn('sltiu', 'imm[11:0] rs1 011 rd 0010011', set(truth(i64.lt_u(rs1, imm)))),
    insn('xori', 'imm[11:0] rs1 100 rd 0010011', set(i64.xor(rs1, imm))),
    insn('ori', 'imm[11:0] rs1 110 rd 0010011', set(i64.or(rs1, imm))),
    insn('andi', 'imm[11:0] rs1 111 rd 0010011', set(i64.and(rs1, imm))),
    insn('slli', '000000 shamt[5:0] rs1 001 rd 0010011', set(i64.shl(rs1, imm))),
    insn('srli', '000000 shamt[5:0] rs1 101 rd 0010011', set(i64.shr_u(rs1, imm))),
    insn('srai', '010000 shamt[5:0] rs1 101 rd 0010011', set(i64.shr_s(rs1, imm))),
    insn('add', '0000000 rs2 rs1 000 rd 0110011', set(i64.add(rs1, rs2))),
    insn('sub', '0100000 rs2 rs1 000 rd 0110011', set(i64.sub(rs1, rs2))),
    insn('sll', '0000000 rs2 rs1 001 rd 0110011', set(i64.shl(rs1, rs2))),
    insn('slt', '0000000 rs2 rs1 010 rd 0110011', set(truth(i64.lt_s(rs1, rs2)))),
    insn('sltu', '0000000 rs2 rs1 011 rd 0110011', set(truth(i64.lt_u(rs1, rs2)))),
    insn('xor', '0000000 rs2 rs1 100 rd 0110011', set(i64.xor(rs1, rs2))),
    insn('srl', '0000000 rs2 rs1 101 rd 0110011', set(i64.shr_u(rs1, rs2))),
    insn('sra', '0100000 rs2 rs1 101 rd 0110011', set(i64.shr_s(rs1, rs2))),
    insn('or', '0000000 rs2 rs1 110 rd 0110011', set(i64.or(rs1, rs2))),
    insn('and', '0000000 rs2 rs1 111 rd 0110011', set(i64.and(rs1, rs2))),

    // §4.2 RV64I word instructions
    insn('addiw', 'imm[11:0] rs1 000 rd 0011011', set(word(i64.add(rs1, imm)))),
    insn('slliw', '0000000 shamt[4:0] rs1 001 rd 0011011', set(word(i64.shl(rs1, imm)))),
    insn('srliw', '0000000 shamt[4:0] rs1 101 rd 0011011', set(word(i64.shr_u(unsignedWord(rs1), imm)))),
    insn('sraiw', '0100000 shamt[4:0] rs1 101 rd 0011011', set(i64.shr_s(word(rs1), imm))),
    insn('addw', '0000000 rs2 rs1 000 rd 0111011', set(word(i64.add(rs1, rs2)))),
    insn('subw', '0100000 rs2 rs1 000 rd 0111011', set(word(i64.sub(rs1, rs2)))),
    insn('sllw', '0000000 rs2 rs1 001 rd 0111011', set(word(i64.shl(rs1, amount5(rs2))))),
    insn('srlw', '0000000 rs2 rs1 101 rd 0111011', set(word(i64.shr_u(unsignedWord(rs1), amount5(rs2))))),
    insn('sraw', '0100000 rs2 rs1 101 rd 0111011', set(i64.shr_s(word(rs1), amount5(rs2)))),

    // §2.5 Control transfer instructions
    insn('jal', 'imm[20|10:1|11|19:12] rd 1101111', jump(relativeTarget)),
    insn('jalr', 'imm[11:0] rs1 000 rd 1100111', jump(i64.and(i64.add(rs1, imm), i64.const(-2n)))),
    insn('beq', 'imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011', branch(i64.eq(rs1, rs2))),
    insn('bne', 'imm[12|10:5] rs2 rs1 001 imm[4:1|11] 1100011', branch(i64.ne(rs1, rs2))),
    insn('blt', 'imm[12|10:5] rs2 rs1 100 imm[4:1|11] 1100011', branch(i64.lt_s(rs1, rs2))),
    insn('bge', 'imm[12|10:5] rs2 rs1 101 imm[4:1|11] 1100011', branch(i64.ge_s(rs1, rs2))),
    insn('bltu', 'imm[12|10:5] rs2 rs1 110 imm[4:1|11] 1100011', branch(i64.lt_u(rs1, rs2))),
    insn('bgeu', 'imm[12|10:5] rs2 rs1 111 imm[4:1|11] 1100011', branch(i64.ge_u(rs1, rs2))),

    // §2.6 and §4.3 Load and store instructions
    insn('lb', 'imm[11:0] rs1 000 rd 0000011', load('i64.load8_s')),
    insn('lh', 'imm[11:0] rs1 001 rd 0000011', load('i64.load16_s')),
    insn('lw', 'imm[11:0] rs1 010 rd 0000011', load('i64.load32_s')),
    insn('ld', 'imm[11:0] rs1 011 rd 0000011', load('i64.load')),
    insn('lbu', 'imm[11:0] rs1 100 rd 0000011', load('i64.load8_u')),
    insn('lhu', 'imm[11:0] rs1 101 rd 0000011', load('i64.load16_u')),
    insn('lwu', 'imm[11:0] rs1 110 rd 0000011', load('i64.load32_u')),
    insn('sb', 'imm[11:5] rs2 rs1 000 imm[4:0] 0100011', store('i64.store8')),
    insn('sh', 'imm[11:5] rs2 rs1 001 imm[4:0] 0100011', store('i64.store16')),
    insn('sw', 'imm[11:5] rs2 rs1 010 imm[4:0] 0100011', store('i64.store32')),
    insn('sd', 'imm[11:5] rs2 rs1 011 imm[4:0] 0100011', store('i64.store')),

    // §2.7 Memory ordering, §2.8 Environment call and breakpoints. Harts take turns on one thread: order is given.
    insn('fence', 'imm[11:0] rs1 000 rd 0001111', nothing),
    insn('ecall', '000000000000 00000 000 00000 1110011', helper('ecall')),
    insn('ebreak', '000000000001 00000 000 00000 1110011', helper('ebreak')),
  ],
};
