/**
 * The pages that the destination has, as far as they fit: what a page's delta is made against. Direct-mapped, with
 * QEMU's rules (migration/page_cache.c): page p stands in slot p & (slots − 1), and gives way to another one only when
 * it was not used in the last pass.
 *
 * The cache stands in a memory of its own, so that its size can change, and ends with its migration. A page is copied
 * to it first (*staged*): the guest is writing, and what is encoded, kept and sent must be the same bytes.
 */
import { GodwitError } from '../error.ts';
import { type Layout, PAGE_SIZE } from '../memory/layout.ts';
import { WASM_PAGE } from '../wasm/module.ts';
import { MAX_DELTA, SLACK, XbzrleCodec } from './xbzrle-codec.ts';

/** What is to be sent of a page: the bytes of its delta if positive, or one of these. */
export const ENCODED = { equal: 0, overflow: -1, miss: -2 } as const;

/** Pages that are copied at once: it takes a third less time per page than one by one. */
const STAGED_PAGES = 16;
const STAGING = 0;
const DELTA = STAGING + STAGED_PAGES * PAGE_SIZE + PAGE_SIZE;
const SLOTS = DELTA + 2 * PAGE_SIZE;
/** More is not used: addresses of a memory end at 4 GiB. */
const MAX_SLOTS = 2 ** 19;
/** Passes that a page stays, unused, before another one may take its slot. */
const LIFETIME = 2;
const NOBODY = -1;

if (DELTA + MAX_DELTA + SLACK > SLOTS) throw new GodwitError('internal', 'xbzrle: the delta does not fit');

/** How many bytes of a cache of `size` bytes a guest of `pages` pages can use. */
function slotsFor(size: number, pages: number): number {
  return Math.min(size / PAGE_SIZE, 2 ** Math.ceil(Math.log2(pages)), MAX_SLOTS);
}

/** One size of the cache. */
class Store {
  readonly slots: number;
  readonly bytes: Uint8Array;
  readonly codec: XbzrleCodec;
  /** Page index in each slot, or NOBODY. */
  readonly pages: Int32Array;
  /** The pass that last used it. */
  readonly ages: Int32Array;

  constructor(slots: number) {
    this.slots = slots;
    const size = Math.ceil((SLOTS + slots * PAGE_SIZE + SLACK) / WASM_PAGE);
    try {
      const memory = new WebAssembly.Memory({ initial: size, maximum: size, shared: true });
      this.bytes = new Uint8Array(memory.buffer);
      this.codec = new XbzrleCodec(memory);
    } catch (cause) {
      throw new GodwitError(
        'usage',
        `xbzrle-cache-size: the host can't give ${slots * PAGE_SIZE} bytes`,
        {},
        cause,
      );
    }
    this.pages = new Int32Array(slots).fill(NOBODY);
    this.ages = new Int32Array(slots);
  }

  slotOf(page: number): number {
    return page & (this.slots - 1);
  }

  addressOf(slot: number): number {
    return SLOTS + slot * PAGE_SIZE;
  }

  /** Takes over what fits of another one; of two pages for a slot, the one used last. */
  takeOver(other: Store): void {
    other.pages.forEach((page, from) => {
      if (page === NOBODY) return;
      const slot = this.slotOf(page);
      const age = other.ages[from] ?? 0;
      if (this.pages[slot] !== NOBODY && (this.ages[slot] ?? 0) >= age) return;
      this.pages[slot] = page;
      this.ages[slot] = age;
      const at = other.addressOf(from);
      this.bytes.set(other.bytes.subarray(at, at + PAGE_SIZE), this.addressOf(slot));
    });
  }
}

export class XbzrleCache {
  readonly #guest: Uint8Array;
  readonly #layout: Layout;
  #store: Store;
  #firstStaged = 0;
  #staged = 0;

  /**
   * @param memory the VM's.
   * @param size bytes, a power of two.
   * @throws GodwitError kind "usage" if the host can't give that much.
   */
  constructor(memory: WebAssembly.Memory, layout: Layout, size: number) {
    this.#guest = new Uint8Array(memory.buffer);
    this.#layout = layout;
    this.#store = new Store(slotsFor(size, layout.pages));
  }

  /** Changes the size; what fits stays. @throws GodwitError kind "usage"; then the cache is as it was. */
  resize(size: number): void {
    const slots = slotsFor(size, this.#layout.pages);
    if (slots === this.#store.slots) return;
    const store = new Store(slots);
    store.takeOver(this.#store);
    this.#store = store;
    this.#staged = 0;
  }

  has(page: number): boolean {
    return this.#store.pages[this.#store.slotOf(page)] === page;
  }

  /** Forgets what is staged: guest memory is read anew. */
  unstage(): void {
    this.#staged = 0;
  }

  /** Copies `page` as it is now, and some of the `pages` pages from it on, unless it has been staged already. */
  stage(page: number, pages: number): void {
    if (page >= this.#firstStaged && page < this.#firstStaged + this.#staged) return;
    this.#firstStaged = page;
    this.#staged = Math.min(pages, STAGED_PAGES);
    const from = this.#layout.blocksBase + page * PAGE_SIZE;
    this.#store.bytes.set(this.#guest.subarray(from, from + this.#staged * PAGE_SIZE), STAGING);
  }

  /** What would have to be sent of a staged page. Changes nothing but the delta that `delta` copies. */
  encode(page: number): number {
    const store = this.#store;
    if (!this.has(page)) return ENCODED.miss;
    return store.codec.encode(store.addressOf(store.slotOf(page)), this.#stagedAt(page), DELTA);
  }

  /** The same, and the cache holds the staged page from now on, if it may (age rule): it is sent in pass `pass`. */
  update(page: number, pass: number): number {
    const store = this.#store;
    const encoded = this.encode(page);
    const slot = store.slotOf(page);
    if (encoded === ENCODED.miss) {
      if (store.pages[slot] !== NOBODY && (store.ages[slot] ?? 0) + LIFETIME > pass) return encoded;
      store.pages[slot] = page;
    }
    store.ages[slot] = pass;
    if (encoded !== ENCODED.equal) {
      const from = this.#stagedAt(page);
      store.bytes.copyWithin(store.addressOf(slot), from, from + PAGE_SIZE);
    }
    return encoded;
  }

  /** Pages that are sent as zero pages: those that are here are zero from now on. */
  zero(first: number, count: number): void {
    const store = this.#store;
    for (let page = first; page < first + count; page++) {
      if (!this.has(page)) continue;
      const at = store.addressOf(store.slotOf(page));
      store.bytes.fill(0, at, at + PAGE_SIZE);
    }
  }

  /** Copies the delta of `length` bytes that the last call made to the VM's memory. */
  copyDelta(to: number, length: number): void {
    this.#guest.set(this.#store.bytes.subarray(DELTA, DELTA + length), to);
  }

  /** Copies a staged page to the VM's memory. */
  copyPage(to: number, page: number): void {
    const from = this.#stagedAt(page);
    this.#guest.set(this.#store.bytes.subarray(from, from + PAGE_SIZE), to);
  }

  #stagedAt(page: number): number {
    const index = page - this.#firstStaged;
    if (index < 0 || index >= this.#staged) throw new GodwitError('internal', `page ${page} is not staged`);
    return STAGING + index * PAGE_SIZE;
  }
}
