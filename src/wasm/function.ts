/**
 * Writes the body of one WebAssembly function. Methods emit instructions in order and return nothing: the operand
 * stack is the caller's business, the validator's check at compile time catches what goes wrong.
 */
import { ByteWriter } from './bytes.ts';
import type { Expr } from './expr.ts';
import {
  ATOMIC_LOADS,
  type AtomicLoadOp,
  CONTROL,
  LOADS,
  type LoadOp,
  PURE,
  type PureOp,
  STORES,
  type StoreOp,
  VALUE_TYPE_CODE,
  type ValueType,
} from './opcodes.ts';

/** A local variable or parameter of one function. */
export interface Local {
  readonly index: number;
  readonly type: ValueType;
}

/** A block, loop or if that is open: the target of branches. */
export interface Label {
  readonly depth: number;
}

/** A function that can be called: its index in the module. */
export interface Callable {
  readonly index: number;
}

/** A constant that a module imports. */
export interface Global {
  readonly index: number;
}

/** A function type of a module. */
export interface FunctionType {
  readonly index: number;
}

/** Emits the value of a leaf of an expression. */
export type LeafEmitter = (name: string) => void;

const NO_LEAVES: LeafEmitter = (name) => {
  throw new Error(`the expression has a leaf "${name}" that nothing binds`);
};

/** Block type "no value" (§5.4.1). */
const EMPTY = 0x40;

/** The nodes that occur more than once, by expression: the expressions of the ISA table are lowered over and over. */
const sharedNodesOf = new WeakMap<Expr, ReadonlySet<Expr>>();

function sharedNodes(expr: Expr): ReadonlySet<Expr> {
  const known = sharedNodesOf.get(expr);
  if (known !== undefined) return known;
  const seen = new Set<Expr>();
  const shared = new Set<Expr>();
  const visit = (node: Expr): void => {
    if (seen.has(node)) {
      if (node.kind !== 'const') shared.add(node);
      return;
    }
    seen.add(node);
    if ('args' in node) for (const arg of node.args) visit(arg);
  };
  visit(expr);
  sharedNodesOf.set(expr, shared);
  return shared;
}

export class FunctionBuilder implements Callable {
  readonly index: number;
  readonly typeIndex: number;
  readonly params: readonly Local[];
  readonly #locals: Local[] = [];
  readonly #code = new ByteWriter();
  readonly #unlikely: number[] = [];
  #depth = 0;
  /** Locals that expressions may reuse once `release` has given them back. */
  readonly #free = new Map<ValueType, Local[]>();

  constructor(index: number, typeIndex: number, params: readonly ValueType[]) {
    this.index = index;
    this.typeIndex = typeIndex;
    this.params = params.map((type, i) => ({ index: i, type }));
  }

  /** The parameter number `i`. */
  param(i: number): Local {
    const local = this.params[i];
    if (local === undefined) throw new RangeError(`no parameter ${i}`);
    return local;
  }

