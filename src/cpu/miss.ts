/**
 * Generated code for TLB misses on RAM. One slow path, in the order of the design: translated code on the page, dirty
 * logging, fill; what is no plain RAM page is left to the host side (cpu/slow-path.ts). A dirty bit is set when a write
 * entry is filled, so a store that hits costs nothing extra; the log's flush removes the entries again.
 */
import { CONTROL, ENTRY_SIZE, HART, PAGE_FLAG, PAGE_SHIFT, PAGE_SIZE } from '../memory/layout.ts';
import type { Callable, FunctionBuilder, Label, Local } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import type { EngineContext } from './physical-memory.ts';

export interface MissHandlers {
  /** (hart, address) → 1 if the read entry was filled and the access can be tried again. */
  readonly refillRead: Callable;
  /** (hart, address) → 1 if the write entry was filled. */
  readonly refillWrite: Callable;
  /** (hart, address, value, bytes) → 1 if the store was done. */
  readonly store: Callable;
}

/** Emits the TLB index: the byte offset of an address's entry from the start of a hart's TLB. */
export function emitTlbOffset(f: FunctionBuilder, address: Local): void {
  f.get(address);
  f.op('i32.wrap_i64');
  f.i32(PAGE_SHIFT - 4);
  f.op('i32.shr_u');
  f.i32(0xff0);
  f.op('i32.and');
}

/** Adds the three functions to a module. */
export function addMissHandlers(module: ModuleBuilder, context: EngineContext): MissHandlers {
  return {
    refillRead: refillRead(module, context),
    refillWrite: refillWrite(module, context),
    store: storeMiss(module, context),
  };
}

function refillRead(module: ModuleBuilder, context: EngineContext): Callable {
  const f = module.function(['i32', 'i64'], ['i32']);
  const [hart, address] = [f.param(0), f.param(1)];
  const offset = f.local('i64');
  const no = f.block();
  emitRamOffset(f, context, address, offset, no);
  emitFill(f, context, HART.readTlb, hart, address, offset);
  f.i32(1);
  f.return();
  f.end();
  f.i32(0);
  return f;
}

function refillWrite(module: ModuleBuilder, context: EngineContext): Callable {
  const f = module.function(['i32', 'i64'], ['i32']);
  const [hart, address] = [f.param(0), f.param(1)];
  const offset = f.local('i64');
  const page = f.local('i32');
  const no = f.block();
  emitRamOffset(f, context, address, offset, no);
  emitPageIndex(f, context, offset, page);
  f.get(page);
  f.load('i32.load8_u', context.layout.pageFlags);
  f.brIf(no);
  emitDirty(f, context, page);
  emitFill(f, context, HART.writeTlb, hart, address, offset);
  f.i32(1);
  f.return();
  f.end();
  f.i32(0);
  return f;
}

function storeMiss(module: ModuleBuilder, context: EngineContext): Callable {
  const { layout, ram } = context;
  const f = module.function(['i32', 'i64', 'i64', 'i32'], ['i32']);
  const [hart, address, value, size] = [f.param(0), f.param(1), f.param(2), f.param(3)];
  const offset = f.local('i64');
  const page = f.local('i32');
  const flags = f.local('i32');
  const no = f.block();
  // Across two pages: left to the host side.
  f.get(address);
  f.op('i32.wrap_i64');
  f.i32(PAGE_SIZE - 1);
  f.op('i32.and');
  f.get(size);
  f.op('i32.add');
  f.i32(PAGE_SIZE);
  f.op('i32.gt_u');
  f.brIf(no);
  emitRamOffset(f, context, address, offset, no);
  emitPageIndex(f, context, offset, page);
  f.get(page);
  f.load('i32.load8_u', layout.pageFlags);
  f.tee(flags);
  f.i32(~PAGE_FLAG.code);
  f.op('i32.and');
  f.brIf(no);
  emitDirty(f, context, page);
  f.get(flags);
  f.if();
  emitForgetEntries(f, context, page, offset, size);
  f.else();
  emitFill(f, context, HART.writeTlb, hart, address, offset);
  f.end();

  for (const [bytes, op] of [
    [1, 'i64.store8'],
    [2, 'i64.store16'],
    [4, 'i64.store32'],
    [8, 'i64.store'],
  ] as const) {
    f.get(size);
    f.i32(bytes);
    f.op('i32.eq');
    f.if();
    f.get(offset);
    f.op('i32.wrap_i64');
    f.get(value);
    f.store(op, ram.offset);
    f.end();
  }
  f.i32(1);
  f.return();
  f.end();
  f.i32(0);
  return f;
}

