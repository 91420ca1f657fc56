/** A list of instruction words under construction. Everything is position-independent but for what the caller says. */
import { encode, type Operands } from '../../src/isa/encoding.ts';
import { LINES, type TableLine } from '../support/random-word.ts';

const byName = new Map(LINES.map((line) => [line.name, line]));

export interface Word {
  readonly bits: number;
  /** Bytes. */
  readonly length: 2 | 4;
  /** Words of one unit make sense only together: shrinking removes all of them or none. */
  readonly unit: number;
}

export function encoded(name: string, given: Operands = {}): { bits: number; length: 2 | 4 } {
  const line = byName.get(name);
  if (line === undefined) throw new Error(`no instruction ${name}`);
  return { bits: encode(line.encoding, { ...zeros(line), ...given }), length: line.encoding.length };
}

const zeros = (line: TableLine): Operands =>
  Object.fromEntries(line.encoding.fields.map((field) => [field.operand, field.short ? 8 : 0]));

export class Code {
  readonly words: Word[] = [];
  unit = 0;

  /** Bytes so far. */
  get size(): number {
    return sizeOf(this.words);
  }

  /** Appends an instruction of the table; operands not given are 0. */
  emit(name: string, operands: Operands = {}): this {
    return this.raw(encoded(name, operands));
  }

  raw(word: { bits: number; length: 2 | 4 }): this {
    this.words.push({ ...word, unit: this.unit });
    return this;
  }

  append(...parts: readonly Code[]): this {
    for (const part of parts) this.words.push(...part.words);
    return this;
  }

  /** Puts a register's value to a distance from here: at most ±2 GiB. */
  addressOf(rd: number, distance: number): this {
    return this.emit('auipc', { rd, imm: upper(distance) }).emit('addi', {
      rd,
      rs1: rd,
      imm: lower(distance),
    });
  }

  bytes(): Uint8Array {
    return Uint8Array.from(
      this.words.flatMap(({ bits, length }) => Array.from({ length }, (_, i) => (bits >>> (8 * i)) & 0xff)),
    );
  }
}

export const sizeOf = (words: readonly Word[]): number => words.reduce((sum, { length }) => sum + length, 0);

const lower = (value: number): number => ((value & 0xfff) ^ 0x800) - 0x800;
const upper = (value: number): number => (value - lower(value)) | 0;

/** The same code with some units replaced by instructions that do nothing, of the same length. */
export function withoutUnits(words: readonly Word[], units: ReadonlySet<number>): Word[] {
  return words.map((word) => {
    if (!units.has(word.unit)) return word;
    const nothing = word.length === 2 ? encoded('c.addi') : encoded('addi');
    return { ...nothing, unit: word.unit };
  });
}
