/**
 * A translation in use: where the interpreter enters it, and what is marked as translated, in the slots of its pages.
 */
import { clearOf } from '../../memory/clear.ts';
import { ENTRY_SIZE, PAGE_SIZE, SLOT } from '../../memory/layout.ts';
import { ENTRY } from '../operations.ts';
import type { PagePredecoder } from '../page-predecoder.ts';
import { straddles, type Translation } from './translation.ts';

export class LiveRegion {
  readonly translation: Translation;
  /** Byte offsets of its pages' slots, in their order. */
  readonly slots: readonly number[];
  /** The function's place in the table. */
  readonly index: number;
  readonly #memory: WebAssembly.Memory;
  readonly #view: DataView;
  readonly #slotOf: ReadonlyMap<number, number>;

  constructor(memory: WebAssembly.Memory, translation: Translation, slots: readonly number[], index: number) {
    this.#memory = memory;
    this.#view = new DataView(memory.buffer);
    this.translation = translation;
    this.slots = slots;
    this.index = index;
    this.#slotOf = new Map(translation.pages.map((delta, i) => [delta, slots[i] as number]));
  }

  /** From now on jumps to its entries lead into it, and stores to its code are noticed. */
  mark(): void {
    const view = this.#view;
    const { pages, entries } = this.translation;
    for (const [i, slot] of this.slots.entries()) {
      view.setInt32(slot + SLOT.function, this.index, true);
      view.setBigInt64(slot + SLOT.delta, BigInt(pages[i] as number), true);
    }
    for (const [i, at] of entries.entries()) {
      const [slot, inPage] = this.#place(at);
      view.setUint16(slot + SLOT.states + inPage, i + 1, true);
      this.#mark(at, ENTRY.begins);
    }
    this.#eachInstruction((at, bits) => {
      this.#mark(at, ENTRY.translated);
      if (straddles(at, bits)) this.#mark(at + 2, ENTRY.translated);
    });
  }

  unmark(): void {
    for (const slot of this.slots) {
      clearOf(this.#memory)(slot + SLOT.states, PAGE_SIZE);
      for (let entry = slot; entry < slot + (PAGE_SIZE / 2) * ENTRY_SIZE; entry += ENTRY_SIZE) {
        this.#view.setUint8(entry, this.#view.getUint8(entry) & ~(ENTRY.translated | ENTRY.begins));
      }
    }
  }

  /** Predecodes its code, as if it had run: that of a translation that was kept may never have. */
  predecode(predecoder: PagePredecoder): void {
    this.#eachInstruction((at, bits) => {
      const entry = this.#entry(at);
      const isPredecoded = this.#view.getUint32(entry, true) >>> ENTRY.operationShift !== 0;
      if (!isPredecoded && !straddles(at, bits)) predecoder.predecode(entry, bits);
    });
    for (const at of this.translation.reached) this.#mark(at, ENTRY.reached);
  }

  #eachInstruction(visit: (at: number, bits: number) => void): void {
    const { code } = this.translation;
    for (let i = 0; i < code.length; i += 2) visit(code[i] as number, code[i + 1] as number);
  }

  #mark(at: number, bit: number): void {
    const entry = this.#entry(at);
    this.#view.setUint8(entry, this.#view.getUint8(entry) | bit);
  }

  #entry(at: number): number {
    const [slot, inPage] = this.#place(at);
    return slot + (inPage / 2) * ENTRY_SIZE;
  }

  #place(at: number): [slot: number, inPage: number] {
    const inPage = at & (PAGE_SIZE - 1);
    return [this.#slotOf.get(at - inPage) as number, inPage];
  }
}
