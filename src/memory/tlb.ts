/**
 * The software TLBs of all harts, as the host side handles them: flushing, and entries for a page.
 *
 * Entry n holds a page whose number is n modulo TLB_ENTRIES, and so does its victim. The address of another entry's page
 * matches nothing in it: where all are emptied, tags are 0, but for entry 0.
 */
import { type Clear, clearOf } from './clear.ts';
import {
  HART,
  type Layout,
  PAGE_SIZE,
  TLB,
  TLB_CONTEXT,
  TLB_CONTEXTS,
  TLB_ENTRIES,
  TLB_ENTRY_SIZE,
  TLB_FIELD,
  TLB_SET_SIZE,
  TLB_VICTIM,
} from './layout.ts';

export type TlbKind = keyof typeof TLB;

const KINDS = Object.keys(TLB) as TlbKind[];

/** Number of the entry for a page. */
const indexOf = (page: bigint): number => Number((page >> 12n) & BigInt(TLB_ENTRIES - 1));

/** A tag that nothing matches in the entry of this page: its neighbour's. */
const noTag = (page: bigint): bigint => page ^ BigInt(PAGE_SIZE);

export class Tlbs {
  readonly #clear: Clear;
  readonly #view: DataView;
  readonly #layout: Layout;

  constructor(memory: WebAssembly.Memory, layout: Layout) {
    this.#clear = clearOf(memory);
    this.#view = new DataView(memory.buffer);
    this.#layout = layout;
  }

  /** Empties TLBs of one kind, of every hart and context. */
  flush(kind: TlbKind): void {
    for (let hart = 0; hart < this.#layout.harts; hart++) {
      for (let context = 0; context < TLB_CONTEXTS; context++) this.#empty(hart, context, kind);
    }
  }

  flushAll(): void {
    for (const kind of KINDS) this.flush(kind);
  }

  /** Empties what a hart knows of virtual addresses: its page tables, or what they mean, have changed. */
  flushVirtual(hart: number): void {
    for (let context = 0; context < TLB_CONTEXT.physical; context++) {
      for (const kind of KINDS) this.#empty(hart, context, kind);
    }
    this.#view.setBigInt64(this.#layout.hart(hart) + HART.superpages, 0n, true);
  }

  /** Empties what a hart knows of a virtual address: the leaf of its page tables has changed (§12.2.1). */
  flushAddress(hart: number, address: bigint): void {
    const superpages = this.#view.getBigUint64(this.#layout.hart(hart) + HART.superpages, true);
    if (((superpages >> ((address >> 30n) & 63n)) & 1n) === 1n) {
      this.flushVirtual(hart);
      return;
    }
    const page = BigInt.asIntN(64, address) & BigInt(-PAGE_SIZE);
    const index = indexOf(page);
    for (let context = 0; context < TLB_CONTEXT.physical; context++) {
      for (const kind of KINDS) {
        const at = this.set(hart, context) + TLB[kind] + index * TLB_ENTRY_SIZE;
        for (const entry of [at, at + TLB_VICTIM]) {
          if (this.#view.getBigInt64(entry, true) === page) this.#emptyEntry(entry, page);
        }
      }
    }
  }

  /** Empties all of a hart's TLBs. */
  flushHart(hart: number): void {
    for (let context = 0; context < TLB_CONTEXTS; context++) {
      for (const kind of KINDS) this.#empty(hart, context, kind);
    }
  }

  /** Byte offset of a hart's set of TLBs for a context. */
  set(hart: number, context: number): number {
    return this.#layout.hart(hart) + HART.tlbs + context * TLB_SET_SIZE;
  }

  /** In the set at `set`, lets the page of `address` be reached through `value` (an addend, or a slot's address). */
  fill(set: number, kind: TlbKind, address: bigint, value: number): void {
    const page = BigInt.asIntN(64, address) & BigInt(-PAGE_SIZE);
    const at = set + TLB[kind] + indexOf(page) * TLB_ENTRY_SIZE;
    this.#view.setBigInt64(at, page, true);
    this.#view.setInt32(at + TLB_FIELD.value, value, true);
    this.#view.setInt32(at + TLB_FIELD.direct, Number(BigInt.asIntN(32, noTag(page))), true);
  }

  /** Whether most of the pages that the set at `set` knows for loads and stores are direct. */
  isMostlyDirect(set: number): boolean {
    let direct = 0;
    let others = 0;
    for (const kind of ['read', 'write'] as const) {
      for (let index = 0; index < TLB_ENTRIES; index++) {
        const at = set + TLB[kind] + index * TLB_ENTRY_SIZE;
        const page = this.#view.getBigInt64(at, true);
        if (indexOf(page) !== index) continue;
        if (this.#view.getUint32(at + TLB_FIELD.direct, true) === Number(BigInt.asUintN(32, page))) direct++;
        else others++;
      }
    }
    return direct >= others;
  }

  #empty(hart: number, context: number, kind: TlbKind): void {
    const at = this.set(hart, context) + TLB[kind];
    this.#clear(at, 2 * TLB_VICTIM);
    for (const first of [at, at + TLB_VICTIM]) this.#emptyEntry(first, 0n);
  }

  /** Empties the entry at `at`, to which `page` belongs. */
  #emptyEntry(at: number, page: bigint): void {
    const tag = noTag(page);
    this.#view.setBigInt64(at, tag, true);
    this.#view.setInt32(at + TLB_FIELD.direct, Number(BigInt.asIntN(32, tag)), true);
  }
}
