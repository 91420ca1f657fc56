/**
 * What the parts of a region's generator share: the locals and labels of the function that is being written, and what
 * actions ask of their frame.
 */
import { HART, TLB, TLB_FIELD } from '../../memory/layout.ts';
import type { Expr } from '../../wasm/expr.ts';
import type { Callable, FunctionBuilder, Label, Local } from '../../wasm/function.ts';
import { STORES, type StoreOp } from '../../wasm/opcodes.ts';
import {
  type ActionFrame,
  lowerAction,
  lowerInexact,
  lowerNearest,
  type StraightAction,
} from '../action-lowering.ts';
import { emitLookup, emitMisses, emitTlbOffset } from '../lookup.ts';
import { ENTRY } from '../operations.ts';
import { NOT_DONE, type QuickWay } from '../system-code.ts';
import type { RegionInstruction } from './block.ts';
import { ARRIVAL, ARRIVAL_BITS } from './landing.ts';
import { RegionRegisters } from './region-registers.ts';
import type { WordsAt } from './word-flow.ts';
import { KnownWords, narrowed } from './words.ts';

/** Functions of the engine that a region calls when an access misses. */
export interface RegionCalls {
  /** (hart, address, bytes) → 1 if the read entry was filled, and the access does not cross its page. */
  readonly read: Callable;
  /** The same for a write entry, with the instruction's pc behind the bytes. */
  readonly write: Callable;
  /** (hart, address, value, bytes, pc of the instruction) → 1 if the store was done. */
  readonly store: Callable;
  /** SystemCode's. */
  readonly sstatus: Callable;
  readonly fence: Callable;
}

export class RegionFrame implements ActionFrame {
  readonly f: FunctionBuilder;
  readonly hart: Local;
  /** The number of the block where control enters, or goes on. */
  readonly state: Local;
  /** Instructions left. */
  readonly left: Local;
  /** Address of the base page. */
  readonly base: Local;
  readonly address: Local;
  readonly registers: RegionRegisters;
  /** Where a jump to a computed address, and the region's end, lead. */
  readonly target: Local;
  /** The entry of a TLB that was looked up, less the offset of the TLB in its set. */
  readonly entry: Local;
  readonly #calls: RegionCalls;
  /** Of pages whose address is also the physical one: host address − guest address; undefined if few are expected. */
  readonly #direct: number | undefined;
  /** Address of what was reached, in the memory that host and guest share. */
  readonly #reached: Local;
  readonly #dataTlbs: Local;
  readonly #fetchTlbs: Local;
  /** Of an end at a known address: that address less the base page's, and how many instructions to give back. */
  readonly #at: Local;
  readonly #back: Local;
  /** An ARRIVAL: how the interpreter goes on. */
  readonly #arrival: Local;
  /** The region's ends, from the outermost one. */
  #leaveTo!: Label;
  #leaveAt!: Label;
  #bail!: Label;
  /** Instructions of the block that have not run yet. */
  notRun = 0;
  #floatIsOn = false;
  readonly #words = new KnownWords();
  /** The current instruction gives a word. */
  #givesWord = false;

  constructor(f: FunctionBuilder, calls: RegionCalls, direct: number | undefined) {
    this.f = f;
    this.#calls = calls;
    this.#direct = direct;
    this.#reached = f.local('i32');
    this.hart = f.param(0);
    this.state = f.param(1);
    this.left = f.param(2);
    this.base = f.param(3);
    this.address = f.local('i64');
    this.#dataTlbs = f.local('i32');
    this.#fetchTlbs = f.local('i32');
    this.entry = f.local('i32');
    this.target = f.local('i64');
    this.#at = f.local('i32');
    this.#back = f.local('i32');
    this.#arrival = f.local('i32');
    this.registers = new RegionRegisters(f);
  }

  /** The instruction that is being written. */
  get current(): RegionInstruction {
    return this.#words.current;
  }

  set current(instruction: RegionInstruction) {
    this.#words.current = instruction;
    this.#givesWord = this.#words.givesWord();
  }

