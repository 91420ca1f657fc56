/**
 * Generated code of the dirty log. A page is marked where a write entry of a TLB is filled, and by page walks; there, who
 * wrote it is known as well. With the log off all of it is one look at a word of the control block in a TLB miss.
 */
import { CONTROL, DIRTY_SITE, DIRTY_SITES, HART } from '../memory/layout.ts';
import type { Callable, FunctionBuilder, Local } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import type { EngineContext } from './physical-memory.ts';

/** Adds (hart, pc, page) → (): marks the page, counts it for the hart and notes the site, if it was clean. */
export function addMarkDirty(module: ModuleBuilder, { layout }: EngineContext): Callable {
  const f = module.function(['i32', 'i64', 'i32'], []);
  const [hart, pc, page] = [f.param(0), f.param(1), f.param(2)];
  const word = f.local('i32');
  const bits = f.local('i32');
  const bit = f.local('i32');
  const site = f.local('i32');
  const increment = (field: number): void => {
    f.load('i32.load', field);
    f.i32(1);
    f.op('i32.add');
    f.store('i32.store', field);
  };
  f.get(page);
  f.i32(5);
  f.op('i32.shr_u');
  f.i32(2);
  f.op('i32.shl');
  f.tee(word);
  f.load('i32.load', layout.dirtyBitmap);
  f.set(bits);
  f.i32(1);
  f.get(page);
  f.op('i32.shl');
  f.tee(bit);
  f.get(bits);
  f.op('i32.and');
  f.if();
  f.return();
  f.end();
  f.get(word);
  f.get(bits);
  f.get(bit);
  f.op('i32.or');
  f.store('i32.store', layout.dirtyBitmap);
  f.get(hart);
  f.get(hart);
  increment(HART.dirtied);
  f.i32(layout.control);
  f.load('i32.load', CONTROL.dirtySites);
  f.i32(DIRTY_SITES - 1);
  f.op('i32.and');
  f.i32(DIRTY_SITE.size);
  f.op('i32.mul');
  f.tee(site);
  f.get(pc);
  f.store('i64.store', layout.dirtySites + DIRTY_SITE.pc);
  f.get(site);
  f.get(page);
  f.store('i32.store', layout.dirtySites + DIRTY_SITE.page);
  f.get(site);
  f.get(hart);
  f.store('i32.store', layout.dirtySites + DIRTY_SITE.hart);
  f.i32(layout.control);
  f.i32(layout.control);
  increment(CONTROL.dirtySites);
  return f;
}

/** While the dirty log is on, marks the page. @param pc pushes the address of the instruction that writes. */
export function emitDirty(
  f: FunctionBuilder,
  { layout }: EngineContext,
  mark: Callable,
  site: { readonly hart: Local; readonly pc: () => void; readonly page: Local },
): void {
  f.i32(layout.control);
  f.load('i32.load', CONTROL.dirtyLog);
  f.if();
  f.get(site.hart);
  site.pc();
  f.get(site.page);
  f.call(mark);
  f.end();
}
