/** Post-copy without a migration: pages of a guest are taken away and come back one by one. */
import type { GuestMemory } from '../../src/memory/guest-memory.ts';
import { PAGE_SIZE } from '../../src/memory/layout.ts';

export class LatePages {
  /** What was asked for, in order. */
  readonly wanted: number[] = [];
  placed = 0;
  readonly #memory: GuestMemory;
  readonly #content = new Map<number, Uint8Array>();
  readonly #received: Int32Array;

  /** Takes away these pages, or all. Where they were is garbage. The TLBs are flushed by whoever has filled them. */
  constructor(memory: GuestMemory, pages?: readonly number[]) {
    const { layout } = memory;
    this.#memory = memory;
    this.#received = new Int32Array(memory.memory.buffer, layout.receivedBitmap, layout.bitmapSize / 4);
    this.#received.fill(-1);
    for (const page of pages ?? Array.from({ length: layout.pages }, (_, i) => i)) {
      const view = this.#view(page);
      this.#content.set(page, view.slice());
      view.fill(0xa5);
      Atomics.and(this.#received, page >>> 5, ~(1 << (page & 31)));
    }
    memory.missing.onWanted = (page) => this.wanted.push(page);
    memory.missing.any = true;
  }

  /** A page arrives: content, then bit. */
  place(page: number): void {
    const content = this.#content.get(page);
    if (content === undefined) throw new Error(`page ${page} is here`);
    this.#content.delete(page);
    this.#view(page).set(content);
    Atomics.or(this.#received, page >>> 5, 1 << (page & 31));
    this.placed++;
  }

  placeAll(): void {
    for (const page of [...this.#content.keys()]) this.place(page);
  }

  #view(page: number): Uint8Array {
    return this.#memory.view(this.#memory.layout.blocksBase + page * PAGE_SIZE, PAGE_SIZE);
  }
}
