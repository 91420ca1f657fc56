/** From an instruction word to its line of the ISA table and its operands. Derived from the table alone. */
import { type Encoding, extract, matches, type OperandName, type Operands } from './encoding.ts';
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

/** Lines by some of a word's bits: those that tell most instructions apart. */
class Candidates<T extends { readonly encoding: Encoding }> {
  readonly #lines: readonly T[];
  readonly #keyBits: number;
  /** By the word's key bits; made when they are first met. */
  readonly #lists = new Map<number, readonly T[]>();

  constructor(lines: readonly T[], keyBits: number) {
    this.#lines = lines;
    this.#keyBits = keyBits;
  }

  find(word: number): T | undefined {
    const key = word & this.#keyBits;
    let list = this.#lists.get(key);
    if (list === undefined) {
      list = this.#lines.filter(
        ({ encoding }) => ((encoding.match ^ key) & encoding.mask & this.#keyBits) === 0,
      );
      this.#lists.set(key, list);
    }
    for (const line of list) if (matches(line.encoding, word)) return line;
    return undefined;
  }
}

/** By opcode and funct3. */
const wide = new Candidates(INSTRUCTIONS, 0x707f);
/** By quadrant, funct3 and the bits that funct2 and funct4 may stand in. */
const narrow = new Candidates(
  COMPRESSED.map((compressed) => ({
    compressed,
    encoding: compressed.encoding,
    instruction: instructionNamed(compressed.expandsTo),
    operands: Object.entries(compressed.operands) as [OperandName, OperandName | number][],
  })),
  0xfc63,
);
const hintsOf = new Map(
  HINTS.map(({ hintOf }) => [instructionNamed(hintOf), HINTS.filter((hint) => hint.hintOf === hintOf)]),
);

/** @param word the instruction's 16 or 32 bits; of a 16-bit instruction the upper half is ignored. */
export function decode(word: number): Decoded | undefined {
  if (instructionLength(word) === 4) {
    const unsigned = word >>> 0;
    const instruction = wide.find(unsigned);
    if (instruction === undefined) return undefined;
    const operands = operandsOf(instruction.encoding, unsigned);
    const hint = hintsOf.get(instruction)?.find((line) => matches(line.encoding, unsigned));
    return hint === undefined
      ? { instruction, length: 4, operands }
      : { instruction, hint, length: 4, operands };
  }
  const half = word & 0xffff;
  const found = narrow.find(half);
  if (found === undefined) return undefined;
  const { instruction, compressed } = found;
  const written = operandsOf(compressed.encoding, half);
  const operands: Operands = {};
  for (const [name, from] of found.operands) {
    operands[name] = typeof from === 'number' ? from : (written[from] ?? 0);
  }
  return { instruction, compressed, length: 2, operands };
}

function operandsOf(encoding: Encoding, word: number): Operands {
  const operands: Operands = {};
  for (const field of encoding.fields) operands[field.operand] = extract(field, word);
  return operands;
}
