/** A hart's registers as text, in the form of QEMU's `info registers`. */
import type { Hart } from '../cpu/hart.ts';
import { FLOAT_REGISTER_NAMES, REGISTER_NAMES } from '../isa/disassemble.ts';
import { HART_CSRS } from '../memory/layout.ts';

const PER_LINE = 4;
const PRIVILEGE_NAMES = ['user', 'supervisor', 'reserved', 'machine'];

const hex = (value: bigint): string => value.toString(16).padStart(16, '0');

/** One line each for pc, mode and CSRs, then the registers, four in a line. */
export function registerLines(hart: Hart, { floats = true } = {}): string[] {
  const csrs = HART_CSRS.map((name) => ` ${name.padEnd(13)} ${hex(hart.csr(name))}`);
  return [
    ` ${'pc'.padEnd(13)} ${hex(hart.pc)}`,
    ` ${'mode'.padEnd(13)} ${PRIVILEGE_NAMES[hart.privilege]}`,
    ` ${'mhartid'.padEnd(13)} ${hex(BigInt(hart.id))}`,
    ...csrs,
    ...inLines(REGISTER_NAMES.map((name, i) => ` ${`x${i}/${name}`.padEnd(8)} ${hex(hart.x(i))}`)),
    ...(floats
      ? inLines(FLOAT_REGISTER_NAMES.map((name, i) => ` ${`f${i}/${name}`.padEnd(8)} ${hex(hart.f(i))}`))
      : []),
  ];
}

/** Values by every name that a register has: pc, x5 and t0, f0 and ft0, mepc. */
export function registerValues(hart: Hart): Map<string, bigint> {
  const file = (letter: string, names: readonly string[], value: (i: number) => bigint): [string, bigint][] =>
    names.flatMap((name, i): [string, bigint][] => [
      [`${letter}${i}`, value(i)],
      [name, value(i)],
    ]);
  return new Map([
    ['pc', hart.pc],
    ['mhartid', BigInt(hart.id)],
    ...HART_CSRS.map((name): [string, bigint] => [name, hart.csr(name)]),
    ...file('x', REGISTER_NAMES, (i) => hart.x(i)),
    ...file('f', FLOAT_REGISTER_NAMES, (i) => hart.f(i)),
  ]);
}

function inLines(cells: readonly string[]): string[] {
  const lines: string[] = [];
  for (let i = 0; i < cells.length; i += PER_LINE) lines.push(cells.slice(i, i + PER_LINE).join(''));
  return lines;
}
