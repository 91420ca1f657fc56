/**
 * The source's side of RAM: walks the pending pages upwards and packs them into payloads of `ram` frames.
 *
 * The guest writes while this reads. That is harmless: a page written after the sync of the dirty log that marked it is
 * marked again and sent again. Only the checksum and the bytes that travel must agree, so a page is copied first, and
 * what is hashed and sent is the copy. Of a guest that stands still, long runs of pages are hashed and sent where they are.
 */
import { type Layout, PAGE_SIZE } from '../memory/layout.ts';
import { addPiece, type Kernels, type Piece } from './kernels.ts';
import { PageBitmap } from './page-bitmap.ts';
import { noPages, type PageCounts } from './page-counts.ts';
import {
  LONG_RUN,
  MAX_COMPARED_PAGES,
  MAX_DATA_PAGES,
  MAX_RAM_TABLE,
  MAX_RUNS,
  MAX_ZERO_PAGES,
  RAM_HEADER_SIZE,
  RUN_KIND,
  RUN_SIZE,
} from './ram-stream.ts';
import { ENCODED, XbzrleCache } from './xbzrle-cache.ts';
import { DELTA_HEADER } from './xbzrle-codec.ts';

/** What was packed: a payload that stands in the shared memory, unless nothing has to be sent (no piece). */
export interface RamPayload {
  /** The first begins with the table, and has room for a header before it. */
  readonly pieces: readonly Piece[];
  readonly pages: PageCounts;
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
  /** What the guest has written since the last sync. */
  readonly #dirty: PageBitmap;
  /** Pages that the last pass left for this one. */
  readonly #deferred: PageBitmap;
  readonly #view: DataView;
  #cache: XbzrleCache | undefined;
  #untouched: PageBitmap | undefined;
  #cursor = 0;
  #pass = 0;
  #final = false;
  #left = 0;

  constructor(kernels: Kernels, layout: Layout) {
    this.#kernels = kernels;
    this.#layout = layout;
    const { buffer } = kernels.memory;
    const bitmap = (at: number): PageBitmap =>
      new PageBitmap(new Uint32Array(buffer, at, layout.bitmapSize / 4), layout.pages);
    this.#pending = bitmap(layout.pendingBitmap);
    this.#dirty = bitmap(layout.dirtyBitmap);
    this.#deferred = PageBitmap.create(layout.pages);
    this.#view = new DataView(buffer);
  }

  /** Pages that have yet to be sent: as counted when the pass began, less those packed since. */
  get remaining(): number {
    return this.#left;
  }

  /** Pages that were written since the last sync. */
  get dirty(): number {
    return this.#dirty.count();
  }

  /** Some of them, about `most`, evenly spread. */
  writtenPages(most: number): Iterable<number> {
    return this.#dirty.sample(Math.max(1, Math.ceil(this.dirty / most)));
  }

  /** Pages that are pending, or have been written since the last sync. */
  get remainingAndDirty(): number {
    return this.#pending.countUnion(this.#dirty);
  }

  /**
   * Deltas are made from the second pass on if `bytes`, the size of the cache, is not 0; it may change at any time.
   * @throws GodwitError kind "usage" if the host can't give the memory; then nothing has changed.
   */
  setCacheSize(bytes: number): void {
    if (bytes === 0) this.#cache = undefined;
    else if (this.#cache === undefined) {
      this.#cache = new XbzrleCache(this.#kernels.memory, this.#layout, bytes);
    } else this.#cache.resize(bytes);
  }

  /**
   * Makes all pages of all blocks pending, and no others.
   * @param untouched those that are zero, or dirty by now: the first pass need not read them.
   */
  markAll(untouched?: PageBitmap): void {
    this.#untouched = untouched;
    this.#pending.clear();
    this.#pending.addRange(0, this.#layout.pages);
    this.count();
  }

  /** Forgets what is pending. */
  clear(): void {
    this.#pending.clear();
    this.#left = 0;
    this.#cache = undefined;
  }

