/**
 * The source's side of RAM: walks the pending pages upwards and packs them into payloads of `ram` frames.
 *
 * The guest writes while this reads. That is harmless: a page written after the sync of the dirty log that marked it is
 * marked again and sent again. Only the checksum and the bytes that travel must agree, so a page is copied first, and
 * what is hashed and sent is the copy.
 */
import { type Layout, PAGE_SIZE } from '../memory/layout.ts';
import type { Kernels } from './kernels.ts';
import { PageBitmap } from './page-bitmap.ts';
import {
  MAX_DATA_PAGES,
  MAX_RAM_TABLE,
  MAX_RUNS,
  MAX_ZERO_PAGES,
  RAM_HEADER_SIZE,
  RUN_KIND,
  RUN_SIZE,
} from './ram-stream.ts';

/** A payload that stands in the shared memory. */
export interface RamPayload {
  /** Byte offset in the memory. */
  readonly at: number;
  readonly length: number;
  readonly pages: number;
  readonly zeroPages: number;
}

interface Run {
  readonly page: number;
  readonly kind: number;
  count: number;
}

/** Pages that one call tests: zero pages come in long runs. */
const ZERO_TEST_PAGES = 512;

export class RamSave {
  readonly #kernels: Kernels;
  readonly #layout: Layout;
  readonly #pending: PageBitmap;
  readonly #view: DataView;
  #cursor = 0;
  #pass = 0;
  #left = 0;

  constructor(kernels: Kernels, layout: Layout) {
    this.#kernels = kernels;
    this.#layout = layout;
    const { buffer } = kernels.memory;
    const words = new Uint32Array(buffer, layout.pendingBitmap, layout.bitmapSize / 4);
    this.#pending = new PageBitmap(words, layout.pages);
    this.#view = new DataView(buffer);
  }

  /** Pages that have yet to be sent: as counted when the pass began, less those packed since. */
  get remaining(): number {
    return this.#left;
  }

  /** Makes all pages of all blocks pending, and no others. */
  markAll(): void {
    this.#pending.clear();
    this.#pending.addRange(0, this.#layout.pages);
    this.count();
  }

  /** Forgets what is pending. */
  clear(): void {
    this.#pending.clear();
    this.#left = 0;
  }

  /** Counts what is pending, after the dirty log was synced. */
  count(): number {
    this.#left = this.#pending.count();
    return this.#left;
  }

  /** The next payloads are those of pass `pass`, from the lowest page on. */
  beginPass(pass: number): void {
    this.#pass = pass;
    this.#cursor = 0;
  }

  /**
   * Packs the next pages of the pass, at most `maxDataPages` with bytes.
   * @param slot byte offset of MAX_RAM_PAYLOAD bytes to work in.
   * @returns undefined when the pass is over.
   */
  pack(slot: number, maxDataPages = MAX_DATA_PAGES): RamPayload | undefined {
    const dataAt = slot + MAX_RAM_TABLE;
    const runs: Run[] = [];
    let dataPages = 0;
    let zeroPages = 0;
    while (dataPages < maxDataPages && zeroPages < MAX_ZERO_PAGES) {
      const page = this.#pending.next(this.#cursor);
      if (page < 0) {
        this.#cursor = this.#layout.pages;
        break;
      }
      const address = this.#layout.blocksBase + page * PAGE_SIZE;
      const pending = this.#pending.runLength(page, Math.min(ZERO_TEST_PAGES, MAX_ZERO_PAGES - zeroPages));
      const zero = this.#kernels.zeroPages(address, pending);
      const kind = zero > 0 ? RUN_KIND.zero : RUN_KIND.data;
      const count = Math.max(zero, 1);
      const last = runs.at(-1);
      if (last !== undefined && last.kind === kind && last.page + last.count === page) last.count += count;
      else if (runs.length === MAX_RUNS) break;
      else runs.push({ page, kind, count });
      this.#pending.deleteRange(page, count);
      this.#cursor = page + count;
      zeroPages += zero;
      if (zero === 0) this.#kernels.copy(dataAt + dataPages++ * PAGE_SIZE, address, PAGE_SIZE);
    }
    if (runs.length === 0) return undefined;
    this.#left = Math.max(0, this.#left - dataPages - zeroPages);
    // The table is written right before the pages, so that a frame is one piece of memory whatever its table's size.
    const at = dataAt - RAM_HEADER_SIZE - runs.length * RUN_SIZE;
    this.#view.setUint32(at, this.#pass, true);
    this.#view.setUint32(at + 4, runs.length, true);
    runs.forEach((run, i) => {
      const entry = at + RAM_HEADER_SIZE + i * RUN_SIZE;
      this.#view.setUint32(entry, run.page, true);
      this.#view.setUint16(entry + 4, run.count, true);
      this.#view.setUint16(entry + 6, run.kind, true);
    });
    const length = dataAt - at + dataPages * PAGE_SIZE;
    return { at, length, pages: dataPages + zeroPages, zeroPages };
  }
}
