/**
 * What has run on a page again and again while it waited to be translated. It is looked at after every so many jumps: a
 * look takes note of what has run since the one before, and forgets it, so that it is predecoded again when it runs again.
 * What a single look has found is a message, the end of some start-up code, the way from one loop to the next: it can be
 * as much code as the rest.
 */
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { ENTRY_SIZE, PAGE_SIZE } from '../../memory/layout.ts';
import type { CodeCache } from '../code-cache.ts';
import { ENTRY } from '../operations.ts';
import type { PagePredecoder } from '../page-predecoder.ts';

/** With fewer looks than this, all that has run is kept. */
const ENOUGH_LOOKS = 4;
const HALFWORDS = PAGE_SIZE / 2;

interface Looks {
  count: number;
  /** Of each halfword, how many of them have found an instruction there that had run; 2 stands for more, too. */
  readonly found: Uint8Array;
  /** Of each halfword: 1 if a jump has led there. */
  readonly reached: Uint8Array;
}

export class RepeatedCode {
  readonly #view: DataView;
  readonly #code: CodeCache;
  readonly #predecoder: PagePredecoder;
  readonly #pages = new Map<number, Looks>();

  constructor(memory: GuestMemory, code: CodeCache, predecoder: PagePredecoder) {
    this.#view = new DataView(memory.memory.buffer);
    this.#code = code;
    this.#predecoder = predecoder;
    code.onForget = (page, first, last) => {
      const looks = this.#pages.get(page);
      looks?.found.fill(0, first, last + 1);
      looks?.reached.fill(0, first, last + 1);
    };
  }

  /** Forgets all that has run on a page that is not translated, and looks at it from now on. */
  begin(page: number): void {
    this.#code.forget(page, 0, PAGE_SIZE);
    this.#pages.set(page, {
      count: 0,
      found: new Uint8Array(HALFWORDS),
      reached: new Uint8Array(HALFWORDS),
    });
  }

  /** Looks at a page; nothing happens if it has not begun. */
  look(page: number): void {
    const looks = this.#pages.get(page);
    const slot = this.#code.slotAt(page);
    if (looks === undefined || slot === 0) return;
    looks.count += 1;
    for (let i = 0, entry = slot; i < HALFWORDS; i++, entry += ENTRY_SIZE) {
      const word = this.#view.getUint32(entry, true);
      if (word >>> ENTRY.operationShift === 0) continue;
      looks.found[i] = Math.min((looks.found[i] as number) + 1, 2);
      if ((word & ENTRY.reached) !== 0) looks.reached[i] = 1;
      this.#view.setBigInt64(entry, 0n, true);
    }
  }

  /** Looks a last time, and predecodes what is to be translated. */
  end(page: number): void {
    this.look(page);
    const looks = this.#pages.get(page);
    const slot = this.#code.slotAt(page);
    this.#pages.delete(page);
    if (looks === undefined || slot === 0) return;
    const needed = looks.count < ENOUGH_LOOKS ? 1 : 2;
    for (let i = 0, entry = slot; i < HALFWORDS; i++, entry += ENTRY_SIZE) {
      if ((looks.found[i] as number) < needed) continue;
      const bits = this.#predecoder.bitsAt(page, 2 * i);
      if (bits === undefined) continue;
      this.#predecoder.predecode(entry, bits);
      if (looks.reached[i] === 1) this.#view.setUint8(entry, this.#view.getUint8(entry) | ENTRY.reached);
    }
  }
}
