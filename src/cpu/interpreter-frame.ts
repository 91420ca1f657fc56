/**
 * What the parts of the interpreter's generator share: the locals and labels of the function that is being written, and
 * the pieces of code that every handler is made of.
 */
import { HART, PAGE_SIZE } from '../memory/layout.ts';
import type { FunctionBuilder, Label, Local } from '../wasm/function.ts';
import { emitTlbOffset } from './miss.ts';
import { ENTRY } from './operations.ts';

export class InterpreterFrame {
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
  next!: Label;
  slow!: Label;
  /** As `slow`, for an access to `address`. */
  access!: Label;
  readMiss!: Label;
  writeMiss!: Label;
  storeMiss!: Label;

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

  /**
   * Looks `address` up; leaves the entry's address in `scratch`. A hit needs the same page, and that the access ends on
   * it, or (`aligned`) that it is naturally aligned: each is one compare with the tag.
   */
  lookup(tlb: number, size: number, aligned: boolean, onMiss: () => void): void {
    const f = this.f;
    f.get(this.address);
    f.get(this.dataTlbs);
    emitTlbOffset(f, this.address);
    f.op('i32.add');
    f.tee(this.scratch);
    f.load('i64.load', tlb);
    f.op('i64.xor');
    if (aligned) {
      f.i64(BigInt(-PAGE_SIZE) | BigInt(size - 1));
      f.op('i64.and', 'i64.eqz', 'i32.eqz');
    } else {
      f.i64(BigInt(PAGE_SIZE + 1 - size));
      f.op('i64.ge_u');
    }
    f.if();
    onMiss();
    f.end();
  }

  lookupAligned(tlb: number, size: number, miss: Label): void {
    const f = this.f;
    this.lookup(tlb, size, true, () => {
      f.get(this.address);
      f.i64(BigInt(size - 1));
      f.op('i64.and', 'i64.eqz', 'i32.eqz');
      f.brIf(this.access);
      f.br(miss);
    });
  }

  /** No refill makes an access across two pages hit: it is the host side's. */
  leaveIfCrossing(size: number): void {
    const f = this.f;
    f.get(this.address);
    f.op('i32.wrap_i64');
    f.i32(PAGE_SIZE - 1);
    f.op('i32.and');
    f.i32(PAGE_SIZE - size);
    f.op('i32.gt_u');
    f.brIf(this.access);
  }

  hostAddress(tlb: number): void {
    const f = this.f;
    f.get(this.address);
    f.op('i32.wrap_i64');
    f.get(this.scratch);
    f.load('i32.load', tlb + 8);
    f.op('i32.add');
  }

  /** @param bound what the leaf `memory`, or `result`, stands for. */
  expr(expr: Parameters<FunctionBuilder['expr']>[0], bound?: Local): void {
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
      case 'nearest':
        // (floatNearest >> rm) & 1; a shift takes its amount modulo 32, so frs3 has to go.
        f.get(this.hart);
        f.load('i32.load', HART.floatNearest);
        f.get(this.entry);
        f.load('i32.load', 4);
        f.i32(7);
        f.op('i32.and', 'i32.shr_u');
        f.i32(1);
        f.op('i32.and');
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
    f.get(this.word);
    f.i32(shift - 3);
    f.op('i32.shr_u');
    f.i32(0xf8);
    f.op('i32.and', 'i32.add');
    f.load('i64.load', file);
  }

  /** Address of the destination register; a store at HART.x follows. */
  destination(): void {
    const f = this.f;
    f.get(this.hart);
    f.get(this.word);
    f.i32(ENTRY.rdMask);
    f.op('i32.and', 'i32.add');
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
    const f = this.f;
    f.get(this.entry);
    f.i32(length * 4);
    f.op('i32.add');
    f.set(this.entry);
    f.br(this.next);
  }

  advanceBy(step: Local): void {
    const f = this.f;
    f.get(this.entry);
    f.get(step);
    f.op('i32.add');
    f.set(this.entry);
    f.br(this.next);
  }

  uncount(): void {
    const f = this.f;
    f.get(this.left);
    f.i32(1);
    f.op('i32.add');
    f.set(this.left);
  }
}
