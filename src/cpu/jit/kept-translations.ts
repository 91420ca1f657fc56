/**
 * Translations that outlive the machine that made them. One is found by what one of its pages holds, and it is used only if
 * all the code that it translates stands in memory now.
 */
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { PAGE_SIZE } from '../../memory/layout.ts';
import type { DebugPoints } from '../debug-points.ts';
import { hashWords } from './page-history.ts';
import { isLong, type Translation } from './translation.ts';

/** Where translations are kept. */
export interface TranslationStore {
  /** Those with a page that had this hash, and that page's distance from the base page in bytes; the largest first. */
  find(hash: number): readonly (readonly [translation: Translation, delta: number])[];
  /** The module of one that it has, compiled as well as can be. */
  compile(translation: Translation): WebAssembly.Module;
  /** Takes one that is new, and its module. */
  keep(translation: Translation, module: WebAssembly.Module): void;
}

/** A translation, and the page that is its base page here. */
export interface Found {
  readonly translation: Translation;
  readonly base: number;
}

export class KeptTranslations {
  readonly #memory: GuestMemory;
  readonly #points: DebugPoints;
  readonly #store: TranslationStore;
  readonly #words: Int32Array;
  readonly #halfwords: Uint16Array;

  constructor(memory: GuestMemory, points: DebugPoints, store: TranslationStore) {
    this.#memory = memory;
    this.#points = points;
    this.#store = store;
    this.#words = new Int32Array(memory.memory.buffer);
    this.#halfwords = new Uint16Array(memory.memory.buffer);
  }

  /** Those that hold for a page and its neighbours as they are now, the largest first. */
  *find(page: number): Iterable<Found> {
    for (const [translation, delta] of this.#store.find(this.hash(page))) {
      const base = page - delta / PAGE_SIZE;
      if (this.#holds(translation, base)) yield { translation, base };
    }
  }

  compile(translation: Translation): WebAssembly.Module {
    return this.#store.compile(translation);
  }

  keep(translation: Translation, module: WebAssembly.Module): void {
    this.#store.keep(translation, module);
  }

  /** By which a page is found. */
  hash(page: number): number {
    const at = this.#offset(page) / 4;
    return hashWords(this.#words, at, at + PAGE_SIZE / 4);
  }

  #holds({ pages, code }: Translation, base: number): boolean {
    const last = this.#memory.layout.pages - 1;
    for (const delta of pages) {
      const page = base + delta / PAGE_SIZE;
      if (page < 0 || page > last) return false;
    }
    const offset = this.#offset(base);
    for (let i = 0; i < code.length; i += 2) {
      const at = code[i] as number;
      const bits = code[i + 1] as number;
      const halfword = (offset + at) / 2;
      if (this.#halfwords[halfword] !== (bits & 0xffff)) return false;
      if (isLong(bits) && this.#halfwords[halfword + 1] !== bits >>> 16) return false;
      if (this.#points.mayBreakAt(at & (PAGE_SIZE - 1))) return false;
    }
    return true;
  }

  #offset(page: number): number {
    return this.#memory.layout.blocksBase + page * PAGE_SIZE;
  }
}
