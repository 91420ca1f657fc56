/** Generated code that looks an address up in a TLB. */
import { PAGE_SHIFT, PAGE_SIZE, TLB_FIELD } from '../memory/layout.ts';
import type { FunctionBuilder, Local } from '../wasm/function.ts';

/** Emits the TLB index: the byte offset of an address's entry from the start of a TLB. */
export function emitTlbOffset(f: FunctionBuilder, address: Local): void {
  f.get(address);
  f.op('i32.wrap_i64');
  f.i32(PAGE_SHIFT - 4);
  f.op('i32.shr_u');
  f.i32(0xff0);
  f.op('i32.and');
}

/** A compare with an entry's tag. */
export interface Match {
  readonly address: Local;
  /** The address of the entry, less `tlb`. */
  readonly entry: Local;
  /** TLB.read or TLB.write. */
  readonly tlb: number;
  /** Bytes. */
  readonly size: number;
  /** The access has to be naturally aligned; else it has to end on its page. */
  readonly aligned: boolean;
  /** With the direct tag. */
  readonly direct: boolean;
}

export interface Lookup extends Match {
  /** The set of TLBs. */
  readonly tlbs: Local;
}

/** Looks for the entry of an address, and pushes 1 if the access misses. */
export function emitLookup(f: FunctionBuilder, parts: Lookup): void {
  f.get(parts.tlbs);
  emitTlbOffset(f, parts.address);
  f.op('i32.add');
  f.set(parts.entry);
  emitMisses(f, parts);
}

/**
 * Pushes 1 if the access misses. A hit needs the same page, and that the access ends on it, or is naturally aligned:
 * each is one compare with the tag.
 */
export function emitMisses(f: FunctionBuilder, parts: Match): void {
  f.get(parts.address);
  f.get(parts.entry);
  if (parts.direct) f.load('i64.load32_u', parts.tlb + TLB_FIELD.direct);
  else f.load('i64.load', parts.tlb + TLB_FIELD.tag);
  f.op('i64.xor');
  if (parts.aligned) {
    f.i64(-PAGE_SIZE + parts.size - 1);
    f.op('i64.and', 'i64.eqz', 'i32.eqz');
  } else {
    f.i64(PAGE_SIZE + 1 - parts.size);
    f.op('i64.ge_u');
  }
}

/** Pushes 1 if the bytes of an access lie on two pages. */
export function emitCrosses(f: FunctionBuilder, address: Local, size: number): void {
  f.get(address);
  f.op('i32.wrap_i64');
  f.i32(PAGE_SIZE - 1);
  f.op('i32.and');
  f.i32(PAGE_SIZE - size);
  f.op('i32.gt_u');
}
