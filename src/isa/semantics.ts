/**
 * The language in which the ISA table says what an instruction does: one action over pure expressions (wasm/expr.ts).
 * Interpreter and JIT lower the same action; they differ only in what they bind the leaves to.
 */
import { type Expr, i64, type LeafExpr, leaf, select } from '../wasm/expr.ts';
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

export type OperandLeaf = 'rs1' | 'rs2' | 'imm' | 'pc' | 'memory';

/** What an expression can't say; each is one function of the engine (cpu/helpers.ts). */
export type Helper =
  | 'ecall'
  | 'ebreak'
  | 'mret'
  | 'sret'
  | 'wfi'
  | 'sfence_vma'
  | 'fence_i'
  | 'csrrw'
  | 'csrrs'
  | 'csrrc';

export type Action =
  /** No effect. */
  | { readonly kind: 'nothing' }
  /** rd ← value. */
  | { readonly kind: 'set'; readonly value: Expr }
  /** rd ← memory at address. */
  | { readonly kind: 'load'; readonly op: LoadOp; readonly address: Expr }
  /** Memory at address ← value. */
  | { readonly kind: 'store'; readonly op: StoreOp; readonly address: Expr; readonly value: Expr }
  /** rd ← memory at rs1; memory at rs1 ← value, as one step. The address is naturally aligned or it traps. */
  | { readonly kind: 'amo'; readonly load: LoadOp; readonly store: StoreOp; readonly value: Expr }
  /** rd ← memory at rs1, and reserve it. */
  | { readonly kind: 'lr'; readonly load: LoadOp }
  /** If rs1 is reserved: memory at rs1 ← rs2 and rd ← 0; else rd ← 1. */
  | { readonly kind: 'sc'; readonly store: StoreOp }
  /** If condition: pc ← pc + imm. */
  | { readonly kind: 'branch'; readonly condition: Expr }
  /** rd ← address of the next instruction; pc ← target. */
  | { readonly kind: 'jump'; readonly target: Expr }
  | { readonly kind: 'helper'; readonly helper: Helper };

export const nothing: Action = { kind: 'nothing' };
export const set = (value: Expr): Action => ({ kind: 'set', value });
export const load = (op: LoadOp): Action => ({ kind: 'load', op, address: i64.add(rs1, imm) });
export const store = (op: StoreOp): Action => ({
  kind: 'store',
  op,
  address: i64.add(rs1, imm),
  value: rs2,
});
export const branch = (condition: Expr): Action => ({ kind: 'branch', condition });
export const jump = (target: Expr): Action => ({ kind: 'jump', target });
export const helper = (name: Helper): Action => ({ kind: 'helper', helper: name });

/** How the action reaches memory: bytes, whether it writes, whether the address must be aligned; undefined if not. */
export interface MemoryAccess {
  readonly size: 1 | 2 | 4 | 8;
  readonly kind: 'load' | 'store' | 'amo';
  readonly signed: boolean;
  readonly aligned: boolean;
}

export function memoryAccess(action: Action): MemoryAccess | undefined {
  switch (action.kind) {
    case 'load':
    case 'lr': {
      const op = action.kind === 'load' ? action.op : action.load;
      const size = LOADS[op][2] as MemoryAccess['size'];
      return { size, kind: 'load', signed: !op.endsWith('_u'), aligned: action.kind === 'lr' };
    }
    case 'store':
      return {
        size: STORES[action.op][2] as MemoryAccess['size'],
        kind: 'store',
        signed: false,
        aligned: false,
      };
    case 'amo':
    case 'sc':
      return {
        size: STORES[action.store][2] as MemoryAccess['size'],
        kind: 'amo',
        signed: true,
        aligned: true,
      };
    default:
      return undefined;
  }
}

/** The low 32 bits of an i64, as an i64 with their sign. */
export const word = (value: Expr): Expr => i64.extend32_s(value);
/** An i32 truth as the register value 0 or 1. */
export const truth = (condition: Expr): Expr => i64.extend_i32_u(condition);
export type { Expr, LeafExpr };
export { i64, select };