  /** A local: one that was released, or a new one. Its value is undefined. */
  local(type: ValueType): Local {
    const reused = this.#free.get(type)?.pop();
    if (reused !== undefined) return reused;
    const local = { index: this.params.length + this.#locals.length, type };
    this.#locals.push(local);
    return local;
  }

  release(...locals: Local[]): void {
    for (const local of locals) {
      const pool = this.#free.get(local.type);
      if (pool === undefined) this.#free.set(local.type, [local]);
      else pool.push(local);
    }
  }

  get(local: Local): void {
    this.#indexed('local.get', local.index);
  }

  set(local: Local): void {
    this.#indexed('local.set', local.index);
  }

  tee(local: Local): void {
    this.#indexed('local.tee', local.index);
  }

  global({ index }: Global): void {
    this.#indexed('global.get', index);
  }

  i32(value: number): void {
    this.#code.byte(CONTROL['i32.const']);
    this.#code.s32(value);
  }

  /** @param value a number must be a whole one below 2^53. */
  i64(value: bigint | number): void {
    this.#code.byte(CONTROL['i64.const']);
    this.#code.s64(value);
  }

  op(...names: PureOp[]): void {
    for (const name of names) this.#opcode(PURE[name][0]);
  }

  select(): void {
    this.#code.byte(CONTROL.select);
  }

  drop(): void {
    this.#code.byte(CONTROL.drop);
  }

  /** Loads from (address on the stack) + `offset` bytes; no alignment is promised. */
  load(name: LoadOp, offset = 0): void {
    this.#opcode(LOADS[name][0]);
    this.#memarg(offset);
  }

  /** Loads from (address on the stack) + `offset`, which must be aligned. */
  atomicLoad(name: AtomicLoadOp, offset = 0): void {
    const [opcode, , bytes] = ATOMIC_LOADS[name];
    this.#opcode(opcode);
    this.#memarg(offset, Math.log2(bytes));
  }

  /** Stores (address, value on the stack) at address + `offset` bytes; no alignment is promised. */
  store(name: StoreOp, offset = 0): void {
    this.#opcode(STORES[name][0]);
    this.#memarg(offset);
  }

  block(): Label {
    return this.#open(CONTROL.block);
  }

  loop(): Label {
    return this.#open(CONTROL.loop);
  }

  /** Takes the condition from the stack. */
  if(): Label {
    return this.#open(CONTROL.if);
  }

  /** An `if` that is hardly ever taken: the compiler is told so, and keeps what follows out of the way. */
  ifUnlikely(): Label {
    this.#unlikely.push(this.#code.length);
    return this.if();
  }

  else(): void {
    this.#code.byte(CONTROL.else);
  }

  end(): void {
    this.#depth--;
    this.#code.byte(CONTROL.end);
  }

  br(label: Label): void {
    this.#indexed('br', this.#depth - label.depth);
  }

  brIf(label: Label): void {
    this.#indexed('br_if', this.#depth - label.depth);
  }

  /** Takes the index from the stack; an index past the labels goes to `fallback`. */
  brTable(labels: readonly Label[], fallback: Label): void {
    this.#code.byte(CONTROL.br_table);
    this.#code.u32(labels.length);
    for (const label of [...labels, fallback]) this.#code.u32(this.#depth - label.depth);
  }

  return(): void {
    this.#code.byte(CONTROL.return);
  }

  unreachable(): void {
    this.#code.byte(CONTROL.unreachable);
  }

  call(target: Callable): void {
    this.#indexed('call', target.index);
  }

  /** Calls the function at an index (on the stack, above the arguments) of the module's table. */
  callIndirect(type: FunctionType): void {
    this.#indexed('call_indirect', type.index);
    this.#code.byte(0); // the only table
  }

  /** `memory.copy` of (destination, source, length on the stack) (§5.4.6). */
  memoryCopy(): void {
    this.#code.raw(Uint8Array.of(0xfc, 10, 0, 0));
  }

  /** `memory.fill` of (destination, byte, length on the stack) (§5.4.6). */
  memoryFill(): void {
    this.#code.raw(Uint8Array.of(0xfc, 11, 0));
  }

  /**
   * The value of an expression. A node that occurs more than once is computed at its first occurrence and kept in a
   * local, which is given back at the end.
   */
  expr(expr: Expr, leaf: LeafEmitter = NO_LEAVES): void {
    const shared = sharedNodes(expr);
    if (shared.size === 0) {
      this.#expr(expr, leaf);
      return;
    }
    const kept = new Map<Expr, Local>();
    this.#expr(expr, leaf, shared, kept);
    this.release(...kept.values());
  }

  #expr(node: Expr, leaf: LeafEmitter, shared?: ReadonlySet<Expr>, kept?: Map<Expr, Local>): void {
    if (node.kind === 'const') {
      if (node.type === 'i32') this.i32(Number(node.value));
      else this.i64(node.value);
      return;
    }
    const local = kept?.get(node);
    if (local !== undefined) {
      this.get(local);
      return;
    }
    if (node.kind === 'leaf') leaf(node.name);
    else {
      for (const arg of node.args) this.#expr(arg, leaf, shared, kept);
      if (node.kind === 'select') this.select();
      else this.op(node.op);
    }
    if (shared?.has(node) === true) {
      const fresh = this.local(node.type);
      kept?.set(node, fresh);
      this.tee(fresh);
    }
  }

  /**
   * Where the branches stand that are hardly ever taken: bytes from the start of the body, as the branch hinting proposal
   * has them.
   */
  get unlikely(): number[] {
    // The locals come first: their number, and two bytes each.
    const count = new ByteWriter();
    count.u32(this.#locals.length);
    return this.#unlikely.map((at) => at + count.length + 2 * this.#locals.length);
  }

  /** Bytes of its code so far. */
  get size(): number {
    return this.#code.length;
  }

  /** The function as it stands in the code section (§5.5.13). */
  body(): ByteWriter {
    const out = new ByteWriter();
    out.u32(this.#locals.length);
    for (const local of this.#locals) {
      out.u32(1);
      out.byte(VALUE_TYPE_CODE[local.type]);
    }
    out.raw(this.#code.view());
    out.byte(CONTROL.end);
    return out;
  }

  #open(opcode: number): Label {
    this.#depth++;
    this.#code.byte(opcode);
    this.#code.byte(EMPTY);
    return { depth: this.#depth };
  }

  #indexed(name: keyof typeof CONTROL, index: number): void {
    this.#code.byte(CONTROL[name]);
    this.#code.u32(index);
  }

  #opcode(opcode: number): void {
    if (opcode <= 0xff) {
      this.#code.byte(opcode);
    } else {
      this.#code.byte(opcode >>> 8);
      this.#code.u32(opcode & 0xff);
    }
  }

  #memarg(offset: number, alignment = 0): void {
    this.#code.u32(alignment);
    this.#code.u32(offset);
  }
}
