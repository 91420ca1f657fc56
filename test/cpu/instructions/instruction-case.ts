/**
 * What one instruction does: operands, the state before, and what is different afterwards. Everything that a case does
 * not name must stay as it was.
 */
import { MSTATUS, PRIVILEGE } from '../../../src/cpu/hart.ts';
import type { Operands } from '../../../src/isa/encoding.ts';
import type { HartCsr } from '../../../src/memory/layout.ts';
import { RAM_BASE } from '../../support/bare-machine.ts';

/** Where the instruction stands. */
export const PC = BigInt(RAM_BASE + 0x800);
export const HANDLER = BigInt(RAM_BASE + 0x1000);
/** 64 bytes that are compared. */
export const DATA = BigInt(RAM_BASE + 0x2000);

export interface State {
  readonly x?: Readonly<Record<number, bigint>>;
  readonly f?: Readonly<Record<number, bigint>>;
  readonly csr?: Readonly<Partial<Record<HartCsr, bigint>>>;
  /** Eight bytes each, from DATA on. */
  readonly memory?: readonly bigint[];
  readonly pc?: bigint;
  readonly privilege?: number;
  readonly reservation?: bigint;
  readonly waiting?: boolean;
}

export interface InstructionCase {
  readonly operands?: Operands;
  readonly given?: State;
  readonly gives?: State;
  /** It traps to machine mode, and nothing else changes. */
  readonly trap?: { readonly cause: number; readonly tval?: bigint };
}

export type Cases = Readonly<Record<string, readonly InstructionCase[]>>;

export const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
/** The register's value for a 32-bit one. */
export const word = (value: bigint): bigint => u64(BigInt.asIntN(32, value));

/** rd ← rs1 op rs2. */
export const two = (rs1: bigint, rs2: bigint, rd: bigint): InstructionCase => ({
  operands: { rd: 7, rs1: 5, rs2: 6 },
  given: { x: { 5: rs1, 6: rs2 } },
  gives: { x: { 7: rd } },
});

/** rd ← rs1 op imm. */
export const immediate = (rs1: bigint, imm: number, rd: bigint): InstructionCase => ({
  operands: { rd: 7, rs1: 5, imm },
  given: { x: { 5: rs1 } },
  gives: { x: { 7: rd } },
});

/** rd ← op rs1. */
export const one = (rs1: bigint, rd: bigint): InstructionCase => ({
  operands: { rd: 7, rs1: 5 },
  given: { x: { 5: rs1 } },
  gives: { x: { 7: rd } },
});

export const branch = (rs1: bigint, rs2: bigint, taken: boolean): readonly InstructionCase[] =>
  [-64, 64].map((imm) => ({
    operands: { rs1: 5, rs2: 6, imm },
    given: { x: { 5: rs1, 6: rs2 } },
    gives: taken ? { pc: PC + BigInt(imm) } : {},
  }));

/** What loads find: each byte is another one, and has its highest bit set. */
export const BYTES: readonly bigint[] = [0x8091_a2b3_c4d5_e6f7n, 0xf1e2_d3c4_b5a6_9788n];

/** rd ← memory at DATA + offset. */
export const load = (offset: number, rd: bigint): readonly InstructionCase[] =>
  [0, 32].map((back) => ({
    operands: { rd: 7, rs1: 5, imm: offset - back },
    given: { x: { 5: DATA + BigInt(back) }, memory: BYTES },
    gives: { x: { 7: rd } },
  }));

/** What stores write over. */
export const ONES = 0x1111_1111_1111_1111n;

/** Memory at DATA + offset ← rs2. */
export const store = (
  offset: number,
  rs2: bigint,
  ...memory: readonly bigint[]
): readonly InstructionCase[] =>
  [0, 32].map((back) => ({
    operands: { rs1: 5, rs2: 6, imm: offset - back },
    given: { x: { 5: DATA + BigInt(back), 6: rs2 }, memory: [ONES, ONES] },
    gives: { memory },
  }));

/** Rounding modes (Unprivileged ISA §20.2). */
export const RM = { rne: 0, rtz: 1, rdn: 2, rup: 3, rmm: 4, dynamic: 7 } as const;
/** Flags (ibid.). */
export const FLAG = { nx: 1n, uf: 2n, of: 4n, dz: 8n, nv: 16n } as const;

/** Registers of an instruction without rounding mode keep it out of the operands. */
export interface FloatOptions {
  readonly rm?: number;
  /** fcsr before. */
  readonly fcsr?: bigint;
  /** Flags that are set. */
  readonly flags?: bigint;
}

/** A floating-point computation of f1 (f2, f3) to f4. */
export function float(
  sources: readonly bigint[],
  result: bigint,
  { rm, fcsr = 0n, flags = 0n }: FloatOptions = {},
): InstructionCase {
  const names = ['frs1', 'frs2', 'frs3'] as const;
  const registers = Object.fromEntries(sources.map((_, i) => [names[i], i + 1]));
  return {
    operands: { frd: 4, ...registers, ...(rm === undefined ? {} : { rm }) },
    given: { f: Object.fromEntries(sources.map((bits, i) => [i + 1, bits])), csr: { fcsr } },
    gives: { f: { 4: result }, csr: { fcsr: fcsr | flags } },
  };
}

/** From f1 (and f2) to x7. */
export function toInteger(
  sources: readonly bigint[],
  rd: bigint,
  options: FloatOptions = {},
): InstructionCase {
  const { operands, given, gives } = float(sources, 0n, options);
  const { frd: _, ...registers } = operands ?? {};
  return {
    operands: { ...registers, rd: 7 },
    given,
    gives: { x: { 7: rd }, csr: gives?.csr },
  } as InstructionCase;
}

/** From x5 to f4. */
export const fromInteger = (
  rs1: bigint,
  result: bigint,
  { rm, fcsr = 0n, flags = 0n }: FloatOptions = {},
): InstructionCase => ({
  operands: { frd: 4, rs1: 5, ...(rm === undefined ? {} : { rm }) },
  given: { x: { 5: rs1 }, csr: { fcsr } },
  gives: { f: { 4: result }, csr: { fcsr: fcsr | flags } },
});

/** In user mode it is illegal. @param bits mtval: the instruction. */
export const illegalForUser = (operands: Operands, bits: bigint): InstructionCase => ({
  operands,
  given: { privilege: PRIVILEGE.user },
  trap: { cause: 2, tval: bits },
});

/** mstatus of every case: floating point is on and dirty. */
export const MSTATUS_BEFORE = MSTATUS.fs | MSTATUS.sd | MSTATUS.uxl | MSTATUS.sxl;
