/**
 * The destination's side of post-copy: which pages are here, kept in the shared received bitmap, and the placing of those
 * that arrive. A page is placed once: what the guest has written to it since is never overwritten. Two threads may place
 * pages at the same time: no page comes over two connections.
 */
import { GodwitError } from '../error.ts';
import { CONTROL, type Layout, PAGE_SIZE } from '../memory/layout.ts';
import type { Frame } from './frame-reader.ts';
import type { Kernels } from './kernels.ts';
import { ones, PageBitmap } from './page-bitmap.ts';
import { DATA_OFFSET, MAX_PAGES_DATA, PAGES_HEADER_SIZE, SENT_OFFSET, WINDOW_PAGES } from './pages-frame.ts';

const WINDOW_WORDS = WINDOW_PAGES / 32;

export class LatePages {
  readonly #kernels: Kernels;
  readonly #layout: Layout;
  readonly #bytes: Uint8Array;
  readonly #received: Int32Array;
  readonly #control: Int32Array;
  /** Pages whose memory may be other than zero. */
  readonly #touched: PageBitmap;

  /** @param touched pages that have arrived before. */
  constructor(kernels: Kernels, layout: Layout, touched: PageBitmap) {
    const { buffer } = kernels.memory;
    this.#kernels = kernels;
    this.#layout = layout;
    this.#touched = touched;
    this.#bytes = new Uint8Array(buffer);
    this.#control = new Int32Array(buffer, layout.control, CONTROL.hotSlots / 4);
    this.#received = new Int32Array(buffer, layout.receivedBitmap, Math.ceil(layout.pages / 32));
  }

