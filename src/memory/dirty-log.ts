/**
 * The dirty log as the host side sees it: marks, how many clean pages each hart has made dirty, and by which instructions.
 * Generated code does the same for the harts' stores (cpu/dirty.ts). Whoever has the memory can read it, in any thread.
 */
import { CONTROL, DIRTY_SITE, DIRTY_SITES, HART, type Layout } from './layout.ts';

/** A hart that writes. */
export interface Writer {
  readonly id: number;
  /** Address of the instruction that writes. */
  readonly pc: bigint;
}

/** Clean pages made dirty since the memory was made, in counts that wrap at 2^32. */
export interface DirtyCounts {
  readonly harts: readonly number[];
  readonly devices: number;
}

/** Who made a page dirty. */
export interface DirtySite {
  /** Undefined for a device. */
  readonly hart: number | undefined;
  /** Address of the instruction, or PAGE_WALK_PC; 0 for a device. */
  readonly pc: bigint;
  /** Page index. */
  readonly page: number;
}

export class DirtyLog {
  readonly #layout: Layout;
  readonly #words: Uint32Array;
  readonly #pcs: BigUint64Array;
  readonly #control: number;

  constructor(memory: WebAssembly.Memory, layout: Layout) {
    this.#layout = layout;
    this.#words = new Uint32Array(memory.buffer);
    this.#pcs = new BigUint64Array(memory.buffer);
    this.#control = layout.control >> 2;
  }

  get on(): boolean {
    return this.#words[this.#control + CONTROL.dirtyLog / 4] !== 0;
  }

  /** Nothing is marked then. The caller flushes the write TLBs. */
  set on(on: boolean) {
    this.#words[this.#control + CONTROL.dirtyLog / 4] = on ? 1 : 0;
    this.clear();
  }

  /** Forgets the marks. The caller flushes the write TLBs. */
  clear(): void {
    const { dirtyBitmap, bitmapSize } = this.#layout;
    this.#words.fill(0, dirtyBitmap >> 2, (dirtyBitmap + bitmapSize) >> 2);
  }

  /** Moves the marks into the pending bitmap. The caller flushes the write TLBs before anything reads a page. */
  collect(): void {
    const { dirtyBitmap, pendingBitmap, bitmapSize } = this.#layout;
    const dirty = dirtyBitmap >> 2;
    const pending = pendingBitmap >> 2;
    for (let i = 0; i < bitmapSize >> 2; i++) {
      const word = this.#words[dirty + i] ?? 0;
      if (word === 0) continue;
      this.#words[pending + i] = (this.#words[pending + i] ?? 0) | word;
      this.#words[dirty + i] = 0;
    }
  }

  /** Marks a page; the log is on. @param by a hart; a device, if nobody is named. */
  mark(page: number, by?: Writer): void {
    const words = this.#words;
    const at = (this.#layout.dirtyBitmap >> 2) + (page >>> 5);
    const bit = 1 << (page & 31);
    const word = words[at] ?? 0;
    if ((word & bit) !== 0) return;
    words[at] = word | bit;
    const hart = by === undefined ? 0 : this.#layout.hart(by.id);
    const counter =
      by === undefined ? this.#control + CONTROL.dirtiedByDevices / 4 : (hart + HART.dirtied) >> 2;
    words[counter] = (words[counter] ?? 0) + 1;
    const sites = this.#control + CONTROL.dirtySites / 4;
    const number = words[sites] ?? 0;
    const site = this.#site(number);
    this.#pcs[(site + DIRTY_SITE.pc) >> 3] = by?.pc ?? 0n;
    words[(site + DIRTY_SITE.page) >> 2] = page;
    words[(site + DIRTY_SITE.hart) >> 2] = hart;
    words[sites] = number + 1;
  }

  counts(): DirtyCounts {
    const { harts, hart } = this.#layout;
    return {
      harts: Array.from({ length: harts }, (_, i) => this.#words[(hart(i) + HART.dirtied) >> 2] ?? 0),
      devices: this.#words[this.#control + CONTROL.dirtiedByDevices / 4] ?? 0,
    };
  }

  /** How many sites have been noted; wraps at 2^32. */
  get siteCount(): number {
    return this.#words[this.#control + CONTROL.dirtySites / 4] ?? 0;
  }

  /** The sites noted since there were `since` of them, as far as they are kept, oldest first; at a safe point. */
  sites(since: number): DirtySite[] {
    const end = this.siteCount;
    const length = Math.min((end - since) >>> 0, DIRTY_SITES);
    const { harts, hart } = this.#layout;
    const ids = new Map(Array.from({ length: harts }, (_, id) => [hart(id), id]));
    return Array.from({ length }, (_, i) => {
      const site = this.#site(end - length + i);
      return {
        hart: ids.get(this.#words[(site + DIRTY_SITE.hart) >> 2] ?? 0),
        pc: this.#pcs[(site + DIRTY_SITE.pc) >> 3] ?? 0n,
        page: this.#words[(site + DIRTY_SITE.page) >> 2] ?? 0,
      };
    });
  }

  /** Byte offset of a site. */
  #site(number: number): number {
    return this.#layout.dirtySites + (number & (DIRTY_SITES - 1)) * DIRTY_SITE.size;
  }
}

/** Clean pages made dirty from one count to a later one. */
export function dirtiedPages(from: DirtyCounts, to: DirtyCounts): { harts: number[]; total: number } {
  const harts = to.harts.map((count, i) => (count - (from.harts[i] ?? 0)) >>> 0);
  const devices = (to.devices - from.devices) >>> 0;
  return { harts, total: harts.reduce((sum, count) => sum + count, devices) };
}