  /** Reads the registers, and opens the blocks that its ends leave. */
  begin(): void {
    const f = this.f;
    this.registers.emitRead(this.hart);
    for (const [local, field] of [
      [this.#dataTlbs, HART.dataTlbs],
      [this.#fetchTlbs, HART.fetchTlbs],
    ] as const) {
      f.get(this.hart);
      f.load('i32.load', field);
      f.set(local);
    }
    this.#leaveTo = f.block();
    this.#leaveAt = f.block();
    this.#bail = f.block();
  }

  /** What the ends come to: registers, pc and count. */
  end(): void {
    const f = this.f;
    f.end(); // bail
    f.get(this.left);
    f.get(this.#back);
    f.op('i32.add');
    f.set(this.left);
    f.i32(ARRIVAL.bail);
    f.set(this.#arrival);
    f.end(); // leaveAt
    f.get(this.base);
    f.get(this.#at);
    f.op('i64.extend_i32_s', 'i64.add');
    f.set(this.target);
    f.end(); // leaveTo
    f.get(this.hart);
    f.get(this.target);
    f.store('i64.store', HART.pc);
    this.registers.emitWriteBack(this.hart);
    f.get(this.left);
    f.i32(ARRIVAL_BITS);
    f.op('i32.shl');
    f.get(this.#arrival);
    f.op('i32.or');
  }

  /**
   * Takes a block's length from the count.
   * @param budget if so many instructions are not left, it is left to the interpreter.
   */
  beginBlock(at: number, length: number, budget: number, words: WordsAt): void {
    const f = this.f;
    if (words.checked !== 0) {
      this.registers.emitCheckWords(words.checked);
      f.ifUnlikely();
      this.bail(at, 0);
      f.end();
    }
    this.registers.emitMergedWords(words.merged | words.checked);
    if (budget > 0) {
      f.get(this.left);
      f.i32(budget);
      f.op('i32.lt_s');
      f.ifUnlikely();
      this.bail(at, 0);
      f.end();
    }
    if (length > 0) {
      f.get(this.left);
      f.i32(length);
      f.op('i32.sub');
      f.set(this.left);
    }
    this.#floatIsOn = false;
    this.#words.registers = words.known;
    this.notRun = length;
  }

  /** Writes the current instruction. */
  straight(action: StraightAction): void {
    lowerAction(this, action);
    this.#words.pass(this.#givesWord);
    this.notRun--;
  }

  /** Writes the current instruction, which has a quick way that its operands allow. */
  quick(way: QuickWay): void {
    const f = this.f;
    const { rs1, rd, at } = this.current;
    f.get(this.hart);
    if (way.kind === 'fence') {
      this.#leaf('rs1');
      this.addressOf(at);
      f.call(this.#calls.fence);
      f.op('i32.eqz');
      this.slowIf();
    } else {
      const old = f.local('i64');
      if (way.immediate) f.i64(rs1);
      else this.#leaf('rs1');
      f.i32(way.set ? 1 : 0);
      f.call(this.#calls.sstatus);
      f.tee(old);
      f.i64(NOT_DONE);
      f.op('i64.eq');
      this.slowIf();
      if (rd !== 0) this.writeX(() => f.get(old));
      f.release(old);
    }
    this.#words.pass(false);
    this.notRun--;
  }

  /** Goes on behind the region at the address that is `at` bytes from the base page. @param arrival an ARRIVAL. */
  leaveAt(at: number, arrival: number): void {
    const f = this.f;
    f.i32(at);
    f.set(this.#at);
    f.i32(arrival);
    f.set(this.#arrival);
    f.br(this.#leaveAt);
  }

  /** Goes on behind the region, at the address in `target`. */
  leaveToTarget(): void {
    this.f.br(this.#leaveTo);
  }

  /** Leaves the instruction at `at` to the interpreter. @param back instructions of the block that have not run. */
  bail(at: number, back: number): void {
    const f = this.f;
    f.i32(at);
    f.set(this.#at);
    f.i32(back);
    f.set(this.#back);
    f.br(this.#bail);
  }

  /** Pushes the address that is `at` bytes from the base page. */
  addressOf(at: number): void {
    const f = this.f;
    f.get(this.base);
    if (at === 0) return;
    f.i64(at);
    f.op('i64.add');
  }

  /** Pushes the address of the fetch entry for `target`, less TLB.fetch; it is in `entry`, too. */
  fetchEntry(): void {
    const f = this.f;
    f.get(this.#fetchTlbs);
    emitTlbOffset(f, this.target);
    f.op('i32.add');
    f.tee(this.entry);
  }

  expr(expr: Expr, bound?: Local): void {
    this.f.expr(narrowed(expr, this.#words), (name) => {
      if ((name === 'memory' || name === 'result') && bound !== undefined) this.f.get(bound);
      else this.#leaf(name);
    });
  }

  #leaf(name: string): void {
    const f = this.f;
    const { rs1, rs2, at, immediate } = this.current;
    const x = (register: number): void => {
      if (register === 0) f.i64(0);
      else f.get(this.registers.x(register));
    };
    switch (name) {
      case 'rs1':
        x(rs1);
        return;
      case 'rs2':
        x(rs2);
        return;
      case 'frs1':
        f.get(this.registers.f(rs1));
        return;
      case 'frs2':
        f.get(this.registers.f(rs2));
        return;
      case 'frs3':
        f.get(this.registers.f((immediate >> ENTRY.frs3Shift) & 31));
        return;
      case 'imm':
        f.i64(immediate);
        return;
      case 'pc':
        this.addressOf(at);
        return;
      case 'inexact':
        lowerInexact(f, this.hart);
        return;
      case 'nearest':
        lowerNearest(f, this.hart, () => f.i32(immediate & 7));
        return;
      default:
        throw new Error(`a region has no operand ${name}`);
    }
  }

  writeX(value: () => void): void {
    const { rd } = this.current;
    value();
    if (rd === 0) this.f.drop();
    else this.registers.emitSetX(rd, this.#givesWord);
  }

  writeF(value: () => void): void {
    value();
    this.f.set(this.registers.f(this.current.rd));
  }

  reach(tlb: number, size: number, aligned: boolean): void {
    this.#lookUp(tlb, size, aligned, () => this.#reachSlowly(tlb, size, aligned));
  }

  #reachSlowly(tlb: number, size: number, aligned: boolean): void {
    const f = this.f;
    if (aligned) {
      f.get(this.address);
      f.i64(size - 1);
      f.op('i64.and', 'i64.eqz', 'i32.eqz');
      this.slowIf();
    }
    f.get(this.hart);
    f.get(this.address);
    f.i32(size);
    if (tlb === TLB.write) this.addressOf(this.current.at);
    f.call(tlb === TLB.read ? this.#calls.read : this.#calls.write);
    f.op('i32.eqz');
    this.slowIf();
  }

  hostAddress(): void {
    this.f.get(this.#reached);
  }

  store(op: StoreOp, value: Expr): void {
    const f = this.f;
    const size = STORES[op][2];
    const done = f.block();
    this.#lookUp(TLB.write, size, false, () => {
      f.get(this.hart);
      f.get(this.address);
      this.expr(value);
      f.i32(size);
      this.addressOf(this.current.at);
      f.call(this.#calls.store);
      f.brIf(done);
      this.slow();
    });
    this.hostAddress();
    this.expr(value);
    f.store(op);
    f.end();
  }

  /**
   * reached ← where `address` is reached. In the way that is expected to be taken, a direct tag alone is read of the entry, to
   * compare it, so the access itself need not wait for the TLB.
   * @param miss written for a miss: it goes elsewhere, or on with a hit.
   */
  #lookUp(tlb: number, size: number, aligned: boolean, miss: () => void): void {
    const f = this.f;
    const { address, entry } = this;
    const match = { address, tlbs: this.#dataTlbs, entry, tlb, size, aligned };
    const direct = this.#direct;
    if (direct !== undefined) {
      f.get(address);
      f.op('i32.wrap_i64');
      f.i32(direct);
      f.op('i32.add');
      f.set(this.#reached);
      emitLookup(f, { ...match, direct: true });
      f.ifUnlikely();
      emitMisses(f, { ...match, direct: false });
    } else {
      emitLookup(f, { ...match, direct: false });
    }
    f.ifUnlikely();
    miss();
    f.end();
    f.get(address);
    f.op('i32.wrap_i64');
    f.get(entry);
    f.load('i32.load', tlb + TLB_FIELD.value);
    f.op('i32.add');
    f.set(this.#reached);
    if (direct !== undefined) f.end();
  }

  slow(): void {
    this.bail(this.current.at, this.notRun);
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
