/**
 * Generated code that turns an address into a physical one: the page walk of Sv39 and Sv48, with the A and D bits
 * updated as hardware does, and the PMP's word on the result.
 * RISC-V Privileged ISA (20240411): §12.3 (satp and the walk), §12.4 (Sv39), §12.5 (Sv48), §3.7 (PMP).
 */
import { HART, hartCsr, PAGE_FLAG, PAGE_WALK_PC, PMP_RANGE_SIZE, WALK } from '../memory/layout.ts';
import type { Callable, FunctionBuilder, Label, Local } from '../wasm/function.ts';
import type { ModuleBuilder } from '../wasm/module.ts';
import { emitDirty } from './dirty.ts';
import { PPN_TO_ADDRESS_SHIFT, PTE, PTE_PPN_MASK, SATP_MODE_SHIFT, SATP_PPN_MASK } from './page-tables.ts';
import type { EngineContext } from './physical-memory.ts';
import { emitForgetEntries, emitMissing, emitPageIndex, emitRamOffset } from './ram.ts';

/** What an access is for; also the bit of a PMP entry that allows it. */
export const ACCESS = { read: 1, write: 2, execute: 4 } as const;

/** Answers of `translate` that are no physical address. */
export const FAULT = {
  page: -1n,
  access: -2n,
  /** A page of the tables has not arrived yet; HART.missing says which. */
  missing: -3n,
} as const;

/** An ACCESS stands one bit higher in a PTE. */
const PTE_ACCESS_SHIFT = 1;
/** Bits 63:54: reserved without Svnapot and Svpbmt. */
const PTE_RESERVED = 0xffc0_0000_0000_0000n;

const MODE_SV39 = 8n;
/** Lowest bit of the topmost VPN. */
const TOP_SHIFT = { sv39: 30n, sv48: 39n } as const;
const LEVEL_BITS = 9n;
const PAGE_OFFSET_BITS = 12n;
const GIGAPAGE_BITS = 30n;

const SATP = hartCsr('satp');

/** What misses call out for. */
export interface MissCalls {
  /** (page, offset in RAM, bytes): what was translated of the page is to be forgotten. */
  readonly forget: Callable;
  /** (hart, address, ACCESS, WALK, result): an address was translated, and WALK.trace says that it matters. */
  readonly traced: Callable;
}

/** Adds `translate(hart, address, ACCESS, WALK) → physical address or FAULT`, exported as "translate". */
export function addTranslate(
  module: ModuleBuilder,
  context: EngineContext,
  { forget, traced }: MissCalls,
  mark: Callable,
): Callable {
  const pmp = addPmp(module);
  const f = module.function(['i32', 'i64', 'i32', 'i32'], ['i64'], 'translate');
  const [hart, address, access, walk] = [f.param(0), f.param(1), f.param(2), f.param(3)];
  const physical = f.local('i64');
  f.get(address);
  f.set(physical);
  /** Of the walk's entry, from the start of RAM. */
  const entry = f.local('i64');
  const missing = f.block();
  const done = f.block();
  const check = f.block();
  f.get(walk);
  f.i32(WALK.paging);
  f.op('i32.and', 'i32.eqz');
  f.brIf(check);
  const accessFault = f.block();
  const pageFault = f.block();
  emitWalk(f, context, pmp, {
    hart,
    address,
    access,
    walk,
    physical,
    entry,
    missing,
    check,
    accessFault,
    pageFault,
    forget,
    mark,
  });
  f.end();
  f.i64(FAULT.page);
  f.set(physical);
  f.br(done);
  f.end();
  f.i64(FAULT.access);
  f.set(physical);
  f.br(done);
  f.end();
  for (const local of [hart, physical, access, walk]) f.get(local);
  f.call(pmp);
  f.brIf(done);
  f.i64(FAULT.access);
  f.set(physical);
  f.end();
  emitWalkHas(f, walk, WALK.trace);
  f.if();
  for (const local of [hart, address, access, walk, physical]) f.get(local);
  f.call(traced);
  f.end();
  f.get(physical);
  f.return();
  f.end();
  const page = f.local('i32');
  f.get(hart);
  emitPageIndex(f, context, entry, page);
  f.get(page);
  f.store('i32.store', HART.missing);
  f.i64(FAULT.missing);
  return f;
}

