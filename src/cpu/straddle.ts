/**
 * The interpreter's part of instructions that lie across two pages. No page's entries hold them, as the second page may be
 * another one by the next time: they run in a slot of the hart (HART.straddle).
 */
import { ENTRY_SIZE, HART, PAGE_SIZE, SLOT, TLB, TLB_FIELD } from '../memory/layout.ts';
import type { InterpreterFrame } from './interpreter-frame.ts';
import { emitTlbOffset } from './lookup.ts';
import { END_WORD } from './operations.ts';

/** Goes to the entry in the hart's slot; its address is in `target`. */
export function enterStraddle(frame: InterpreterFrame): void {
  const { f } = frame;
  f.get(frame.hart);
  f.i32(HART.straddle);
  f.op('i32.add');
  f.tee(frame.entry);
  // Half a halfword earlier, as slotPc is below: no page begins at an odd address, so `goto` never stays here.
  f.i32(ENTRY_SIZE / 2);
  f.op('i32.sub');
  f.set(frame.slotBase);
  // 2 GiB away: no branch stays within a page of it.
  f.get(frame.slotBase);
  f.i32(-0x8000_0000);
  f.op('i32.add');
  f.set(frame.pageBase);
  f.get(frame.target);
  f.i64(1);
  f.op('i64.sub');
  f.set(frame.slotPc);
  f.br(frame.next);
}

/**
 * For an entry that nothing was predecoded into: if it is a page's last, and both pages still hold the bits that the host
 * side has decoded there, fills the hart's slot and goes there. Whether the second page may be fetched from, and which it
 * is, the fetch TLB says. Else goes on behind this.
 */
export function emitStraddling(frame: InterpreterFrame): void {
  const { f } = frame;
  const other = f.block();
  f.get(frame.entry);
  f.get(frame.slotBase);
  f.op('i32.sub');
  f.i32((PAGE_SIZE / 2 - 1) * ENTRY_SIZE);
  f.op('i32.ne');
  f.brIf(other);
  f.get(frame.slotBase);
  f.load('i32.load', SLOT.straddleBits);
  f.tee(frame.size);
  f.op('i32.eqz');
  f.brIf(other);
  f.get(frame.slotPc);
  f.i64(PAGE_SIZE);
  f.op('i64.add');
  f.set(frame.address);
  f.get(frame.fetchTlbs);
  emitTlbOffset(f, frame.address);
  f.op('i32.add');
  f.tee(frame.scratch);
  f.load('i64.load', TLB.fetch);
  f.get(frame.address);
  f.op('i64.ne');
  f.brIf(other);
  f.get(frame.slotBase);
  f.load('i32.load', SLOT.host);
  f.load('i32.load16_u', PAGE_SIZE - 2);
  f.get(frame.scratch);
  f.load('i32.load', TLB.fetch + TLB_FIELD.value);
  f.load('i32.load', SLOT.host);
  f.load('i32.load16_u');
  f.i32(16);
  f.op('i32.shl', 'i32.or');
  f.get(frame.size);
  f.op('i32.ne');
  f.brIf(other);
  f.get(frame.hart);
  f.get(frame.slotBase);
  f.load('i64.load', SLOT.straddle);
  f.store('i64.store', HART.straddle);
  f.get(frame.hart);
  f.i32(END_WORD);
  f.store('i32.store', HART.straddle + 2 * ENTRY_SIZE);
  frame.uncount();
  frame.pc();
  f.set(frame.target);
  enterStraddle(frame);
  f.end();
}
