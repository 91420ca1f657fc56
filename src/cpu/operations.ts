/**
 * The operations of the predecoded form: one per instruction and length, so that a handler knows by how much to advance, and
 * one per pair of instructions that often follow each other (operation-pairs.ts).
 * Their numbers follow a Huffman tree over how often programs run them, and one of the two dispatchers is that tree of compares; the other is a table.
 */
import { decode, instructionLength } from '../isa/decode.ts';
import type { Instruction } from '../isa/instruction.ts';
import { COMPRESSED, INSTRUCTIONS } from '../isa/table.ts';
import { pairOperations } from './operation-pairs.ts';

/** What an operation stands for. */
export type Operation =
  /** An entry that has not been looked at; entries are zero at first, so its code is 0. */
  | { readonly kind: 'undecoded'; readonly code: number }
  /** Behind the last entry: go on at the next address. */
  | { readonly kind: 'end'; readonly code: number }
  | { readonly kind: 'illegal'; readonly code: number; readonly length: 2 | 4 }
  | SingleOperation
  | PairOperation;

export interface SingleOperation {
  readonly kind: 'instruction';
  readonly code: number;
  readonly length: 2 | 4;
  readonly instruction: Instruction;
  readonly second?: undefined;
}

/** To all but the interpreter it is its first instruction. */
export interface PairOperation extends Omit<SingleOperation, 'second'> {
  /** The code of the first alone. */
  readonly first: number;
  /** What followed it when the pair was made. */
  readonly second: SingleOperation;
}

/** A leaf, or a compare: codes below `split` are on the left. */
export type DispatchTree =
  | { readonly operation: Operation }
  | { readonly split: number; readonly left: DispatchTree; readonly right: DispatchTree };

/**
 * How often compiled programs run an instruction, in parts of about a thousand; 1 for those not named. From counts over
 * our bench guests (integer loops, recursion, memory, a scheduler); only the order of magnitude matters.
 */
const FREQUENCY: Readonly<Record<string, number>> = {
  addi: 180,
  add: 90,
  ld: 70,
  lw: 60,
  sd: 50,
  sw: 40,
  bne: 70,
  beq: 50,
  jal: 35,
  jalr: 30,
  slli: 40,
  srli: 25,
  addiw: 30,
  addw: 25,
  xor: 25,
  and: 15,
  andi: 20,
  or: 15,
  sub: 15,
  lbu: 25,
  sb: 15,
  bltu: 20,
  bgeu: 15,
  blt: 15,
  bge: 15,
  lui: 12,
  auipc: 8,
  mul: 8,
  lhu: 6,
  sh: 5,
  slliw: 5,
  srliw: 5,
  sraiw: 4,
  sltu: 5,
};

/** Compilers choose the short form where there is one. */
const COMPRESSED_SHARE = 0.6;

interface Draft {
  readonly weight: number;
  readonly make: (code: number) => Operation;
}

function drafts(): Draft[] {
  const short = new Set(COMPRESSED.map((line) => line.expandsTo));
  const list: Draft[] = [
    { weight: 1, make: (code) => ({ kind: 'end', code }) },
    { weight: 0.1, make: (code) => ({ kind: 'illegal', code, length: 2 }) },
    { weight: 0.1, make: (code) => ({ kind: 'illegal', code, length: 4 }) },
  ];
  for (const instruction of INSTRUCTIONS) {
    const weight = FREQUENCY[instruction.name] ?? 1;
    const both = short.has(instruction.name);
    const wideShare = both ? 1 - COMPRESSED_SHARE : 1;
    list.push({
      weight: weight * wideShare,
      make: (code) => ({ kind: 'instruction', code, length: 4, instruction }),
    });
    if (both) {
      list.push({
        weight: weight * COMPRESSED_SHARE,
        make: (code) => ({ kind: 'instruction', code, length: 2, instruction }),
      });
    }
  }
  return list;
}

