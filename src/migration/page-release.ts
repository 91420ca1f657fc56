/**
 * The capability `release-ram`: in post-copy, the source gives its host back what the destination has confirmed to have, while
 * the rest is on its way. What has been given back can't be sent again.
 */
import { GodwitError } from '../error.ts';
import type { SourceVm } from './migratable-vm.ts';
import { PageBitmap } from './page-bitmap.ts';
import { PAGES_HEADER_SIZE, SENT_OFFSET, WINDOW_PAGES } from './pages-frame.ts';

/** What is given back in one go, while pages may be asked for: it takes a fraction of a millisecond. */
const STEP_PAGES = 1024;
const STEP_RUNS = 32;

/** The `pages` frames that are on their way over one connection, which confirms them in the order in which they were sent. */
export interface UnconfirmedPages {
  /** @param slot where the frame's payload stands. */
  sent(slot: number): void;
  /** The oldest of them is in place. @returns false if there was none. */
  placed(): boolean;
}

export class PageRelease {
  readonly #vm: SourceVm;
  /** Pages that the destination has, and that are still here. */
  readonly #due: PageBitmap;
  readonly #gone: PageBitmap;
  #cursor = 0;

  constructor(vm: SourceVm) {
    const { layout } = vm;
    this.#vm = vm;
    this.#due = PageBitmap.create(layout.pages);
    this.#gone = PageBitmap.create(layout.pages);
  }

  /** Over a connection that has just been made. */
  unconfirmed(): UnconfirmedPages {
    const frames: Uint32Array[] = [];
    return {
      sent: (slot) => {
        frames.push(new Uint32Array(this.#vm.memory.buffer, slot, PAGES_HEADER_SIZE / 4).slice());
      },
      placed: () => {
        const header = frames.shift();
        if (header === undefined) return false;
        const word = (header[0] as number) >>> 5;
        for (let i = 0; i < WINDOW_PAGES / 32; i++) {
          const sent = header[SENT_OFFSET / 4 + i] as number;
          if (sent !== 0) this.#due.addWord(word + i, sent);
        }
        return true;
      },
    };
  }

  /**
   * The destination has all pages but these.
   * @param offset of the frame that says so. @throws GodwitError kind "format" if there is one that it had before.
   */
  missing(pending: PageBitmap, offset: number): void {
    const { pages } = this.#vm.layout;
    for (const { first, count } of this.#gone.runs()) {
      const lost = pending.next(first);
      if (lost < 0 || lost >= first + count) continue;
      const expected = `page ${lost}, which it has confirmed`;
      throw GodwitError.unexpected('format', 'frame "received", pages', expected, 'none', offset);
    }
    this.#due.clear();
    for (let page = 0; page < pages; ) {
      const here = pending.gapLength(page, pages - page);
      this.#due.addRange(page, here);
      page += here;
      page += pending.runLength(page, pages - page);
    }
    for (const { first, count } of this.#gone.runs()) this.#due.deleteRange(first, count);
  }

  /** Gives some pages back. @returns whether there are more. */
  step(): boolean {
    let left = STEP_PAGES;
    for (let runs = 0; runs < STEP_RUNS && left > 0; runs++) {
      let first = this.#due.next(this.#cursor);
      if (first < 0) first = this.#due.next(0);
      if (first < 0) return false;
      const count = this.#due.runLength(first, left);
      this.#vm.release(first, count);
      this.#due.deleteRange(first, count);
      this.#gone.addRange(first, count);
      this.#cursor = first + count;
      left -= count;
    }
    return true;
  }

  /** The destination has everything. */
  all(): void {
    const { pages } = this.#vm.layout;
    this.#vm.release(0, pages);
    this.#due.clear();
    this.#gone.addRange(0, pages);
  }
}
