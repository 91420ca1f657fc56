/**
 * Puts predecoded instructions into the entries of a page. One that lies across two pages is in none: the second page may
 * be another one by the next time. Nor is one where a breakpoint may stand.
 */
import type { Instruction } from '../isa/instruction.ts';
import { relativeTarget } from '../isa/semantics.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { ENTRY_SIZE, PAGE_SIZE } from '../memory/layout.ts';
import { isStraight } from './action-lowering.ts';
import type { CodeCache } from './code-cache.ts';
import type { DebugPoints } from './debug-points.ts';
import { ENTRY, OPERATIONS, type Predecode, pairWord } from './operations.ts';
import { quickWay } from './system-code.ts';

/** Whether the next instruction follows, as a rule. */
const goesOn = (instruction: Instruction): boolean =>
  isStraight(instruction.action) || quickWay(instruction) !== undefined;

/** By operation: its bytes if it goes on, else 0. */
const STEPS = Uint8Array.from(OPERATIONS, (operation) =>
  operation.kind === 'instruction' && goesOn(operation.instruction) ? operation.length : 0,
);

const MARKS = ENTRY.reached | ENTRY.translated | ENTRY.begins;

export class PagePredecoder {
  readonly #memory: GuestMemory;
  readonly #code: CodeCache;
  readonly #points: DebugPoints;
  /** Of a single word. */
  readonly decode: Predecode;
  readonly #view: DataView;
  /** The shared memory. */
  readonly #words: Int32Array;
  readonly #halfwords: Uint16Array;

  constructor(memory: GuestMemory, code: CodeCache, points: DebugPoints, decode: Predecode) {
    this.#memory = memory;
    this.#code = code;
    this.#points = points;
    this.decode = decode;
    this.#view = new DataView(memory.memory.buffer);
    this.#words = new Int32Array(memory.memory.buffer);
    this.#halfwords = new Uint16Array(memory.memory.buffer);
  }

  /** Predecodes what can be reached from an address without leaving its page, and marks that address as reached. */
  explore(page: number, address: number): void {
    const slot = this.#code.slotAt(page);
    const entryOf = (inPage: number): number => slot + (inPage / 2) * ENTRY_SIZE;
    const waiting = [address];
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      if (
        at < 0 ||
        at >= PAGE_SIZE ||
        this.#view.getUint32(entryOf(at), true) >>> ENTRY.operationShift !== 0
      ) {
        continue;
      }
      const bits = this.bitsAt(page, at);
      if (bits === undefined || this.#points.mayBreakAt(at)) continue;
      this.predecode(entryOf(at), bits);
      const word = this.#view.getUint32(entryOf(at), true);
      const operation = OPERATIONS[word >>> ENTRY.operationShift];
      if (operation?.kind !== 'instruction') continue;
      const { action } = operation.instruction;
      const isRelative =
        action.kind === 'branch' || (action.kind === 'jump' && action.target === relativeTarget);
      if (isRelative) waiting.push(at + this.#view.getInt32(entryOf(at) + 4, true));
      if (action.kind !== 'jump' || (word & ENTRY.rdMask) >> 3 !== ENTRY.sink)
        waiting.push(at + operation.length);
    }
    this.#view.setUint32(
      entryOf(address),
      this.#view.getUint32(entryOf(address), true) | ENTRY.reached,
      true,
    );
  }

  /**
   * Predecodes what follows the instruction at `start`, up to where control may go elsewhere.
   * @param decoded told of each, with its distance from `start` in bytes, and its word.
   */
  predecodeRun(page: number, start: number, decoded?: (distance: number, bits: number) => void): void {
    const slot = this.#code.slotAt(page);
    for (let at = start, joined = false; ; ) {
      const before = wordOf(slot, at);
      const step = STEPS[(this.#words[before] as number) >>> ENTRY.operationShift] as number;
      at += step;
      if (step === 0 || at >= PAGE_SIZE) return;
      if ((this.#words[wordOf(slot, at)] as number) >>> ENTRY.operationShift !== 0) return;
      const bits = this.bitsAt(page, at);
      if (bits === undefined || this.#points.mayBreakAt(at)) return;
      decoded?.(at - start, bits);
      this.predecode(slot + at * (ENTRY_SIZE / 2), bits);
      // The second of a pair is not the first of another: a pair's handler expects it alone.
      joined = !joined && this.#join(before, wordOf(slot, at));
    }
  }

  /** Makes a pair of two entries, by the indices of their words, if there is such a pair. */
  #join(first: number, second: number): boolean {
    const pair = pairWord(this.#words[first] as number, this.#words[second] as number);
    if (pair === undefined) return false;
    this.#words[first] = pair;
    return true;
  }

  /** The word of an instruction; undefined if it ends on the next page. */
  bitsAt(page: number, inPage: number): number | undefined {
    const at = (this.#memory.layout.blocksBase + page * PAGE_SIZE + inPage) >>> 1;
    const low = this.#halfwords[at] as number;
    if ((low & 3) !== 3) return low;
    if (inPage + 4 > PAGE_SIZE) return undefined;
    return (((this.#halfwords[at + 1] as number) << 16) | low) >>> 0;
  }

  /** Predecodes a word into an entry; its marks stay. */
  predecode(entry: number, bits: number): void {
    const { word, immediate } = this.decode(bits);
    const at = entry >>> 2;
    this.#words[at + 1] = immediate;
    this.#words[at] = word | ((this.#words[at] as number) & MARKS);
  }
}

/** Index of an entry's word, in 32-bit words. */
function wordOf(slot: number, inPage: number): number {
  return (slot + inPage * (ENTRY_SIZE / 2)) >>> 2;
}
