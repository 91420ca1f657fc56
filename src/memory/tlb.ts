/**
 * The software TLBs of all harts, as the host side handles them: flushing, and entries for a page.
 *
 * Entry n holds a page whose number is n modulo TLB_ENTRIES. Entries are zeroed to empty them: the tag 0 can only match
 * in entry 0, which is given a tag of another entry instead.
 */
import { HART, type Layout, PAGE_SIZE, TLB_ENTRIES, TLB_ENTRY_SIZE } from './layout.ts';

export type TlbKind = 'readTlb' | 'writeTlb' | 'fetchTlb';

export class Tlbs {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #layout: Layout;

  constructor(memory: WebAssembly.Memory, layout: Layout) {
    this.#bytes = new Uint8Array(memory.buffer);
    this.#view = new DataView(memory.buffer);
    this.#layout = layout;
  }

  /** Empties one TLB of every hart. */
  flush(kind: TlbKind): void {
    for (let hart = 0; hart < this.#layout.harts; hart++) this.flushHart(hart, kind);
  }

  flushHart(hart: number, kind: TlbKind): void {
    const at = this.#layout.hart(hart) + HART[kind];
    this.#bytes.fill(0, at, at + TLB_ENTRIES * TLB_ENTRY_SIZE);
    this.#view.setBigInt64(at, BigInt(PAGE_SIZE), true);
  }

  flushAll(): void {
    this.flush('readTlb');
    this.flush('writeTlb');
    this.flush('fetchTlb');
  }

  /** Lets `hart` reach the page of guest address `address` through `value` (an addend, or a slot's address). */
  fill(hart: number, kind: TlbKind, address: bigint, value: number): void {
    const page = BigInt.asIntN(64, address) & BigInt(-PAGE_SIZE);
    const index = Number((page >> 12n) & BigInt(TLB_ENTRIES - 1));
    const at = this.#layout.hart(hart) + HART[kind] + index * TLB_ENTRY_SIZE;
    this.#view.setBigInt64(at, page, true);
    this.#view.setInt32(at + 8, value, true);
  }
}
