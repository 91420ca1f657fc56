/**
 * One hart as the host side sees it: its registers in the shared memory, privilege, traps and interrupts.
 * RISC-V Privileged ISA (20240411), chapters 3 (machine level) and 12 (supervisor level).
 */
import {
  HART,
  HART_CSRS,
  type HartCsr,
  hartCsr,
  type Layout,
  PMP_RANGE_SIZE,
  TLB_CONTEXT,
  TLB_SET_SIZE,
  WALK,
} from '../memory/layout.ts';

/** Privilege modes, as mstatus.MPP has them (§1.2). */
export const PRIVILEGE = { user: 0, supervisor: 1, machine: 3 } as const;

/** Exception codes (§3.1.15). */
export const CAUSE = {
  instructionAccessFault: 1,
  illegalInstruction: 2,
  breakpoint: 3,
  loadMisaligned: 4,
  loadAccessFault: 5,
  storeMisaligned: 6,
  storeAccessFault: 7,
  userEcall: 8,
  supervisorEcall: 9,
  machineEcall: 11,
  instructionPageFault: 12,
  loadPageFault: 13,
  storePageFault: 15,
} as const;

/** Interrupt numbers; also their bits in mip and mie (§3.1.9, §12.1.3). */
export const INTERRUPT = {
  supervisorSoftware: 1,
  machineSoftware: 3,
  supervisorTimer: 5,
  machineTimer: 7,
  supervisorExternal: 9,
  machineExternal: 11,
} as const;

/** The order in which interrupts that are pending together are taken (§3.1.9). */
const INTERRUPT_PRIORITY = [
  INTERRUPT.machineExternal,
  INTERRUPT.machineSoftware,
  INTERRUPT.machineTimer,
  INTERRUPT.supervisorExternal,
  INTERRUPT.supervisorSoftware,
  INTERRUPT.supervisorTimer,
] as const;

/** Fields of mstatus (§3.1.6). */
export const MSTATUS = {
  sie: 1n << 1n,
  mie: 1n << 3n,
  spie: 1n << 5n,
  mpie: 1n << 7n,
  spp: 1n << 8n,
  mpp: 3n << 11n,
  fs: 3n << 13n,
  mprv: 1n << 17n,
  sum: 1n << 18n,
  mxr: 1n << 19n,
  tvm: 1n << 20n,
  tw: 1n << 21n,
  tsr: 1n << 22n,
  /** UXL and SXL: both 2, 64 bits. */
  uxl: 2n << 32n,
  sxl: 2n << 34n,
  sd: 1n << 63n,
} as const;
const MPP_SHIFT = 11n;

/** Fields of menvcfg, and of senvcfg as far as it has them (§3.1.18, §12.1.10). */
export const ENVCFG = {
  fiom: 1n,
  /** cbo.inval below: 0 illegal, 1 flushes, 3 invalidates. */
  cbie: 3n << 4n,
  cbcfe: 1n << 6n,
  cbze: 1n << 7n,
  /** Hardware sets A and D bits (Svadu). */
  adue: 1n << 61n,
  /** Supervisor mode has stimecmp (Sstc). */
  stce: 1n << 63n,
} as const;

/** mcause's highest bit (§3.1.15). */
export const INTERRUPT_FLAG = 1n << 63n;

const CSR_INDEX = Object.fromEntries(HART_CSRS.map((name) => [name, hartCsr(name) / 8])) as Record<
  HartCsr,
  number
>;

export class Hart {
  readonly id: number;
  /** Byte offset of the hart's block. */
  readonly offset: number;
  /** In WFI: does not run until an interrupt is pending. */
  waiting = false;
  /** Page index of the page that its next instruction needs and that has not arrived yet: it does not run until then. */
  missing: number | undefined;
  #seipLine = false;
  #seipSoftware = false;
  /** Instructions that the current call into generated code may run. */
  budget = 0;
  /** Told of every trap before it is taken, with mcause and mtval; for the log. */
  onTrap: ((cause: bigint, tval: bigint) => void) | undefined;
  readonly #i64: BigInt64Array;
  readonly #i32: Int32Array;
  readonly #svadu: boolean;
  #traced = false;

  /** @param svadu menvcfg.ADUE says whether hardware sets the A and D bits; without it, it always does. */
  constructor(id: number, memory: WebAssembly.Memory, layout: Layout, svadu = false) {
    this.#svadu = svadu;
    this.id = id;
    this.offset = layout.hart(id);
    this.#i64 = new BigInt64Array(memory.buffer, this.offset, HART.tlbs / 8);
    this.#i32 = new Int32Array(memory.buffer, this.offset, HART.tlbs / 4);
  }

