/**
 * Writes a region as one WebAssembly function. Its registers are locals; they are read at its start, and written back
 * at its one end, where pc and count are exact: behind a jump, or at an instruction that is left to the interpreter.
 *
 *     (hart, state, instructions left, address of the base page) → instructions left << 1 | bailed
 *
 * A block takes its length from the count when it begins. If it can't run to its end, or an instruction in its middle
 * can't be done here, what has not run is given back.
 */
import type { Instruction } from '../../isa/instruction.ts';
import type { Action } from '../../isa/semantics.ts';
import { HART, PAGE_SIZE, SLOT, TLB } from '../../memory/layout.ts';
import type { Expr } from '../../wasm/expr.ts';
import type { Callable, FunctionBuilder, Label, Local } from '../../wasm/function.ts';
import { type LoadOp, STORES, type StoreOp } from '../../wasm/opcodes.ts';
import { type ActionFrame, isStraight, lowerAction } from '../action-lowering.ts';
import { emitLookup, emitTlbOffset } from '../lookup.ts';
import { ENTRY } from '../operations.ts';
import { emitFlow, type Jumps } from './flow.ts';
import { type Block, type BlockEnd, pageOf, type Region, type RegionInstruction, targets } from './region.ts';

import { isWord, type Leaves, narrowed } from './words.ts';

/** Functions of the engine that a region calls when an access misses. */
export interface RegionCalls {
  /** (hart, address, bytes) → 1 if the read entry was filled, and the access does not cross its page. */
  readonly read: Callable;
  /** The same for a write entry. */
  readonly write: Callable;
  /** (hart, address, value, bytes) → 1 if the store was done. */
  readonly store: Callable;
}

/** Loads of what is smaller than a register, but for the unsigned word. */
const WORD_LOADS: ReadonlySet<LoadOp> = new Set([
  'i64.load8_s',
  'i64.load8_u',
  'i64.load16_s',
  'i64.load16_u',
  'i64.load32_s',
]);

/** The node of the graph where control comes in, and where jumps to computed addresses choose. */
const ENTRANCE = 0;

/** @param index the function's index in the table. */
export function emitRegion(f: FunctionBuilder, calls: RegionCalls, region: Region, index: number): void {
  new RegionCode(f, calls, region, index).emit();
}

/** The state by which each entry of a region is entered: its node's number. */
export function regionStates(region: Region): Map<number, number> {
  return new Map(region.entries.map((at, i) => [at, i + 1]));
}

class RegionCode implements ActionFrame {
  readonly f: FunctionBuilder;
  readonly hart: Local;
  readonly address: Local;
  readonly #calls: RegionCalls;
  readonly #region: Region;
  readonly #index: number;
  readonly #slots: ReadonlyMap<number, number>;
  readonly #state: Local;
  readonly #left: Local;
  readonly #base: Local;
  readonly #dataTlbs: Local;
  readonly #fetchTlbs: Local;
  readonly #entry: Local;
  readonly #target: Local;
  /** Of an end at a known address: that address less the base page's, and how many instructions to give back. */
  readonly #at: Local;
  readonly #back: Local;
  readonly #bailed: Local;
  readonly #x: (Local | undefined)[] = [];
  readonly #f: (Local | undefined)[] = [];
  readonly #written = new Set<Local>();
  /** The blocks by node; the entrance has none. */
  readonly #blocks: (Block | undefined)[] = [undefined];
  readonly #nodes = new Map<number, number>();
  #bail!: Label;
  #leaveAt!: Label;
  #leaveTo!: Label;
  /** The instruction that is being written, and how many instructions of its block have not run yet. */
  #current!: RegionInstruction;
  #notRun = 0;
  #floatIsOn = false;
  /** Registers that are known to hold a sign-extended word, in this block. */
  readonly #words = new Set<number>();
  readonly #leaves: Leaves = {
    isWord: (name) => {
      const { rs1, rs2 } = this.#current;
      return (name === 'rs1' && this.#words.has(rs1)) || (name === 'rs2' && this.#words.has(rs2));
    },
    constant: (name) => {
      const { rs1, rs2, immediate } = this.#current;
      if (name === 'imm') return immediate;
      return (name === 'rs1' && rs1 === 0) || (name === 'rs2' && rs2 === 0) ? 0 : undefined;
    },
  };

