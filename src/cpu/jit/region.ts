/**
 * Finds the code of a region: the instructions of one or a few pages that have been run before, in basic blocks. What
 * has never run is left out: it is mostly error paths, and it may not be code.
 */
import { relativeTarget } from '../../isa/semantics.ts';
import { ENTRY_SIZE, PAGE_SIZE } from '../../memory/layout.ts';
import { ENTRY, type Entry, OPERATIONS, type Predecode } from '../operations.ts';
import { quickOperands, quickWay } from '../system-code.ts';
import { type Block, type BlockEnd, pageOf, type RegionInstruction, targets } from './block.ts';
import { loopEntries } from './loop-entries.ts';

/** A page of a region. */
export interface RegionPage {
  /** Byte offset of its slot. */
  readonly slot: number;
  /** Its address less that of the base page, in bytes. */
  readonly delta: number;
  /** Byte offset of its contents. */
  readonly host: number;
  /** Whether the instruction across its end may be translated: a breakpoint may stand there. */
  readonly mayStraddle: boolean;
}

export interface Region {
  readonly pages: readonly RegionPage[];
  /** Blocks that can be reached from the entries. */
  readonly blocks: readonly Block[];
  /** Addresses of the blocks where control may enter. */
  readonly entries: readonly number[];
  /** Those of them that are entries only so that control can come back into a loop. */
  readonly resumptions: ReadonlySet<number>;
  /** Addresses that jumps of the interpreter have led to. */
  readonly reached: readonly number[];
  /** Instructions. */
  readonly size: number;
}

/** More entries than this, and the rest is left to the interpreter. */
const MAX_ENTRIES = 1000;

/** Finds the region of some pages. */
export function findRegion(view: DataView, predecode: Predecode, pages: readonly RegionPage[]): Region {
  return new RegionFinder(view, predecode, pages).find();
}

/** What is known of a page before it is translated. */
export interface Survey {
  /** Instructions. */
  readonly size: number;
  /** Distances, in bytes, to the pages that jumps to known addresses lead to. */
  readonly neighbours: ReadonlySet<number>;
}

export function survey(view: DataView, page: RegionPage): Survey {
  const neighbours = new Set<number>();
  let size = 0;
  const add = (to: number): void => {
    const away = pageOf(to);
    if (away !== 0) neighbours.add(away);
  };
  for (let halfword = 0; halfword < PAGE_SIZE / 2; halfword++) {
    const entry = page.slot + halfword * ENTRY_SIZE;
    const operation = OPERATIONS[view.getUint32(entry, true) >>> ENTRY.operationShift];
    if (operation?.kind !== 'instruction') continue;
    size += 1;
    const { action } = operation.instruction;
    if (action.kind === 'branch' || (action.kind === 'jump' && action.target === relativeTarget)) {
      add(2 * halfword + view.getInt32(entry + 4, true));
    } else if (action.kind !== 'jump' && 2 * halfword + operation.length >= PAGE_SIZE - 2) {
      // Whether it ends the page, or an instruction across two pages follows.
      add(PAGE_SIZE);
    }
  }
  return { size, neighbours };
}

class RegionFinder {
  readonly #view: DataView;
  readonly #pages: readonly RegionPage[];
  readonly #predecode: Predecode;
  /** All decoded instructions, in order; undefined for one that is illegal. */
  readonly #decoded = new Map<number, RegionInstruction | undefined>();
  /** Where blocks begin. */
  readonly #leaders = new Set<number>();
  readonly #reached: number[] = [];

  constructor(view: DataView, predecode: Predecode, pages: readonly RegionPage[]) {
    this.#view = view;
    this.#predecode = predecode;
    this.#pages = pages;
  }

