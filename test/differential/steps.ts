/**
 * What the lines of the ISA table need around them so that a random instance is defined, and the same on every correct
 * processor. Lines come from the table by the kind of their action, so a new extension of a known kind takes part by
 * itself; a line that takes part nowhere fails the coverage test unless it stands in NOT_RUN.
 */
import { type Action, type Helper, usesFloat } from '../../src/isa/semantics.ts';
import { LINES, type TableLine } from '../support/random-word.ts';

type Category =
  | 'compute'
  | 'float'
  | 'load'
  | 'store'
  | 'amo'
  | 'reserved'
  | 'branch'
  | 'jump'
  | 'csr'
  | 'trap'
  | 'return';

const BY_KIND: Readonly<Partial<Record<Action['kind'], Category>>> = {
  nothing: 'compute',
  set: 'compute',
  fset: 'float',
  float: 'float',
  load: 'load',
  store: 'store',
  amo: 'amo',
  // An SC is only run behind an LR or a failed one; see Generator.
  lr: 'reserved',
  sc: 'reserved',
  branch: 'branch',
  jump: 'jump',
};

const BY_HELPER: Readonly<Partial<Record<Helper, Category>>> = {
  sfence_vma: 'compute',
  csrrw: 'csr',
  csrrs: 'csr',
  csrrc: 'csr',
  ecall: 'trap',
  ebreak: 'trap',
  mret: 'return',
};

/** Lines of the table that no sequence has, each with the reason. */
export const NOT_RUN: Readonly<Record<string, string>> = {
  'cbo.inval': 'QEMU 7.2 has no Zicbom',
  'cbo.clean': 'QEMU 7.2 has no Zicbom',
  'cbo.flush': 'QEMU 7.2 has no Zicbom',
  'cbo.zero': 'QEMU 7.2 has no Zicboz',
  'sinval.vma': "QEMU's rv64 has no Svinval",
  'sfence.w.inval': "QEMU's rv64 has no Svinval",
  'sfence.inval.ir': "QEMU's rv64 has no Svinval",
};

function categoryOf(line: TableLine): Category | undefined {
  if (line.name in NOT_RUN) return undefined;
  const { action } = line.instruction;
  if (action.kind === 'set' && usesFloat(action)) return 'float';
  return action.kind === 'helper' ? BY_HELPER[action.helper] : BY_KIND[action.kind];
}

const lists = new Map<Category, TableLine[]>();
for (const line of LINES) {
  const category = categoryOf(line);
  if (category !== undefined) lists.set(category, [...(lists.get(category) ?? []), line]);
}

export const linesOf = (category: Category): readonly TableLine[] => lists.get(category) ?? [];

/**
 * Lines whose operand must have a bit set in its low word: QEMU 7.2 has CTZW look at all 64 bits when it finds none
 * there (corrected in 8.0); the Unprivileged ISA (§28.5) has it give 32.
 */
export const NEEDS_LOW_WORD: ReadonlySet<string> = new Set(['ctzw']);

/**
 * Guest-physical addresses where QEMU's virt has nothing, two pages around included: accesses and fetches fault. Of its
 * 56 address bits QEMU drops the upper ones only behind the fault, so tval has all 64.
 */
export const HOLES: readonly bigint[] = [
  0x1n,
  0x208n,
  0x5_0000n,
  0x7_1234n,
  0x1800_0000n,
  0x1_8000_0000n,
  0x1_8765_4321n,
  0xdead_0000_0000_0000n,
  0xffff_ffff_0000_0004n,
];

/** A CSR that random instructions may access, beyond those that anything may be written to. */
export interface CsrRule {
  readonly number: number;
  /** Bits that may be written. */
  readonly writable: bigint;
  /** Bits of what is read that must be equal. */
  readonly compared: bigint;
}

const ALL = -1n;

export const CSR_RULES: readonly CsrRule[] = [
  { number: 0x001, writable: ALL, compared: ALL }, // fflags
  // frm: now and then one of the reserved modes, with which what rounds dynamically is illegal.
  { number: 0x002, writable: 3n, compared: ALL },
  { number: 0x002, writable: 4n, compared: ALL },
  { number: 0x003, writable: 0x7fn, compared: ALL }, // fcsr
  { number: 0x340, writable: ALL, compared: ALL }, // mscratch
  // mepc: QEMU 7.2 keeps bit 0, which the Privileged ISA (§3.1.14) has always zero.
  { number: 0x341, writable: ~1n, compared: ALL },
  { number: 0x342, writable: ALL, compared: ALL }, // mcause
  { number: 0x343, writable: ALL, compared: ALL }, // mtval
  // mie: QEMU's timer is pending from reset on; which interrupts of lower modes there are differs.
  { number: 0x304, writable: 0x808n, compared: 0x888n },
  // mstatus: MPP and the fields of other modes and extensions are left alone.
  { number: 0x300, writable: 0x88n, compared: 0x88n },
  // mtvec is written by a step of its own, because the next trap needs it; here it is read.
  { number: 0x305, writable: 0n, compared: ALL },
  // marchid, mimpid and misa say which processor it is.
  { number: 0xf11, writable: 0n, compared: ALL }, // mvendorid
  { number: 0xf14, writable: 0n, compared: ALL }, // mhartid
  { number: 0xf15, writable: 0n, compared: ALL }, // mconfigptr
];

/** Numbers that no processor here has (custom and reserved ones), or that are read-only (mvendorid, mhartid). */
export const NO_CSRS: readonly number[] = [0x045, 0x5c0, 0x7c5, 0x8c0, 0xbc0, 0xcc5, 0xfc0];
export const READ_ONLY_CSRS: readonly number[] = [0xf11, 0xf14];

/** Major opcodes in which this machine knows all that QEMU's `rv64` knows, so an unknown word is illegal in both. */
export const CLOSED_OPCODES: readonly number[] = [
  0x03, 0x07, 0x0b, 0x13, 0x1b, 0x23, 0x27, 0x2b, 0x33, 0x3b, 0x43, 0x47, 0x4b, 0x4f, 0x53, 0x5b, 0x63, 0x67,
  0x7b,
];

/** Unknown here and known to QEMU: Zbc (clmul, clmulr, clmulh). */
export function isOpen(word: number): boolean {
  return (word & 0xfe00_007f) >>> 0 === 0x0a00_0033;
}
