/**
 * Lowers the actions of the ISA table that compute and reach memory. Interpreter and JIT share it: they differ in the
 * frame alone, which says where operands come from, where results go, and what becomes of an access that misses.
 */
import type { Action } from '../isa/semantics.ts';
import { rs1, rs2, usesFloat } from '../isa/semantics.ts';
import { HART, TLB } from '../memory/layout.ts';
import type { Expr } from '../wasm/expr.ts';
import type { FunctionBuilder, Local } from '../wasm/function.ts';
import { LOADS, type LoadOp, STORES, type StoreOp } from '../wasm/opcodes.ts';

/** Upper half of a register that holds a single (Unprivileged ISA §21.2). */
const BOX = 0xffff_ffff_0000_0000n;

/** What an instruction is lowered into. */
export interface ActionFrame {
  readonly f: FunctionBuilder;
  /** Address of the hart block. */
  readonly hart: Local;
  /** Guest address of a memory access. */
  readonly address: Local;
  /** Emits an expression; `bound` stands for the leaf `memory`, or `result`. */
  expr(expr: Expr, bound?: Local): void;
  /** x[rd], or f[rd], ← the i64 that `value` leaves on the stack. */
  writeX(value: () => void): void;
  writeF(value: () => void): void;
  /** Makes `address` reachable through a TLB (TLB.read or TLB.write) for `size` bytes, or leaves for the slow path. */
  reach(tlb: number, size: number, aligned: boolean): void;
  /** Pushes the host address of what was reached. */
  hostAddress(tlb: number): void;
  /** Stores to `address`, by whatever way it takes. */
  store(op: StoreOp, value: Expr): void;
  /** Leaves this instruction to the slow path if the i32 on the stack is not 0. */
  slowIf(): void;
  /** Leaves this instruction to the slow path. */
  slow(): void;
  /** Leaves for the slow path if floating point is off. */
  requireFloat(): void;
}

/** The actions after which the next instruction follows. */
export type StraightAction = Exclude<Action, { kind: 'branch' | 'jump' | 'helper' }>;

export function isStraight(action: Action): action is StraightAction {
  return action.kind !== 'branch' && action.kind !== 'jump' && action.kind !== 'helper';
}

export function lowerAction(frame: ActionFrame, action: StraightAction): void {
  const { f } = frame;
  if (usesFloat(action)) frame.requireFloat();
  switch (action.kind) {
    case 'nothing':
      return;
    case 'set':
      frame.writeX(() => frame.expr(action.value));
      return;
    case 'fset':
      frame.writeF(() => frame.expr(action.value));
      return;
    case 'float':
      lowerFloat(frame, action);
      return;
    case 'load':
      lowerLoad(frame, action);
      return;
    case 'store':
      frame.expr(action.address);
      f.set(frame.address);
      frame.store(action.op, action.value);
      return;
    case 'amo':
      lowerAmo(frame, action);
      return;
    case 'lr':
      lowerLoadReserved(frame, action.load);
      return;
    case 'sc':
      lowerStoreConditional(frame, action.store);
      return;
    case 'zero':
      lowerZero(frame, action.size);
  }
}

type Of<K extends Action['kind']> = Extract<Action, { kind: K }>;

function lowerLoad(frame: ActionFrame, action: Of<'load'>): void {
  const { f } = frame;
  const size = LOADS[action.op][2];
  frame.expr(action.address);
  f.set(frame.address);
  frame.reach(TLB.read, size, false);
  const value = (): void => {
    frame.hostAddress(TLB.read);
    f.load(action.op);
  };
  if (action.float !== true) frame.writeX(value);
  else if (size === 8) frame.writeF(value);
  else {
    frame.writeF(() => {
      value();
      f.i64(BOX);
      f.op('i64.or');
    });
  }
}

/** The fast way, if there is one and it may be taken; else the slow path's. */
function lowerFloat(frame: ActionFrame, action: Of<'float'>): void {
  const { f } = frame;
  if (action.fast === undefined) {
    frame.slow();
    return;
  }
  const value = f.local('i64');
  frame.expr(action.fast.value);
  f.set(value);
  frame.expr(action.fast.when, value);
  f.op('i32.eqz');
  frame.slowIf();
  const result = (): void => f.get(value);
  if (action.toInteger) frame.writeX(result);
  else frame.writeF(result);
  f.release(value);
}

function lowerAmo(frame: ActionFrame, { load, store, value }: Of<'amo'>): void {
  const { f } = frame;
  const found = f.local('i64');
  const hostAddress = f.local('i32');
  atomicAddress(frame);
  frame.reach(TLB.write, STORES[store][2], true);
  frame.hostAddress(TLB.write);
  f.tee(hostAddress);
  f.load(load);
  f.set(found);
  f.get(hostAddress);
  frame.expr(value, found);
  f.store(store);
  frame.writeX(() => f.get(found));
  f.release(found, hostAddress);
}

function lowerLoadReserved(frame: ActionFrame, load: LoadOp): void {
  const { f } = frame;
  atomicAddress(frame);
  frame.reach(TLB.read, LOADS[load][2], true);
  f.get(frame.hart);
  f.get(frame.address);
  f.store('i64.store', HART.reservation);
  frame.writeX(() => {
    frame.hostAddress(TLB.read);
    f.load(load);
  });
}

/** The write permission is checked only if the reservation holds; either way it is gone afterwards. */
function lowerStoreConditional(frame: ActionFrame, store: StoreOp): void {
  const { f } = frame;
  atomicAddress(frame);
  f.get(frame.hart);
  f.load('i64.load', HART.reservation);
  f.get(frame.address);
  f.op('i64.eq');
  f.if();
  frame.reach(TLB.write, STORES[store][2], true);
  frame.hostAddress(TLB.write);
  frame.expr(rs2);
  f.store(store);
  frame.writeX(() => f.i64(0));
  f.else();
  frame.writeX(() => f.i64(1));
  f.end();
  f.get(frame.hart);
  f.i64(-1);
  f.store('i64.store', HART.reservation);
}

function lowerZero(frame: ActionFrame, size: number): void {
  const { f } = frame;
  f.get(frame.hart);
  f.load('i32.load', HART.zeroBlocks);
  f.op('i32.eqz');
  frame.slowIf();
  frame.expr(rs1);
  f.i64(-size);
  f.op('i64.and');
  f.set(frame.address);
  frame.reach(TLB.write, size, true);
  const block = f.local('i32');
  frame.hostAddress(TLB.write);
  f.set(block);
  for (let at = 0; at < size; at += 8) {
    f.get(block);
    f.i64(0);
    f.store('i64.store', at);
  }
  f.release(block);
}

/** Pushes the leaf `inexact` (isa/semantics.ts). */
export function lowerInexact(f: FunctionBuilder, hart: Local): void {
  f.get(hart);
  f.load('i32.load', HART.floatNearest);
  f.i32(1);
  f.op('i32.and');
}

/** Pushes the leaf `nearest`. @param mode pushes the rounding mode. */
export function lowerNearest(f: FunctionBuilder, hart: Local, mode: () => void): void {
  f.get(hart);
  f.load('i32.load', HART.floatNearest);
  mode();
  f.op('i32.shr_u');
  f.i32(1);
  f.op('i32.and');
}

function atomicAddress(frame: ActionFrame): void {
  frame.expr(rs1);
  frame.f.set(frame.address);
}
