/**
 * Lowers the actions of the ISA table to handlers of the interpreter: operands come from the entry, and the handler ends
 * by going on to the next one, or to where the frame's labels lead.
 */
import { type Action, usesFloat } from '../isa/semantics.ts';
import { HART, PAGE_SIZE, TLB } from '../memory/layout.ts';
import type { FunctionBuilder } from '../wasm/function.ts';
import { LOADS, type LoadOp, STORES, type StoreOp } from '../wasm/opcodes.ts';
import type { InterpreterFrame } from './interpreter-frame.ts';

/** Upper half of a register that holds a single (Unprivileged ISA §21.2). */
const BOX = 0xffff_ffff_0000_0000n;

export class ActionLowering {
  readonly #f: FunctionBuilder;
  readonly #frame: InterpreterFrame;

  constructor(frame: InterpreterFrame) {
    this.#f = frame.f;
    this.#frame = frame;
  }

  emit(action: Action, length: 2 | 4): void {
    const f = this.#f;
    if (usesFloat(action)) {
      f.get(this.#frame.hart);
      f.load('i32.load', HART.floatOn);
      f.op('i32.eqz');
      f.brIf(this.#frame.slow);
    }
    switch (action.kind) {
      case 'nothing':
        this.#frame.advance(length);
        return;
      case 'set':
        this.#frame.destination();
        this.#frame.expr(action.value);
        f.store('i64.store', HART.x);
        this.#frame.advance(length);
        return;
      case 'load': {
        this.#frame.expr(action.address);
        f.set(this.#frame.address);
        const size = LOADS[action.op][2];
        this.#frame.lookup(TLB.read, size, false, () => {
          this.#frame.leaveIfCrossing(size);
          f.br(this.#frame.readMiss);
        });
        this.#frame.destination();
        this.#frame.hostAddress(TLB.read);
        f.load(action.op);
        if (action.float === true && size === 4) {
          f.i64(BOX);
          f.op('i64.or');
        }
        f.store('i64.store', action.float === true ? HART.f : HART.x);
        this.#frame.advance(length);
        return;
      }
      case 'fset':
        this.#frame.destination();
        this.#frame.expr(action.value);
        f.store('i64.store', HART.f);
        this.#frame.advance(length);
        return;
      case 'float':
        this.#emitFloat(action, length);
        return;
      case 'store': {
        this.#frame.expr(action.address);
        f.set(this.#frame.address);
        const size = STORES[action.op][2];
        this.#frame.lookup(TLB.write, size, false, () => {
          f.i32(size);
          f.set(this.#frame.size);
          f.i32(length * 4);
          f.set(this.#frame.step);
          this.#frame.expr(action.value);
          f.set(this.#frame.value);
          f.br(this.#frame.storeMiss);
        });
        this.#frame.hostAddress(TLB.write);
        this.#frame.expr(action.value);
        f.store(action.op);
        this.#frame.advance(length);
        return;
      }
      case 'amo':
        this.#emitAmo(action.load, action.store, action.value);
        this.#frame.advance(length);
        return;
      case 'lr':
        this.#atomicAddress();
        this.#frame.lookupAligned(TLB.read, LOADS[action.load][2], this.#frame.readMiss);
        f.get(this.#frame.hart);
        f.get(this.#frame.address);
        f.store('i64.store', HART.reservation);
        this.#frame.destination();
        this.#frame.hostAddress(TLB.read);
        f.load(action.load);
        f.store('i64.store', HART.x);
        this.#frame.advance(length);
        return;
      case 'sc':
        this.#emitStoreConditional(action.store);
        this.#frame.advance(length);
        return;
      case 'zero':
        this.#emitZero(action.size);
        this.#frame.advance(length);
        return;
      case 'branch':
        this.#frame.expr(action.condition);
        f.if();
        this.#relativeJump();
        f.end();
        this.#frame.advance(length);
        return;
      case 'jump':
        this.#frame.expr(action.target);
        f.set(this.#frame.target);
        this.#frame.destination();
        this.#frame.pc();
        f.i64(BigInt(length));
        f.op('i64.add');
        f.store('i64.store', HART.x);
        f.br(this.#frame.goto);
        return;
      case 'helper':
        f.br(this.#frame.slow);
    }
  }

  #emitAmo(load: LoadOp, store: StoreOp, value: Parameters<FunctionBuilder['expr']>[0]): void {
    const f = this.#f;
    const found = f.local('i64');
    const hostAddress = f.local('i32');
    this.#atomicAddress();
    this.#frame.lookupAligned(TLB.write, STORES[store][2], this.#frame.writeMiss);
    this.#frame.hostAddress(TLB.write);
    f.tee(hostAddress);
    f.load(load);
    f.set(found);
    f.get(hostAddress);
    this.#frame.expr(value, found);
    f.store(store);
    this.#frame.destination();
    f.get(found);
    f.store('i64.store', HART.x);
    f.release(found, hostAddress);
  }

  /** The fast way, if there is one and it may be taken; else the host side's. */
  #emitFloat(action: Extract<Action, { kind: 'float' }>, length: 2 | 4): void {
    const f = this.#f;
    if (action.fast === undefined) {
      f.br(this.#frame.slow);
      return;
    }
    const value = f.local('i64');
    this.#frame.expr(action.fast.value);
    f.set(value);
    this.#frame.expr(action.fast.when, value);
    f.op('i32.eqz');
    f.brIf(this.#frame.slow);
    this.#frame.destination();
    f.get(value);
    f.store('i64.store', action.toInteger ? HART.x : HART.f);
    f.release(value);
    this.#frame.advance(length);
  }

  /** The write permission is checked only if the reservation holds; either way it is gone afterwards. */
  #emitStoreConditional(store: StoreOp): void {
    const f = this.#f;
    this.#atomicAddress();
    f.get(this.#frame.hart);
    f.load('i64.load', HART.reservation);
    f.get(this.#frame.address);
    f.op('i64.eq');
    f.if();
    this.#frame.lookupAligned(TLB.write, STORES[store][2], this.#frame.writeMiss);
    this.#frame.hostAddress(TLB.write);
    this.#frame.leaf('rs2');
    f.store(store);
    this.#frame.destination();
    f.i64(0n);
    f.store('i64.store', HART.x);
    f.else();
    this.#frame.destination();
    f.i64(1n);
    f.store('i64.store', HART.x);
    f.end();
    f.get(this.#frame.hart);
    f.i64(-1n);
    f.store('i64.store', HART.reservation);
  }

  #emitZero(size: number): void {
    const f = this.#f;
    f.get(this.#frame.hart);
    f.load('i32.load', HART.zeroBlocks);
    f.op('i32.eqz');
    f.brIf(this.#frame.slow);
    this.#frame.leaf('rs1');
    f.i64(BigInt(-size));
    f.op('i64.and');
    f.set(this.#frame.address);
    this.#frame.lookupAligned(TLB.write, size, this.#frame.writeMiss);
    const block = f.local('i32');
    this.#frame.hostAddress(TLB.write);
    f.set(block);
    for (let at = 0; at < size; at += 8) {
      f.get(block);
      f.i64(0n);
      f.store('i64.store', at);
    }
    f.release(block);
  }

  /** Goes to entry + imm halfwords when that stays on the page, else through `goto`. */
  #relativeJump(): void {
    const f = this.#f;
    f.get(this.#frame.entry);
    f.get(this.#frame.entry);
    f.load('i32.load', 4);
    f.i32(2);
    f.op('i32.shl', 'i32.add');
    f.tee(this.#frame.scratch);
    f.get(this.#frame.pageBase);
    f.op('i32.sub');
    f.i32((PAGE_SIZE / 2) * 8);
    f.op('i32.lt_u');
    f.if();
    f.get(this.#frame.scratch);
    f.set(this.#frame.entry);
    f.br(this.#frame.next);
    f.end();
    this.#frame.pc();
    this.#frame.leaf('imm');
    f.op('i64.add');
    f.set(this.#frame.target);
    f.br(this.#frame.goto);
  }

  #atomicAddress(): void {
    this.#frame.leaf('rs1');
    this.#f.set(this.#frame.address);
  }
}
