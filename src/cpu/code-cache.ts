/**
 * Predecoded code: which page has a slot of entries, and what is forgotten when code changes. A page with a slot carries
 * PAGE_FLAG.code, so that no write TLB entry exists for it and every store to it passes by here or through miss.ts.
 */
import { type Clear, clearOf } from '../memory/clear.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { ENTRY_SIZE, PAGE_FLAG, PAGE_SIZE, SLOT, SLOT_COUNT, SLOT_SIZE } from '../memory/layout.ts';
import type { Tlbs } from '../memory/tlb.ts';
import { END_WORD, ENTRY } from './operations.ts';

const END_OFFSET = (PAGE_SIZE / 2) * ENTRY_SIZE;

export class CodeCache {
  readonly #memory: GuestMemory;
  readonly #tlbs: Tlbs;
  readonly #view: DataView;
  readonly #clear: Clear;
  /** Page index of each slot; -1 if free. */
  readonly #pages = new Int32Array(SLOT_COUNT).fill(-1);
  /** Told of a page whose translation no longer holds, before its entries go. */
  onTranslatedChange: (page: number) => void = () => {};
  /** Told of a page whose slot goes: what was counted there is gone as well. */
  onRelease: (page: number) => void = () => {};
  /** Told of entries that are forgotten, by their first and last halfword: the code there may be another. */
  onForget: (page: number, first: number, last: number) => void = () => {};
  /** How many jumps into a page make it hot. */
  heat = 0;
  /** The slot that is reused next: oldest first. */
  #next = 0;

  constructor(memory: GuestMemory, tlbs: Tlbs) {
    this.#memory = memory;
    this.#tlbs = tlbs;
    this.#view = new DataView(memory.memory.buffer);
    this.#clear = clearOf(memory.memory);
    memory.onCodeWrite = (page, offset, length) => this.forget(page, offset, length);
  }

  /** Byte offset of the page's slot; an empty one is made if it has none. */
  slotOf(page: number): number {
    const { layout } = this.#memory;
    const known = this.slotAt(page);
    if (known !== 0) return known;
    const index = this.#next;
    this.#next = (index + 1) % SLOT_COUNT;
    const evicted = this.#pages[index] ?? -1;
    if (evicted >= 0) {
      this.#release(evicted);
      this.#tlbs.flush('fetch');
    }
    const slot = layout.slots + index * SLOT_SIZE;
    this.#clear(slot, SLOT_SIZE);
    this.#view.setUint32(slot + END_OFFSET, END_WORD, true);
    this.#view.setInt32(slot + SLOT.heat, this.heat, true);
    this.#view.setInt32(slot + SLOT.host, layout.blocksBase + page * PAGE_SIZE, true);
    this.#pages[index] = page;
    this.#view.setInt32(layout.codeSlots + page * 4, slot, true);
    this.#memory.setPageFlag(page, PAGE_FLAG.code, true);
    this.#tlbs.flush('write');
    return slot;
  }

  /** Byte offset of the page's slot; 0 if it has none. */
  slotAt(page: number): number {
    return this.#view.getInt32(this.#memory.layout.codeSlots + page * 4, true);
  }

  /** Keeps the entry of the instruction across a page's end, with its bits. */
  keepStraddle(page: number, bits: number, word: number, immediate: number): void {
    const slot = this.slotAt(page);
    this.#view.setUint32(slot + SLOT.straddle, word, true);
    this.#view.setInt32(slot + SLOT.straddle + 4, immediate, true);
    this.#view.setUint32(slot + SLOT.straddleBits, bits, true);
  }

  /** Forgets, on every page, the entry of the instruction at this offset: a breakpoint may stand there. */
  forgetOffset(offset: number): void {
    for (const page of this.#pages) if (page >= 0) this.forget(page, offset, 2);
  }

  /** Page index of the slot that an entry lies in. */
  pageOfEntry(entry: number): number {
    const index = Math.floor((entry - this.#memory.layout.slots) / SLOT_SIZE);
    return this.#pages[index] ?? -1;
  }

  /** Forgets all code: RAM was replaced as a whole. */
  clear(): void {
    for (const page of this.#pages) if (page >= 0) this.#release(page);
    this.#pages.fill(-1);
    this.#tlbs.flushAll();
  }

  #release(page: number): void {
    this.onTranslatedChange(page);
    this.onRelease(page);
    this.#view.setInt32(this.#memory.layout.codeSlots + page * 4, 0, true);
    this.#memory.setPageFlag(page, PAGE_FLAG.code, false);
  }

  /** Forgets the entries of `length` bytes at `offset`, and of an instruction that began a halfword before. */
  forget(page: number, offset: number, length: number): void {
    const slot = this.slotAt(page);
    if (slot === 0) return;
    const first = Math.max((offset >> 1) - 1, 0);
    const last = (offset + length - 1) >> 1;
    for (let entry = first; entry <= last; entry++) {
      if ((this.#view.getUint8(slot + entry * ENTRY_SIZE) & ENTRY.translated) === 0) continue;
      this.onTranslatedChange(page);
      break;
    }
    this.onForget(page, first, last);
    // What the next page holds of it is compared with that page; but a breakpoint may stand here now.
    if (last === PAGE_SIZE / 2 - 1) this.#view.setInt32(slot + SLOT.straddleBits, 0, true);
    this.#clear(slot + first * ENTRY_SIZE, (last + 1 - first) * ENTRY_SIZE);
  }
}
