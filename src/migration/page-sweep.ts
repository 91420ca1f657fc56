/**
 * The source's walk over memory in post-copy: pages that were asked for, and else from where the last of those was on, round
 * and round until none is pending. The guest stands still here, so a page has one content.
 */
import { type Layout, PAGE_SIZE } from '../memory/layout.ts';
import type { Kernels } from './kernels.ts';
import { PageBitmap } from './page-bitmap.ts';
import { DATA_OFFSET, MAX_PAGES_DATA, PAGES_HEADER_SIZE, SENT_OFFSET, WINDOW_PAGES } from './pages-frame.ts';

export interface PagesPayload {
  /** Bytes from the slot on. */
  readonly length: number;
  readonly pages: number;
  readonly zeroPages: number;
}

/** The sweep goes on this many pages before the one that was asked for: what is needed next is often beside it. */
const AROUND = 16;
/** How far behind a page that was asked for the sweep goes on, where somebody else sends what is beside it. */
const BEYOND = 512;

export class PageSweep {
  readonly #kernels: Kernels;
  readonly #layout: Layout;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #pending: PageBitmap;
  #cursor = 0;
  #left: number;

  /** Takes over what `layout.pendingBitmap` says. */
  constructor(kernels: Kernels, layout: Layout) {
    const { buffer } = kernels.memory;
    this.#kernels = kernels;
    this.#layout = layout;
    this.#view = new DataView(buffer);
    this.#bytes = new Uint8Array(buffer);
    const words = new Uint32Array(buffer, layout.pendingBitmap, layout.bitmapSize / 4);
    this.#pending = new PageBitmap(words, layout.pages);
    this.#left = this.#pending.count();
  }

  /** Pages that have not been sent. */
  get remaining(): number {
    return this.#left;
  }

  /** The pages that have not been sent. */
  get pending(): PageBitmap {
    return this.#pending;
  }

  isPending(page: number): boolean {
    return this.#pending.has(page);
  }

  /** A copy of what is pending, for `discard`. */
  bitmap(): Uint8Array {
    const bytes = Math.ceil(this.#layout.pages / 32) * 4;
    return new Uint8Array(this.#kernels.memory.buffer, this.#layout.pendingBitmap, bytes).slice();
  }

  /** From now on exactly the pages are pending that are not in `received` (which has one bit for each). */
  complement(received: Uint8Array): void {
    const view = new DataView(received.buffer, received.byteOffset, received.length);
    this.#pending.clear();
    for (let word = 0; word * 4 < received.length; word++) {
      const absent = ~view.getUint32(word * 4, true);
      for (let bit = 0; bit < 32 && word * 32 + bit < this.#layout.pages; bit++) {
        if ((absent >>> bit) & 1) this.#pending.add(word * 32 + bit);
      }
    }
    this.#left = this.#pending.count();
  }

  /** Packs a page that was asked for. Undefined if it has been sent. */
  packOne(slot: number, page: number): PagesPayload | undefined {
    return this.#pending.has(page) ? this.#pack(slot, page, page + 1, 1) : undefined;
  }

  /** Packs the next pages from `from` on, as long as they are below `to`. Undefined if all of those have been sent. */
  packAhead(slot: number, from: number, to: number, maxData: number): PagesPayload | undefined {
    const page = this.#pending.next(from);
    if (page < 0 || page >= to) return undefined;
    const end = Math.min(page - (page % 32) + WINDOW_PAGES, to, this.#layout.pages);
    return this.#pack(slot, page, end, maxData);
  }

  /** The sweep goes on around this page. */
  follow(page: number): void {
    this.#cursor = Math.max(0, page - (page % AROUND));
  }

  /** The sweep keeps out of the way of somebody who sends what is behind this page. */
  avoid(page: number): void {
    if (this.#cursor >= page && this.#cursor < page + BEYOND) this.#cursor = page + BEYOND;
  }

  /** Packs the next pages of the sweep. Undefined when all have been sent. */
  packNext(slot: number, maxData = MAX_PAGES_DATA): PagesPayload | undefined {
    let page = this.#pending.next(this.#cursor);
    if (page < 0) page = this.#pending.next(0);
    if (page < 0) return undefined;
    const end = Math.min(page - (page % 32) + WINDOW_PAGES, this.#layout.pages);
    return this.#pack(slot, page, end, maxData, true);
  }

  #pack(slot: number, from: number, end: number, maxData: number, moves = false): PagesPayload {
    const first = from - (from % 32);
    const view = this.#view;
    this.#bytes.fill(0, slot, slot + PAGES_HEADER_SIZE);
    view.setUint32(slot, first, true);
    let pages = 0;
    let data = 0;
    let page = from;
    while (page >= 0 && page < end) {
      const address = this.#layout.blocksBase + page * PAGE_SIZE;
      const run = this.#pending.runLength(page, end - page);
      const zero = this.#kernels.zeroPages(address, run);
      const count = zero > 0 ? zero : this.#kernels.dataPages(address, Math.min(run, maxData - data));
      if (count === 0) break;
      this.#setBits(slot + SENT_OFFSET, page - first, count);
      if (zero === 0) {
        this.#setBits(slot + DATA_OFFSET, page - first, count);
        this.#kernels.copy(slot + PAGES_HEADER_SIZE + data * PAGE_SIZE, address, count * PAGE_SIZE);
        data += count;
      }
      this.#pending.deleteRange(page, count);
      pages += count;
      page = this.#pending.next(page + count);
    }
    if (moves) this.#cursor = page < 0 ? 0 : page;
    this.#left -= pages;
    return { length: PAGES_HEADER_SIZE + data * PAGE_SIZE, pages, zeroPages: pages - data };
  }

  #setBits(bitmap: number, first: number, count: number): void {
    for (let bit = first; bit < first + count; bit++) {
      const at = bitmap + (bit >>> 3);
      this.#bytes[at] = (this.#bytes[at] as number) | (1 << (bit & 7));
    }
  }
}