type Shape = { readonly weight: number } & (
  | { readonly draft: Draft }
  | { readonly left: Shape; readonly right: Shape }
);

/** Huffman's algorithm: joins the two lightest until one is left. */
function shape(list: readonly Draft[]): Shape {
  const heap: Shape[] = list.map((draft) => ({ weight: draft.weight, draft }));
  while (heap.length > 1) {
    heap.sort((a, b) => b.weight - a.weight);
    const left = heap.pop() as Shape;
    const right = heap.pop() as Shape;
    heap.push({ weight: left.weight + right.weight, left, right });
  }
  return heap[0] as Shape;
}

/** Numbers the leaves from left to right, so that a subtree is a range of codes. Code 0 is kept for "undecoded". */
function build(): { tree: DispatchTree; operations: Operation[] } {
  const undecoded: Operation = { kind: 'undecoded', code: 0 };
  const operations: Operation[] = [undecoded];
  const number = (node: Shape): DispatchTree => {
    if ('draft' in node) {
      const operation = node.draft.make(operations.length);
      operations.push(operation);
      return { operation };
    }
    const left = number(node.left);
    const split = operations.length;
    return { split, left, right: number(node.right) };
  };
  const singles = withUndecoded(number(shape(drafts())), undecoded);
  const split = operations.length;
  const pairs = pairOperations(operations.filter(isSingle), split);
  return {
    tree: { split, left: singles, right: balanced(pairs) },
    operations: [...operations, ...pairs],
  };
}

const isPair = (operation: Operation): operation is PairOperation =>
  operation.kind === 'instruction' && operation.second !== undefined;

const isSingle = (operation: Operation): operation is SingleOperation =>
  operation.kind === 'instruction' && operation.second === undefined;

function balanced(operations: readonly Operation[]): DispatchTree {
  const half = operations.length >> 1;
  const middle = operations[half] as Operation;
  if (half === 0) return { operation: middle };
  return {
    split: middle.code,
    left: balanced(operations.slice(0, half)),
    right: balanced(operations.slice(half)),
  };
}

/** Code 0 is rare: it hangs below the leftmost leaf, where it costs the others nothing. */
function withUndecoded(tree: DispatchTree, undecoded: Operation): DispatchTree {
  if ('operation' in tree) return { split: 1, left: { operation: undecoded }, right: tree };
  return { ...tree, left: withUndecoded(tree.left, undecoded) };
}

const built = build();

/** All operations; the index is the code. */
export const OPERATIONS: readonly Operation[] = built.operations;
export const DISPATCH_TREE: DispatchTree = built.tree;

/**
 * The first word of a predecoded entry:
 *
 *     31        19 18   14 13    9 8      3 2 0
 *     | operation |  rs2  |  rs1  |   rd   |   |   bits 0 to 2: the marks of the JIT
 *
 * Shifted and masked, a register field is the byte offset of its register in the hart block. rd has six bits: x0 as a
 * destination becomes register 32, the sink. Floating-point registers stand in the same fields, and have no sink.
 * Instructions with a rounding mode have it, and frs3, as immediate.
 */
export const ENTRY = {
  operationShift: 19,
  rs2Shift: 14,
  rs1Shift: 9,
  rdMask: 0x1f8,
  sink: 32,
  /** A jump has led here. */
  reached: 1,
  /** A translated region contains this instruction. */
  translated: 2,
  /** … and can be entered here: the state in the slot says how. Without the mark there is no need to look. */
  begins: 4,
  /** In the immediate. */
  frs3Shift: 3,
} as const;

/** Predecodes an instruction word. */
export type Predecode = (word: number) => Entry;

/** A predecoded entry: the operation word and the 32-bit immediate. */
export interface Entry {
  readonly word: number;
  readonly immediate: number;
}

/** The code of a pair, by the codes of its two; 0 if there is none. */
const pairCodes = new Uint16Array(OPERATIONS.length ** 2);