  /** Pages that are not here. */
  get missing(): number {
    let missing = 0;
    for (const word of this.#received) missing += ones(~word);
    return missing;
  }

  isHere(page: number): boolean {
    return ((Atomics.load(this.#received, page >>> 5) >>> (page & 31)) & 1) === 1;
  }

  /** Whether the machine waits for a page. */
  get awaited(): boolean {
    return Atomics.load(this.#control, CONTROL.wanting / 4) !== 0;
  }

  /** A copy, for `received`. */
  bitmap(): Uint8Array {
    const { buffer, byteOffset, byteLength } = this.#received;
    return new Uint8Array(buffer, byteOffset, byteLength).slice();
  }

  /**
   * The pages of this `discard` are missing, all others are here.
   * @throws GodwitError kind "format" if that can't be; then nothing has changed.
   */
  discard({ payload, offset }: Frame): void {
    const { pages } = this.#layout;
    const length = this.#received.length * 4;
    if (payload.length !== length) {
      throw unexpected('frame "discard", length', `${length} bytes`, String(payload.length), offset);
    }
    const view = viewOf(payload);
    // The guest stands still: iterators would take four times as long.
    const words = new Uint32Array(this.#received.length);
    for (let word = 0; word < words.length; word++) words[word] = view.getUint32(word * 4, true);
    const past = ((words.at(-1) ?? 0) >>> ((pages - 1) & 31)) >>> 1;
    if (past !== 0) {
      const page = pages + 31 - Math.clz32(past & -past);
      throw unexpected('frame "discard"', `${pages} pages`, `page ${page}`, offset);
    }
    const missing = new PageBitmap(words, pages);
    const lost = missing.nextAbsentFromBoth(this.#touched);
    if (lost >= 0) {
      throw unexpected(
        'frame "discard"',
        'every page to have arrived or to be missing',
        `page ${lost}`,
        offset,
      );
    }
    for (let word = 0; word < words.length; word++) {
      Atomics.store(this.#received, word, ~(words[word] as number));
    }
  }

  /**
   * Places the pages of a `pages` frame whose payload stands in the shared memory; those that are here already are left
   * as they are.
   * @returns how many were placed.
   * @throws GodwitError kind "format"; then none was.
   */
  place(frame: Frame): number {
    const { payload, at } = frame;
    if (at === undefined) throw new GodwitError('internal', 'a pages frame was read to the wrong memory');
    const first = this.#check(frame);
    const view = viewOf(payload);
    let from = at + PAGES_HEADER_SIZE;
    let placed = 0;
    for (let word = 0; word < WINDOW_WORDS; word++) {
      const sent = view.getUint32(SENT_OFFSET + word * 4, true);
      if (sent === 0) continue;
      const data = view.getUint32(DATA_OFFSET + word * 4, true);
      const here = Atomics.load(this.#received, (first >>> 5) + word);
      for (let left = sent; left !== 0; ) {
        const bit = 31 - Math.clz32(left & -left);
        const hasBytes = (data >>> bit) & 1;
        const isHere = (here >>> bit) & 1;
        // As many as follow and are alike.
        const alike = left & (hasBytes ? data : ~data) & (isHere ? here : ~here);
        const others = ~alike & (-1 << bit);
        const end = others === 0 ? 32 : 31 - Math.clz32(others & -others);
        const count = end - bit;
        if (isHere === 0) {
          this.#put(first + word * 32 + bit, count, hasBytes ? from : undefined);
          placed += count;
        }
        if (hasBytes) from += count * PAGE_SIZE;
        left = end === 32 ? 0 : left & (-1 << end);
      }
      // Whoever sees a bit sees the content.
      Atomics.or(this.#received, (first >>> 5) + word, sent);
    }
    return placed;
  }

  #put(page: number, count: number, from: number | undefined): void {
    const to = this.#layout.blocksBase + page * PAGE_SIZE;
    if (from !== undefined) {
      this.#kernels.copy(to, from, count * PAGE_SIZE);
      return;
    }
    for (let i = 0; i < count; i++) {
      if (this.#touched.has(page + i)) this.#bytes.fill(0, to + i * PAGE_SIZE, to + (i + 1) * PAGE_SIZE);
    }
  }

  /** @returns the window's first page. */
  #check({ payload, offset }: Frame): number {
    const fail = (what: string, expected: string, got: string | number): GodwitError =>
      unexpected(`frame "pages", ${what}`, expected, String(got), offset);
    if (payload.length < PAGES_HEADER_SIZE) {
      throw fail('length', `at least ${PAGES_HEADER_SIZE} bytes`, payload.length);
    }
    const view = viewOf(payload);
    const first = view.getUint32(0, true);
    if (first % 32 !== 0 || first >= this.#layout.pages) {
      throw fail('first', `a multiple of 32 below ${this.#layout.pages}`, first);
    }
    if (view.getUint32(4, true) !== 0) throw fail('reserved', '0', view.getUint32(4, true));
    let [sent, data] = [0, 0];
    for (let word = 0; word < WINDOW_WORDS; word++) {
      const isSent = view.getUint32(SENT_OFFSET + word * 4, true);
      const hasBytes = view.getUint32(DATA_OFFSET + word * 4, true);
      if ((isSent | hasBytes) === 0) continue;
      const page = first + word * 32;
      const last = page + 31 - Math.clz32(isSent);
      if (isSent !== 0 && last >= this.#layout.pages) throw fail('sent', 'pages that exist', last);
      const unsent = hasBytes & ~isSent;
      if (unsent !== 0) throw fail('data', 'pages that are sent', page + 31 - Math.clz32(unsent));
      sent += ones(isSent);
      data += ones(hasBytes);
    }
    if (sent === 0) throw fail('sent', 'at least one page', 0);
    const length = PAGES_HEADER_SIZE + data * PAGE_SIZE;
    if (data > MAX_PAGES_DATA || payload.length !== length) {
      throw fail('length', `${length} bytes`, payload.length);
    }
    return first;
  }
}

function viewOf({ buffer, byteOffset, length }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, length);
}

function unexpected(where: string, expected: string, got: string, offset: number): GodwitError {
  return GodwitError.unexpected('format', where, expected, got, offset);
}
