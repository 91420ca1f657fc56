/**
 * What the parts of the interpreter's generator share: the locals and labels of the function that is being written, and
 * the pieces of code that every handler is made of.
 */
import { HART, TLB } from '../memory/layout.ts';
import type { Expr } from '../wasm/expr.ts';
import type { FunctionBuilder, Label, Local } from '../wasm/function.ts';
import { STORES, type StoreOp } from '../wasm/opcodes.ts';
import { type ActionFrame, lowerInexact, lowerNearest } from './action-lowering.ts';
import { emitCrosses, emitLookup } from './lookup.ts';
import { ENTRY } from './operations.ts';

export class InterpreterFrame implements ActionFrame {
  readonly f: FunctionBuilder;
  readonly hart: Local;
  /** Instructions left. */
  readonly left: Local;
  /** The sets of TLBs for loads and stores, and for fetches. */
  readonly dataTlbs: Local;
  readonly fetchTlbs: Local;
  /** Address of the current entry. */
  readonly entry: Local;
  /** Its first word. */
  readonly word: Local;
  /** Address of the first entry of the page, and the guest address that it stands for. */
  readonly slotBase: Local;
  readonly slotPc: Local;
  /** As slotBase, but far away in the straddle slot, where no branch may stay inside. */
  readonly pageBase: Local;
  /** Where `goto` goes. */
  readonly target: Local;
  /** Guest address of a memory access. */
  readonly address: Local;
  /** Of a store that missed: its bytes, the distance to the next entry, and the register's bits. */
  readonly size: Local;
  readonly step: Local;
  readonly value: Local;
  readonly scratch: Local;

  exit!: Label;
  goto!: Label;
  /** With the JIT: where jumps inside a page lead. */
  landed!: Label;
  next!: Label;
  /** Calls the host side for this instruction. */
  callOut!: Label;
  /** As `callOut`, for an access to `address`. */
  access!: Label;
  readMiss!: Label;
  writeMiss!: Label;
  storeMiss!: Label;
  /** Bytes of the instruction that is being written. */
  length: 2 | 4 = 4;

  constructor(f: FunctionBuilder) {
    this.f = f;
    this.hart = f.param(0);
    this.left = f.param(1);
    this.dataTlbs = f.local('i32');
    this.fetchTlbs = f.local('i32');
    this.entry = f.local('i32');
    this.word = f.local('i32');
    this.slotBase = f.local('i32');
    this.slotPc = f.local('i64');
    this.pageBase = f.local('i32');
    this.target = f.local('i64');
    this.address = f.local('i64');
    this.size = f.local('i32');
    this.step = f.local('i32');
    this.value = f.local('i64');
    this.scratch = f.local('i32');
  }

  /** word ← the current entry's. */
  loadWord(): void {
    const { f } = this;
    f.get(this.entry);
    f.load('i32.load');
    f.set(this.word);
  }

  /** A miss branches to a refill, which begins the instruction again. */
  reach(tlb: number, size: number, aligned: boolean): void {
    const f = this.f;
    this.#emitLookup(tlb, size, aligned);
    f.ifUnlikely();
    if (aligned) {
      f.get(this.address);
      f.i64(size - 1);
      f.op('i64.and', 'i64.eqz', 'i32.eqz');
    } else {
      emitCrosses(f, this.address, size);
    }
    // No refill makes it hit: it is the host side's.
    f.brIf(this.access);
    f.br(tlb === TLB.read ? this.readMiss : this.writeMiss);
    f.end();
  }

