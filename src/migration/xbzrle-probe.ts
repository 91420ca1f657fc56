/**
 * Finds out what deltas would come to before any are made: keeps copies of a few pages that the guest writes, and looks
 * a little later what has changed in them.
 */
import type { Clock } from '../clock.ts';
import { type Layout, PAGE_SIZE } from '../memory/layout.ts';
import { WASM_PAGE } from '../wasm/module.ts';
import { DELTA_HEADER, MAX_DELTA, SLACK, XbzrleCodec } from './xbzrle-codec.ts';

const PROBES = 128;
const STAGED = PROBES * PAGE_SIZE;
const DELTA = STAGED + 2 * PAGE_SIZE;
const SIZE = DELTA + MAX_DELTA + SLACK;

/** Pages that have changed, what would be sent of them as deltas, and what it takes to find that out. */
export interface Probed {
  readonly pages: number;
  readonly bytes: number;
  /** Of a page, in ns. */
  readonly pageNs: number;
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
  look(clock: Clock): Probed {
    let bytes = 0;
    const times: number[] = [];
    this.#pages.forEach((page, i) => {
      const startNs = clock.nowNs();
      this.#copy(page, STAGED);
      const delta = this.#codec.encode(i * PAGE_SIZE, STAGED, DELTA);
      if (delta === 0) return;
      bytes += delta < 0 ? PAGE_SIZE : DELTA_HEADER + delta;
      times.push(clock.nowNs() - startNs);
    });
    this.#pages = [];
    // Not the mean: in one of them the host may have done something else.
    const pageNs = times.sort((a, b) => a - b)[times.length >> 1] ?? 0;
    return { pages: times.length, bytes, pageNs };
  }

  #copy(page: number, to: number): void {
    const from = this.#layout.blocksBase + page * PAGE_SIZE;
    this.#bytes.set(this.#guest.subarray(from, from + PAGE_SIZE), to);
  }
}
