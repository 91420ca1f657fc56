/**
 * The destination's side of RAM: validates the payload of a `ram` frame completely, then puts its pages in place. Keeps
 * which pages have arrived, and counts what the source will compare.
 */
import { GodwitError } from '../error.ts';
import { type Layout, PAGE_SIZE } from '../memory/layout.ts';
import type { Frame } from './frame-reader.ts';
import type { Kernels, Piece } from './kernels.ts';
import { PageBitmap } from './page-bitmap.ts';
import type { Message } from './protocol.ts';
import { LONG_RUN, MAX_RUNS, RAM_HEADER_SIZE, RUN_KIND, RUN_SIZE } from './ram-stream.ts';
import { explainDeltas, type XbzrleCodec } from './xbzrle-codec.ts';

interface Run {
  readonly page: number;
  readonly count: number;
  readonly kind: number;
  /** Where in the payload its pages stand. */
  readonly from: number;
}

/** Pages that were put in place, and how many of them were zero. */
export interface RamCounts {
  readonly pages: number;
  readonly zeroPages: number;
}

export class RamLoad {
  readonly #kernels: Kernels;
  readonly #layout: Layout;
  readonly #bytes: Uint8Array;
  readonly #codec: XbzrleCodec | undefined;
  /** Pages that have arrived at least once. */
  readonly received: PageBitmap;
  /** All pages before this one have arrived, as far as that has been looked at: not all of it while the guest stands still. */
  #whole = 0;
  /** Passes that have ended. */
  #passes = 0;
  #passPages = 0;
  #passZeroPages = 0;
  #final = false;
  /** Pages in all passes, and those of them that were zero. */
  #pages = 0;
  #zeroPages = 0;

  /**
   * @param codec over the same memory, if the stream may have deltas.
   * @param received pages that have arrived, if other threads put pages in place, too.
   */
  constructor(
    kernels: Kernels,
    layout: Layout,
    codec?: XbzrleCodec,
    received = PageBitmap.create(layout.pages),
  ) {
    this.#kernels = kernels;
    this.#layout = layout;
    this.#codec = codec;
    this.#bytes = new Uint8Array(kernels.memory.buffer);
    this.received = received;
  }

