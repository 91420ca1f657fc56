/** What one line of the ISA table is. */
import { type Encoding, type OperandName, parsePattern } from './encoding.ts';
import type { Action } from './semantics.ts';

/** An instruction with a meaning of its own. */
export interface Instruction {
  readonly name: string;
  readonly encoding: Encoding;
  readonly action: Action;
}

/** A 16-bit instruction: another form of a 32-bit one, with some operands fixed. */
export interface CompressedInstruction {
  readonly name: string;
  readonly encoding: Encoding;
  /** Name of the instruction it stands for. */
  readonly expandsTo: string;
  /** Operand of the expansion → operand of this instruction, or a fixed value. Operands not named are 0. */
  readonly operands: Readonly<Partial<Record<OperandName, OperandName | number>>>;
}

/** A HINT: some words of an instruction, without a meaning of their own, that have a name. */
export interface Hint {
  readonly name: string;
  /** Matches words of the other instruction alone. */
  readonly encoding: Encoding;
  /** Name of the instruction that it is executed as. */
  readonly hintOf: string;
}

/** An extension (or a part of one) and its instructions. */
export interface Extension {
  /** "I", "M", "A", "C", "Zicsr", … */
  readonly name: string;
  /** Document and section that the table follows. */
  readonly section: string;
  readonly instructions: readonly Instruction[];
  readonly compressed?: readonly CompressedInstruction[];
  readonly hints?: readonly Hint[];
}

export function instruction(name: string, pattern: string, action: Action): Instruction {
  return { name, encoding: parsePattern(pattern), action };
}

export function compressed(
  name: string,
  pattern: string,
  expandsTo: string,
  operands: CompressedInstruction['operands'],
): CompressedInstruction {
  return { name, encoding: parsePattern(pattern), expandsTo, operands };
}

export function hint(name: string, pattern: string, hintOf: string): Hint {
  return { name, encoding: parsePattern(pattern), hintOf };
}
