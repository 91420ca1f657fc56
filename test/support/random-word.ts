/** Random instruction words of a line of the ISA table. */
import { decode } from '../../src/isa/decode.ts';
import { type Encoding, matches } from '../../src/isa/encoding.ts';
import type { CompressedInstruction, Instruction } from '../../src/isa/instruction.ts';
import { COMPRESSED, INSTRUCTIONS, instructionNamed } from '../../src/isa/table.ts';
import type { Random } from './random.ts';

/** A line of the table in either length. */
export interface TableLine {
  readonly name: string;
  readonly encoding: Encoding;
  /** What it does; of a compressed line, what it expands to. */
  readonly instruction: Instruction;
  readonly compressed?: CompressedInstruction;
}

export const LINES: readonly TableLine[] = [
  ...INSTRUCTIONS.map((instruction) => ({
    name: instruction.name,
    encoding: instruction.encoding,
    instruction,
  })),
  ...COMPRESSED.map((compressed) => ({
    name: compressed.name,
    encoding: compressed.encoding,
    instruction: instructionNamed(compressed.expandsTo),
    compressed,
  })),
];

/** Random operands: all bits that the encoding leaves open. Values that the encoding excludes don't occur. */
export function randomWord(random: Random, line: TableLine): number {
  const { mask, match, length } = line.encoding;
  const open = length === 4 ? ~mask : ~mask & 0xffff;
  for (;;) {
    const word = ((random.u32() & open) | match) >>> 0;
    if (!matches(line.encoding, word)) continue;
    const decoded = decode(word);
    if ((decoded?.compressed ?? decoded?.instruction) === (line.compressed ?? line.instruction)) return word;
  }
}
