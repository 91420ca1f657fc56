/**
 * The floating-point operations of the ISA table by name, on register values. Unprivileged ISA (20240411), chapters 20
 * and 21. This is what each instruction means; the fast ways in the table are shortcuts to the same.
 */
import { add, div, mul, sqrt, sub } from './float/arithmetic.ts';
import { fclass, feq, fle, flt, max, min } from './float/compare.ts';
import { convertFormat, fromInteger, INTEGER, toInteger } from './float/convert.ts';
import { BINARY32, BINARY64, box32, type FloatFormat, unbox32 } from './float/format.ts';
import { fmadd, fmsub, fnmadd, fnmsub } from './float/fused.ts';
import type { FloatEnvironment } from './float/rounding.ts';

/** The registers that an operation may read: f[rs1], f[rs2], f[rs3], x[rs1]. All unsigned. */
export interface FloatOperands {
  readonly a: bigint;
  readonly b: bigint;
  readonly c: bigint;
  readonly x: bigint;
}

/** Gives the new value of the destination register, and adds to the flags. */
export type FloatOperation = (env: FloatEnvironment, operands: FloatOperands) => bigint;

/** A format with its way into and out of a 64-bit register. */
interface RegisterFormat {
  readonly suffix: 's' | 'd';
  readonly format: FloatFormat;
  readonly read: (register: bigint) => bigint;
  readonly write: (bits: bigint) => bigint;
}

const same = (bits: bigint): bigint => bits;
const SINGLE: RegisterFormat = { suffix: 's', format: BINARY32, read: unbox32, write: box32 };
const DOUBLE: RegisterFormat = { suffix: 'd', format: BINARY64, read: same, write: same };

const BINARY = { fadd: add, fsub: sub, fmul: mul, fdiv: div, fmin: min, fmax: max } as const;
const FUSED = { fmadd, fmsub, fnmsub, fnmadd } as const;
const COMPARISONS = { feq, flt, fle } as const;

function operationsOf({ suffix, format, read, write }: RegisterFormat): [string, FloatOperation][] {
  const list: [string, FloatOperation][] = [
    [`fsqrt.${suffix}`, (env, { a }) => write(sqrt(format, env, read(a)))],
    [`fclass.${suffix}`, (_env, { a }) => fclass(format, read(a))],
  ];
  for (const [name, operation] of Object.entries(BINARY)) {
    list.push([`${name}.${suffix}`, (env, { a, b }) => write(operation(format, env, read(a), read(b)))]);
  }
  for (const [name, operation] of Object.entries(FUSED)) {
    list.push([
      `${name}.${suffix}`,
      (env, { a, b, c }) => write(operation(format, env, read(a), read(b), read(c))),
    ]);
  }
  for (const [name, holds] of Object.entries(COMPARISONS)) {
    list.push([`${name}.${suffix}`, (env, { a, b }) => (holds(format, env, read(a), read(b)) ? 1n : 0n)]);
  }
  for (const [name, integer] of Object.entries(INTEGER)) {
    list.push(
      [`fcvt.${name}.${suffix}`, (env, { a }) => toInteger(format, env, integer, read(a))],
      [`fcvt.${suffix}.${name}`, (env, { x }) => write(fromInteger(format, env, integer, x))],
    );
  }
  return list;
}

const OPERATIONS = new Map<string, FloatOperation>([
  ...operationsOf(SINGLE),
  ...operationsOf(DOUBLE),
  ['fcvt.s.d', (env, { a }) => box32(convertFormat(BINARY64, BINARY32, env, a))],
  ['fcvt.d.s', (env, { a }) => convertFormat(BINARY32, BINARY64, env, unbox32(a))],
]);

/** @throws Error if there is no such operation: a defect of the ISA table. */
export function floatOperation(name: string): FloatOperation {
  const operation = OPERATIONS.get(name);
  if (operation === undefined) throw new Error(`no floating-point operation ${name}`);
  return operation;
}
