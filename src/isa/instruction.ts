/** What one line of the ISA table is. */
import { type Encoding, type OperandName, parsePattern } from './encoding.ts';
import type { Action } from './semantics.ts';

/** What every line has. */
interface Line {
  readonly name: string;
  readonly encoding: Encoding;
  /** Document and section that define it: "Unprivileged ISA §2.4". */
  readonly section: string;
}

/** An instruction with a meaning of its own. */
export interface Instruction extends Line {
  readonly action: Action;
}

/** A 16-bit instruction: another form of a 32-bit one, with some operands fixed. */
export interface CompressedInstruction extends Line {
  /** Name of the instruction it stands for. */
  readonly expandsTo: string;
  /** Operand of the expansion → operand of this instruction, or a fixed value. Operands not named are 0. */
  readonly operands: Readonly<Partial<Record<OperandName, OperandName | number>>>;
}

/** A HINT: some words of an instruction, and of it alone, without a meaning of their own, that have a name. */
export interface Hint extends Line {
  /** Name of the instruction that it is executed as. */
  readonly hintOf: string;
}

/** An extension (or a part of one) and its instructions. */
export interface Extension {
  /** "I", "M", "A", "C", "Zicsr", … */
  readonly name: string;
  readonly instructions: readonly Instruction[];
  readonly compressed?: readonly CompressedInstruction[];
  readonly hints?: readonly Hint[];
}

/** A line that stands under no heading yet. */
export type Unplaced<T> = Omit<T, 'section'>;

/** "§2.4 Integer computational instructions": the section of the lines that follow it. */
const HEADING = /^§\d+(?:\.\d+)*(?= )/;

/**
 * The lines of a table under its headings.
 * @param document that the headings' numbers are of.
 * @throws Error if a heading has no number, or a line no heading.
 */
export function sections<T extends Unplaced<Line>>(
  document: string,
  lines: readonly (string | T)[],
): (T & Line)[] {
  let section: string | undefined;
  return lines.flatMap((line) => {
    if (typeof line !== 'string') {
      if (section === undefined) throw new Error(`${line.name} stands under no heading`);
      return [{ ...line, section }];
    }
    const number = HEADING.exec(line)?.[0];
    if (number === undefined) throw new Error(`"${line}" names no section`);
    section = `${document} ${number}`;
    return [];
  });
}

export function instruction(name: string, pattern: string, action: Action): Unplaced<Instruction> {
  return { name, encoding: parsePattern(pattern), action };
}

export function compressed(
  name: string,
  pattern: string,
  expandsTo: string,
  operands: CompressedInstruction['operands'],
): Unplaced<CompressedInstruction> {
  return { name, encoding: parsePattern(pattern), expandsTo, operands };
}

export function hint(name: string, pattern: string, hintOf: string): Unplaced<Hint> {
  return { name, encoding: parsePattern(pattern), hintOf };
}