interface Walk {
  readonly hart: Local;
  readonly address: Local;
  readonly access: Local;
  readonly walk: Local;
  /** Set to the physical address when the walk goes to `check`. */
  readonly physical: Local;
  /** Set to where the entry that is looked at stands, from the start of RAM. */
  readonly entry: Local;
  readonly missing: Label;
  readonly check: Label;
  readonly accessFault: Label;
  readonly pageFault: Label;
  /** See addMissHandlers. */
  readonly forget: Callable;
  readonly mark: Callable;
}

/** §12.3.2, steps 1 to 10. */
function emitWalk(f: FunctionBuilder, context: EngineContext, pmp: Callable, parts: Walk): void {
  const { hart, address, entry: offset, missing, accessFault, pageFault } = parts;
  /** Lowest bit of the VPN of this level; the page's size is 2^shift. */
  const shift = f.local('i64');
  /** Address of the present level's table, then of its entry. */
  const table = f.local('i64');
  const pte = f.local('i64');

  f.i64(TOP_SHIFT.sv39);
  f.i64(TOP_SHIFT.sv48);
  f.get(hart);
  f.load('i64.load', SATP);
  f.tee(table);
  f.i64(SATP_MODE_SHIFT);
  f.op('i64.shr_u');
  f.i64(MODE_SV39);
  f.op('i64.eq');
  f.select();
  f.set(shift);
  // The bits above the topmost VPN must all equal its highest bit.
  const unused = f.local('i64');
  f.i64(64n - LEVEL_BITS);
  f.get(shift);
  f.op('i64.sub');
  f.set(unused);
  f.get(address);
  f.get(unused);
  f.op('i64.shl');
  f.get(unused);
  f.op('i64.shr_s');
  f.get(address);
  f.op('i64.ne');
  f.brIf(pageFault);
  f.get(table);
  f.i64(SATP_PPN_MASK);
  f.op('i64.and');
  f.i64(PAGE_OFFSET_BITS);
  f.op('i64.shl');
  f.set(table);

  const next = f.loop();
  f.get(table);
  f.get(address);
  f.get(shift);
  f.op('i64.shr_u');
  f.i64((1n << LEVEL_BITS) - 1n);
  f.op('i64.and');
  f.i64(3n);
  f.op('i64.shl', 'i64.add');
  f.set(table);
  // The walk reads as supervisor mode does.
  f.get(hart);
  f.get(table);
  f.i32(ACCESS.read);
  f.i32(0);
  f.call(pmp);
  f.op('i32.eqz');
  f.brIf(accessFault);
  emitRamOffset(f, context, table, offset, accessFault);
  emitMissing(f, context, offset, missing);
  f.get(offset);
  f.op('i32.wrap_i64');
  f.load('i64.load', context.ram.offset);
  f.set(pte);
  faultUnless(f, pte, PTE.valid, pageFault);
  faultIf(f, pte, PTE_RESERVED, pageFault);
  emitHas(f, pte, PTE.read | PTE.execute);
  f.op('i32.eqz');
  f.if();
  // A pointer to the next level.
  faultIf(f, pte, PTE.write | PTE.user | PTE.accessed | PTE.dirty, pageFault);
  f.get(shift);
  f.i64(LEVEL_BITS);
  f.op('i64.sub');
  f.tee(shift);
  f.i64(PAGE_OFFSET_BITS);
  f.op('i64.lt_s');
  f.brIf(pageFault);
  emitPageAddress(f, pte);
  f.set(table);
  f.br(next);
  f.end();
  f.end();
  emitLeafPermissions(f, pte, parts);
  emitLeafAddress(f, pte, shift, parts);
  emitSuperpage(f, shift, parts);
  emitAccessedAndDirty(f, context, pte, offset, parts);
  f.br(parts.check);
}