  /** Counts what is pending, after the dirty log was synced. */
  count(): number {
    this.#left = this.#pending.count();
    return this.#left;
  }

  /** The next payloads are those of pass `pass`, from the lowest page on. @param final the guest stands still. */
  beginPass(pass: number, final = false): void {
    this.#pass = pass;
    if (pass > 1) this.#untouched = undefined;
    this.#final = final;
    this.#cursor = 0;
  }

  /**
   * Packs the next pages of the pass, at most as many bytes of them as `maxDataPages` whole ones have.
   *
   * A page that was written again while it waited is left for the next pass, once: it will have to be sent then anyway. Of a
   * guest that stands still, long runs of pages are part of the payload where they are.
   * @param slot byte offset of MAX_RAM_PAYLOAD bytes to work in.
   * @returns undefined when the pass is over.
   */
  pack(slot: number, maxDataPages = MAX_DATA_PAGES): RamPayload | undefined {
    const cache = this.#pass > 1 ? this.#cache : undefined;
    const dataAt = slot + MAX_RAM_TABLE;
    let dataEnd = dataAt + maxDataPages * PAGE_SIZE;
    // The first begins with the table, whose place is known when its length is.
    const pieces: Piece[] = [{ at: dataAt, length: 0 }];
    const pages = noPages();
    const runs: Run[] = [];
    let to = dataAt;
    let deferred = 0;
    let examined = false;
    cache?.unstage();
    while (
      to + PAGE_SIZE <= dataEnd &&
      runs.length < MAX_RUNS &&
      pages.zero < MAX_ZERO_PAGES &&
      pages.delta + pages.equal + deferred < MAX_COMPARED_PAGES
    ) {
      const page = this.#pending.next(this.#cursor);
      if (page < 0) {
        this.#cursor = this.#layout.pages;
        break;
      }
      examined = true;
      const address = this.#layout.blocksBase + page * PAGE_SIZE;
      const pending = this.#pending.runLength(page, Math.min(ZERO_TEST_PAGES, MAX_ZERO_PAGES - pages.zero));
      const zero = this.#zeroPages(page, pending);
      const later = zero === 0 ? this.#defer(page, Math.min(pending, MAX_COMPARED_PAGES - deferred)) : 0;
      if (later > 0) {
        this.#cursor = page + later;
        deferred += later;
        if (this.#pass === 1) addRun(runs, { page, kind: RUN_KIND.coming, count: later });
        continue;
      }
      let count = Math.max(zero, 1);
      let kind: number = RUN_KIND.data;
      let at = to;
      let bytes = 0;
      if (zero > 0) {
        kind = RUN_KIND.zero;
        pages.zero += zero;
        cache?.zero(page, zero);
      } else if (cache === undefined) {
        const room = Math.floor((dataEnd - to) / PAGE_SIZE);
        count = this.#wholePages(page, Math.min(pending, room));
        if (this.#final && count >= LONG_RUN) at = address;
        else this.#kernels.copy(to, address, count * PAGE_SIZE);
      } else {
        cache.stage(page, pending);
        // Nothing is compared after the final pass: the cache need not follow.
        const encoded = this.#final ? cache.encode(page) : cache.update(page, this.#pass);
        if (encoded === ENCODED.equal) {
          pages.equal++;
          this.#cursor = page + 1;
          this.#done(page, 1);
          continue;
        }
        if (encoded > 0) {
          kind = RUN_KIND.delta;
          pages.delta++;
          pages.deltaBytes += DELTA_HEADER + encoded;
          this.#view.setUint16(to, encoded, true);
          cache.copyDelta(to + DELTA_HEADER, encoded);
          bytes = DELTA_HEADER + encoded;
        } else {
          pages[encoded === ENCODED.miss ? 'miss' : 'overflow']++;
          cache.copyPage(to, page);
        }
      }
      if (kind === RUN_KIND.data) {
        pages.whole += count;
        bytes = count * PAGE_SIZE;
      }
      if (bytes > 0) addPiece(pieces, { at, length: bytes });
      if (at === to) to += bytes;
      else dataEnd -= bytes;
      this.#cursor = page + count;
      this.#done(page, count);
      addRun(runs, { page, kind, count });
    }
    if (!examined) return undefined;
    if (runs.length === 0) return { pieces: [], pages };
    const [first, ...others] = pieces as [Piece, ...Piece[]];
    const at = this.#table(dataAt, runs);
    return { pieces: [{ at, length: dataAt - at + first.length }, ...others], pages };
  }

  /**
   * What would have to be sent of `most` of the pending pages, evenly spread; of all, if there are no more. The cache
   * stays as it is.
   */
  sample(most: number): PageCounts {
    const cache = this.#cache;
    const pages = noPages();
    const step = Math.max(1, Math.ceil(this.#left / most));
    cache?.unstage();
    for (const page of this.#pending.sample(step)) {
      if (this.#zeroPages(page, 1) === 1) pages.zero++;
      else {
        cache?.stage(page, 1);
        const encoded = cache === undefined ? ENCODED.miss : cache.encode(page);
        if (encoded === ENCODED.equal) pages.equal++;
        else if (encoded > 0) {
          pages.delta++;
          pages.deltaBytes += DELTA_HEADER + encoded;
        } else pages.whole++;
      }
    }
    return pages;
  }

  /** How many pages from `first` on are zero, counting no further than `limit`. */
  #zeroPages(first: number, limit: number): number {
    const untouched = this.#untouched?.runLength(first, limit) ?? 0;
    if (untouched > 0) return untouched;
    const read = this.#untouched?.gapLength(first, limit) ?? limit;
    return this.#kernels.zeroPages(this.#layout.blocksBase + first * PAGE_SIZE, read);
  }

  /**
   * How many pages from `first` on, which is one of them, have bytes and are not better left for the next pass.
   * @param limit at least 1.
   */
  #wholePages(first: number, limit: number): number {
    let settled = this.#final ? limit : 1;
    while (settled < limit) {
      const [next, room] = [first + settled, limit - settled];
      const more = this.#dirty.gapLength(next, room) || this.#deferred.runLength(next, room);
      if (more === 0) break;
      settled += more;
    }
    // The guest may have cleared the first one since it was tested.
    return Math.max(1, this.#kernels.dataPages(this.#layout.blocksBase + first * PAGE_SIZE, settled));
  }

  /** How many pages from `first` on, which is not zero, are better left for the next pass: not zero either, and no more than `limit`. */
  #defer(first: number, limit: number): number {
    if (this.#final || !this.#dirty.has(first) || this.#deferred.has(first)) return 0;
    const waiting = this.#deferred.gapLength(first, this.#dirty.runLength(first, limit));
    const count = Math.max(1, this.#kernels.dataPages(this.#layout.blocksBase + first * PAGE_SIZE, waiting));
    this.#deferred.addRange(first, count);
    return count;
  }

  #done(page: number, count: number): void {
    this.#pending.deleteRange(page, count);
    this.#deferred.deleteRange(page, count);
    this.#left = Math.max(0, this.#left - count);
  }

  /** Writes the table right before the pages, so that a frame is one piece of memory; returns where it begins. */
  #table(dataAt: number, runs: readonly Run[]): number {
    const at = dataAt - RAM_HEADER_SIZE - runs.length * RUN_SIZE;
    this.#view.setUint32(at, this.#pass, true);
    this.#view.setUint32(at + 4, runs.length, true);
    runs.forEach((run, i) => {
      const entry = at + RAM_HEADER_SIZE + i * RUN_SIZE;
      this.#view.setUint32(entry, run.page, true);
      this.#view.setUint16(entry + 4, run.count, true);
      this.#view.setUint16(entry + 6, run.kind, true);
    });
    return at;
  }
}

/** Adds to the last run what continues it. */
function addRun(runs: Run[], { page, kind, count }: Run): void {
  const last = runs.at(-1);
  if (last?.kind === kind && last.page + last.count === page) last.count += count;
  else runs.push({ page, kind, count });
}
