/**
 * C: compressed instructions, each a short form of one in the other tables.
 * Unprivileged ISA (20240411), chapter 26; the tables of §26.8 for RV64. Forms without effect (HINTs, §26.7) match the
 * instruction that they are a hint of; reserved ones match nothing.
 */
import { compressed as c, type Extension, sections } from './instruction.ts';

export const rv64c: Extension = {
  name: 'C',
  instructions: [],
  compressed: sections('Unprivileged ISA', [
    '§26.3 Load and store instructions',
    c('c.lwsp', '010 uimm[5] rd!=0 uimm[4:2|7:6] 10', 'lw', { rd: 'rd', rs1: 2, imm: 'imm' }),
    c('c.ldsp', '011 uimm[5] rd!=0 uimm[4:3|8:6] 10', 'ld', { rd: 'rd', rs1: 2, imm: 'imm' }),
    c('c.swsp', '110 uimm[5:2|7:6] rs2 10', 'sw', { rs1: 2, rs2: 'rs2', imm: 'imm' }),
    c('c.sdsp', '111 uimm[5:3|8:6] rs2 10', 'sd', { rs1: 2, rs2: 'rs2', imm: 'imm' }),
    c('c.lw', "010 uimm[5:3] rs1' uimm[2|6] rd' 00", 'lw', { rd: 'rd', rs1: 'rs1', imm: 'imm' }),
    c('c.ld', "011 uimm[5:3] rs1' uimm[7:6] rd' 00", 'ld', { rd: 'rd', rs1: 'rs1', imm: 'imm' }),
    c('c.sw', "110 uimm[5:3] rs1' uimm[2|6] rs2' 00", 'sw', { rs1: 'rs1', rs2: 'rs2', imm: 'imm' }),
    c('c.sd', "111 uimm[5:3] rs1' uimm[7:6] rs2' 00", 'sd', { rs1: 'rs1', rs2: 'rs2', imm: 'imm' }),

    '§26.4 Control transfer instructions',
    c('c.j', '101 imm[11|4|9:8|10|6|7|3:1|5] 01', 'jal', { rd: 0, imm: 'imm' }),
    c('c.jr', '100 0 rs1!=0 00000 10', 'jalr', { rd: 0, rs1: 'rs1', imm: 0 }),
    c('c.jalr', '100 1 rs1!=0 00000 10', 'jalr', { rd: 1, rs1: 'rs1', imm: 0 }),
    c('c.beqz', "110 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", 'beq', { rs1: 'rs1', rs2: 0, imm: 'imm' }),
    c('c.bnez', "111 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", 'bne', { rs1: 'rs1', rs2: 0, imm: 'imm' }),

    '§26.5 Integer computational instructions',
    c('c.li', '010 imm[5] rd imm[4:0] 01', 'addi', { rd: 'rd', rs1: 0, imm: 'imm' }),
    c('c.lui', '011 nzimm[17] rd!=2 nzimm[16:12] 01', 'lui', { rd: 'rd', imm: 'imm' }),
    c('c.addi', '000 imm[5] rd imm[4:0] 01', 'addi', { rd: 'rd', rs1: 'rd', imm: 'imm' }),
    c('c.addiw', '001 imm[5] rd!=0 imm[4:0] 01', 'addiw', { rd: 'rd', rs1: 'rd', imm: 'imm' }),
    c('c.addi16sp', '011 nzimm[9] 00010 nzimm[4|6|8:7|5] 01', 'addi', { rd: 2, rs1: 2, imm: 'imm' }),
    c('c.addi4spn', "000 nzuimm[5:4|9:6|2|3] rd' 00", 'addi', { rd: 'rd', rs1: 2, imm: 'imm' }),
    c('c.slli', '000 shamt[5] rd shamt[4:0] 10', 'slli', { rd: 'rd', rs1: 'rd', imm: 'imm' }),
    c('c.srli', "100 shamt[5] 00 rd' shamt[4:0] 01", 'srli', { rd: 'rd', rs1: 'rd', imm: 'imm' }),
    c('c.srai', "100 shamt[5] 01 rd' shamt[4:0] 01", 'srai', { rd: 'rd', rs1: 'rd', imm: 'imm' }),
    c('c.andi', "100 imm[5] 10 rd' imm[4:0] 01", 'andi', { rd: 'rd', rs1: 'rd', imm: 'imm' }),
    c('c.mv', '100 0 rd rs2!=0 10', 'add', { rd: 'rd', rs1: 0, rs2: 'rs2' }),
    c('c.add', '100 1 rd rs2!=0 10', 'add', { rd: 'rd', rs1: 'rd', rs2: 'rs2' }),
    c('c.and', "100 0 11 rd' 11 rs2' 01", 'and', { rd: 'rd', rs1: 'rd', rs2: 'rs2' }),
    c('c.or', "100 0 11 rd' 10 rs2' 01", 'or', { rd: 'rd', rs1: 'rd', rs2: 'rs2' }),
    c('c.xor', "100 0 11 rd' 01 rs2' 01", 'xor', { rd: 'rd', rs1: 'rd', rs2: 'rs2' }),
    c('c.sub', "100 0 11 rd' 00 rs2' 01", 'sub', { rd: 'rd', rs1: 'rd', rs2: 'rs2' }),
    c('c.addw', "100 1 11 rd' 01 rs2' 01", 'addw', { rd: 'rd', rs1: 'rd', rs2: 'rs2' }),
    c('c.subw', "100 1 11 rd' 00 rs2' 01", 'subw', { rd: 'rd', rs1: 'rd', rs2: 'rs2' }),

    '§26.5.5 Breakpoint',
    c('c.ebreak', '100 1 00000 00000 10', 'ebreak', {}),
  ]),
};
