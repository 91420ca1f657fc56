/**
 * Page tables as somebody looks at them who changes nothing: a debugger. What the guest itself does is translate.ts.
 * RISC-V Privileged ISA (20240411): §12.3 (satp and the walk), §12.4 (Sv39), §12.5 (Sv48).
 */

import { GodwitError } from '../error.ts';

/** Bits of a page table entry (§12.4.1). */
export const PTE = {
  valid: 1n,
  read: 2n,
  write: 4n,
  execute: 8n,
  user: 16n,
  global: 32n,
  accessed: 64n,
  dirty: 128n,
} as const;
/** All of them. */
export const PTE_FLAGS = 0xffn;
export const PTE_PPN_MASK = 0x003f_ffff_ffff_fc00n;
/** From a PTE's PPN field to the address of the page. */
export const PPN_TO_ADDRESS_SHIFT = 2n;

export const SATP_PPN_MASK = (1n << 44n) - 1n;
export const SATP_MODE_SHIFT = 60n;
const LEVEL_BITS = 9n;
const ENTRIES = 1n << LEVEL_BITS;
const PAGE_OFFSET_BITS = 12n;

/** satp.MODE → levels of tables. */
const LEVELS: ReadonlyMap<bigint, number> = new Map([
  [8n, 3],
  [9n, 4],
]);

/** The eight bytes at a physical address; undefined where no memory is. */
export type ReadEntry = (physical: bigint) => bigint | undefined;

/** A page, of any size. */
export interface PageMapping {
  /** First virtual address, unsigned and canonical. */
  readonly virtual: bigint;
  readonly physical: bigint;
  /** Bytes. */
  readonly size: bigint;
  /** PTE_FLAGS of its entry. */
  readonly flags: bigint;
}

/** How the page that holds `virtual` is mapped, permissions aside; undefined if it is not. */
export function findMapping(satp: bigint, virtual: bigint, read: ReadEntry): PageMapping | undefined {
  const levels = LEVELS.get(satp >> SATP_MODE_SHIFT);
  if (levels === undefined || canonical(virtual, levels) !== virtual) return undefined;
  let table = (satp & SATP_PPN_MASK) << PAGE_OFFSET_BITS;
  for (let level = levels - 1; level >= 0; level--) {
    const shift = shiftOf(level);
    const pte = read(table + ((virtual >> shift) % ENTRIES) * 8n);
    if (pte === undefined || (pte & PTE.valid) === 0n) return undefined;
    if (isLeaf(pte)) return leaf(pte, (virtual >> shift) << shift, shift);
    table = addressOf(pte);
  }
  return undefined;
}

/** Tables that point to themselves map more than anybody could wait for. */
const MAX_TABLES = 1 << 16;

/**
 * All pages, by rising address from 0 on, the upper half of the address space last.
 * @throws GodwitError kind "state" when there are more than MAX_TABLES tables.
 */
export function* allMappings(satp: bigint, read: ReadEntry): Generator<PageMapping> {
  const levels = LEVELS.get(satp >> SATP_MODE_SHIFT);
  if (levels === undefined) return;
  let tables = 0;
  function* table(base: bigint, virtual: bigint, level: number): Generator<PageMapping> {
    if (++tables > MAX_TABLES) {
      throw GodwitError.unexpected('state', 'page tables', `at most ${MAX_TABLES}`, 'more');
    }
    const shift = shiftOf(level);
    for (let i = 0n; i < ENTRIES; i++) {
      const pte = read(base + i * 8n);
      // The rest of the table is no memory either.
      if (pte === undefined) return;
      if ((pte & PTE.valid) === 0n) continue;
      const at = virtual | (i << shift);
      if (isLeaf(pte)) yield leaf(pte, canonical(at, levels as number), shift);
      else if (level > 0) yield* table(addressOf(pte), at, level - 1);
    }
  }
  yield* table((satp & SATP_PPN_MASK) << PAGE_OFFSET_BITS, 0n, levels - 1);
}

const shiftOf = (level: number): bigint => PAGE_OFFSET_BITS + BigInt(level) * LEVEL_BITS;

const isLeaf = (pte: bigint): boolean => (pte & (PTE.read | PTE.write | PTE.execute)) !== 0n;

const addressOf = (pte: bigint): bigint => (pte & PTE_PPN_MASK) << PPN_TO_ADDRESS_SHIFT;

const leaf = (pte: bigint, virtual: bigint, shift: bigint): PageMapping => ({
  virtual,
  physical: addressOf(pte),
  size: 1n << shift,
  flags: pte & PTE_FLAGS,
});

/** The address whose upper bits equal the highest bit that is translated (§12.4.1), unsigned. */
function canonical(virtual: bigint, levels: number): bigint {
  return BigInt.asUintN(64, BigInt.asIntN(Number(shiftOf(levels)), virtual));
}