  find(): Region {
    const byDelta = new Map(this.#pages.map((page) => [page.delta, page]));
    for (const page of this.#pages) {
      this.#read(page);
      const next = byDelta.get(page.delta + PAGE_SIZE);
      if (next !== undefined && page.mayStraddle) this.#readStraddling(page, next);
    }
    const entries = new Set(this.#reached);
    for (const found of this.#decoded.values()) if (found !== undefined) this.#lead(found, entries);
    for (const entry of entries) this.#leaders.add(entry);
    const landings = new Set([...entries].filter((at) => this.#mayEnter(at)));
    const resumptions = new Set(loopEntries(this.#blocks(this.#leaders), landings));
    const chosen = [...landings, ...resumptions].sort((a, b) => a - b).slice(0, MAX_ENTRIES);
    const blocks = this.#blocks(chosen);
    const size = blocks.reduce((sum, block) => sum + block.instructions.length + 1, 0);
    return { pages: this.#pages, blocks, entries: chosen, resumptions, reached: this.#reached, size };
  }

  #mayEnter(at: number): boolean {
    const found = this.#decoded.get(at);
    return found !== undefined && !isInterpreted(found);
  }

  /** The blocks that can be reached from some addresses, in order. */
  #blocks(from: Iterable<number>): Block[] {
    const blocks = new Map<number, Block>();
    const waiting = [...from].filter((at) => this.#decoded.has(at));
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      if (blocks.has(at)) continue;
      const block = this.#block(at);
      blocks.set(at, block);
      for (const next of targets(block.end)) if (this.#decoded.has(next)) waiting.push(next);
    }
    return [...blocks.values()].sort((a, b) => a.at - b.at);
  }

  #read({ slot, delta }: RegionPage): void {
    const view = this.#view;
    for (let halfword = 0; halfword < PAGE_SIZE / 2; halfword++) {
      const entry = slot + halfword * ENTRY_SIZE;
      const word = view.getUint32(entry, true);
      const operation = OPERATIONS[word >>> ENTRY.operationShift];
      if (operation === undefined || operation.kind === 'undecoded' || operation.kind === 'end') continue;
      const at = delta + 2 * halfword;
      if ((word & ENTRY.reached) !== 0) this.#reached.push(at);
      this.#add(at, { word, immediate: view.getInt32(entry + 4, true) });
    }
  }

  /** The instruction that lies across two pages, if there is one: it is never kept in its predecoded form. */
  #readStraddling(page: RegionPage, next: RegionPage): void {
    const at = page.delta + PAGE_SIZE - 2;
    const low = this.#view.getUint16(page.host + PAGE_SIZE - 2, true);
    if ((low & 3) !== 3) return;
    this.#add(at, this.#predecode((this.#view.getUint16(next.host, true) << 16) | low));
  }

  #add(at: number, { word, immediate }: Entry): void {
    const operation = OPERATIONS[word >>> ENTRY.operationShift];
    if (operation?.kind !== 'instruction') {
      this.#decoded.set(at, undefined);
      return;
    }
    const { instruction, length } = operation;
    const rd = (word & ENTRY.rdMask) >> 3;
    this.#decoded.set(at, {
      instruction,
      at,
      length,
      straddles: pageOf(at) !== pageOf(at + length - 2),
      rd: rd === ENTRY.sink ? 0 : rd,
      rs1: (word >>> ENTRY.rs1Shift) & 31,
      rs2: (word >>> ENTRY.rs2Shift) & 31,
      immediate,
    });
  }

  /** Marks where blocks begin because of this instruction. */
  #lead(found: RegionInstruction, entries: Set<number>): void {
    const { action } = found.instruction;
    const after = found.at + found.length;
    if (action.kind === 'branch' || (action.kind === 'jump' && action.target === relativeTarget)) {
      this.#leaders.add(found.at + found.immediate).add(after);
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
      if (this.#leaders.has(next) || pageOf(next) !== pageOf(at)) {
        return end({ kind: 'next', to: next });
      }
    }
  }
}

/** Whether the interpreter has to do it, always. */
function isInterpreted(found: RegionInstruction): boolean {
  const { action } = found.instruction;
  if (action.kind === 'helper') {
    const way = quickWay(found.instruction);
    return way === undefined || !quickOperands(way, found);
  }
  return action.kind === 'float' && action.fast === undefined;
}
