/** Floating-point instructions on the host side: those that wasm's own can't do to the bit, or whose flags could be seen. */
import type { Action } from '../isa/semantics.ts';
import type { FloatEnvironment, RoundingMode } from './float/rounding.ts';
import { floatOperation } from './float-operations.ts';
import type { Hart } from './hart.ts';
import { ENTRY } from './operations.ts';

/**
 * Runs the instruction of an entry.
 * @returns false if it is illegal: Unprivileged ISA §20.2 reserves rounding modes 5 and 6, and a dynamic mode of 5 to 7.
 */
export function runFloat(
  hart: Hart,
  word: number,
  immediate: number,
  action: Extract<Action, { kind: 'float' }>,
): boolean {
  const fcsr = Number(hart.csr('fcsr'));
  const mode = immediate & 7;
  // Operations without rounding have no mode.
  const rm = mode === 7 ? fcsr >> 5 : mode;
  if (rm > 4) return false;
  const environment: FloatEnvironment = { rm: rm as RoundingMode, fflags: 0 };
  const rs1 = (word >>> ENTRY.rs1Shift) & 31;
  const rs2 = (word >>> ENTRY.rs2Shift) & 31;
  const rd = (word & ENTRY.rdMask) >> 3;
  const result = floatOperation(action.operation)(environment, {
    a: hart.f(rs1),
    b: hart.f(rs2),
    c: hart.f((immediate >> ENTRY.frs3Shift) & 31),
    x: hart.x(rs1),
  });
  if (action.toInteger) hart.setX(rd, result);
  else hart.setF(rd, result);
  if ((environment.fflags & ~fcsr) !== 0) {
    hart.setCsr('fcsr', BigInt(fcsr | environment.fflags));
    hart.updateFloat();
  }
  return true;
}
