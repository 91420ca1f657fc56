/**
 * Finds the code of a region: the instructions of one or a few pages that have been run before, in basic blocks. What
 * has never run is left out: it is mostly error paths, and it may not be code.
 */
import type { Instruction } from '../../isa/instruction.ts';
import { relativeTarget } from '../../isa/semantics.ts';
import { ENTRY_SIZE, PAGE_SIZE } from '../../memory/layout.ts';
import { ENTRY, OPERATIONS } from '../operations.ts';

/** A page of a region. */
export interface RegionPage {
  /** Byte offset of its slot. */
  readonly slot: number;
  /** Its address less that of the base page, in bytes. */
  readonly delta: number;
}

/** A predecoded instruction. */
export interface RegionInstruction {
  readonly instruction: Instruction;
  /** Its address less that of the base page, in bytes. */
  readonly at: number;
  readonly length: 2 | 4;
  readonly rd: number;
  readonly rs1: number;
  readonly rs2: number;
  readonly immediate: number;
}

/** What a block ends with. Addresses are relative to the base page. */
export type BlockEnd =
  /** Goes on at `to`, which begins another block or is no part of the region. */
  | { readonly kind: 'next'; readonly to: number }
  | {
      readonly kind: 'branch';
      readonly instruction: RegionInstruction;
      readonly taken: number;
      readonly to: number;
    }
  /** A jump to a known address. */
  | { readonly kind: 'jump'; readonly instruction: RegionInstruction; readonly to: number }
  | { readonly kind: 'indirect'; readonly instruction: RegionInstruction }
  /** The instruction at `at` is the interpreter's. */
  | { readonly kind: 'interpret'; readonly at: number };

export interface Block {
  readonly at: number;
  /** Those before the end's own. */
  readonly instructions: readonly RegionInstruction[];
  readonly end: BlockEnd;
}

export interface Region {
  readonly pages: readonly RegionPage[];
  /** Blocks that can be reached from the entries. */
  readonly blocks: readonly Block[];
  /** Addresses of the blocks where control may enter. */
  readonly entries: readonly number[];
  /** Instructions. */
  readonly size: number;
}

/** More entries than this, and the rest is left to the interpreter. */
const MAX_ENTRIES = 1000;

/** Finds the region of some pages. */
export function findRegion(view: DataView, pages: readonly RegionPage[]): Region {
  return new RegionFinder(view, pages).find();
}

class RegionFinder {
  readonly #view: DataView;
  readonly #pages: readonly RegionPage[];
  readonly #slots: ReadonlyMap<number, number>;
  /** All decoded instructions, in order; undefined for one that is illegal. */
  readonly #decoded = new Map<number, RegionInstruction | undefined>();
  /** Where blocks begin. */
  readonly #leaders = new Set<number>();
  readonly #entries: number[] = [];

  constructor(view: DataView, pages: readonly RegionPage[]) {
    this.#view = view;
    this.#pages = pages;
    this.#slots = new Map(pages.map(({ slot, delta }) => [delta, slot]));
  }

  find(): Region {
    for (const page of this.#pages) this.#read(page);
    const entries = new Set(this.#entries);
    for (const found of this.#decoded.values()) if (found !== undefined) this.#lead(found, entries);
    for (const entry of entries) this.#leaders.add(entry);
    const chosen = [...entries]
      .filter((at) => {
        const found = this.#decoded.get(at);
        return found !== undefined && !isInterpreted(found);
      })
      .sort((a, b) => a - b)
      .slice(0, MAX_ENTRIES);
    const blocks = new Map<number, Block>();
    const waiting = [...chosen];
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      if (blocks.has(at)) continue;
      const block = this.#block(at);
      blocks.set(at, block);
      for (const next of targets(block.end)) if (this.#decoded.has(next)) waiting.push(next);
    }
    const ordered = [...blocks.values()].sort((a, b) => a.at - b.at);
    const size = ordered.reduce((sum, block) => sum + block.instructions.length + 1, 0);
    return { pages: this.#pages, blocks: ordered, entries: chosen, size };
  }

  #read({ slot, delta }: RegionPage): void {
    const view = this.#view;
    for (let halfword = 0; halfword < PAGE_SIZE / 2; halfword++) {
      const entry = slot + halfword * ENTRY_SIZE;
      const word = view.getUint32(entry, true);
      const operation = OPERATIONS[word >>> ENTRY.operationShift];
      if (operation === undefined || operation.kind === 'undecoded' || operation.kind === 'end') continue;
      const at = delta + 2 * halfword;
      if ((word & ENTRY.reached) !== 0) this.#entries.push(at);
      if (operation.kind === 'illegal') {
        this.#decoded.set(at, undefined);
        continue;
      }
      const rd = (word & ENTRY.rdMask) >> 3;
      this.#decoded.set(at, {
        instruction: operation.instruction,
        at,
        length: operation.length,
        rd: rd === ENTRY.sink ? 0 : rd,
        rs1: (word >>> ENTRY.rs1Shift) & 31,
        rs2: (word >>> ENTRY.rs2Shift) & 31,
        immediate: view.getInt32(entry + 4, true),
      });
    }
  }

  /** Marks where blocks begin because of this instruction; the front of a loop is an entry, too. */
  #lead(found: RegionInstruction, entries: Set<number>): void {
    const { action } = found.instruction;
    const after = found.at + found.length;
    if (action.kind === 'branch' || (action.kind === 'jump' && action.target === relativeTarget)) {
      const to = found.at + found.immediate;
      this.#leaders.add(to).add(after);
      if (to <= found.at && this.#decoded.has(to)) entries.add(to);
    }
    if (action.kind === 'jump' && found.rd !== 0 && this.#decoded.has(after)) entries.add(after);
    if (isInterpreted(found) && this.#decoded.has(after)) entries.add(after);
  }

  #block(at: number): Block {
    const instructions: RegionInstruction[] = [];
    const end = (blockEnd: BlockEnd): Block => ({ at, instructions, end: blockEnd });
    for (let next = at; ; ) {
      if (!this.#decoded.has(next)) return end({ kind: 'next', to: next });
      const found = this.#decoded.get(next);
      if (found === undefined) return end({ kind: 'interpret', at: next });
      const { action } = found.instruction;
      const after = next + found.length;
      if (isInterpreted(found)) return end({ kind: 'interpret', at: next });
      if (action.kind === 'branch') {
        return end({ kind: 'branch', instruction: found, taken: next + found.immediate, to: after });
      }
      if (action.kind === 'jump') {
        if (action.target !== relativeTarget) return end({ kind: 'indirect', instruction: found });
        return end({ kind: 'jump', instruction: found, to: next + found.immediate });
      }
      instructions.push(found);
      next = after;
      if (this.#leaders.has(next) || this.#pageOf(next) !== this.#pageOf(at)) {
        return end({ kind: 'next', to: next });
      }
    }
  }

  #pageOf(at: number): number | undefined {
    return this.#slots.get(Math.floor(at / PAGE_SIZE) * PAGE_SIZE);
  }
}

/** Whether the interpreter has to do it, always. */
function isInterpreted({ instruction: { action } }: RegionInstruction): boolean {
  return action.kind === 'helper' || (action.kind === 'float' && action.fast === undefined);
}

/** The known addresses where a block may lead. */
export function targets(end: BlockEnd): number[] {
  switch (end.kind) {
    case 'next':
    case 'jump':
      return [end.to];
    case 'branch':
      return [end.taken, end.to];
    default:
      return [];
  }
}