  /** Everything as the reset leaves it (§3.4); the reset vector becomes the pc. The TLBs are the caller's to flush. */
  reset(vector: bigint): void {
    this.#i64.fill(0n, 0, HART.dirtied / 8);
    this.waiting = false;
    this.missing = undefined;
    this.#seipLine = false;
    this.#seipSoftware = false;
    this.pc = vector;
    this.reservation = -1n;
    this.setCsr('mstatus', MSTATUS.uxl | MSTATUS.sxl);
    // Svadu without Svade means "always on" to an operating system, whether or not firmware knows of ADUE.
    if (this.#svadu) this.setCsr('menvcfg', ENVCFG.adue);
    this.privilege = PRIVILEGE.machine;
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

  /** Page index of the page that a translation found missing. */
  get missingTable(): number {
    return this.#i32[HART.missing / 4] ?? 0;
  }

  /** Instructions left in the slice, valid during a call out of generated code. */
  get remaining(): number {
    return this.#i32[HART.remaining / 4] ?? 0;
  }

  set remaining(value: number) {
    this.#i32[HART.remaining / 4] = value;
  }

  /** Whether translations are traced. */
  set traced(on: boolean) {
    this.#traced = on;
    this.updateContext();
  }

  /** What translated regions did for this hart: instructions, entries, and bails to the interpreter. */
  get translated(): { readonly instructions: number; readonly entered: number; readonly bailed: number } {
    const at = (offset: number): number => Number(this.#read(offset));
    return {
      instructions: at(HART.translated),
      entered: at(HART.entered),
      bailed: at(HART.bailed),
    };
  }

  /** A PRIVILEGE. */
  get privilege(): number {
    return this.#i32[HART.privilege / 4] ?? 0;
  }

  set privilege(mode: number) {
    this.#i32[HART.privilege / 4] = mode;
    this.updateContext();
  }

  /** The set of TLBs for loads and stores, or for fetches, and what a walk for them has to know (WALK). */
  get data(): { readonly tlbs: number; readonly walk: number } {
    return { tlbs: this.#i32[HART.dataTlbs / 4] ?? 0, walk: this.#i32[HART.dataWalk / 4] ?? 0 };
  }

  get fetch(): { readonly tlbs: number; readonly walk: number } {
    return { tlbs: this.#i32[HART.fetchTlbs / 4] ?? 0, walk: this.#i32[HART.fetchWalk / 4] ?? 0 };
  }

  /** Register x`index`, unsigned. */
  x(index: number): bigint {
    return BigInt.asUintN(64, this.#i64[index] ?? 0n);
  }

  /** Sets x`index`; index 32 is the sink for x0. */
  setX(index: number, value: bigint): void {
    this.#i64[index] = value;
  }

  /** The bits of f`index`, unsigned. */
  f(index: number): bigint {
    return BigInt.asUintN(64, this.#i64[HART.f / 8 + index] ?? 0n);
  }

  setF(index: number, bits: bigint): void {
    this.#i64[HART.f / 8 + index] = bits;
  }

  csr(name: HartCsr): bigint {
    return BigInt.asUintN(64, this.#i64[CSR_INDEX[name]] ?? 0n);
  }

  /** Sets the field alone; what follows from it (a flush, another context) is the caller's. */
  setCsr(name: HartCsr, value: bigint): void {
    this.#i64[CSR_INDEX[name]] = value;
  }

  /** Replaces the PMP's ranges: pages from `first` up to `end`, with ACCESS bits below and in machine mode. */
  setPmp(ranges: readonly { first: bigint; end: bigint; below: number; machine: number }[]): void {
    this.#i32[HART.pmpCount / 4] = ranges.length;
    for (const [i, { first, end, below, machine }] of ranges.entries()) {
      const at = HART.pmp + i * PMP_RANGE_SIZE;
      this.#i64[at / 8] = first;
      this.#i64[at / 8 + 1] = end;
      this.#i32[at / 4 + 4] = below;
      this.#i32[at / 4 + 5] = machine;
    }
  }

  /** Puts the two words of a predecoded instruction and the end mark, for either length, into the straddle slot. */
  setStraddle(word: number, immediate: number, end: number): void {
    const at = HART.straddle / 4;
    this.#i32[at] = word;
    this.#i32[at + 1] = immediate;
    this.#i32[at + 2] = end;
    this.#i32[at + 4] = end;
  }

  /** Whether this mode has what a field of menvcfg and senvcfg enables (Unprivileged ISA §19.4). */
  enables(field: bigint): boolean {
    const off = (name: 'menvcfg' | 'senvcfg'): boolean => (this.csr(name) & field) === 0n;
    const { privilege } = this;
    if (privilege < PRIVILEGE.machine && off('menvcfg')) return false;
    return privilege > PRIVILEGE.user || !off('senvcfg');
  }

  /**
   * Derives the TLB sets and the walk's rules from privilege, mstatus, satp, menvcfg and senvcfg. To be called when one
   * has changed.
   */
  updateContext(): void {
    const mstatus = this.csr('mstatus');
    const previous = Number((mstatus & MSTATUS.mpp) >> MPP_SHIFT);
    const { privilege } = this;
    const data = (mstatus & MSTATUS.mprv) !== 0n && privilege === PRIVILEGE.machine ? previous : privilege;
    const sum = (mstatus & MSTATUS.sum) !== 0n;
    const mxr = (mstatus & MSTATUS.mxr) !== 0n ? WALK.mxr : 0;
    this.#i32[HART.dataTlbs / 4] = this.#set(data, sum);
    this.#i32[HART.dataWalk / 4] = this.#walk(data, sum) | mxr;
    this.#i32[HART.fetchTlbs / 4] = this.#set(privilege, false);
    this.#i32[HART.fetchWalk / 4] = this.#walk(privilege, false);
    this.#i32[HART.zeroBlocks / 4] = this.enables(ENVCFG.cbze) ? 1 : 0;
    this.updateFloat();
  }

  /** Floating-point state was, or is about to be, written: mstatus.FS says so. */
  touchFloat(): void {
    this.setCsr('mstatus', this.csr('mstatus') | MSTATUS.fs | MSTATUS.sd);
    this.updateFloat();
  }

  /** Derives what generated code asks about floating point from mstatus.FS and fcsr. */
  updateFloat(): void {
    this.#i32[HART.floatOn / 4] = (this.csr('mstatus') & MSTATUS.fs) === MSTATUS.fs ? 1 : 0;
    const fcsr = Number(this.csr('fcsr'));
    const inexact = (fcsr & 1) !== 0;
    const dynamicIsNearest = fcsr >> 5 === 0;
    this.#i32[HART.floatNearest / 4] = inexact ? 1 | (dynamicIsNearest ? 0x80 : 0) : 0;
  }

  /** Raises or lowers an interrupt line. */
  setInterrupt(number: number, level: boolean): void {
    if (number === INTERRUPT.supervisorExternal) this.seipLine = level;
    else this.#setPending(number, level);
  }

  /** §3.1.9: mip.SEIP is the interrupt controller's line or what machine mode wrote. */
  get seipLine(): boolean {
    return this.#seipLine;
  }

  set seipLine(level: boolean) {
    this.#seipLine = level;
    this.#setPending(INTERRUPT.supervisorExternal, level || this.#seipSoftware);
  }

  get seipSoftware(): boolean {
    return this.#seipSoftware;
  }

  set seipSoftware(bit: boolean) {
    this.#seipSoftware = bit;
    this.#setPending(INTERRUPT.supervisorExternal, bit || this.#seipLine);
  }

  /** Whether WFI would go on (§3.3.3): an enabled interrupt is pending, whatever the global enables say. */
  get wakes(): boolean {
    return (this.csr('mip') & this.csr('mie')) !== 0n;
  }

  /** The one of these interrupts (bits as in mip) that comes first (§3.1.9); undefined of none. */
  firstInterrupt(candidates: bigint): number | undefined {
    return INTERRUPT_PRIORITY.find((number) => ((candidates >> BigInt(number)) & 1n) === 1n);
  }

  /** Takes the interrupt that comes first, if one is pending and enabled (§3.1.9). @returns whether it did. */
  takeInterrupt(): boolean {
    const pending = this.csr('mip') & this.csr('mie');
    if (pending === 0n) return false;
    this.waiting = false;
    const mstatus = this.csr('mstatus');
    const { privilege } = this;
    const delegated = this.csr('mideleg');
    const machineTakes = privilege < PRIVILEGE.machine || (mstatus & MSTATUS.mie) !== 0n;
    const supervisorTakes =
      privilege < PRIVILEGE.supervisor ||
      (privilege === PRIVILEGE.supervisor && (mstatus & MSTATUS.sie) !== 0n);
    const machine = machineTakes ? pending & ~delegated : 0n;
    const takes = machine !== 0n ? machine : supervisorTakes ? pending & delegated : 0n;
    const number = this.firstInterrupt(takes);
    if (number === undefined) return false;
    this.#enterTrap(INTERRUPT_FLAG | BigInt(number), 0n, takes !== machine);
    return true;
  }

  /** Takes the exception that the instruction at pc caused; that instruction does not retire. */
  takeException(cause: number, tval: bigint): void {
    this.setCsr('minstret', this.csr('minstret') - 1n);
    const delegated = ((this.csr('medeleg') >> BigInt(cause)) & 1n) === 1n;
    this.#enterTrap(BigInt(cause), tval, delegated && this.privilege < PRIVILEGE.machine);
  }

  /** MRET (§3.3.2, §3.1.6.1). */
  returnFromMachineTrap(): void {
    const mstatus = this.csr('mstatus');
    const privilege = Number((mstatus & MSTATUS.mpp) >> MPP_SHIFT);
    const mie = (mstatus & MSTATUS.mpie) !== 0n ? MSTATUS.mie : 0n;
    const mprv = privilege < PRIVILEGE.machine ? MSTATUS.mprv : 0n;
    this.setCsr('mstatus', (mstatus & ~(MSTATUS.mie | MSTATUS.mpp | mprv)) | mie | MSTATUS.mpie);
    this.pc = this.csr('mepc');
    this.reservation = -1n;
    this.privilege = privilege;
  }

  /** SRET (§3.3.2, §12.1.1). */
  returnFromSupervisorTrap(): void {
    const mstatus = this.csr('mstatus');
    const sie = (mstatus & MSTATUS.spie) !== 0n ? MSTATUS.sie : 0n;
    const cleared = MSTATUS.sie | MSTATUS.spp | MSTATUS.mprv;
    this.setCsr('mstatus', (mstatus & ~cleared) | sie | MSTATUS.spie);
    this.pc = this.csr('sepc');
    this.reservation = -1n;
    this.privilege = (mstatus & MSTATUS.spp) !== 0n ? PRIVILEGE.supervisor : PRIVILEGE.user;
  }

  #enterTrap(cause: bigint, tval: bigint, toSupervisor: boolean): void {
    this.onTrap?.(cause, tval);
    // A reservation does not outlive the context that made it.
    this.reservation = -1n;
    if (toSupervisor) this.#enterSupervisorTrap(cause, tval);
    else this.#enterMachineTrap(cause, tval);
  }

  /** §3.1.6.1. */
  #enterMachineTrap(cause: bigint, tval: bigint): void {
    this.setCsr('mepc', this.pc);
    this.setCsr('mcause', cause);
    this.setCsr('mtval', tval);
    const mstatus = this.csr('mstatus');
    const mpie = (mstatus & MSTATUS.mie) !== 0n ? MSTATUS.mpie : 0n;
    const mpp = BigInt(this.privilege) << MPP_SHIFT;
    this.setCsr('mstatus', (mstatus & ~(MSTATUS.mie | MSTATUS.mpie | MSTATUS.mpp)) | mpie | mpp);
    this.pc = vector(this.csr('mtvec'), cause);
    this.privilege = PRIVILEGE.machine;
  }

  /** §12.1.1. */
  #enterSupervisorTrap(cause: bigint, tval: bigint): void {
    this.setCsr('sepc', this.pc);
    this.setCsr('scause', cause);
    this.setCsr('stval', tval);
    const mstatus = this.csr('mstatus');
    const spie = (mstatus & MSTATUS.sie) !== 0n ? MSTATUS.spie : 0n;
    const spp = this.privilege === PRIVILEGE.supervisor ? MSTATUS.spp : 0n;
    this.setCsr('mstatus', (mstatus & ~(MSTATUS.sie | MSTATUS.spie | MSTATUS.spp)) | spie | spp);
    this.pc = vector(this.csr('stvec'), cause);
    this.privilege = PRIVILEGE.supervisor;
  }

  #setPending(number: number, level: boolean): void {
    // Devices set their lines often, and to what they are: all of them are in the low half.
    const at = 2 * CSR_INDEX.mip;
    const mip = this.#i32[at] ?? 0;
    this.#i32[at] = level ? mip | (1 << number) : mip & ~(1 << number);
  }

  #set(privilege: number, sum: boolean): number {
    const context =
      privilege === PRIVILEGE.machine
        ? TLB_CONTEXT.physical
        : privilege === PRIVILEGE.user
          ? TLB_CONTEXT.user
          : sum
            ? TLB_CONTEXT.supervisorSum
            : TLB_CONTEXT.supervisor;
    return this.offset + HART.tlbs + context * TLB_SET_SIZE;
  }

  #walk(privilege: number, sum: boolean): number {
    const trace = this.#traced ? WALK.trace : 0;
    if (privilege === PRIVILEGE.machine) return WALK.machine | trace;
    const paging = this.csr('satp') >> 60n !== 0n ? WALK.paging : 0;
    const svade = this.#svadu && (this.csr('menvcfg') & ENVCFG.adue) === 0n ? WALK.svade : 0;
    return trace | paging | svade | (privilege === PRIVILEGE.user ? WALK.user : sum ? WALK.sum : 0);
  }

  #read(offset: number): bigint {
    return this.#i64[offset / 8] ?? 0n;
  }
}

/** §3.1.7: mode 1 sends interrupt n to base + 4 n. */
function vector(tvec: bigint, cause: bigint): bigint {
  const vectored = (tvec & 1n) === 1n && (cause & INTERRUPT_FLAG) !== 0n;
  const base = tvec & ~3n;
  return vectored ? base + 4n * (cause & ~INTERRUPT_FLAG) : base;
}
