/**
 * Writes a region as one WebAssembly function. Its registers are locals; they are read at its start, and written back
 * at its one end, where pc and count are exact: behind a jump, or at an instruction that is left to the interpreter.
 *
 *     (hart, state, instructions left, address of the base page) → instructions left << ARRIVAL_BITS | ARRIVAL
 *
 * A block takes its length from the count when it begins. If an instruction in its middle can't be done here, what has not
 * run is given back.
 */
import { PAGE_SIZE, SLOT, TLB } from '../../memory/layout.ts';
import type { FunctionBuilder, Global } from '../../wasm/function.ts';
import { isStraight } from '../action-lowering.ts';
import { quickWay } from '../system-code.ts';
import { type Block, type BlockEnd, lengthOf, pageOf, type RegionInstruction } from './block.ts';
import { budgets } from './budget.ts';
import { emitFlow, type Jumps } from './flow.ts';
import { ARRIVAL } from './landing.ts';
import type { Region } from './region.ts';
import { type RegionCalls, RegionFrame } from './region-frame.ts';
import { ENTRANCE, RegionGraph } from './region-graph.ts';
import { type WordsAt, wordFlow } from './word-flow.ts';

/** What is known of a region only where it is used. */
export interface RegionLinks {
  /** Byte offsets of its pages' slots, in the order of its pages. */
  readonly slots: readonly Global[];
  /** The function's index in the table. */
  readonly index: Global;
}

/**
 * @param direct if most pages of data are expected at their physical addresses: host address − guest address of those.
 */
export function emitRegion(
  f: FunctionBuilder,
  calls: RegionCalls,
  region: Region,
  links: RegionLinks,
  direct: number | undefined,
): void {
  new RegionCode(f, calls, region, links, direct).emit();
}

class RegionCode {
  readonly #f: FunctionBuilder;
  readonly #frame: RegionFrame;
  readonly #region: Region;
  readonly #index: Global;
  /** By the page's distance from the base page. */
  readonly #slots: ReadonlyMap<number, Global>;
  readonly #graph: RegionGraph;
  readonly #budgets: readonly number[];
  readonly #words: readonly WordsAt[];
  /** The node that is being written. */
  #node = ENTRANCE;

  constructor(
    f: FunctionBuilder,
    calls: RegionCalls,
    region: Region,
    links: RegionLinks,
    direct: number | undefined,
  ) {
    this.#f = f;
    this.#frame = new RegionFrame(f, calls, direct);
    this.#region = region;
    this.#index = links.index;
    this.#slots = new Map(region.pages.map(({ delta }, i) => [delta, links.slots[i] as Global]));
    this.#graph = new RegionGraph(region);
    this.#budgets = budgets(this.#graph);
    this.#words = wordFlow(this.#graph);
  }

  emit(): void {
    const { registers } = this.#frame;
    for (const block of this.#region.blocks) {
      for (const instruction of block.instructions) registers.declare(instruction);
      if ('instruction' in block.end) registers.declare(block.end.instruction);
    }
    registers.declareWords(this.#words.reduce((all, { merged, checked }) => all | merged | checked, 0));
    this.#frame.begin();
    emitFlow({
      f: this.#f,
      successors: this.#graph.successors,
      rank: this.#graph.rank,
      selector: this.#frame.state,
      emit: (node, jumps) => this.#emitNode(node, jumps),
    });
    this.#frame.end();
  }

  #emitNode(node: number, jumps: Jumps): void {
    const block = this.#graph.blocks[node];
    if (block === undefined) {
      jumps.select(this.#graph.entries);
      return;
    }
    this.#node = node;
    const frame = this.#frame;
    const { at, instructions, end } = block;
    frame.beginBlock(at, lengthOf(block), this.#budgets[node] as number, this.#words[node] as WordsAt);
    for (const instruction of instructions) {
      this.#begin(instruction);
      const { action } = instruction.instruction;
      const way = quickWay(instruction.instruction);
      if (way !== undefined) frame.quick(way);
      else if (isStraight(action)) frame.straight(action);
      else throw new Error(`${instruction.instruction.name} ends a block`);
    }
    this.#emitEnd(block, end, jumps);
  }

  #begin(instruction: RegionInstruction): void {
    const frame = this.#frame;
    frame.current = instruction;
    if (instruction.straddles) this.#emitPageCheck(pageOf(instruction.at) + PAGE_SIZE, () => frame.slow());
  }

  #emitEnd({ at }: Block, end: BlockEnd, jumps: Jumps): void {
    const f = this.#f;
    const page = pageOf(at);
    if ('instruction' in end) this.#begin(end.instruction);
    switch (end.kind) {
      case 'next':
        this.#goTo(page, end.to, jumps);
        return;
      case 'interpret':
        this.#frame.bail(end.at, 0);
        return;
      case 'branch': {
        const { action } = end.instruction.instruction;
        if (action.kind !== 'branch') throw new Error('no branch');
        this.#frame.expr(action.condition);
        const node = this.#graph.nodeAt(this.#node, end.taken);
        if (node !== undefined && pageOf(end.taken) === page) {
          jumps.toIf(node);
        } else {
          f.if();
          this.#goTo(page, end.taken, jumps);
          f.end();
        }
        this.#goTo(page, end.to, jumps);
        return;
      }
      case 'jump':
        this.#link(end.instruction);
        this.#goTo(page, end.to, jumps);
        return;
      case 'indirect': {
        const { action } = end.instruction.instruction;
        if (action.kind !== 'jump') throw new Error('no jump');
        this.#frame.expr(action.target);
        f.set(this.#frame.target);
        this.#link(end.instruction);
        this.#emitIndirect(jumps);
      }
    }
  }

  #link({ at, length }: RegionInstruction): void {
    this.#frame.writeX(() => this.#frame.addressOf(at + length));
  }