  #emitLookup(tlb: number, size: number, aligned: boolean): void {
    const { address, dataTlbs: tlbs, scratch: entry } = this;
    emitLookup(this.f, { address, tlbs, entry, tlb, size, aligned, direct: false });
  }

  store(op: StoreOp, value: Expr): void {
    const f = this.f;
    const size = STORES[op][2];
    this.#emitLookup(TLB.write, size, false);
    f.ifUnlikely();
    f.i32(size);
    f.set(this.size);
    f.i32(this.length * 4);
    f.set(this.step);
    this.expr(value);
    f.set(this.value);
    f.br(this.storeMiss);
    f.end();
    this.hostAddress(TLB.write);
    this.expr(value);
    f.store(op);
  }

  slow(): void {
    this.leave(this.callOut);
  }

  slowIf(): void {
    this.leaveIf(this.callOut);
  }

  /**
   * Goes to code that calls functions, if the i32 on the stack is not 0. The compiler is told that it hardly ever does: what
   * is in registers then has to be saved there alone, and not at each dispatch.
   */
  leaveIf(label: Label): void {
    const { f } = this;
    f.ifUnlikely();
    f.br(label);
    f.end();
  }

  /** The same, always. */
  leave(label: Label): void {
    const { f } = this;
    // True, but the compiler does not know.
    f.get(this.left);
    f.i32(0);
    f.op('i32.ge_s');
    this.leaveIf(label);
    f.unreachable();
  }

  requireFloat(): void {
    const f = this.f;
    f.get(this.hart);
    f.load('i32.load', HART.floatOn);
    f.op('i32.eqz');
    this.slowIf();
  }

  hostAddress(tlb: number): void {
    const f = this.f;
    f.get(this.address);
    f.op('i32.wrap_i64');
    f.get(this.scratch);
    f.load('i32.load', tlb + 8);
    f.op('i32.add');
  }

  expr(expr: Expr, bound?: Local): void {
    this.f.expr(expr, (name) => {
      if ((name === 'memory' || name === 'result') && bound !== undefined) this.f.get(bound);
      else this.leaf(name);
    });
  }

  leaf(name: string): void {
    const f = this.f;
    switch (name) {
      case 'rs1':
        this.register(ENTRY.rs1Shift, HART.x);
        return;
      case 'rs2':
        this.register(ENTRY.rs2Shift, HART.x);
        return;
      case 'frs1':
        this.register(ENTRY.rs1Shift, HART.f);
        return;
      case 'frs2':
        this.register(ENTRY.rs2Shift, HART.f);
        return;
      case 'frs3':
        f.get(this.hart);
        f.get(this.entry);
        f.load('i32.load', 4);
        f.i32(31 << ENTRY.frs3Shift);
        f.op('i32.and', 'i32.add');
        f.load('i64.load', HART.f);
        return;
      case 'inexact':
        lowerInexact(f, this.hart);
        return;
      case 'nearest':
        lowerNearest(f, this.hart, () => {
          // A shift takes its amount modulo 32, so frs3 has to go.
          f.get(this.entry);
          f.load('i32.load', 4);
          f.i32(7);
          f.op('i32.and');
        });
        return;
      case 'imm':
        f.get(this.entry);
        f.load('i64.load32_s', 4);
        return;
      case 'pc':
        this.pc();
        return;
      default:
        throw new Error(`the interpreter has no operand ${name}`);
    }
  }

  /** A register of the file at `file`, by the field at `shift` of the entry's word. */
  register(shift: number, file: number): void {
    const f = this.f;
    f.get(this.hart);
    this.field(shift);
    f.op('i32.add');
    f.load('i64.load', file);
  }

  /** Pushes the register's number that stands in the field at `shift` of the entry's word, times 8. */
  field(shift: number): void {
    const f = this.f;
    f.get(this.word);
    f.i32(shift - 3);
    f.op('i32.shr_u');
    f.i32(0xf8);
    f.op('i32.and');
  }

  writeX(value: () => void): void {
    this.#destination();
    value();
    this.f.store('i64.store', HART.x);
  }

  writeF(value: () => void): void {
    this.#destination();
    value();
    this.f.store('i64.store', HART.f);
  }

  /** Guest address of the current entry. */
  pc(): void {
    const f = this.f;
    f.get(this.slotPc);
    f.get(this.entry);
    f.get(this.slotBase);
    f.op('i32.sub');
    f.i32(2);
    f.op('i32.shr_u', 'i64.extend_i32_u', 'i64.add');
  }

  advance(length: 2 | 4): void {
    this.move(length);
    this.f.br(this.next);
  }

  /** entry ← the one behind an instruction. */
  move(length: 2 | 4): void {
    const f = this.f;
    f.get(this.entry);
    f.i32(length * 4);
    f.op('i32.add');
    f.set(this.entry);
  }

  advanceBy(step: Local): void {
    const f = this.f;
    f.get(this.entry);
    f.get(step);
    f.op('i32.add');
    f.set(this.entry);
    f.br(this.next);
  }

  /** Address of the destination register, if a store at HART.x, or at HART.f, follows. */
  #destination(): void {
    const f = this.f;
    f.get(this.hart);
    f.get(this.word);
    f.i32(ENTRY.rdMask);
    f.op('i32.and', 'i32.add');
  }

  count(): void {
    const f = this.f;
    f.get(this.left);
    f.i32(1);
    f.op('i32.sub');
    f.set(this.left);
  }

  uncount(): void {
    const f = this.f;
    f.get(this.left);
    f.i32(1);
    f.op('i32.add');
    f.set(this.left);
  }

  /** The pc and the count, for a call to the host side. */
  spill(pc: Local): void {
    const f = this.f;
    f.get(this.hart);
    f.get(pc);
    f.store('i64.store', HART.pc);
    f.get(this.hart);
    f.get(this.left);
    f.store('i32.store', HART.remaining);
  }

  /** What that call may have changed. */
  reload(): void {
    const f = this.f;
    f.get(this.hart);
    f.load('i32.load', HART.remaining);
    f.set(this.left);
    this.loadContext();
  }

  /** What a trap, a return or a CSR may have changed. */
  loadContext(): void {
    const f = this.f;
    f.get(this.hart);
    f.load('i64.load', HART.pc);
    f.set(this.target);
    f.get(this.hart);
    f.load('i32.load', HART.dataTlbs);
    f.set(this.dataTlbs);
    f.get(this.hart);
    f.load('i32.load', HART.fetchTlbs);
    f.set(this.fetchTlbs);
  }
}
