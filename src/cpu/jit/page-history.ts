/**
 * How often each page has been translated: to try again costs more each time. A page that holds other code than then,
 * because the guest has used it for something else, begins anew.
 */
import type { GuestMemory } from '../../memory/guest-memory.ts';
import { PAGE_SIZE } from '../../memory/layout.ts';

/** A page is looked at in so many pieces; if more than half of them are others, so is the page. */
const PIECES = 16;
const PIECE_WORDS = PAGE_SIZE / 4 / PIECES;

interface Entry {
  times: number;
  /** A hash of each piece. */
  readonly pieces: Int32Array;
}

export class PageHistory {
  readonly #words: Int32Array;
  readonly #firstWord: number;
  readonly #entries = new Map<number, Entry>();

  constructor({ memory, layout }: GuestMemory) {
    this.#words = new Int32Array(memory.buffer);
    this.#firstWord = layout.blocksBase / 4;
  }

  /** How often the page has been translated with the code that it holds. */
  times(page: number): number {
    const entry = this.#entries.get(page);
    if (entry === undefined) return 0;
    const now = this.#hash(page);
    const changed = now.filter((hash, i) => hash !== entry.pieces[i]).length;
    if (changed <= PIECES / 2) return entry.times;
    this.#entries.delete(page);
    return 0;
  }

  /** Counts a translation. @returns how many there have been. */
  count(page: number): number {
    const times = this.times(page) + 1;
    this.#entries.set(page, { times, pieces: this.#hash(page) });
    return times;
  }

  #hash(page: number): Int32Array {
    const pieces = new Int32Array(PIECES);
    let at = this.#firstWord + page * (PAGE_SIZE / 4);
    for (let piece = 0; piece < PIECES; piece++, at += PIECE_WORDS) {
      pieces[piece] = hashWords(this.#words, at, at + PIECE_WORDS);
    }
    return pieces;
  }
}

/** A hash of words: FNV-1a, a word at a time. */
export function hashWords(words: Int32Array, from: number, to: number): number {
  let hash = 0;
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ (words[at] as number), 0x01000193);
  return hash;
}
