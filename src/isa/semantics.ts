/**
 * The language in which the ISA table says what an instruction does: one action over pure expressions (wasm/expr.ts).
 * Interpreter and JIT lower the same action; they differ only in what they bind the leaves to.
 */
import { type Expr, i32, i64, type LeafExpr, leaf, select } from '../wasm/expr.ts';
import { LOADS, type LoadOp, STORES, type StoreOp } from '../wasm/opcodes.ts';

/** The operands an expression may name. All are i64. */
export const rs1 = leaf('i64', 'rs1');
export const rs2 = leaf('i64', 'rs2');
/** The instruction's immediate, sign- or zero-extended as its format says. */
export const imm = leaf('i64', 'imm');
/** Address of this instruction. */
export const pc = leaf('i64', 'pc');
/** What an AMO found in memory, sign-extended. */
export const memory = leaf('i64', 'memory');
/** Floating-point registers, as their 64 bits. */
export const frs1 = leaf('i64', 'frs1');
export const frs2 = leaf('i64', 'frs2');
export const frs3 = leaf('i64', 'frs3');
/** The value of a float action's fast way, for its condition. */
export const result = leaf('i64', 'result');
/** i32: 1 if the instruction rounds to nearest and NX is set already, so that nobody can see whether it is exact. */
export const nearest = leaf('i32', 'nearest');
/** i32: 1 if NX is set already, else 0. */
export const inexact = leaf('i32', 'inexact');

/** What an expression can't say; each is one function of the engine (cpu/helpers.ts). */
export type Helper =
  | 'ecall'
  | 'ebreak'
  | 'mret'
  | 'sret'
  | 'wfi'
  | 'sfence_vma'
  | 'sfence_order'
  | 'cbo_inval'
  | 'cbo_clean'
  | 'cbo_flush'
  | 'csrrw'
  | 'csrrs'
  | 'csrrc';

export type Action =
  /** No effect. */
  | { readonly kind: 'nothing' }
  /** rd ← value. */
  | { readonly kind: 'set'; readonly value: Expr }
  /** frd ← value. */
  | { readonly kind: 'fset'; readonly value: Expr }
  /**
   * The operation of this name in cpu/float-operations.ts; its result goes to frd, or to rd if `toInteger`. Where `when`
   * holds, `value` is the result and no flag changes: most of what programs do.
   */
  | {
      readonly kind: 'float';
      readonly operation: string;
      readonly toInteger: boolean;
      readonly fast?: { readonly value: Expr; readonly when: Expr };
    }
  /** rd, or frd if `float`, ← memory at address. A single is boxed. */
  | { readonly kind: 'load'; readonly op: LoadOp; readonly address: Expr; readonly float?: boolean }
  /** Memory at address ← value. */
  | { readonly kind: 'store'; readonly op: StoreOp; readonly address: Expr; readonly value: Expr }
  /** rd ← memory at rs1; memory at rs1 ← value, as one step. The address is naturally aligned or it traps. */
  | { readonly kind: 'amo'; readonly load: LoadOp; readonly store: StoreOp; readonly value: Expr }
  /** rd ← memory at rs1, and reserve it. */
  | { readonly kind: 'lr'; readonly load: LoadOp }
  /** If rs1 is reserved: memory at rs1 ← rs2 and rd ← 0; else rd ← 1. */
  | { readonly kind: 'sc'; readonly store: StoreOp }
  /** `size` bytes of memory ← 0, at rs1 rounded down to a multiple of `size`; only where menvcfg and senvcfg allow it. */
  | { readonly kind: 'zero'; readonly size: number }
  /** If condition: pc ← pc + imm. */
  | { readonly kind: 'branch'; readonly condition: Expr }
  /** rd ← address of the next instruction; pc ← target. */
  | { readonly kind: 'jump'; readonly target: Expr }
  | { readonly kind: 'helper'; readonly helper: Helper };

export const nothing: Action = { kind: 'nothing' };
export const set = (value: Expr): Action => ({ kind: 'set', value });
export const load = (op: LoadOp): Action => ({ kind: 'load', op, address: i64.add(rs1, imm) });
export const store = (op: StoreOp, value: Expr = rs2): Action => ({
  kind: 'store',
  op,
  address: i64.add(rs1, imm),
  value,
});
/** Whether the action reads or writes floating-point state: it is illegal while mstatus.FS is off. */
export function usesFloat(action: Action): boolean {
  return (
    action.kind === 'float' ||
    action.kind === 'fset' ||
    memoryAccess(action)?.float === true ||
    (action.kind === 'set' && action.value !== undefined && namesLeaf(action.value, frs1))
  );
}

function namesLeaf(expr: Expr, wanted: LeafExpr): boolean {
  return expr === wanted || ('args' in expr && expr.args.some((arg) => namesLeaf(arg, wanted)));
}

/** Where a relative jump leads. */
export const relativeTarget = i64.add(pc, imm);

export const branch = (condition: Expr): Action => ({ kind: 'branch', condition });
export const jump = (target: Expr): Action => ({ kind: 'jump', target });
export const helper = (name: Helper): Action => ({ kind: 'helper', helper: name });

/** How the action reaches memory: bytes, whether it writes, whether the address must be aligned; undefined if not. */
export interface MemoryAccess {
  readonly size: 1 | 2 | 4 | 8;
  readonly kind: 'load' | 'store' | 'amo';
  readonly signed: boolean;
  readonly aligned: boolean;
  /** The register is a floating-point one. */
  readonly float: boolean;
}

export function memoryAccess(action: Action): MemoryAccess | undefined {
  switch (action.kind) {
    case 'load':
    case 'lr': {
      const op = action.kind === 'load' ? action.op : action.load;
      const size = LOADS[op][2] as MemoryAccess['size'];
      const float = action.kind === 'load' && action.float === true;
      return { size, kind: 'load', signed: !op.endsWith('_u'), aligned: action.kind === 'lr', float };
    }
    case 'store': {
      const size = STORES[action.op][2] as MemoryAccess['size'];
      return { size, kind: 'store', signed: false, aligned: false, float: action.value === frs2 };
    }
    case 'amo':
    case 'sc': {
      const size = STORES[action.store][2] as MemoryAccess['size'];
      return { size, kind: 'amo', signed: true, aligned: true, float: false };
    }
    default:
      return undefined;
  }
}

/** The low 32 bits of an i64. */
export const low32 = (value: Expr): Expr => i32.wrap_i64(value);
/** An i32 as a register holds it: with its sign. Word instructions are 32-bit operations between these two. */
export const signed32 = (value: Expr): Expr => i64.extend_i32_s(value);
/** The low 32 bits of an i64, as an i64 with their sign. */
export const word = (value: Expr): Expr => i64.extend32_s(value);
/** An i32 truth as the register value 0 or 1. */
export const truth = (condition: Expr): Expr => i64.extend_i32_u(condition);
export type { Expr, LeafExpr };
export { i32, i64, select };
