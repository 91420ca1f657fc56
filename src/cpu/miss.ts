/**
 * Generated code for TLB misses on RAM. One slow path, in the order of the design: translation, page not here yet,
 * translated code on the page, dirty logging, fill; what is no plain RAM page is left to the host side (cpu/slow-path.ts). A dirty bit is set
 * when a write entry is filled, so a store that hits costs nothing extra; the log's flush removes the entries again.
 */
import {
  CONTROL,
  HART,
  PAGE_FLAG,
  PAGE_SHIFT,
  PAGE_SIZE,
  TLB,
  TLB_FIELD,
  TLB_VICTIM,
} from '../memory/layout.ts';
import type { Callable, FunctionBuilder, Label, Local } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { addMarkDirty, emitDirty } from './dirty.ts';
import { emitTlbOffset } from './lookup.ts';
import type { EngineContext } from './physical-memory.ts';
import { emitForgetEntries, emitMissing, emitPageIndex, emitRamOffset } from './ram.ts';
import { ACCESS, addTranslate, type MissCalls } from './translate.ts';

export interface MissHandlers {
  /** (hart, address) → 1 if the read entry was filled and the access can be tried again. */
  readonly refillRead: Callable;
  /** (hart, address, pc of the instruction) → 1 if the write entry was filled. */
  readonly refillWrite: Callable;
  /** (hart, address) → 1 if the fetch entry was filled: the page has predecoded code, so it is here. */
  readonly refillFetch: Callable;
  /** (hart, address, value, bytes, pc of the instruction) → 1 if the store was done. */
  readonly store: Callable;
}

/**
 * Adds the functions to a module. For regions, it exports `regionRead`, (hart, address, bytes) → 1 if the entry was filled
 * and the access does not cross its page, `regionWrite`, the same with the pc behind the bytes, and `regionStore`, which is
 * `store`.
 */
export function addMissHandlers(
  module: ModuleBuilder,
  context: EngineContext,
  calls: MissCalls,
): MissHandlers {
  const mark = addMarkDirty(module, context);
  const translate = addTranslate(module, context, calls, mark);
  const parts = { module, context, translate, mark };
  const handlers = {
    refillRead: refillRead(parts),
    refillWrite: refillWrite(parts),
    refillFetch: refillFetch(parts),
    store: storeMiss(parts),
  };
  unlessCrossing(module, 'regionRead', handlers.refillRead, false);
  unlessCrossing(module, 'regionWrite', handlers.refillWrite, true);
  return handlers;
}

function unlessCrossing(module: ModuleBuilder, name: string, refill: Callable, takesPc: boolean): void {
  const f = module.function(['i32', 'i64', 'i32', ...(takesPc ? (['i64'] as const) : [])], ['i32'], name);
  f.get(f.param(1));
  f.op('i32.wrap_i64');
  f.i32(PAGE_SIZE - 1);
  f.op('i32.and');
  f.get(f.param(2));
  f.op('i32.add');
  f.i32(PAGE_SIZE);
  f.op('i32.gt_u');
  f.if();
  f.i32(0);
  f.return();
  f.end();
  f.get(f.param(0));
  f.get(f.param(1));
  if (takesPc) f.get(f.param(3));
  f.call(refill);
}

interface Parts {
  readonly module: ModuleBuilder;
  readonly context: EngineContext;
  readonly translate: Callable;
  readonly mark: Callable;
}

function refillRead({ module, context, translate }: Parts): Callable {
  const f = module.function(['i32', 'i64'], ['i32']);
  const [hart, address] = [f.param(0), f.param(1)];
  const offset = f.local('i64');
  const no = f.block();
  emitUnwatched(f, context, no);
  returnIfVictim(f, { hart, set: HART.dataTlbs, tlb: TLB.read, address });
  emitTranslate(f, translate, { hart, address, offset, access: ACCESS.read, walk: HART.dataWalk, no });
  emitRamOffset(f, context, offset, offset, no);
  emitMissing(f, context, offset, no);
  emitFillData(f, context, TLB.read, hart, address, offset);
  f.i32(1);
  f.return();
  f.end();
  f.i32(0);
  return f;
}

