/**
 * One hart as the host side sees it: its registers in the shared memory, traps and interrupts.
 * RISC-V Privileged ISA (20240411), chapter 3 (machine level).
 */
import { HART, HART_CSRS, type HartCsr, type Layout } from '../memory/layout.ts';

/** Exception codes (§3.1.15, table 14). */
export const CAUSE = {
  instructionAccessFault: 1,
  illegalInstruction: 2,
  breakpoint: 3,
  loadMisaligned: 4,
  loadAccessFault: 5,
  storeMisaligned: 6,
  storeAccessFault: 7,
  machineEcall: 11,
} as const;

/** Interrupt numbers; also their bits in mip and mie (§3.1.9). */
export const INTERRUPT = { machineSoftware: 3, machineTimer: 7, machineExternal: 11 } as const;

/** The order in which interrupts that are pending together are taken (§3.1.9). */
const INTERRUPT_PRIORITY = [
  INTERRUPT.machineExternal,
  INTERRUPT.machineSoftware,
  INTERRUPT.machineTimer,
] as const;

/** Fields of mstatus (§3.1.6). */
export const MSTATUS = { mie: 1n << 3n, mpie: 1n << 7n, mpp: 3n << 11n } as const;

const INTERRUPT_FLAG = 1n << 63n;

/** One line about a trap that is about to be taken, in the form of QEMU's `-d int`. */
export function describeTrap(hart: Hart, cause: bigint, tval: bigint): string {
  const isInterrupt = (cause & INTERRUPT_FLAG) !== 0n;
  const code = Number(cause & ~INTERRUPT_FLAG);
  const names: Readonly<Record<string, number>> = isInterrupt ? INTERRUPT : CAUSE;
  const name = Object.keys(names).find((key) => names[key] === code) ?? 'unknown';
  const hex = (value: bigint): string => `0x${value.toString(16).padStart(16, '0')}`;
  return (
    `hart:${hart.id}, async:${isInterrupt ? 1 : 0}, cause:${code.toString(16).padStart(16, '0')}, ` +
    `epc:${hex(hart.pc)}, tval:${hex(tval)}, desc=${name}`
  );
}

const CSR_INDEX = Object.fromEntries(HART_CSRS.map((name, i) => [name, HART.csr / 8 + i])) as Record<
  HartCsr,
  number
>;

export class Hart {
  readonly id: number;
  /** Byte offset of the hart's block. */
  readonly offset: number;
  /** In WFI: does not run until an interrupt is pending. */
  waiting = false;
  /** Instructions that the current call into generated code may run. */
  budget = 0;
  /** Told of every trap before it is taken, with mcause and mtval; for the log. */
  onTrap: ((cause: bigint, tval: bigint) => void) | undefined;
  readonly #i64: BigInt64Array;
  readonly #i32: Int32Array;

  constructor(id: number, memory: WebAssembly.Memory, layout: Layout) {
    this.id = id;
    this.offset = layout.hart(id);
    this.#i64 = new BigInt64Array(memory.buffer, this.offset, HART.readTlb / 8);
    this.#i32 = new Int32Array(memory.buffer, this.offset, HART.readTlb / 4);
  }

  /** Everything as the reset leaves it (§3.4); the reset vector becomes the pc. */
  reset(vector: bigint): void {
    this.#i64.fill(0n);
    this.waiting = false;
    this.pc = vector;
    this.reservation = -1n;
    this.setCsr('mstatus', MSTATUS.mpp);
  }

