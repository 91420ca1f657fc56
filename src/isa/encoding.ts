/**
 * Bit patterns in the notation of the RISC-V manuals, most significant bits first:
 *
 *     "imm[11:0] rs1 000 rd 0010011"          "000 nzimm[5] rd!=0 nzimm[4:0] 01"
 *
 * Literal bits must match; a named field is an operand. `[5:3|8:6]` says which bits of the operand stand there;
 * `rd'` is a three-bit register of the compressed formats (x8 to x15); `!=` excludes values (`!=0,2`).
 * From a pattern come the match test, the extraction of the operands and the encoder.
 */

/**
 * Operands of an instruction word. `frd` and so on are floating-point registers in the places of rd and so on; `zimm` is
 * the five-bit immediate in the place of rs1; aq and rl order an atomic; rm is a rounding mode.
 */
export type OperandName =
  | 'rd'
  | 'rs1'
  | 'rs2'
  | 'frd'
  | 'frs1'
  | 'frs2'
  | 'frs3'
  | 'imm'
  | 'zimm'
  | 'aq'
  | 'rl'
  | 'rm';

export type Operands = Partial<Record<OperandName, number>>;

interface Part {
  /** Lowest bit in the instruction word. */
  readonly wordBit: number;
  /** Lowest bit in the operand. */
  readonly operandBit: number;
  readonly width: number;
}

export interface Field {
  readonly operand: OperandName;
  readonly parts: readonly Part[];
  /** Sign-extended from its highest bit. */
  readonly signed: boolean;
  /** Three bits that name x8 to x15. */
  readonly short: boolean;
  /** Values it can't have. */
  readonly excluded: readonly number[];
  /** Number of bits of the operand: its highest bit + 1. */
  readonly width: number;
}

export interface Encoding {
  readonly pattern: string;
  /** Bytes: 2 or 4. */
  readonly length: 2 | 4;
  /** word & mask === match (both unsigned). */
  readonly mask: number;
  readonly match: number;
  readonly fields: readonly Field[];
}

/** Field name in a pattern → operand, default width, signedness. */
const FIELD_NAMES: Readonly<Record<string, { operand: OperandName; width?: number; signed?: boolean }>> = {
  rd: { operand: 'rd', width: 5 },
  rs1: { operand: 'rs1', width: 5 },
  rs2: { operand: 'rs2', width: 5 },
  frd: { operand: 'frd', width: 5 },
  frs1: { operand: 'frs1', width: 5 },
  frs2: { operand: 'frs2', width: 5 },
  frs3: { operand: 'frs3', width: 5 },
  zimm: { operand: 'zimm', width: 5 },
  csr: { operand: 'imm', width: 12 },
  imm: { operand: 'imm', signed: true },
  nzimm: { operand: 'imm', signed: true },
  uimm: { operand: 'imm' },
  nzuimm: { operand: 'imm' },
  shamt: { operand: 'imm' },
  aq: { operand: 'aq', width: 1 },
  rl: { operand: 'rl', width: 1 },
  rm: { operand: 'rm', width: 3 },
};

