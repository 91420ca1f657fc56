/**
 * Narrows 64-bit operations on sign-extended words to 32-bit ones. Compiled C is full of them, and the compiler behind us
 * drops the extensions between two 32-bit operations, but does not see through a 64-bit one.
 */
import { type Expr, i32, i64, op } from '../../wasm/expr.ts';
import type { LoadOp, PureOp } from '../../wasm/opcodes.ts';
import type { RegionInstruction } from './block.ts';
import { operandsOf } from './region-registers.ts';

/** What is known of an expression's leaves. */
export interface Leaves {
  /** Whether it is the sign extension of its low 32 bits. */
  isWord(name: string): boolean;
  /** Its value, if that is known. */
  constant(name: string): number | undefined;
}

const BITWISE: Partial<Record<PureOp, PureOp>> = {
  'i64.and': 'i32.and',
  'i64.or': 'i32.or',
  'i64.xor': 'i32.xor',
};

/** Sign extension keeps the order, signed and unsigned. */
const COMPARISONS: Partial<Record<PureOp, PureOp>> = {
  'i64.eqz': 'i32.eqz',
  'i64.eq': 'i32.eq',
  'i64.ne': 'i32.ne',
  'i64.lt_s': 'i32.lt_s',
  'i64.lt_u': 'i32.lt_u',
  'i64.ge_s': 'i32.ge_s',
  'i64.ge_u': 'i32.ge_u',
};

const EXTENSIONS: ReadonlySet<PureOp> = new Set([
  'i64.extend_i32_s',
  'i64.extend8_s',
  'i64.extend16_s',
  'i64.extend32_s',
]);

const INT32_MAX = 2 ** 31 - 1;

function constantOf(expr: Expr, leaves: Leaves): number | undefined {
  if (expr.kind === 'leaf') return leaves.constant(expr.name);
  return expr.kind === 'const' ? Number(expr.value) : undefined;
}

/** Whether an i64 expression gives a sign-extended word. */
export function isWord(expr: Expr, leaves: Leaves): boolean {
  const constant = constantOf(expr, leaves);
  if (constant !== undefined) return constant >= -INT32_MAX - 1 && constant <= INT32_MAX;
  if (expr.kind === 'leaf') return leaves.isWord(expr.name);
  if (expr.kind !== 'op') return false;
  const [a, b] = expr.args as readonly [Expr, Expr];
  if (EXTENSIONS.has(expr.op)) return true;
  // The truth of a comparison.
  if (expr.op === 'i64.extend_i32_u') return a.kind === 'op' && COMPARISONS[a.op] !== undefined;
  if (expr.op === 'i64.and' && [a, b].some((arg) => isPositive(arg, leaves))) return true;
  if (BITWISE[expr.op] !== undefined) return isWord(a, leaves) && isWord(b, leaves);
  if (expr.op !== 'i64.add') return false;
  // Moves are additions.
  if (constantOf(a, leaves) === 0) return isWord(b, leaves);
  return constantOf(b, leaves) === 0 && isWord(a, leaves);
}

function isPositive(expr: Expr, leaves: Leaves): boolean {
  const constant = constantOf(expr, leaves);
  return constant !== undefined && constant >= 0 && constant <= INT32_MAX;
}

/** The same expression, with 32-bit operations where that is possible. */
export function narrowed(expr: Expr, leaves: Leaves): Expr {
  if (expr.kind !== 'op') return expr;
  const low = (arg: Expr): Expr => i32.wrap_i64(narrowed(arg, leaves));
  const bitwise = BITWISE[expr.op];
  if (bitwise !== undefined) {
    return isWord(expr, leaves) ? i64.extend_i32_s(op(bitwise, ...expr.args.map(low))) : expr;
  }
  const comparison = COMPARISONS[expr.op];
  if (comparison !== undefined) {
    return expr.args.every((arg) => isWord(arg, leaves)) ? op(comparison, ...expr.args.map(low)) : expr;
  }
  if (expr.op !== 'i64.extend_i32_u') return expr;
  const [truth] = expr.args as readonly [Expr];
  const narrow = narrowed(truth, leaves);
  return narrow === truth ? expr : i64.extend_i32_u(narrow);
}

/** Loads of what is smaller than a register, but for the unsigned word. */
const WORD_LOADS: ReadonlySet<LoadOp> = new Set([
  'i64.load8_s',
  'i64.load8_u',
  'i64.load16_s',
  'i64.load16_u',
  'i64.load32_s',
]);

/** Which registers hold sign-extended words, from one instruction to the next. */
export class KnownWords implements Leaves {
  /** Bit r stands for x[r]. */
  registers = 0;
  /** The instruction that the leaves are of. */
  current!: RegionInstruction;

  has(register: number): boolean {
    return (this.registers & (1 << register)) !== 0;
  }

  isWord(name: string): boolean {
    return (name === 'rs1' && this.has(this.current.rs1)) || (name === 'rs2' && this.has(this.current.rs2));
  }

  constant(name: string): number | undefined {
    const { rs1, rs2, immediate } = this.current;
    if (name === 'imm') return immediate;
    return (name === 'rs1' && rs1 === 0) || (name === 'rs2' && rs2 === 0) ? 0 : undefined;
  }

  /** Whether the current instruction gives its rd a word. */
  givesWord(): boolean {
    const { action } = this.current.instruction;
    if (action.kind === 'set') return isWord(action.value, this);
    return action.kind === 'load' && action.float !== true && WORD_LOADS.has(action.op);
  }

  /** The current instruction has run. @param gave `givesWord`, asked before. */
  pass(gave: boolean): void {
    const { instruction, rd } = this.current;
    if (!operandsOf(instruction).has('rd')) return;
    if (gave && rd !== 0) this.registers |= 1 << rd;
    else this.registers &= ~(1 << rd);
  }
}