  get pc(): bigint {
    return BigInt.asUintN(64, this.#read(HART.pc));
  }

  set pc(value: bigint) {
    this.#i64[HART.pc / 8] = value;
  }

  get reservation(): bigint {
    return this.#read(HART.reservation);
  }

  set reservation(value: bigint) {
    this.#i64[HART.reservation / 8] = value;
  }

  /** Address of the memory access that left generated code, unsigned. */
  get accessAddress(): bigint {
    return BigInt.asUintN(64, this.#read(HART.address));
  }

  /** Instructions left in the slice, valid during a call out of generated code. */
  get remaining(): number {
    return this.#i32[HART.remaining / 4] ?? 0;
  }

  set remaining(value: number) {
    this.#i32[HART.remaining / 4] = value;
  }

  /** Register x`index`, unsigned. */
  x(index: number): bigint {
    return BigInt.asUintN(64, this.#i64[index] ?? 0n);
  }

  /** Sets x`index`; index 32 is the sink for x0. */
  setX(index: number, value: bigint): void {
    this.#i64[index] = value;
  }

  csr(name: HartCsr): bigint {
    return BigInt.asUintN(64, this.#i64[CSR_INDEX[name]] ?? 0n);
  }

  setCsr(name: HartCsr, value: bigint): void {
    this.#i64[CSR_INDEX[name]] = value;
  }

  /** Puts two predecoded words (of one instruction) and the end mark into the straddle slot. */
  setStraddle(word: number, immediate: number, end: number): void {
    const at = HART.straddle / 4;
    this.#i32[at] = word;
    this.#i32[at + 1] = immediate;
    this.#i32[at + 4] = end;
  }

  /** Raises or lowers an interrupt line. */
  setInterrupt(number: number, level: boolean): void {
    const bit = 1n << BigInt(number);
    const mip = this.csr('mip');
    this.setCsr('mip', level ? mip | bit : mip & ~bit);
  }

  /** Whether WFI would go on (§3.3.3): an enabled interrupt is pending, whatever mstatus.MIE says. */
  get wakes(): boolean {
    return (this.csr('mip') & this.csr('mie')) !== 0n;
  }

  /** Takes the interrupt that comes first, if one is pending and enabled. */
  takeInterrupt(): void {
    const pending = this.csr('mip') & this.csr('mie');
    if (pending === 0n) return;
    this.waiting = false;
    if ((this.csr('mstatus') & MSTATUS.mie) === 0n) return;
    const number = INTERRUPT_PRIORITY.find((candidate) => ((pending >> BigInt(candidate)) & 1n) === 1n);
    if (number !== undefined) this.#enterTrap(INTERRUPT_FLAG | BigInt(number), 0n);
  }

  /** Takes the exception that the instruction at pc caused; that instruction does not retire. */
  takeException(cause: number, tval: bigint): void {
    this.setCsr('minstret', this.csr('minstret') - 1n);
    this.#enterTrap(BigInt(cause), tval);
  }

  /** MRET (§3.3.2). */
  returnFromTrap(): void {
    const mstatus = this.csr('mstatus');
    const mie = (mstatus & MSTATUS.mpie) !== 0n ? MSTATUS.mie : 0n;
    this.setCsr('mstatus', (mstatus & ~MSTATUS.mie) | mie | MSTATUS.mpie);
    this.pc = this.csr('mepc');
  }

  /** §3.1.6.1, §3.1.7: mtvec's mode 1 sends interrupt n to base + 4 n. */
  #enterTrap(cause: bigint, tval: bigint): void {
    this.onTrap?.(cause, tval);
    this.setCsr('mepc', this.pc);
    this.setCsr('mcause', cause);
    this.setCsr('mtval', tval);
    const mstatus = this.csr('mstatus');
    const mpie = (mstatus & MSTATUS.mie) !== 0n ? MSTATUS.mpie : 0n;
    this.setCsr('mstatus', (mstatus & ~(MSTATUS.mie | MSTATUS.mpie)) | mpie | MSTATUS.mpp);
    const mtvec = this.csr('mtvec');
    const vectored = (mtvec & 1n) === 1n && (cause & INTERRUPT_FLAG) !== 0n;
    const base = mtvec & ~3n;
    this.pc = vectored ? base + 4n * (cause & ~INTERRUPT_FLAG) : base;
  }

  #read(offset: number): bigint {
    return this.#i64[offset / 8] ?? 0n;
  }
}