function refillWrite({ module, context, translate, mark }: Parts): Callable {
  const f = module.function(['i32', 'i64', 'i64'], ['i32']);
  const [hart, address, pc] = [f.param(0), f.param(1), f.param(2)];
  const offset = f.local('i64');
  const page = f.local('i32');
  const no = f.block();
  emitUnwatched(f, context, no);
  returnIfVictim(f, { hart, set: HART.dataTlbs, tlb: TLB.write, address });
  emitTranslate(f, translate, { hart, address, offset, access: ACCESS.write, walk: HART.dataWalk, no });
  emitRamOffset(f, context, offset, offset, no);
  emitMissing(f, context, offset, no);
  emitPageIndex(f, context, offset, page);
  f.get(page);
  f.load('i32.load8_u', context.layout.pageFlags);
  f.brIf(no);
  emitDirty(f, context, mark, { hart, pc: () => f.get(pc), page });
  emitFillData(f, context, TLB.write, hart, address, offset);
  f.i32(1);
  f.return();
  f.end();
  f.i32(0);
  return f;
}

function refillFetch({ module, context, translate }: Parts): Callable {
  const f = module.function(['i32', 'i64'], ['i32']);
  const [hart, address] = [f.param(0), f.param(1)];
  const offset = f.local('i64');
  const page = f.local('i32');
  const slot = f.local('i32');
  const no = f.block();
  returnIfVictim(f, { hart, set: HART.fetchTlbs, tlb: TLB.fetch, address });
  emitTranslate(f, translate, { hart, address, offset, access: ACCESS.execute, walk: HART.fetchWalk, no });
  emitRamOffset(f, context, offset, offset, no);
  emitPageIndex(f, context, offset, page);
  f.get(page);
  f.i32(2);
  f.op('i32.shl');
  f.load('i32.load', context.layout.codeSlots);
  f.tee(slot);
  f.op('i32.eqz');
  f.brIf(no);
  f.release(emitFill(f, { hart, set: HART.fetchTlbs, tlb: TLB.fetch, address }, () => f.get(slot)));
  f.i32(1);
  f.return();
  f.end();
  f.i32(0);
  return f;
}

function storeMiss({ module, context, translate, mark }: Parts): Callable {
  const { layout, ram } = context;
  const f = module.function(['i32', 'i64', 'i64', 'i32', 'i64'], ['i32'], 'regionStore');
  const [hart, address, value, size] = [f.param(0), f.param(1), f.param(2), f.param(3)];
  const offset = f.local('i64');
  const page = f.local('i32');
  const flags = f.local('i32');
  /** Where the value goes, as an address of the memory that host and guest share. */
  const target = f.local('i32');
  const no = f.block();
  const reached = f.block();
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
  emitUnwatched(f, context, no);
  emitVictim(f, { hart, set: HART.dataTlbs, tlb: TLB.write, address }, (entry) => {
    f.get(address);
    f.op('i32.wrap_i64');
    f.get(entry);
    f.load('i32.load', TLB.write + TLB_FIELD.value);
    f.op('i32.add');
    f.set(target);
    f.br(reached);
  });
  emitTranslate(f, translate, { hart, address, offset, access: ACCESS.write, walk: HART.dataWalk, no });
  emitRamOffset(f, context, offset, offset, no);
  emitMissing(f, context, offset, no);
  emitPageIndex(f, context, offset, page);
  f.get(page);
  f.load('i32.load8_u', layout.pageFlags);
  f.tee(flags);
  f.i32(~PAGE_FLAG.code);
  f.op('i32.and');
  f.brIf(no);
  f.get(flags);
  f.if();
  // What was translated is for the host side to forget.
  emitForgetEntries(f, context, { page, offset, size }, () => f.br(no));
  f.else();
  emitFillData(f, context, TLB.write, hart, address, offset);
  f.end();
  emitDirty(f, context, mark, { hart, pc: () => f.get(f.param(4)), page });
  f.get(offset);
  f.op('i32.wrap_i64');
  f.i32(ram.offset);
  f.op('i32.add');
  f.set(target);
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
    f.get(target);
    f.get(value);
    f.store(op, 0);
    f.end();
  }
  f.i32(1);
  f.return();
  f.end();
  f.i32(0);
  return f;
}

/** Leaves to `no` while a debugger watches data: the host side knows where. */
function emitUnwatched(f: FunctionBuilder, { layout }: EngineContext, no: Label): void {
  f.i32(layout.control);
  f.load('i32.load', CONTROL.watching);
  f.brIf(no);
}

