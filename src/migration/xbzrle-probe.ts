/**
 * Finds out what deltas would come to before any are made: keeps copies of a few pages that the guest writes, and looks
 * a little later what has changed in them.
 */
import { type Layout, PAGE_SIZE } from '../memory/layout.ts';
import { WASM_PAGE } from '../wasm/module.ts';
import { DELTA_HEADER, MAX_DELTA, SLACK, XbzrleCodec } from './xbzrle-codec.ts';

const PROBES = 128;
const STAGED = PROBES * PAGE_SIZE;
const DELTA = STAGED + 2 * PAGE_SIZE;
const SIZE = DELTA + MAX_DELTA + SLACK;

/** Pages that have changed, and what would be sent of them as deltas. */
export interface Probed {
  readonly pages: number;
  readonly bytes: number;
}

export class XbzrleProbe {
  readonly #guest: Uint8Array;
  readonly #layout: Layout;
  readonly #bytes: Uint8Array;
  readonly #codec: XbzrleCodec;
  #pages: number[] = [];

  constructor(memory: WebAssembly.Memory, layout: Layout) {
    const size = Math.ceil(SIZE / WASM_PAGE);
    const own = new WebAssembly.Memory({ initial: size, maximum: size, shared: true });
    this.#guest = new Uint8Array(memory.buffer);
    this.#layout = layout;
    this.#bytes = new Uint8Array(own.buffer);
    this.#codec = new XbzrleCodec(own);
  }

  static readonly size = PROBES;

  get taken(): boolean {
    return this.#pages.length > 0;
  }

  /** Keeps the first of these pages as they are now. */
  take(pages: Iterable<number>): void {
    this.#pages = [];
    for (const page of pages) {
      if (this.#pages.length === PROBES) return;
      this.#copy(page, this.#pages.length * PAGE_SIZE);
      this.#pages.push(page);
    }
  }

  /** What has changed in them since, and forgets them. */
  look(): Probed {
    let pages = 0;
    let bytes = 0;
    this.#pages.forEach((page, i) => {
      this.#copy(page, STAGED);
      const delta = this.#codec.encode(i * PAGE_SIZE, STAGED, DELTA);
      if (delta === 0) return;
      pages++;
      bytes += delta < 0 ? PAGE_SIZE : DELTA_HEADER + delta;
    });
    this.#pages = [];
    return { pages, bytes };
  }

  #copy(page: number, to: number): void {
    const from = this.#layout.blocksBase + page * PAGE_SIZE;
    this.#bytes.set(this.#guest.subarray(from, from + PAGE_SIZE), to);
  }
}
