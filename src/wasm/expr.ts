/**
 * Pure expressions over WebAssembly's own operations, with named leaves that whoever lowers the expression binds to
 * something (a register fetched from memory, a constant, a wasm local). Types are checked when a node is built.
 *
 * A node that stands in several places of one expression is computed once: lowering keeps it in a local.
 */
import { PURE, type PureOp, type ValueType } from './opcodes.ts';

export type Expr = OpExpr | SelectExpr | ConstExpr | LeafExpr;

export interface OpExpr {
  readonly kind: 'op';
  readonly type: ValueType;
  readonly op: PureOp;
  readonly args: readonly Expr[];
}

/** `condition ? whenTrue : whenFalse`; both are computed. */
export interface SelectExpr {
  readonly kind: 'select';
  readonly type: ValueType;
  readonly args: readonly [whenTrue: Expr, whenFalse: Expr, condition: Expr];
}

export interface ConstExpr {
  readonly kind: 'const';
  readonly type: 'i32' | 'i64';
  readonly value: bigint;
}

/** A free variable. */
export interface LeafExpr {
  readonly kind: 'leaf';
  readonly type: ValueType;
  readonly name: string;
}

/** `op(...args)`. @throws TypeError if an operand is of another type than the instruction takes. */
export function op(name: PureOp, ...args: Expr[]): OpExpr {
  const [, type, ...operands] = PURE[name] as readonly [number, ValueType, ...ValueType[]];
  if (args.length !== operands.length || args.some((arg, i) => arg.type !== operands[i])) {
    throw new TypeError(
      `${name} takes (${operands.join(', ')}), got (${args.map((a) => a.type).join(', ')})`,
    );
  }
  return { kind: 'op', type, op: name, args };
}

export function select(whenTrue: Expr, whenFalse: Expr, condition: Expr): SelectExpr {
  if (whenTrue.type !== whenFalse.type || condition.type !== 'i32') {
    throw new TypeError(
      `select takes (T, T, i32), got ${whenTrue.type}, ${whenFalse.type}, ${condition.type}`,
    );
  }
  return { kind: 'select', type: whenTrue.type, args: [whenTrue, whenFalse, condition] };
}

export function leaf(type: ValueType, name: string): LeafExpr {
  return { kind: 'leaf', type, name };
}

type Family<T extends string> = {
  readonly [K in PureOp as K extends `${T}.${infer Short}` ? Short : never]: (...args: Expr[]) => Expr;
};

function family<T extends ValueType>(type: T): Family<T> {
  const entries = (Object.keys(PURE) as PureOp[])
    .filter((name) => name.startsWith(`${type}.`))
    .map((name) => [name.slice(type.length + 1), (...args: Expr[]) => op(name, ...args)]);
  return Object.fromEntries(entries) as Family<T>;
}

const constants = (type: 'i32' | 'i64') => ({
  const: (value: bigint | number): ConstExpr => ({ kind: 'const', type, value: BigInt(value) }),
});

/** Constructors by their WebAssembly names: `i32.add(a, b)`, `i32.const(7)`. */
export const i32 = { ...family('i32'), ...constants('i32') };
/** Constructors by their WebAssembly names: `i64.add(a, b)`, `i64.const(7n)`. */
export const i64 = { ...family('i64'), ...constants('i64') };
export const f32 = family('f32');
export const f64 = family('f64');
