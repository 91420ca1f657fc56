/**
 * Zicbom and Zicboz: cache-block management and zeroing. Unprivileged ISA (20240411), chapter 19. There are no caches
 * here: of the management instructions only the permissions are left.
 */
import { type Extension, instruction as insn, sections } from './instruction.ts';
import { helper } from './semantics.ts';

/** Bytes of a cache block, for both extensions, as on QEMU's `virt`. */
export const CACHE_BLOCK_SIZE = 64;

export const zicbom: Extension = {
  name: 'Zicbom',
  instructions: sections('Unprivileged ISA', [
    '§19.5.1 Cache-block management instructions',
    insn('cbo.inval', '000000000000 rs1 010 00000 0001111', helper('cbo_inval')),
    insn('cbo.clean', '000000000001 rs1 010 00000 0001111', helper('cbo_clean')),
    insn('cbo.flush', '000000000010 rs1 010 00000 0001111', helper('cbo_flush')),
  ]),
};

export const zicboz: Extension = {
  name: 'Zicboz',
  instructions: sections('Unprivileged ISA', [
    '§19.5.2 Cache-block zero instructions',
    insn('cbo.zero', '000000000100 rs1 010 00000 0001111', { kind: 'zero', size: CACHE_BLOCK_SIZE }),
  ]),
};
