/** From an instruction word to its line of the ISA table and its operands. Derived from the table alone. */
import { type Encoding, extract, matches, type Operands } from './encoding.ts';
import type { CompressedInstruction, Hint, Instruction } from './instruction.ts';
import { COMPRESSED, HINTS, INSTRUCTIONS, instructionNamed } from './table.ts';

/** An instruction that was found in the guest's code. */
export interface Decoded {
  /** What it does; of a compressed instruction, what it expands to. */
  readonly instruction: Instruction;
  /** The form it is written in, if it is a 16-bit one. */
  readonly compressed?: CompressedInstruction;
  /** The HINT that it is, if it is one with a name. */
  readonly hint?: Hint;
  /** Bytes. */
  readonly length: 2 | 4;
  /** Operands of `instruction`. */
  readonly operands: Operands;
}

/** Bytes of the instruction that begins with this halfword (Unprivileged ISA §1.5). */
export function instructionLength(halfword: number): 2 | 4 {
  return (halfword & 3) === 3 ? 4 : 2;
}

/** Candidates for a word by its low seven bits (32-bit) or by quadrant and funct3 (16-bit). */
const wide = bucket(INSTRUCTIONS, (bits) => bits & 0x7f, 0x7f);
const narrow = bucket(COMPRESSED, compressedKey, 0xe003);

function compressedKey(word: number): number {
  return ((word >>> 11) & 0x1c) | (word & 3);
}

function bucket<T extends { readonly encoding: Encoding }>(
  lines: readonly T[],
  key: (word: number) => number,
  keyBits: number,
): ReadonlyMap<number, readonly T[]> {
  const buckets = new Map<number, T[]>();
  for (const line of lines) {
    if ((line.encoding.mask & keyBits) !== keyBits)
      throw new Error(`${line.encoding.pattern}: opcode not fixed`);
    const at = key(line.encoding.match);
    const list = buckets.get(at);
    if (list === undefined) buckets.set(at, [line]);
    else list.push(line);
  }
  return buckets;
}

/** @param word the instruction's 16 or 32 bits; of a 16-bit instruction the upper half is ignored. */
export function decode(word: number): Decoded | undefined {
  if (instructionLength(word) === 4) {
    const unsigned = word >>> 0;
    const instruction = wide.get(unsigned & 0x7f)?.find((line) => matches(line.encoding, unsigned));
    if (instruction === undefined) return undefined;
    const hint = HINTS.find((line) => line.hintOf === instruction.name && matches(line.encoding, unsigned));
    const operands = operandsOf(instruction.encoding, unsigned);
    return { instruction, ...(hint === undefined ? {} : { hint }), length: 4, operands };
  }
  const half = word & 0xffff;
  const compressed = narrow.get(compressedKey(half))?.find((line) => matches(line.encoding, half));
  if (compressed === undefined) return undefined;
  const written = operandsOf(compressed.encoding, half);
  const operands: Operands = {};
  for (const [name, from] of Object.entries(compressed.operands)) {
    operands[name as keyof Operands] = typeof from === 'number' ? from : (written[from] ?? 0);
  }
  return { instruction: instructionNamed(compressed.expandsTo), compressed, length: 2, operands };
}

function operandsOf(encoding: Encoding, word: number): Operands {
  const operands: Operands = {};
  for (const field of encoding.fields) operands[field.operand] = extract(field, word);
  return operands;
}