/** offset ← address − RAM base; leaves to `no` if the address is not in RAM. */
function emitRamOffset(
  f: FunctionBuilder,
  { ram }: EngineContext,
  address: Local,
  offset: Local,
  no: Label,
): void {
  f.get(address);
  f.i64(BigInt(ram.base));
  f.op('i64.sub');
  f.tee(offset);
  f.i64(BigInt(ram.size));
  f.op('i64.ge_u');
  f.brIf(no);
}

function emitPageIndex(f: FunctionBuilder, { ram }: EngineContext, offset: Local, page: Local): void {
  f.get(offset);
  f.op('i32.wrap_i64');
  f.i32(PAGE_SHIFT);
  f.op('i32.shr_u');
  f.i32(ram.firstPage);
  f.op('i32.add');
  f.set(page);
}

/** While the dirty log is on, marks the page. */
function emitDirty(f: FunctionBuilder, { layout }: EngineContext, page: Local): void {
  const word = f.local('i32');
  f.i32(layout.control);
  f.load('i32.load', CONTROL.dirtyLog);
  f.if();
  f.get(page);
  f.i32(5);
  f.op('i32.shr_u');
  f.i32(2);
  f.op('i32.shl');
  f.tee(word);
  f.get(word);
  f.load('i32.load', layout.dirtyBitmap);
  f.i32(1);
  f.get(page);
  f.op('i32.shl', 'i32.or');
  f.store('i32.store', layout.dirtyBitmap);
  f.end();
  f.release(word);
}

/** Fills an entry: tag = page address, addend = host address − guest address. */
function emitFill(
  f: FunctionBuilder,
  { ram }: EngineContext,
  tlb: number,
  hart: Local,
  address: Local,
  offset: Local,
): void {
  const entry = f.local('i32');
  f.get(hart);
  emitTlbOffset(f, address);
  f.op('i32.add');
  f.tee(entry);
  f.get(address);
  f.i64(BigInt(-PAGE_SIZE));
  f.op('i64.and');
  f.store('i64.store', tlb);
  f.get(entry);
  f.get(offset);
  f.op('i32.wrap_i64');
  f.i32(ram.offset);
  f.op('i32.add');
  f.get(address);
  f.op('i32.wrap_i64', 'i32.sub');
  f.store('i32.store', tlb + 8);
  f.release(entry);
}

/** Forgets the predecoded entries of the written bytes, and of an instruction that began a halfword before them. */
function emitForgetEntries(
  f: FunctionBuilder,
  { layout }: EngineContext,
  page: Local,
  offset: Local,
  size: Local,
): void {
  const byte = f.local('i32');
  const entry = f.local('i32');
  const last = f.local('i32');
  const slot = f.local('i32');
  const halfword = (local: Local): void => {
    // Entry address of the halfword at byte `local`: slot + local / 2 * ENTRY_SIZE.
    f.get(local);
    f.i32(~1);
    f.op('i32.and');
    f.i32(ENTRY_SIZE / 2);
    f.op('i32.mul');
    f.get(slot);
    f.op('i32.add');
  };
  f.get(page);
  f.i32(2);
  f.op('i32.shl');
  f.load('i32.load', layout.codeSlots);
  f.set(slot);
  f.get(offset);
  f.op('i32.wrap_i64');
  f.i32(PAGE_SIZE - 1);
  f.op('i32.and');
  f.tee(byte);
  f.get(size);
  f.op('i32.add');
  f.i32(1);
  f.op('i32.sub');
  f.set(last);
  halfword(last);
  f.set(last);
  halfword(byte);
  f.set(entry);
  // One halfword earlier, unless the page begins here.
  f.get(entry);
  f.get(slot);
  f.op('i32.gt_u');
  f.if();
  f.get(entry);
  f.i32(ENTRY_SIZE);
  f.op('i32.sub');
  f.set(entry);
  f.end();
  const again = f.loop();
  f.get(entry);
  f.i64(0n);
  f.store('i64.store');
  f.get(entry);
  f.i32(ENTRY_SIZE);
  f.op('i32.add');
  f.tee(entry);
  f.get(last);
  f.op('i32.le_u');
  f.brIf(again);
  f.end();
  f.release(byte, entry, last, slot);
}
