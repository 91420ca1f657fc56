/**
 * Zicsr, Zifencei, Zihintpause and the privileged instructions. Unprivileged ISA (20240411) chapters 6, 7 and 10;
 * Privileged ISA (20240411).
 */
import { type Extension, hint, instruction as insn, sections } from './instruction.ts';
import { helper, nothing } from './semantics.ts';

export const zicsr: Extension = {
  name: 'Zicsr',
  instructions: sections('Unprivileged ISA', [
    '§7.1 CSR instructions',
    insn('csrrw', 'csr rs1 001 rd 1110011', helper('csrrw')),
    insn('csrrs', 'csr rs1 010 rd 1110011', helper('csrrs')),
    insn('csrrc', 'csr rs1 011 rd 1110011', helper('csrrc')),
    insn('csrrwi', 'csr zimm 101 rd 1110011', helper('csrrw')),
    insn('csrrsi', 'csr zimm 110 rd 1110011', helper('csrrs')),
    insn('csrrci', 'csr zimm 111 rd 1110011', helper('csrrc')),
  ]),
};

export const zifencei: Extension = {
  name: 'Zifencei',
  instructions: sections('Unprivileged ISA', [
    '§6 Instruction-fetch fence',
    // Stores to code forget what was decoded of it at once, so there is nothing left to do.
    insn('fence.i', 'imm[11:0] rs1 001 rd 0001111', nothing),
  ]),
};

export const zihintpause: Extension = {
  name: 'Zihintpause',
  instructions: [],
  hints: sections('Unprivileged ISA', [
    '§10 Pause hint',
    hint('pause', '0000 0001 0000 00000 000 00000 0001111', 'fence'),
  ]),
};

export const privileged: Extension = {
  name: 'Privileged',
  instructions: sections('Privileged ISA', [
    '§3.3.2 Trap-return instructions',
    insn('mret', '001100000010 00000 000 00000 1110011', helper('mret')),
    insn('sret', '000100000010 00000 000 00000 1110011', helper('sret')),
    '§3.3.3 Wait for interrupt',
    insn('wfi', '000100000101 00000 000 00000 1110011', helper('wfi')),
    '§12.2.1 Supervisor memory-management fence',
    insn('sfence.vma', '0001001 rs2 rs1 000 00000 1110011', helper('sfence_vma')),
  ]),
};

/** Every SFENCE.VMA is complete at once, so an invalidation is one, and those that put them in order have nothing to do. */
export const svinval: Extension = {
  name: 'Svinval',
  instructions: sections('Privileged ISA', [
    '§15 Fine-grained address-translation cache invalidation',
    insn('sinval.vma', '0001011 rs2 rs1 000 00000 1110011', helper('sfence_vma')),
    insn('sfence.w.inval', '0001100 00000 00000 000 00000 1110011', helper('sfence_order')),
    insn('sfence.inval.ir', '0001100 00001 00000 000 00000 1110011', helper('sfence_order')),
  ]),
};