  /** Goes to a known address, from one on `page`. Another page must still be the one that was translated. */
  #goTo(page: number, to: number, jumps: Jumps): void {
    const node = this.#graph.nodeAt(this.#node, to);
    // A page of the region that is another one now, or none of the region: a region should begin where this leads.
    const leave = (arrival: number): void => this.#frame.leaveAt(to, arrival);
    if (node === undefined) {
      leave(this.#slots.has(pageOf(to)) ? ARRIVAL.unmarked : ARRIVAL.jump);
      return;
    }
    if (pageOf(to) !== page) this.#emitPageCheck(pageOf(to), () => leave(ARRIVAL.jump));
    jumps.to(node);
  }

  /** Another page of the region must still be the one that was translated; else `leave`. */
  #emitPageCheck(page: number, leave: () => void): void {
    const f = this.#f;
    this.#frame.addressOf(page);
    f.set(this.#frame.target);
    this.#frame.fetchEntry();
    f.load('i64.load', TLB.fetch);
    f.get(this.#frame.target);
    f.op('i64.ne');
    f.get(this.#frame.entry);
    f.load('i32.load', TLB.fetch + 8);
    f.global(this.#slots.get(page) as Global);
    f.op('i32.ne', 'i32.or');
    f.ifUnlikely();
    leave();
    f.end();
  }

  /** Goes to the address in `target`; inside the region if it is one of its entries. */
  #emitIndirect(jumps: Jumps): void {
    const f = this.#f;
    const [only, ...others] = this.#slots.values();
    const inside = (): void => {
      f.tee(this.#frame.state);
      f.if();
      jumps.to(ENTRANCE);
      f.end();
    };
    const halfword = (): void => {
      f.get(this.#frame.target);
      f.op('i32.wrap_i64');
      f.i32(PAGE_SIZE - 2);
      f.op('i32.and');
    };
    if (only !== undefined && others.length === 0) {
      f.get(this.#frame.target);
      f.get(this.#frame.base);
      f.op('i64.xor');
      f.i64(PAGE_SIZE);
      f.op('i64.lt_u');
      f.if();
      halfword();
      f.global(only);
      f.op('i32.add');
      f.load('i32.load16_u', SLOT.states);
      inside();
      f.end();
    } else {
      const slot = f.local('i32');
      const page = f.local('i64');
      f.get(this.#frame.target);
      f.i64(-PAGE_SIZE);
      f.op('i64.and');
      f.set(page);
      this.#frame.fetchEntry();
      f.load('i64.load', TLB.fetch);
      f.get(page);
      f.op('i64.eq');
      f.if();
      f.get(this.#frame.entry);
      f.load('i32.load', TLB.fetch + 8);
      f.tee(slot);
      f.load('i32.load', SLOT.function);
      f.global(this.#index);
      f.op('i32.eq');
      f.if();
      f.get(page);
      f.get(slot);
      f.load('i64.load', SLOT.delta);
      f.op('i64.sub');
      f.set(this.#frame.base);
      halfword();
      f.get(slot);
      f.op('i32.add');
      f.load('i32.load16_u', SLOT.states);
      inside();
      f.end();
      f.end();
      f.release(slot, page);
    }
    this.#frame.leaveToTarget();
  }
}