const TOKEN = /^(?<name>[a-z]+[123]?)(?<short>')?(?:\[(?<bits>[\d:|]+)\])?(?:!=(?<excluded>[\d,]+))?$/;

/** @throws Error if the pattern is not of the notation above, or not 16 or 32 bits long. */
export function parsePattern(pattern: string): Encoding {
  const tokens = pattern.split(/\s+/).map((text) => parseToken(text, pattern));
  const total = tokens.reduce((sum, token) => sum + token.width, 0);
  if (total !== 16 && total !== 32) throw new Error(`"${pattern}" has ${total} bits`);
  let bit = total;
  let mask = 0;
  let match = 0;
  const fields = new Map<OperandName, Field>();
  for (const token of tokens) {
    bit -= token.width;
    if (token.literal !== undefined) {
      mask |= (2 ** token.width - 1) << bit;
      match |= token.literal << bit;
      continue;
    }
    let wordBit = bit + token.width;
    const parts = token.ranges.map(({ high, low }): Part => {
      wordBit -= high - low + 1;
      return { wordBit, operandBit: low, width: high - low + 1 };
    });
    const known = fields.get(token.operand);
    const all = [...(known?.parts ?? []), ...parts];
    fields.set(token.operand, {
      operand: token.operand,
      parts: all,
      signed: token.signed,
      short: token.short,
      excluded: [...(known?.excluded ?? []), ...token.excluded],
      width: Math.max(...all.map((part) => part.operandBit + part.width)),
    });
  }
  return {
    pattern,
    length: total === 16 ? 2 : 4,
    mask: mask >>> 0,
    match: match >>> 0,
    fields: [...fields.values()],
  };
}

interface Token {
  readonly width: number;
  readonly literal?: number;
  readonly operand: OperandName;
  readonly ranges: readonly { high: number; low: number }[];
  readonly signed: boolean;
  readonly short: boolean;
  readonly excluded: readonly number[];
}

function parseToken(text: string, pattern: string): Token {
  if (/^[01]+$/.test(text)) {
    const none = { operand: 'imm', ranges: [], signed: false, short: false, excluded: [] } as const;
    return { ...none, width: text.length, literal: Number.parseInt(text, 2) };
  }
  const groups = TOKEN.exec(text)?.groups;
  const field = groups?.name === undefined ? undefined : FIELD_NAMES[groups.name];
  if (groups === undefined || field === undefined) throw new Error(`"${pattern}": "${text}" is no field`);
  const short = groups.short !== undefined;
  const width = short ? 3 : field.width;
  const bits = groups.bits ?? (width === undefined ? undefined : `${width - 1}:0`);
  if (bits === undefined) throw new Error(`"${pattern}": "${text}" does not say its bits`);
  const ranges = bits.split('|').map((range) => {
    const [high, low] = range.split(':').map(Number);
    return { high: high ?? 0, low: low ?? high ?? 0 };
  });
  const excluded = groups.excluded?.split(',').map(Number) ?? [];
  if (groups.name?.startsWith('nz') === true) excluded.push(0);
  return {
    width: ranges.reduce((sum, { high, low }) => sum + high - low + 1, 0),
    operand: field.operand,
    ranges,
    signed: field.signed ?? false,
    short,
    excluded,
  };
}

/** The value of a field in an instruction word. */
export function extract(field: Field, word: number): number {
  let value = 0;
  for (const { wordBit, operandBit, width } of field.parts) {
    value |= ((word >>> wordBit) & ((1 << width) - 1)) << operandBit;
  }
  if (field.short) return value + 8;
  const unused = 32 - field.width;
  return field.signed ? (value << unused) >> unused : value;
}

/** Whether `word` (16 or 32 bits, unsigned) is an instruction of this encoding. */
export function matches(encoding: Encoding, word: number): boolean {
  if ((word & encoding.mask) >>> 0 !== encoding.match) return false;
  return encoding.fields.every(
    (field) => field.excluded.length === 0 || !field.excluded.includes(extract(field, word)),
  );
}

/** @throws RangeError if an operand is missing, unknown, or has bits that its field can't hold. */
export function encode(encoding: Encoding, operands: Operands): number {
  let word = encoding.match;
  const names = new Set(Object.keys(operands));
  for (const field of encoding.fields) {
    const value = operands[field.operand];
    if (value === undefined)
      throw new RangeError(`"${encoding.pattern}": operand ${field.operand} is missing`);
    names.delete(field.operand);
    const raw = field.short ? value - 8 : value;
    for (const { wordBit, operandBit, width } of field.parts) {
      word |= ((raw >>> operandBit) & (2 ** width - 1)) << wordBit;
    }
    if (extract(field, word) !== value || field.excluded.includes(value)) {
      throw new RangeError(`"${encoding.pattern}": ${field.operand} can't be ${value}`);
    }
  }
  if (names.size > 0) throw new RangeError(`"${encoding.pattern}" has no operand ${[...names].join(', ')}`);
  return word >>> 0;
}
