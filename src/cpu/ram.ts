/** Pieces of generated code that reach RAM by physical address, past the TLBs. */
import { CONTROL, ENTRY_SIZE, PAGE_SHIFT, PAGE_SIZE } from '../memory/layout.ts';
import type { FunctionBuilder, Label, Local } from '../wasm/function.ts';
import { ENTRY } from './operations.ts';
import type { EngineContext } from './physical-memory.ts';

/** offset ← physical address − RAM base; leaves to `no` if the address is not in RAM. */
export function emitRamOffset(
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

export function emitPageIndex(f: FunctionBuilder, { ram }: EngineContext, offset: Local, page: Local): void {
  f.get(offset);
  f.op('i32.wrap_i64');
  f.i32(PAGE_SHIFT);
  f.op('i32.shr_u');
  f.i32(ram.firstPage);
  f.op('i32.add');
  f.set(page);
}

/** While pages may be missing, leaves to `missing` if the page at this offset in RAM is. */
export function emitMissing(f: FunctionBuilder, context: EngineContext, offset: Local, missing: Label): void {
  const { layout } = context;
  const page = f.local('i32');
  f.i32(layout.control);
  f.load('i32.load', CONTROL.missing);
  f.if();
  emitPageIndex(f, context, offset, page);
  f.get(page);
  f.i32(5);
  f.op('i32.shr_u');
  f.i32(2);
  f.op('i32.shl');
  // What was placed before the bit is seen by whoever sees the bit.
  f.atomicLoad('i32.atomic.load', layout.receivedBitmap);
  f.get(page);
  f.op('i32.shr_u');
  f.i32(1);
  f.op('i32.and', 'i32.eqz');
  f.brIf(missing);
  f.end();
  f.release(page);
}

/**
 * Forgets the predecoded entries of the written bytes, and of an instruction that began a halfword before them.
 * @param translated written for the case that the JIT has translated one of them; nothing has been forgotten then.
 */
export function emitForgetEntries(
  f: FunctionBuilder,
  { layout }: EngineContext,
  { page, offset, size }: { readonly page: Local; readonly offset: Local; readonly size: Local },
  translated: () => void,
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
  // The marks of all entries first: all are forgotten, or none.
  const first = f.local('i32');
  const marks = f.local('i32');
  f.get(entry);
  f.set(first);
  f.i32(0);
  f.set(marks);
  const each = (body: () => void): void => {
    const again = f.loop();
    body();
    f.get(entry);
    f.i32(ENTRY_SIZE);
    f.op('i32.add');
    f.tee(entry);
    f.get(last);
    f.op('i32.le_u');
    f.brIf(again);
    f.end();
  };
  each(() => {
    f.get(marks);
    f.get(entry);
    f.load('i32.load');
    f.op('i32.or');
    f.set(marks);
  });
  f.get(marks);
  f.i32(ENTRY.translated);
  f.op('i32.and');
  f.if();
  translated();
  f.end();
  f.get(first);
  f.set(entry);
  each(() => {
    f.get(entry);
    f.i64(0);
    f.store('i64.store');
  });
  f.release(byte, entry, last, slot, first, marks);
}
