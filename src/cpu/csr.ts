/**
 * The control and status registers, each declared once: number, name, how it reads and what a write may change.
 * RISC-V Privileged ISA (20240411), chapter 2 (numbers, access) and 3.1 (machine-level CSRs).
 */
import type { HartCsr } from '../memory/layout.ts';
import { type Hart, MSTATUS } from './hart.ts';

/** What CSRs need beyond the hart itself. */
export interface CsrContext {
  /** The platform's mtime, in ticks; what the `time` CSR shows. */
  readonly time: () => bigint;
}

export interface Csr {
  readonly number: number;
  readonly name: string;
  read(hart: Hart, context: CsrContext): bigint;
  /** Absent: a write is ignored, unless the number itself says read-only (then it is illegal). */
  write?(hart: Hart, value: bigint): void;
  /** A write may make an interrupt pending or enabled: the slice ends so that it is looked at. */
  readonly affectsInterrupts?: boolean;
}

const ALL = (1n << 64n) - 1n;
const MACHINE_INTERRUPTS = (1n << 3n) | (1n << 7n) | (1n << 11n);

/** MXL = 2 (64 bits), extensions A, C, I, M (§3.1.1). */
const MISA = (2n << 62n) | letters('ACIM');

function letters(text: string): bigint {
  return [...text].reduce((bits, letter) => bits | (1n << BigInt(letter.charCodeAt(0) - 65)), 0n);
}

/** A CSR that is a field of the hart; `writable` bits change, the rest stays. */
function field(number: number, name: HartCsr, writable: bigint, affectsInterrupts = false): Csr {
  return {
    number,
    name,
    read: (hart) => hart.csr(name),
    write: (hart, value) => hart.setCsr(name, (hart.csr(name) & ~writable) | (value & writable)),
    affectsInterrupts,
  };
}

const constant = (number: number, name: string, read: (hart: Hart) => bigint): Csr => ({
  number,
  name,
  read,
});

/** Instructions run in this slice before the present one, which has been counted already. */
const runBefore = (hart: Hart): bigint => BigInt(hart.budget - hart.remaining - 1);

/**
 * A counter kept up to date at slice ends (§3.1.10). A written value is what the next instruction reads, so the
 * present one is taken off.
 */
function counter(number: number, name: string, of: HartCsr): Csr {
  return {
    number,
    name,
    read: (hart) => BigInt.asUintN(64, hart.csr(of) + runBefore(hart)),
    write: (hart, value) => hart.setCsr(of, value - runBefore(hart) - 1n),
  };
}

const CSRS: readonly Csr[] = [
  // §3.1.2 to §3.1.5: identity. 0 means "not implemented".
  constant(0xf11, 'mvendorid', () => 0n),
  constant(0xf12, 'marchid', () => 0n),
  constant(0xf13, 'mimpid', () => 0n),
  constant(0xf14, 'mhartid', (hart) => BigInt(hart.id)),
  constant(0xf15, 'mconfigptr', () => 0n),
  constant(0x301, 'misa', () => MISA),
  // §3.1.6: with machine mode alone, MPP always reads 3.
  field(0x300, 'mstatus', MSTATUS.mie | MSTATUS.mpie, true),
  // §3.1.7: BASE is 4-byte aligned, MODE 2 and 3 are reserved.
  field(0x305, 'mtvec', ALL & ~2n),
  // §3.1.9: the machine-level pending bits are the devices' alone.
  field(0x304, 'mie', MACHINE_INTERRUPTS, true),
  field(0x344, 'mip', 0n),
  field(0x340, 'mscratch', ALL),
  // §3.1.14: IALIGN is 16, so bit 0 is always 0.
  field(0x341, 'mepc', ALL & ~1n),
  field(0x342, 'mcause', ALL),
  field(0x343, 'mtval', ALL),
  counter(0xb00, 'mcycle', 'mcycle'),
  counter(0xb02, 'minstret', 'minstret'),
  counter(0xc00, 'cycle', 'mcycle'),
  { number: 0xc01, name: 'time', read: (_hart, context) => BigInt.asUintN(64, context.time()) },
  counter(0xc02, 'instret', 'minstret'),
];

const byNumber = new Map(CSRS.map((csr) => [csr.number, csr]));

/** The CSR with this number, or undefined: accessing it is an illegal instruction. */
export function csrNumbered(number: number): Csr | undefined {
  return byNumber.get(number);
}

/** Bits 11:10 of a number say whether it is read-only (§2.1). */
export function isReadOnly(number: number): boolean {
  return number >> 10 === 3;
}