/** Step 6: may this be done here? */
function emitLeafPermissions(f: FunctionBuilder, pte: Local, { access, walk, pageFault }: Walk): void {
  const allowed = f.local('i64');
  // Writable without readable is reserved.
  f.get(pte);
  f.i64(PTE.read | PTE.write);
  f.op('i64.and');
  f.i64(PTE.write);
  f.op('i64.eq');
  f.brIf(pageFault);

  emitHas(f, pte, PTE.user);
  f.if();
  // A user page: for user mode, and with SUM for supervisor loads and stores.
  emitWalkHas(f, walk, WALK.user);
  f.op('i32.eqz');
  f.if();
  emitWalkHas(f, walk, WALK.sum);
  f.op('i32.eqz');
  f.get(access);
  f.i32(ACCESS.execute);
  f.op('i32.eq', 'i32.or');
  f.brIf(pageFault);
  f.end();
  f.else();
  emitWalkHas(f, walk, WALK.user);
  f.brIf(pageFault);
  f.end();

  // MXR: what is executable is readable.
  f.get(pte);
  f.get(pte);
  f.i64(2n);
  f.op('i64.shr_u');
  f.i64(PTE.read);
  f.op('i64.and');
  f.i64(0n);
  emitWalkHas(f, walk, WALK.mxr);
  f.select();
  f.op('i64.or');
  f.set(allowed);
  f.get(allowed);
  f.op('i32.wrap_i64');
  f.get(access);
  f.i32(PTE_ACCESS_SHIFT);
  f.op('i32.shl', 'i32.and', 'i32.eqz');
  f.brIf(pageFault);
  f.release(allowed);
}

/** Steps 7 and 10: physical ← the page's address and, of a superpage, the rest of the virtual one. */
function emitLeafAddress(
  f: FunctionBuilder,
  pte: Local,
  shift: Local,
  { address, physical, pageFault }: Walk,
): void {
  const mask = f.local('i64');
  f.i64(1n);
  f.get(shift);
  f.op('i64.shl');
  f.i64(1n);
  f.op('i64.sub');
  f.set(mask);
  emitPageAddress(f, pte);
  f.tee(physical);
  f.get(mask);
  f.op('i64.and');
  f.i64(0n);
  f.op('i64.ne');
  f.brIf(pageFault);
  f.get(physical);
  f.get(address);
  f.get(mask);
  f.op('i64.and', 'i64.or');
  f.set(physical);
  f.release(mask);
}

/** Notes that the page is a part of a superpage (HART.superpages); one larger than 1 GiB is everywhere. */
function emitSuperpage(f: FunctionBuilder, shift: Local, { hart, address }: Walk): void {
  f.get(shift);
  f.i64(PAGE_OFFSET_BITS);
  f.op('i64.gt_u');
  f.if();
  f.get(hart);
  f.get(hart);
  f.load('i64.load', HART.superpages);
  f.i64(-1n);
  f.i64(1n);
  f.get(address);
  f.i64(GIGAPAGE_BITS);
  f.op('i64.shr_u', 'i64.shl');
  f.get(shift);
  f.i64(GIGAPAGE_BITS);
  f.op('i64.gt_u');
  f.select();
  f.op('i64.or');
  f.store('i64.store', HART.superpages);
  f.end();
}

