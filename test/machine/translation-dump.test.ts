/** `info mem`: the lines of QEMU's riscv monitor. */
import { beforeEach, expect, test } from 'vitest';
import { DebugAccess } from '../../src/cpu/debug-access.ts';
import { translationLines } from '../../src/machine/translation-dump.ts';
import { DATA, PagedMachine, PTE, pte, ROOT, RWX } from '../support/paged-machine.ts';

let m: PagedMachine;
const lines = (): string[] => translationLines(m.hart, new DebugAccess(m.memory, m.bus));

beforeEach(() => {
  m = new PagedMachine();
});

test('without satp there is no translation', () => {
  expect(lines()).toEqual(['No translation or protection']);
});

test('pages that lie side by side with equal attributes are one line', () => {
  const leaf = m.paging(RWX | PTE.u | PTE.g);
  m.write64(leaf + 8, pte(DATA + 0x1000, RWX | PTE.u | PTE.g));
  m.write64(leaf + 16, pte(DATA + 0x2000, PTE.v | PTE.r));
  m.write64(leaf + 24, pte(DATA + 0x1000, PTE.v | PTE.r)); // not behind the last one
  m.write64(leaf + 40, pte(DATA + 0x2000, PTE.v | PTE.r)); // a page is left out
  m.write64(ROOT + 8 * 511, pte(0x8000_0000, PTE.v | PTE.x));
  expect(lines()).toEqual([
    'vaddr            paddr            size             attr',
    '---------------- ---------------- ---------------- -------',
    '0000000040000000 0000000080020000 0000000000002000 rwxugad',
    '0000000040002000 0000000080022000 0000000000001000 r------',
    '0000000040003000 0000000080021000 0000000000001000 r------',
    '0000000040005000 0000000080022000 0000000000001000 r------',
    '0000000080000000 0000000080000000 0000000040000000 rwx--ad',
    'ffffffffc0000000 0000000080000000 0000000040000000 --x----',
  ]);
});