  /** Pages in all passes, and passes that have ended. */
  get counts(): { pages: number; passes: number } {
    return { pages: this.#pages, passes: this.#passes };
  }

  /** The same with what the present pass has brought so far, and how many pages have never come. */
  get progress(): { pages: number; zeroPages: number; passes: number; remaining: number } {
    return {
      pages: this.#pages + this.#passPages,
      zeroPages: this.#zeroPages + this.#passZeroPages,
      passes: this.#passes,
      remaining: this.#passes > 0 ? 0 : this.#layout.pages - this.#passPages,
    };
  }

  /** Whether the final pass has ended. */
  get complete(): boolean {
    return this.#final;
  }

  /** Counts what another thread has put in place. */
  add({ pages, zeroPages }: RamCounts): void {
    this.#passPages += pages;
    this.#passZeroPages += zeroPages;
  }

  /**
   * Applies a frame of pass `pass` on behalf of the thread that keeps count.
   * @throws GodwitError kind "format"; then nothing of the frame was applied.
   */
  applyFor(frame: Frame, pass: number): RamCounts {
    this.#passes = pass - 1;
    this.#passPages = 0;
    this.#passZeroPages = 0;
    this.apply(frame);
    return { pages: this.#passPages, zeroPages: this.#passZeroPages };
  }

  /**
   * Where the pages of a payload can be read to so that nothing is left to copy; undefined if it has none, or is to be read in
   * one piece: because its runs are short, its pages have to be decoded, or something is wrong with it.
   * @param at address of its table, or of as much of it as a table can be.
   * @param length of all of it.
   */
  placement(at: number, length: number): Piece[] | undefined {
    const view = new DataView(this.#kernels.memory.buffer, at);
    const count = view.getUint32(4, true);
    if (this.#final || view.getUint32(0, true) !== this.#passes + 1 || count > MAX_RUNS) return undefined;
    const pieces: Piece[] = [];
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      const entry = RAM_HEADER_SIZE + i * RUN_SIZE;
      const page = view.getUint32(entry, true);
      const pages = view.getUint16(entry + 4, true);
      const kind = view.getUint16(entry + 6, true);
      if (page >= this.#layout.pages || pages > this.#layout.pages - page) return undefined;
      if (kind === RUN_KIND.data) {
        pieces.push({ at: this.#layout.blocksBase + page * PAGE_SIZE, length: pages * PAGE_SIZE });
        bytes += pages * PAGE_SIZE;
      } else if (kind !== RUN_KIND.zero) return undefined;
    }
    const long = bytes >= pieces.length * LONG_RUN * PAGE_SIZE;
    return bytes > 0 && long && RAM_HEADER_SIZE + count * RUN_SIZE + bytes === length ? pieces : undefined;
  }

  /**
   * Applies a frame whose payload stands in the shared memory.
   * @param placed bytes of it that stand in their pages already (`placement`).
   * @throws GodwitError kind "format"; then nothing of the frame was applied.
   */
  apply(frame: Frame, placed = 0): void {
    const { at } = frame;
    if (at === undefined) throw new GodwitError('internal', 'a ram frame was read to the wrong memory');
    for (const { page, count, kind, from } of this.#runs(frame, at, placed)) {
      const to = this.#layout.blocksBase + page * PAGE_SIZE;
      if (kind === RUN_KIND.coming) {
        this.#touch(to, count);
        continue;
      }
      if (kind === RUN_KIND.data) {
        if (placed === 0) this.#kernels.copy(to, at + from, count * PAGE_SIZE);
      } else if (kind === RUN_KIND.delta) this.#codec?.apply(at + from, count, to);
      else {
        this.#zero(page, count);
        this.#passZeroPages += count;
      }
      this.received.addRange(page, count);
      this.#passPages += count;
    }
  }

  /** @throws GodwitError kind "format" if what arrived in the pass is not what the source counted. */
  endPass(message: Message<'pass'>, offset: number): void {
    const check = (what: string, expected: number, got: number): void => {
      if (expected !== got) throw unexpected(`frame "pass", ${what}`, String(expected), String(got), offset);
    };
    if (this.#final)
      throw unexpected('frame "pass"', 'no pass after the final one', String(message.number), offset);
    check('number', this.#passes + 1, message.number);
    check('pages', this.#passPages, message.pages);
    check('zeroPages', this.#passZeroPages, message.zeroPages);
    this.#final = message.final;
    this.#pages += this.#passPages;
    this.#zeroPages += this.#passZeroPages;
    this.#passes++;
    this.#passPages = 0;
    this.#passZeroPages = 0;
    this.#absent();
  }

  /** The first page that has not arrived; -1 if there is none. Once they have, they stay. */
  #absent(): number {
    const absent = this.received.nextAbsent(this.#whole);
    this.#whole = absent < 0 ? this.received.pages : absent;
    return absent;
  }

  /** @throws GodwitError kind "format" if anything is missing. */
  verifyComplete(message: Message<'end'>, offset: number): void {
    if (!this.#final) throw unexpected('frame "end"', 'a final pass before it', 'none', offset);
    const pages = this.#pages >>> 0;
    if (message.pagesSent !== pages) {
      throw unexpected('frame "end", pagesSent', String(pages), String(message.pagesSent), offset);
    }
    if (message.passes !== this.#passes) {
      throw unexpected('frame "end", passes', String(this.#passes), String(message.passes), offset);
    }
    const missing = this.#absent();
    if (missing >= 0) {
      throw unexpected('frame "end"', 'every page to have arrived', `nothing for page ${missing}`, offset);
    }
  }

  /**
   * @param at address of the payload.
   * @param elsewhere bytes of it that stand in another place.
   */
  #runs({ payload, offset }: Frame, at: number, elsewhere: number): Run[] {
    const fail = (what: string, expected: string, got: number): GodwitError =>
      unexpected(`frame "ram", ${what}`, expected, String(got), offset);
    if (payload.length < RAM_HEADER_SIZE) {
      throw fail('length', `at least ${RAM_HEADER_SIZE} bytes`, payload.length);
    }
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    const pass = view.getUint32(0, true);
    if (this.#final || pass !== this.#passes + 1) {
      throw fail('pass', this.#final ? 'none after the final one' : String(this.#passes + 1), pass);
    }
    const count = view.getUint32(4, true);
    const tableEnd = RAM_HEADER_SIZE + count * RUN_SIZE;
    if (count < 1 || count > MAX_RUNS || tableEnd > payload.length) {
      throw fail('runs', `1 to ${MAX_RUNS} inside the payload`, count);
    }
    const runs: Run[] = [];
    let next = 0;
    let from = tableEnd;
    for (let i = 0; i < count; i++) {
      const entry = RAM_HEADER_SIZE + i * RUN_SIZE;
      const run = {
        page: view.getUint32(entry, true),
        count: view.getUint16(entry + 4, true),
        kind: view.getUint16(entry + 6, true),
        from,
      };
      if (run.page < next || run.page >= this.#layout.pages) {
        throw fail(`run ${i}, page`, `${next} to ${this.#layout.pages - 1}`, run.page);
      }
      if (run.count < 1 || run.count > this.#layout.pages - run.page) {
        throw fail(`run ${i}, count`, `1 to ${this.#layout.pages - run.page}`, run.count);
      }
      if (run.kind === RUN_KIND.data) from += run.count * PAGE_SIZE;
      else if (run.kind === RUN_KIND.delta && this.#codec !== undefined) {
        from = this.#deltasEnd(this.#codec, run, payload, `frame "ram", run ${i}`, at, offset);
      } else if (run.kind !== RUN_KIND.zero && run.kind !== RUN_KIND.coming) {
        const delta = this.#codec === undefined ? '' : 'delta (2), ';
        const kinds = `zero (0), data (1), ${delta}coming (3)`;
        throw fail(`run ${i}, kind`, kinds, run.kind);
      }
      next = run.page + run.count;
      runs.push(run);
    }
    const length = payload.length + elsewhere;
    if (from !== length) throw fail('length', `${from} bytes`, length);
    return runs;
  }

  /**
   * Where in the payload the deltas of a run end.
   * @throws GodwitError kind "format" for one that is not valid, or for a page that is not here yet.
   */
  #deltasEnd(
    codec: XbzrleCodec,
    { page, count, from }: Run,
    payload: Uint8Array,
    place: string,
    at: number,
    offset: number,
  ): number {
    const absent = this.received.nextAbsent(page);
    if (absent >= 0 && absent < page + count) {
      throw unexpected(`${place}, page`, 'a page that has arrived', `${absent}, which has not`, offset);
    }
    const end = from <= payload.length ? codec.check(at + from, at + payload.length, count) : 0;
    if (end === 0) {
      explainDeltas(payload.subarray(from), count, place, offset + from);
      throw new GodwitError('internal', `${place}: the two checks of a delta disagree`);
    }
    return end - at;
  }

  /** Makes the operating system find memory for pages that stay as they are. */
  #touch(at: number, pages: number): void {
    // A read first, as of Atomics.or, would let the host find memory twice: to be read, and then to be written.
    for (let i = 0; i < pages; i++) Atomics.compareExchange(this.#bytes, at + i * PAGE_SIZE, 0, 0);
  }

  /** The memory was made for this migration, all zero: only a page that has arrived before can be anything else. */
  #zero(first: number, pages: number): void {
    const end = first + pages;
    for (let page = this.received.next(first); page >= 0 && page < end; page = this.received.next(page + 1)) {
      const at = this.#layout.blocksBase + page * PAGE_SIZE;
      if (this.#kernels.zeroPages(at, 1) === 0) this.#bytes.fill(0, at, at + PAGE_SIZE);
    }
  }
}

function unexpected(where: string, expected: string, got: string, offset: number): GodwitError {
  return GodwitError.unexpected('format', where, expected, got, offset);
}
