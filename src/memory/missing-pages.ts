/**
 * Post-copy: the guest runs here while pages of it are still on their way. One bit of shared memory per page says which
 * have arrived; whoever places a page sets it, behind the page's content, and it stays set. Who needs a page that is
 * missing asks for it here, once, and goes on when it has come. While no page is missing, all of this is one look at a
 * word of the control block.
 */
import { CONTROL, type Layout, PAGE_SHIFT } from './layout.ts';

/** Thrown where a device reaches for a page that is not here; nothing has been read or written then. */
export class MissingPage extends Error {
  /** Page index. */
  readonly page: number;

  constructor(page: number) {
    super(`page ${page} has not arrived yet`);
    this.page = page;
  }
}

interface Waiter {
  readonly page: number;
  readonly resume: () => void;
}

export class MissingPages {
  /** Told of a page that is needed, once. */
  onWanted: (page: number) => void = () => {};
  readonly #control: Int32Array;
  readonly #received: Int32Array;
  readonly #blocksBase: number;
  /** By whom it is that waits; a page may have several. */
  readonly #waiters = new Map<object, Waiter>();
  readonly #asked = new Set<number>();

  constructor(memory: WebAssembly.Memory, layout: Layout) {
    this.#control = new Int32Array(memory.buffer, layout.control, CONTROL.hotSlots / 4);
    this.#received = new Int32Array(memory.buffer, layout.receivedBitmap, layout.bitmapSize / 4);
    this.#blocksBase = layout.blocksBase;
  }

  /** Whether pages may be missing. */
  get any(): boolean {
    return this.#control[CONTROL.missing / 4] !== 0;
  }

  /** From now on pages without a bit are missing. Whoever sets this sees to it that no TLB holds one. */
  set any(on: boolean) {
    Atomics.store(this.#control, CONTROL.missing / 4, on ? 1 : 0);
  }

  /** Whether a page, by its index, is missing. */
  isMissing(page: number): boolean {
    return this.any && ((Atomics.load(this.#received, page >>> 5) >>> (page & 31)) & 1) === 0;
  }

  /** Asks for a page. */
  want(page: number): void {
    // Before anybody looks at the bit again: who sets it looks at this word then.
    Atomics.store(this.#control, CONTROL.wanting / 4, 1);
    if (this.#asked.has(page)) return;
    this.#asked.add(page);
    this.onWanted(page);
  }

  /** Pages that were asked for and have not come. */
  get wanted(): readonly number[] {
    return [...this.#asked].filter((page) => this.isMissing(page));
  }

  /**
   * Checks that `length` bytes at byte offset `at` of the shared memory are here; asks for all that are not.
   * @throws MissingPage for the first that is not.
   */
  require(at: number, length: number): void {
    if (!this.any || length === 0) return;
    let missing: number | undefined;
    const last = (at + length - 1 - this.#blocksBase) >>> PAGE_SHIFT;
    for (let page = (at - this.#blocksBase) >>> PAGE_SHIFT; page <= last; page++) {
      if (!this.isMissing(page)) continue;
      this.want(page);
      missing ??= page;
    }
    if (missing !== undefined) throw new MissingPage(missing);
  }

  /** @throws MissingPage if this page, by its index, is not here; it has been asked for then. */
  requirePage(page: number): void {
    if (!this.isMissing(page)) return;
    this.want(page);
    throw new MissingPage(page);
  }

  /**
   * Does `step` now, or, as often as it throws MissingPage, again from its start when that page has come. While one of an
   * owner waits, no other is taken.
   */
  attempt(owner: object, step: () => void): void {
    if (this.#waiters.has(owner)) return;
    try {
      step();
    } catch (error) {
      if (!(error instanceof MissingPage)) throw error;
      this.#waiters.set(owner, { page: error.page, resume: () => this.attempt(owner, step) });
    }
  }

  /** Whether anything waits for a page, of what came here with `attempt`. */
  get waiting(): boolean {
    return this.#waiters.size > 0;
  }

  /** Lets go on whatever waited for pages that have come. */
  deliver(): void {
    for (const page of this.#asked) if (!this.isMissing(page)) this.#asked.delete(page);
    if (this.#asked.size === 0) this.#rest();
    for (const [owner, { page, resume }] of [...this.#waiters]) {
      if (this.isMissing(page)) continue;
      this.#waiters.delete(owner);
      resume();
    }
  }

  /** Nobody waits: who places a page need not tell. */
  #rest(): void {
    Atomics.store(this.#control, CONTROL.wanting / 4, 0);
  }
}
