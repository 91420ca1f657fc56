/**
 * The JIT's part of the interpreter: where jumps land, regions are entered, and pages get hot.
 */
import { CONTROL, HART, HOT_SLOTS_MAX, type Layout, SLOT } from '../../memory/layout.ts';
import type { FunctionType, Local } from '../../wasm/function.ts';
import type { InterpreterFrame } from '../interpreter-frame.ts';
import { ENTRY } from '../operations.ts';

/** What the interpreter has to know to work beside the JIT. */
export interface JitHooks {
  /** Type of a region's function: (hart, state, instructions left, address of the base page) → left << ARRIVAL_BITS | ARRIVAL. */
  readonly region: FunctionType;
  readonly layout: Layout;
}

/** How the interpreter has come to an address that `goto` looks up. */
export const ARRIVAL = {
  /** By a jump: where jumps lead, regions begin. */
  jump: 0,
  /** At the start of a slice, or from a region to code on its pages that it lacks: no entry is missing there. */
  unmarked: 1,
  /** A region can't run this instruction. */
  bail: 2,
} as const;

/** How many bits an ARRIVAL takes. */
export const ARRIVAL_BITS = 2;

/**
 * Where jumps land: enters the region that begins here, if one does. Else the page gets hotter, and what `goto` found
 * is marked as a place where a region should begin.
 * @param arrival an ARRIVAL; a jump's behind this code.
 */
export function emitLanding(frame: InterpreterFrame, arrival: Local, { region, layout }: JitHooks): void {
  const { f } = frame;
  const state = f.local('i32');
  const count = f.local('i32');
  f.get(arrival);
  f.op('i32.eqz');
  f.if();
  f.get(frame.entry);
  f.get(frame.entry);
  f.load('i32.load8_u');
  f.i32(ENTRY.reached);
  f.op('i32.or');
  f.store('i32.store8');
  f.else();
  f.get(arrival);
  f.i32(ARRIVAL.bail);
  f.op('i32.and');
  f.set(arrival);
  f.end();
  // A jump inside the page comes here past `goto`, with arrival 0.
  frame.landed = f.loop();
  const interpret = f.block();
  f.get(arrival);
  f.if();
  f.i32(ARRIVAL.jump);
  f.set(arrival);
  f.br(interpret);
  f.end();
  f.get(frame.entry);
  f.load('i32.load8_u');
  f.i32(ENTRY.begins);
  f.op('i32.and');
  f.if();
  f.get(frame.slotBase);
  f.get(frame.entry);
  f.get(frame.slotBase);
  f.op('i32.sub');
  f.i32(2);
  f.op('i32.shr_u', 'i32.add');
  f.load('i32.load16_u', SLOT.states);
  f.tee(state);
  f.if();
  // Not kept over the call: the compiler would save it at each dispatch.
  f.get(frame.hart);
  f.get(frame.left);
  f.store('i32.store', HART.remaining);
  f.get(frame.hart);
  f.get(state);
  f.get(frame.left);
  f.get(frame.slotPc);
  f.get(frame.slotBase);
  f.load('i64.load', SLOT.delta);
  f.op('i64.sub');
  f.get(frame.slotBase);
  f.load('i32.load', SLOT.function);
  f.callIndirect(region);
  f.set(state);
  const add = (field: number, amount: () => void): void => {
    f.get(frame.hart);
    f.get(frame.hart);
    f.load('i64.load', field);
    amount();
    f.op('i64.add');
    f.store('i64.store', field);
  };
  add(HART.entered, () => f.i64(1));
  add(HART.bailed, () => {
    f.get(state);
    f.i32(ARRIVAL.bail);
    f.op('i32.and');
    f.i32(1);
    f.op('i32.shr_u', 'i64.extend_i32_u');
  });
  add(HART.translated, () => {
    f.get(frame.hart);
    f.load('i32.load', HART.remaining);
    f.get(state);
    f.i32(ARRIVAL_BITS);
    f.op('i32.shr_s');
    f.tee(frame.left);
    f.op('i32.sub', 'i64.extend_i32_s');
  });
  f.get(state);
  f.i32((1 << ARRIVAL_BITS) - 1);
  f.op('i32.and');
  f.set(arrival);
  f.get(frame.hart);
  f.load('i64.load', HART.pc);
  f.set(frame.target);
  f.br(frame.goto);
  f.end();
  f.end(); // begins
  f.get(frame.slotBase);
  f.get(frame.slotBase);
  f.load('i32.load', SLOT.heat);
  f.i32(1);
  f.op('i32.sub');
  f.tee(count);
  f.store('i32.store', SLOT.heat);
  f.get(count);
  f.op('i32.eqz');
  f.if();
  f.i32(layout.control);
  f.load('i32.load', CONTROL.hotCount);
  f.tee(count);
  f.i32(HOT_SLOTS_MAX);
  f.op('i32.lt_u');
  f.if();
  f.get(count);
  f.i32(2);
  f.op('i32.shl');
  f.get(frame.slotBase);
  f.store('i32.store', layout.control + CONTROL.hotSlots);
  f.i32(layout.control);
  f.get(count);
  f.i32(1);
  f.op('i32.add');
  f.store('i32.store', CONTROL.hotCount);
  f.end();
  f.end();
  f.end(); // interpret
  f.release(state, count);
}