/** Step 9: sets A, and D for a store, or leaves that to software (Svade). */
function emitAccessedAndDirty(
  f: FunctionBuilder,
  context: EngineContext,
  pte: Local,
  offset: Local,
  { hart, access, walk, pageFault, forget, mark }: Walk,
): void {
  const updated = f.local('i64');
  const page = f.local('i32');
  const size = f.local('i32');
  f.get(pte);
  f.i64(PTE.accessed | PTE.dirty);
  f.i64(PTE.accessed);
  f.get(access);
  f.i32(ACCESS.write);
  f.op('i32.eq');
  f.select();
  f.op('i64.or');
  f.tee(updated);
  f.get(pte);
  f.op('i64.ne');
  f.if();
  emitWalkHas(f, walk, WALK.svade);
  f.brIf(pageFault);
  emitPageIndex(f, context, offset, page);
  emitDirty(f, context, mark, { hart, pc: () => f.i64(PAGE_WALK_PC), page });
  f.get(page);
  f.load('i32.load8_u', context.layout.pageFlags);
  f.i32(PAGE_FLAG.code);
  f.op('i32.and');
  f.if();
  f.i32(8);
  f.set(size);
  emitForgetEntries(f, context, { page, offset, size }, () => {
    f.get(page);
    f.get(offset);
    f.op('i32.wrap_i64');
    f.get(size);
    f.call(forget);
  });
  f.end();
  f.get(offset);
  f.op('i32.wrap_i64');
  f.get(updated);
  f.store('i64.store', context.ram.offset);
  f.end();
  f.release(updated, page, size);
}

/** Adds `pmp(hart, physical address, ACCESS, WALK) → whether it is allowed` (§3.7.1): the first match decides. */
function addPmp(module: ModuleBuilder): Callable {
  const f = module.function(['i32', 'i64', 'i32', 'i32'], ['i32']);
  const [hart, address, access, walk] = [f.param(0), f.param(1), f.param(2), f.param(3)];
  const page = f.local('i64');
  const left = f.local('i32');
  f.get(address);
  f.i64(PAGE_OFFSET_BITS);
  f.op('i64.shr_u');
  f.set(page);
  f.get(hart);
  f.load('i32.load', HART.pmpCount);
  f.set(left);
  const none = f.block();
  const next = f.loop();
  f.get(left);
  f.op('i32.eqz');
  f.brIf(none);
  // `hart` walks over the ranges.
  f.get(page);
  f.get(hart);
  f.load('i64.load', HART.pmp);
  f.op('i64.ge_u');
  f.get(page);
  f.get(hart);
  f.load('i64.load', HART.pmp + 8);
  f.op('i64.lt_u', 'i32.and');
  f.if();
  f.get(hart);
  f.load('i32.load', HART.pmp + 20);
  f.get(hart);
  f.load('i32.load', HART.pmp + 16);
  emitWalkHas(f, walk, WALK.machine);
  f.select();
  f.get(access);
  f.op('i32.and');
  f.get(access);
  f.op('i32.eq');
  f.return();
  f.end();
  f.get(left);
  f.i32(1);
  f.op('i32.sub');
  f.set(left);
  f.get(hart);
  f.i32(PMP_RANGE_SIZE);
  f.op('i32.add');
  f.set(hart);
  f.br(next);
  f.end();
  f.end();
  // No entry matches: machine mode may, the others may not.
  emitWalkHas(f, walk, WALK.machine);
  f.i32(0);
  f.op('i32.ne');
  return f;
}

function emitHas(f: FunctionBuilder, pte: Local, bits: bigint): void {
  f.get(pte);
  f.i64(bits);
  f.op('i64.and', 'i64.eqz', 'i32.eqz');
}

function emitWalkHas(f: FunctionBuilder, walk: Local, bit: number): void {
  f.get(walk);
  f.i32(bit);
  f.op('i32.and');
}

function faultIf(f: FunctionBuilder, pte: Local, bits: bigint, fault: Label): void {
  emitHas(f, pte, bits);
  f.brIf(fault);
}

function faultUnless(f: FunctionBuilder, pte: Local, bit: bigint, fault: Label): void {
  emitHas(f, pte, bit);
  f.op('i32.eqz');
  f.brIf(fault);
}

/** Address of the page that a PTE names. */
function emitPageAddress(f: FunctionBuilder, pte: Local): void {
  f.get(pte);
  f.i64(PTE_PPN_MASK);
  f.op('i64.and');
  f.i64(PPN_TO_ADDRESS_SHIFT);
  f.op('i64.shl');
}