/** The first word of a pair's entry, by the words of its two entries; undefined if they are no pair. */
export function pairWord(first: number, second: number): number | undefined {
  const at = (first >>> ENTRY.operationShift) * OPERATIONS.length + (second >>> ENTRY.operationShift);
  const code = pairCodes[at] as number;
  return code === 0 ? undefined : (code << ENTRY.operationShift) | (first & ~(-1 << ENTRY.operationShift));
}

const codeOf = new Map<string, number>();
for (const operation of OPERATIONS) {
  if (isPair(operation)) {
    pairCodes[operation.first * OPERATIONS.length + operation.second.code] = operation.code;
  } else if (operation.kind === 'instruction')
    codeOf.set(`${operation.instruction.name}/${operation.length}`, operation.code);
  else if (operation.kind === 'illegal') codeOf.set(`illegal/${operation.length}`, operation.code);
  else codeOf.set(operation.kind, operation.code);
}

function code(key: string): number {
  const found = codeOf.get(key);
  if (found === undefined) throw new Error(`no operation ${key}`);
  return found;
}

/** The mark behind the last entry of a page. */
export const END_WORD = (code('end') << ENTRY.operationShift) >>> 0;

/**
 * Predecodes an instruction word; one that the table does not know, or the hart does not have, becomes "illegal" with
 * its bits as immediate.
 */
function predecode(word: number, instructions: ReadonlySet<Instruction>, compressed: boolean): Entry {
  const decoded = decode(word);
  const known =
    decoded !== undefined && instructions.has(decoded.instruction) && (compressed || decoded.length === 4);
  if (!known) {
    const length = (word & 3) === 3 ? 4 : 2;
    const bits = length === 4 ? word | 0 : word & 0xffff;
    return { word: (code(`illegal/${length}`) << ENTRY.operationShift) >>> 0, immediate: bits };
  }
  const { instruction, length, operands } = decoded;
  const { frd, rm, frs3 = 0 } = operands;
  const rd = frd ?? (operands.rd === undefined || operands.rd === 0 ? ENTRY.sink : operands.rd);
  const rs1 = operands.rs1 ?? operands.frs1 ?? operands.zimm ?? 0;
  const rs2 = operands.rs2 ?? operands.frs2 ?? 0;
  const immediate = rm === undefined ? (operands.imm ?? 0) : rm | (frs3 << ENTRY.frs3Shift);
  const packed =
    (code(`${instruction.name}/${length}`) << ENTRY.operationShift) |
    (rs2 << ENTRY.rs2Shift) |
    (rs1 << ENTRY.rs1Shift) |
    (rd << 3);
  return { word: packed >>> 0, immediate };
}

/** How many words' predecoded forms are remembered, as a power of 2. Linux and its programs run some 10^5 different ones. */
const REMEMBERED_BITS = 17;
/** Spreads words over the places where they may be remembered (Knuth's multiplicative hash). */
const SPREAD = 0x9e37_79b1;

/**
 * `predecode` for harts with these instructions, which remembers: a booting kernel has millions of entries predecoded,
 * most of them of words seen before.
 */
export function predecoder(instructions: ReadonlySet<Instruction>, compressed: boolean): Predecode {
  /** The word, its entry's word (never 0) and immediate; a fourth number keeps each of them in one cache line. */
  const remembered = new Int32Array(4 << REMEMBERED_BITS);
  return (bits) => {
    const word = instructionLength(bits) === 4 ? bits | 0 : bits & 0xffff;
    const at = (Math.imul(word, SPREAD) >>> (32 - REMEMBERED_BITS)) << 2;
    const known = remembered[at + 1] as number;
    if (remembered[at] === word && known !== 0) {
      return { word: known >>> 0, immediate: remembered[at + 2] as number };
    }
    const entry = predecode(word, instructions, compressed);
    remembered[at] = word;
    remembered[at + 1] = entry.word;
    remembered[at + 2] = entry.immediate;
    return entry;
  };
}