  constructor(f: FunctionBuilder, calls: RegionCalls, region: Region, index: number) {
    this.f = f;
    this.#calls = calls;
    this.#region = region;
    this.#index = index;
    this.#slots = new Map(region.pages.map(({ slot, delta }) => [delta, slot]));
    this.hart = f.param(0);
    this.#state = f.param(1);
    this.#left = f.param(2);
    this.#base = f.param(3);
    this.address = f.local('i64');
    this.#dataTlbs = f.local('i32');
    this.#fetchTlbs = f.local('i32');
    this.#entry = f.local('i32');
    this.#target = f.local('i64');
    this.#at = f.local('i32');
    this.#back = f.local('i32');
    this.#bailed = f.local('i32');
    const entries = new Set(region.entries);
    const rest = region.blocks.filter(({ at }) => !entries.has(at));
    const byAddress = new Map(region.blocks.map((block) => [block.at, block]));
    for (const block of [...region.entries.map((at) => byAddress.get(at) as Block), ...rest]) {
      this.#nodes.set(block.at, this.#blocks.length);
      this.#blocks.push(block);
    }
  }

  emit(): void {
    const f = this.f;
    this.#emitPrologue();
    this.#leaveTo = f.block();
    this.#leaveAt = f.block();
    this.#bail = f.block();
    emitFlow({
      f,
      successors: this.#blocks.map((block) => this.#successors(block)),
      rank: this.#blocks.map((block) => block?.at ?? Number.NEGATIVE_INFINITY),
      selector: this.#state,
      emit: (node, jumps) => this.#emitNode(this.#blocks[node], jumps),
    });
    f.end();
    f.get(this.#left);
    f.get(this.#back);
    f.op('i32.add');
    f.set(this.#left);
    f.i32(1);
    f.set(this.#bailed);
    f.end();
    f.get(this.#base);
    f.get(this.#at);
    f.op('i64.extend_i32_s', 'i64.add');
    f.set(this.#target);
    f.end();
    this.#emitEpilogue();
  }

  #emitPrologue(): void {
    const f = this.f;
    for (const block of this.#region.blocks) {
      for (const instruction of block.instructions) this.#declare(instruction);
      if ('instruction' in block.end) this.#declare(block.end.instruction);
    }
    const read = (local: Local | undefined, offset: number): void => {
      if (local === undefined) return;
      f.get(this.hart);
      f.load('i64.load', offset);
      f.set(local);
    };
    for (const [i, local] of this.#x.entries()) read(local, HART.x + 8 * i);
    for (const [i, local] of this.#f.entries()) read(local, HART.f + 8 * i);
    for (const [local, field] of [
      [this.#dataTlbs, HART.dataTlbs],
      [this.#fetchTlbs, HART.fetchTlbs],
    ] as const) {
      f.get(this.hart);
      f.load('i32.load', field);
      f.set(local);
    }
  }

  #emitEpilogue(): void {
    const f = this.f;
    f.get(this.hart);
    f.get(this.#target);
    f.store('i64.store', HART.pc);
    const write = (local: Local | undefined, offset: number): void => {
      if (local === undefined || !this.#written.has(local)) return;
      f.get(this.hart);
      f.get(local);
      f.store('i64.store', offset);
    };
    for (const [i, local] of this.#x.entries()) write(local, HART.x + 8 * i);
    for (const [i, local] of this.#f.entries()) write(local, HART.f + 8 * i);
    f.get(this.#left);
    f.i32(1);
    f.op('i32.shl');
    f.get(this.#bailed);
    f.op('i32.or');
  }

  /** Gives the registers that an instruction names locals. */
  #declare({ instruction, rd, rs1, rs2, immediate }: RegionInstruction): void {
    const names = registersOf(instruction);
    const x = (register: number): Local | undefined => this.#local(this.#x, register);
    const f = (register: number): Local => this.#local(this.#f, register);
    if (names.has('rs1') && rs1 !== 0) x(rs1);
    if (names.has('rs2') && rs2 !== 0) x(rs2);
    if (names.has('frs1')) f(rs1);
    if (names.has('frs2')) f(rs2);
    if (names.has('frs3')) f((immediate >> ENTRY.frs3Shift) & 31);
    if (names.has('rd') && rd !== 0) this.#written.add(x(rd) as Local);
    if (names.has('frd')) this.#written.add(f(rd));
  }

  #local(file: (Local | undefined)[], register: number): Local {
    const known = file[register];
    if (known !== undefined) return known;
    const local = this.f.local('i64');
    file[register] = local;
    return local;
  }

  #successors(block: Block | undefined): number[] {
    if (block === undefined) return this.#region.entries.map((at) => this.#nodes.get(at) as number);
    if (block.end.kind === 'indirect') return [ENTRANCE];
    return targets(block.end)
      .map((at) => this.#nodes.get(at))
      .filter((node) => node !== undefined);
  }

  #emitNode(block: Block | undefined, jumps: Jumps): void {
    if (block === undefined) {
      jumps.select(this.#region.entries.map((at) => this.#nodes.get(at) as number));
      return;
    }
    const f = this.f;
    const { at, instructions, end } = block;
    const length = instructions.length + ('instruction' in end ? 1 : 0);
    if (length > 0) {
      f.get(this.#left);
      f.i32(length);
      f.op('i32.sub');
      f.tee(this.#left);
      f.i32(0);
      f.op('i32.lt_s');
      f.ifUnlikely();
      this.#emitBail(at, length);
      f.end();
    }
    this.#floatIsOn = false;
    this.#words.clear();
    this.#notRun = length;
    for (const instruction of instructions) {
      this.#current = instruction;
      if (instruction.straddles) this.#emitPageCheck(pageOf(instruction.at) + PAGE_SIZE, () => this.slow());
      const { action } = instruction.instruction;
      if (!isStraight(action)) throw new Error(`${instruction.instruction.name} ends a block`);
      const givesWord = this.#givesWord(action);
      lowerAction(this, action);
      if (givesWord) this.#words.add(instruction.rd);
      else if (registersOf(instruction.instruction).has('rd')) this.#words.delete(instruction.rd);
      this.#notRun--;
    }
    this.#emitEnd(block, end, jumps);
  }

  #givesWord(action: Action): boolean {
    if (action.kind === 'set') return isWord(action.value, this.#leaves);
    return action.kind === 'load' && action.float !== true && WORD_LOADS.has(action.op);
  }

  #emitEnd({ at }: Block, end: BlockEnd, jumps: Jumps): void {
    const f = this.f;
    const page = pageOf(at);
    if ('instruction' in end) {
      this.#current = end.instruction;
      if (end.instruction.straddles) this.#emitPageCheck(page + PAGE_SIZE, () => this.slow());
    }
    switch (end.kind) {
      case 'next':
        this.#goTo(page, end.to, jumps);
        return;
      case 'interpret':
        this.#emitBail(end.at, 0);
        return;
      case 'branch': {
        const { action } = end.instruction.instruction;
        if (action.kind !== 'branch') throw new Error('no branch');
        this.expr(action.condition);
        const node = this.#nodes.get(end.taken);
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
        this.expr(action.target);
        f.set(this.#target);
        this.#link(end.instruction);
        this.#emitIndirect(jumps);
      }
    }
  }

  #link({ at, length }: RegionInstruction): void {
    this.writeX(() => this.#address(at + length));
  }

  /** Goes to a known address, from one on `page`. Another page must still be the one that was translated. */
  #goTo(page: number, to: number, jumps: Jumps): void {
    const f = this.f;
    const node = this.#nodes.get(to);
    const leave = (): void => {
      f.i32(to);
      f.set(this.#at);
      f.br(this.#leaveAt);
    };
    if (node === undefined) {
      leave();
      return;
    }
    if (pageOf(to) !== page) this.#emitPageCheck(pageOf(to), leave);
    jumps.to(node);
  }

  /** Another page of the region must still be the one that was translated; else `leave`. */
  #emitPageCheck(page: number, leave: () => void): void {
    const f = this.f;
    this.#address(page);
    f.set(this.#target);
    this.#emitFetchEntry();
    f.load('i64.load', TLB.fetch);
    f.get(this.#target);
    f.op('i64.ne');
    f.get(this.#entry);
    f.load('i32.load', TLB.fetch + 8);
    f.i32(this.#slots.get(page) as number);
    f.op('i32.ne', 'i32.or');
    f.ifUnlikely();
    leave();
    f.end();
  }

  /** Goes to the address in `target`; inside the region if it is one of its entries. */
  #emitIndirect(jumps: Jumps): void {
    const f = this.f;
    const [only, ...others] = this.#region.pages;
    const inside = (): void => {
      f.tee(this.#state);
      f.if();
      jumps.to(ENTRANCE);
      f.end();
    };
    const halfword = (): void => {
      f.get(this.#target);
      f.op('i32.wrap_i64');
      f.i32(PAGE_SIZE - 2);
      f.op('i32.and');
    };
    if (only !== undefined && others.length === 0) {
      f.get(this.#target);
      f.get(this.#base);
      f.op('i64.xor');
      f.i64(PAGE_SIZE);
      f.op('i64.lt_u');
      f.if();
      halfword();
      f.load('i32.load16_u', only.slot + SLOT.states);
      inside();
      f.end();
    } else {
      const slot = f.local('i32');
      const page = f.local('i64');
      f.get(this.#target);
      f.i64(-PAGE_SIZE);
      f.op('i64.and');
      f.set(page);
      this.#emitFetchEntry();
      f.load('i64.load', TLB.fetch);
      f.get(page);
      f.op('i64.eq');
      f.if();
      f.get(this.#entry);
      f.load('i32.load', TLB.fetch + 8);
      f.tee(slot);
      f.load('i32.load', SLOT.function);
      f.i32(this.#index);
      f.op('i32.eq');
      f.if();
      f.get(page);
      f.get(slot);
      f.load('i64.load', SLOT.delta);
      f.op('i64.sub');
      f.set(this.#base);
      halfword();
      f.get(slot);
      f.op('i32.add');
      f.load('i32.load16_u', SLOT.states);
      inside();
      f.end();
      f.end();
      f.release(slot, page);
    }
    f.br(this.#leaveTo);
  }

  /** Pushes the address of the fetch entry for `target`, less TLB.fetch. */
  #emitFetchEntry(): void {
    const f = this.f;
    f.get(this.#fetchTlbs);
    emitTlbOffset(f, this.#target);
    f.op('i32.add');
    f.tee(this.#entry);
  }

  /** Leaves the instruction at `at` to the interpreter. @param back instructions of the block that have not run. */
  #emitBail(at: number, back: number): void {
    const f = this.f;
    f.i32(at);
    f.set(this.#at);
    f.i32(back);
    f.set(this.#back);
    f.br(this.#bail);
  }

  /** Pushes the address that is `at` bytes from the base page. */
  #address(at: number): void {
    const f = this.f;
    f.get(this.#base);
    if (at === 0) return;
    f.i64(at);
    f.op('i64.add');
  }

  // What actions ask of their frame:

  expr(expr: Expr, bound?: Local): void {
    this.f.expr(narrowed(expr, this.#leaves), (name) => {
      if ((name === 'memory' || name === 'result') && bound !== undefined) this.f.get(bound);
      else this.#leaf(name);
    });
  }

  #leaf(name: string): void {
    const f = this.f;
    const { rs1, rs2, at, immediate } = this.#current;
    const x = (register: number): void => {
      const local = this.#x[register];
      if (register === 0) f.i64(0);
      else f.get(local as Local);
    };
    switch (name) {
      case 'rs1':
        x(rs1);
        return;
      case 'rs2':
        x(rs2);
        return;
      case 'frs1':
        f.get(this.#f[rs1] as Local);
        return;
      case 'frs2':
        f.get(this.#f[rs2] as Local);
        return;
      case 'imm':
        f.i64(immediate);
        return;
      case 'pc':
        this.#address(at);
        return;
      case 'frs3':
        f.get(this.#f[(immediate >> ENTRY.frs3Shift) & 31] as Local);
        return;
      case 'inexact':
        f.get(this.hart);
        f.load('i32.load', HART.floatNearest);
        f.i32(1);
        f.op('i32.and');
        return;
      case 'nearest':
        f.get(this.hart);
        f.load('i32.load', HART.floatNearest);
        f.i32(immediate & 7);
        f.op('i32.shr_u');
        f.i32(1);
        f.op('i32.and');
        return;
      default:
        throw new Error(`a region has no operand ${name}`);
    }
  }

  writeX(value: () => void): void {
    const { rd } = this.#current;
    value();
    if (rd === 0) this.f.drop();
    else this.f.set(this.#x[rd] as Local);
  }

  writeF(value: () => void): void {
    value();
    this.f.set(this.#f[this.#current.rd] as Local);
  }

  reach(tlb: number, size: number, aligned: boolean): void {
    const f = this.f;
    this.#emitLookup(tlb, size, aligned);
    f.ifUnlikely();
    if (aligned) {
      f.get(this.address);
      f.i64(size - 1);
      f.op('i64.and', 'i64.eqz', 'i32.eqz');
      this.slowIf();
    }
    f.get(this.hart);
    f.get(this.address);
    f.i32(size);
    f.call(tlb === TLB.read ? this.#calls.read : this.#calls.write);
    f.op('i32.eqz');
    this.slowIf();
    f.end();
  }

  hostAddress(tlb: number): void {
    const f = this.f;
    f.get(this.address);
    f.op('i32.wrap_i64');
    f.get(this.#entry);
    f.load('i32.load', tlb + 8);
    f.op('i32.add');
  }

  store(op: StoreOp, value: Expr): void {
    const f = this.f;
    const size = STORES[op][2];
    const done = f.block();
    this.#emitLookup(TLB.write, size, false);
    f.ifUnlikely();
    f.get(this.hart);
    f.get(this.address);
    this.expr(value);
    f.i32(size);
    f.call(this.#calls.store);
    f.brIf(done);
    this.slow();
    f.end();
    this.hostAddress(TLB.write);
    this.expr(value);
    f.store(op);
    f.end();
  }

  #emitLookup(tlb: number, size: number, aligned: boolean): void {
    const { address } = this;
    emitLookup(this.f, { address, tlbs: this.#dataTlbs, entry: this.#entry, tlb, size, aligned });
  }

  slow(): void {
    this.#emitBail(this.#current.at, this.#notRun);
  }

  slowIf(): void {
    this.f.ifUnlikely();
    this.slow();
    this.f.end();
  }

  /** Nothing in a block switches it off. */
  requireFloat(): void {
    if (this.#floatIsOn) return;
    const f = this.f;
    f.get(this.hart);
    f.load('i32.load', HART.floatOn);
    f.op('i32.eqz');
    this.slowIf();
    this.#floatIsOn = true;
  }
}

const registers = new Map<Instruction, ReadonlySet<string>>();

/** The names of an instruction's operands. */
function registersOf(instruction: Instruction): ReadonlySet<string> {
  const known = registers.get(instruction);
  if (known !== undefined) return known;
  const names = new Set<string>(instruction.encoding.fields.map(({ operand }) => operand));
  registers.set(instruction, names);
  return names;
}