/** offset ← the physical address; leaves to `no` at a fault, which the host side finds again and raises. */
function emitTranslate(
  f: FunctionBuilder,
  translate: Callable,
  parts: {
    readonly hart: Local;
    readonly address: Local;
    readonly offset: Local;
    readonly access: number;
    /** Field of the hart with the WALK bits. */
    readonly walk: number;
    readonly no: Label;
  },
): void {
  f.get(parts.hart);
  f.get(parts.address);
  f.i32(parts.access);
  f.get(parts.hart);
  f.load('i32.load', parts.walk);
  f.call(translate);
  f.tee(parts.offset);
  f.i64(0n);
  f.op('i64.lt_s');
  f.brIf(parts.no);
}

/** Fills an entry for loads or stores: its addend is host address − guest address, and TLB_FIELD.direct says if it is RAM's. */
function emitFillData(
  f: FunctionBuilder,
  { ram }: EngineContext,
  tlb: number,
  hart: Local,
  address: Local,
  offset: Local,
): void {
  const entry = emitFill(f, { hart, set: HART.dataTlbs, tlb, address }, () => {
    f.get(offset);
    f.op('i32.wrap_i64');
    f.i32(ram.offset);
    f.op('i32.add');
    f.get(address);
    f.op('i32.wrap_i64', 'i32.sub');
  });
  f.get(entry);
  f.get(address);
  f.op('i32.wrap_i64');
  f.i32(-PAGE_SIZE);
  f.op('i32.and');
  // The bit by which the neighbour's tag differs.
  f.get(address);
  f.get(offset);
  f.i64(BigInt(ram.base));
  f.op('i64.add', 'i64.ne');
  f.get(address);
  f.i64(2n ** 32n);
  f.op('i64.ge_u', 'i32.or');
  f.i32(PAGE_SHIFT);
  f.op('i32.shl', 'i32.xor');
  f.store('i32.store', tlb + TLB_FIELD.direct);
  f.release(entry);
}

interface Entry {
  readonly hart: Local;
  /** The hart's field with the address of the set. */
  readonly set: number;
  readonly tlb: number;
  readonly address: Local;
}

/** entry ← the address of the entry for an address, less `tlb`. */
function emitEntry(f: FunctionBuilder, { hart, set, address }: Entry, entry: Local): void {
  f.get(hart);
  f.load('i32.load', set);
  emitTlbOffset(f, address);
  f.op('i32.add');
  f.set(entry);
}

/**
 * Fills an entry: tag = page address, then `value`. What it held becomes its victim.
 * @returns the address of the entry, less `tlb`; to be released.
 */
function emitFill(f: FunctionBuilder, parts: Entry, value: () => void): Local {
  const { tlb, address } = parts;
  const entry = f.local('i32');
  emitEntry(f, parts, entry);
  f.get(entry);
  f.get(entry);
  f.load('v128.load', tlb);
  f.store('v128.store', tlb + TLB_VICTIM);
  f.get(entry);
  f.get(address);
  f.i64(BigInt(-PAGE_SIZE));
  f.op('i64.and');
  f.store('i64.store', tlb);
  f.get(entry);
  value();
  f.store('i32.store', tlb + TLB_FIELD.value);
  return entry;
}

/** If the victim of an address's entry holds its page, the two change places, and `then` follows. */
function emitVictim(f: FunctionBuilder, parts: Entry, then: (entry: Local) => void): void {
  const { tlb, address } = parts;
  const entry = f.local('i32');
  const held = f.local('v128');
  emitEntry(f, parts, entry);
  f.get(entry);
  f.load('i64.load', tlb + TLB_VICTIM);
  f.get(address);
  f.i64(BigInt(-PAGE_SIZE));
  f.op('i64.and', 'i64.eq');
  f.if();
  f.get(entry);
  f.load('v128.load', tlb);
  f.set(held);
  f.get(entry);
  f.get(entry);
  f.load('v128.load', tlb + TLB_VICTIM);
  f.store('v128.store', tlb);
  f.get(entry);
  f.get(held);
  f.store('v128.store', tlb + TLB_VICTIM);
  then(entry);
  f.end();
  f.release(held);
  f.release(entry);
}

/** Returns 1 if the victim held the page. */
function returnIfVictim(f: FunctionBuilder, parts: Entry): void {
  emitVictim(f, parts, () => {
    f.i32(1);
    f.return();
  });
}
