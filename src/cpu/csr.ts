/**
 * The control and status registers, each declared once: number, name, how it reads, what a write may change and what
 * follows from it. RISC-V Privileged ISA (20240411): chapter 2 (numbers, access), §3.1 (machine level), §12.1
 * (supervisor level); Sstc 1.0.
 */
import type { HartCsr } from '../memory/layout.ts';
import { AIA_CSRS } from './csr-aia.ts';
import { ENVCFG, type Hart, INTERRUPT, MSTATUS, PRIVILEGE } from './hart.ts';
import type { InterruptFile } from './interrupt-file.ts';
import { PMP_COUNT, type Pmp, pmpaddrMask } from './pmp.ts';

/** What CSRs need beyond the hart itself. */
export interface CsrContext {
  /** The platform's mtime, in ticks; what the `time` CSR shows. */
  readonly time: () => bigint;
  /** Single-letter and other extensions of the harts: "I", "Zba". */
  readonly extensions: ReadonlySet<string>;
  /** The interrupt files of the harts' IMSICs, by hart id and PRIVILEGE; absent where there are none. */
  readonly interruptFile?: (hart: number, privilege: number) => InterruptFile | undefined;
}

/** A hart's CSRs with what belongs to them. */
export interface CsrHart {
  readonly hart: Hart;
  readonly pmp: Pmp;
  readonly context: CsrContext;
}

/** What follows from a write. */
export type CsrEffect =
  /** Interrupts may be pending or enabled: they are looked at before the next instruction. */
  | 'interrupts'
  /** Privilege rules changed: another TLB set, another walk. */
  | 'context'
  /** What virtual addresses mean has changed: their TLBs are emptied. */
  | 'translation';

export interface Csr {
  readonly number: number;
  readonly name: string;
  /** The extension it belongs to: without it there is no such register. */
  readonly extension?: string;
  read(of: CsrHart): bigint;
  /** What csrrs and csrrc change bits of, where it is not what they read. */
  readToModify?(of: CsrHart): bigint;
  /** Absent: a write is ignored, unless the number itself says read-only (then it is illegal). */
  write?(of: CsrHart, value: bigint): void;
  readonly effects?: readonly CsrEffect[];
  /** Whether the access is illegal in the present state, beyond what the number says. */
  illegal?(hart: Hart): boolean;
}

const ALL = (1n << 64n) - 1n;
const bits = (...numbers: number[]): bigint => numbers.reduce((sum, n) => sum | (1n << BigInt(n)), 0n);

const MACHINE_INTERRUPTS = bits(3, 7, 11);
const SUPERVISOR_INTERRUPTS = bits(1, 5, 9);
const SEIP = bits(INTERRUPT.supervisorExternal);
/** Exceptions that machine mode can delegate (§3.1.8): all that can happen below it. */
const DELEGABLE = bits(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 15);
/** What menvcfg and senvcfg have in common. Every access is in order here, so FIOM changes nothing. */
const ENVCFG_WRITABLE = ENVCFG.fiom | ENVCFG.cbie | ENVCFG.cbcfe | ENVCFG.cbze;

/** MXL = 2 (64 bits), then a bit per single-letter extension; S and U are always there (§3.1.1). */
function misa(extensions: ReadonlySet<string>): bigint {
  const letters = [...extensions, 'S', 'U'].filter((name) => name.length === 1);
  return letters.reduce((sum, letter) => sum | bits(letter.charCodeAt(0) - 65), 2n << 62n);
}

const MSTATUS_WRITABLE =
  MSTATUS.sie |
  MSTATUS.mie |
  MSTATUS.spie |
  MSTATUS.mpie |
  MSTATUS.spp |
  MSTATUS.mpp |
  MSTATUS.fs |
  MSTATUS.mprv |
  MSTATUS.sum |
  MSTATUS.mxr |
  MSTATUS.tvm |
  MSTATUS.tw |
  MSTATUS.tsr;
/** sstatus: its number, and the bits of mstatus that a write may change, and that it shows (§12.1.1). */
export const SSTATUS = 0x100;
export const SSTATUS_WRITABLE =
  MSTATUS.sie | MSTATUS.spie | MSTATUS.spp | MSTATUS.fs | MSTATUS.sum | MSTATUS.mxr;
export const SSTATUS_READABLE = SSTATUS_WRITABLE | MSTATUS.uxl | MSTATUS.sd;

/** Fields of mstatus that stay 0 for want of an extension: FS without F (§3.1.6.6). */
const absent = ({ extensions }: CsrContext): bigint => (extensions.has('F') ? 0n : MSTATUS.fs);

/** A CSR that is a field of the hart; `writable` bits change, the rest stays. */
function field(number: number, name: HartCsr, writable: bigint, ...effects: CsrEffect[]): Csr {
  return {
    number,
    name,
    read: ({ hart }) => hart.csr(name),
    write: ({ hart }, value) => merge(hart, name, value, writable),
    effects,
  };
}

/** A supervisor's view of some bits of a machine-level field. */
function view(
  number: number,
  name: string,
  of: HartCsr,
  masks: { readonly readable: (hart: Hart) => bigint; readonly writable: (hart: Hart) => bigint },
  ...effects: CsrEffect[]
): Csr {
  return {
    number,
    name,
    read: ({ hart }) => hart.csr(of) & masks.readable(hart),
    write: ({ hart }, value) => merge(hart, of, value, masks.writable(hart)),
    effects,
  };
}

function merge(hart: Hart, name: HartCsr, value: bigint, mask: bigint): void {
  const merged = (hart.csr(name) & ~mask) | (value & mask);
  hart.setCsr(name, name === 'mstatus' ? withSd(merged) : merged);
}

/** CBIE is WARL (Unprivileged ISA §19.4): 2 is reserved, and leaves it as it was. */
function writeEnvcfg(hart: Hart, name: 'menvcfg' | 'senvcfg', value: bigint, writable: bigint): void {
  const reserved = (value & ENVCFG.cbie) >> 4n === 2n;
  merge(hart, name, value, reserved ? writable & ~ENVCFG.cbie : writable);
}

/** §3.1.6.6: SD sums up FS; VS and XS do not exist. */
const withSd = (mstatus: bigint): bigint =>
  (mstatus & MSTATUS.fs) === MSTATUS.fs ? mstatus | MSTATUS.sd : mstatus & ~MSTATUS.sd;

/** A field of fcsr (Unprivileged ISA §20.2): illegal while FS is off; a write makes it dirty. */
function floatField(number: number, name: string, shift: bigint, mask: bigint): Csr {
  return {
    number,
    name,
    read: ({ hart }) => (hart.csr('fcsr') >> shift) & mask,
    write: ({ hart }, value) => {
      hart.setCsr('fcsr', (hart.csr('fcsr') & ~(mask << shift)) | ((value & mask) << shift));
      hart.touchFloat();
    },
    illegal: (hart) => (hart.csr('mstatus') & MSTATUS.fs) === 0n,
  };
}

const constant = (number: number, name: string, read: (hart: Hart) => bigint): Csr => ({
  number,
  name,
  read: ({ hart }) => read(hart),
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
    read: ({ hart }) => BigInt.asUintN(64, hart.csr(of) + runBefore(hart)),
    write: ({ hart }, value) => hart.setCsr(of, value - runBefore(hart) - 1n),
  };
}

/** §3.1.11, §12.1.5: mcounteren and scounteren open the counters to the modes below. */
function counterClosed(bit: number): (hart: Hart) => boolean {
  return (hart) => {
    const closed = (name: HartCsr): boolean => ((hart.csr(name) >> BigInt(bit)) & 1n) === 0n;
    if (hart.privilege === PRIVILEGE.machine) return false;
    return closed('mcounteren') || (hart.privilege === PRIVILEGE.user && closed('scounteren'));
  };
}

const unprivilegedCounter = (number: number, csr: Omit<Csr, 'number' | 'illegal'>): Csr => ({
  ...csr,
  number,
  illegal: counterClosed(number & 31),
});

/** Counts of events that do not exist here: zero, and writes are ignored. */
function* zeroCounters(): Generator<Csr> {
  const zero = { read: () => 0n, write: () => {} };
  for (let i = 3; i < 32; i++) {
    yield { number: 0xb00 + i, name: `mhpmcounter${i}`, ...zero };
    yield { number: 0x320 + i, name: `mhpmevent${i}`, ...zero };
    yield unprivilegedCounter(0xc00 + i, { name: `hpmcounter${i}`, ...zero });
  }
}

/** §3.7.1: eight one-byte configurations in each even-numbered pmpcfg, then the addresses. */
function* pmpRegisters(): Generator<Csr> {
  for (let i = 0; i < 16; i += 2) {
    yield {
      number: 0x3a0 + i,
      name: `pmpcfg${i}`,
      read: ({ pmp }) => pmp.readConfigurations(i * 4),
      write: ({ pmp }, value) => pmp.writeConfigurations(i * 4, value),
    };
  }
  for (let i = 0; i < 64; i++) {
    yield {
      number: 0x3b0 + i,
      name: `pmpaddr${i}`,
      read: ({ pmp }) => (i < PMP_COUNT ? pmp.readAddress(i) : 0n),
      write: ({ pmp }, value) => {
        if (i < PMP_COUNT) pmp.writeAddress(i, value & pmpaddrMask);
      },
    };
  }
}

const sie = { readable: (hart: Hart): bigint => hart.csr('mideleg') };
const tvmTraps = (hart: Hart): boolean =>
  hart.privilege === PRIVILEGE.supervisor && (hart.csr('mstatus') & MSTATUS.tvm) !== 0n;
/** Sstc §2.1.1: without menvcfg.STCE, or mcounteren.TM, supervisor mode has no stimecmp. */
const sstcClosed = (hart: Hart): boolean =>
  hart.privilege === PRIVILEGE.supervisor &&
  ((hart.csr('menvcfg') & ENVCFG.stce) === 0n || (hart.csr('mcounteren') & 2n) === 0n);

/** Whether the hart's stimecmp, and not machine mode, drives the supervisor's timer interrupt. */
export const hasSupervisorTimer = (hart: Hart): boolean => (hart.csr('menvcfg') & ENVCFG.stce) !== 0n;

/** Sets STIP to what it is at `time`, if stimecmp drives it; to be called as time passes. */
export function updateSupervisorTimer(hart: Hart, time: bigint): void {
  if (!hasSupervisorTimer(hart)) return;
  hart.setInterrupt(INTERRUPT.supervisorTimer, BigInt.asUintN(64, time) >= hart.csr('stimecmp'));
}

/** The bits of mip that machine mode writes, as it wrote them. */
function softwarePending(hart: Hart): bigint {
  return (hart.csr('mip') & writablePending(hart)) | (hart.seipSoftware ? SEIP : 0n);
}

function setSoftwarePending(hart: Hart, value: bigint): void {
  merge(hart, 'mip', value, writablePending(hart));
  hart.seipSoftware = (value & SEIP) !== 0n;
}

/** Of the bits of mip that can be written, those that are nothing else. */
const writablePending = (hart: Hart): bigint => (hasSupervisorTimer(hart) ? bits(1) : bits(1, 5));

export const CSRS: readonly Csr[] = [
  floatField(0x001, 'fflags', 0n, 0x1fn),
  floatField(0x002, 'frm', 5n, 7n),
  floatField(0x003, 'fcsr', 0n, 0xffn),
  // §3.1.2 to §3.1.5: identity. 0 means "not implemented".
  constant(0xf11, 'mvendorid', () => 0n),
  constant(0xf12, 'marchid', () => 0n),
  constant(0xf13, 'mimpid', () => 0n),
  constant(0xf14, 'mhartid', (hart) => BigInt(hart.id)),
  constant(0xf15, 'mconfigptr', () => 0n),
  { number: 0x301, name: 'misa', read: ({ context }) => misa(context.extensions) },
  // §3.1.6; MPP is WARL: 2 is no mode, and leaves it as it was.
  {
    number: 0x300,
    name: 'mstatus',
    read: ({ hart }) => hart.csr('mstatus'),
    write: ({ hart, context }, value) => {
      const keepMpp = (value & MSTATUS.mpp) >> 11n === 2n ? MSTATUS.mpp : 0n;
      merge(hart, 'mstatus', value, MSTATUS_WRITABLE & ~keepMpp & ~absent(context));
    },
    effects: ['interrupts', 'context'],
  },
  // §3.1.7: BASE is 4-byte aligned, MODE 2 and 3 are reserved.
  field(0x305, 'mtvec', ALL & ~2n),
  field(0x302, 'medeleg', DELEGABLE),
  field(0x303, 'mideleg', SUPERVISOR_INTERRUPTS, 'interrupts'),
  field(0x304, 'mie', MACHINE_INTERRUPTS | SUPERVISOR_INTERRUPTS, 'interrupts'),
  // §3.1.9: the machine-level pending bits are the devices' alone; with Sstc, so is STIP. SEIP reads as the interrupt
  // controller's line or the bit that can be written; only the latter takes part in csrrs and csrrc.
  {
    number: 0x344,
    name: 'mip',
    read: ({ hart }) => hart.csr('mip'),
    readToModify: ({ hart }) => softwarePending(hart),
    write: ({ hart }, value) => setSoftwarePending(hart, value),
    effects: ['interrupts'],
  },
  // AIA §5.3: while mvien is 0, another name for the bits of mip that can be written.
  {
    number: 0x309,
    name: 'mvip',
    extension: 'Smaia',
    read: ({ hart }) => softwarePending(hart),
    write: ({ hart }, value) => setSoftwarePending(hart, value),
    effects: ['interrupts'],
  },
  ...AIA_CSRS,
  field(0x306, 'mcounteren', 0xffff_ffffn),
  field(0x320, 'mcountinhibit', 0n),
  {
    ...field(0x30a, 'menvcfg', 0n, 'interrupts', 'context'),
    write: ({ hart, context }, value) => {
      const adue = context.extensions.has('Svadu') ? ENVCFG.adue : 0n;
      writeEnvcfg(hart, 'menvcfg', value, ENVCFG.stce | adue | ENVCFG_WRITABLE);
      updateSupervisorTimer(hart, context.time());
    },
  },
  field(0x340, 'mscratch', ALL),
  // §3.1.14: IALIGN is 16, so bit 0 is always 0.
  field(0x341, 'mepc', ALL & ~1n),
  field(0x342, 'mcause', ALL),
  field(0x343, 'mtval', ALL),
  counter(0xb00, 'mcycle', 'mcycle'),
  counter(0xb02, 'minstret', 'minstret'),
  unprivilegedCounter(0xc00, counter(0, 'cycle', 'mcycle')),
  unprivilegedCounter(0xc01, {
    name: 'time',
    read: ({ context }) => BigInt.asUintN(64, context.time()),
  }),
  unprivilegedCounter(0xc02, counter(0, 'instret', 'minstret')),

  // §12.1: supervisor level.
  {
    number: SSTATUS,
    name: 'sstatus',
    read: ({ hart }) => hart.csr('mstatus') & SSTATUS_READABLE,
    write: ({ hart, context }, value) => merge(hart, 'mstatus', value, SSTATUS_WRITABLE & ~absent(context)),
    effects: ['interrupts', 'context'],
  },
  view(0x104, 'sie', 'mie', { ...sie, writable: sie.readable }, 'interrupts'),
  field(0x105, 'stvec', ALL & ~2n),
  field(0x106, 'scounteren', 0xffff_ffffn),
  {
    ...field(0x10a, 'senvcfg', 0n, 'context'),
    write: ({ hart }, value) => writeEnvcfg(hart, 'senvcfg', value, ENVCFG_WRITABLE),
  },
  field(0x140, 'sscratch', ALL),
  field(0x141, 'sepc', ALL & ~1n),
  field(0x142, 'scause', ALL),
  field(0x143, 'stval', ALL),
  // §12.1.3: of the pending bits, only SSIP is the supervisor's to write.
  view(0x144, 'sip', 'mip', { ...sie, writable: (hart) => hart.csr('mideleg') & bits(1) }, 'interrupts'),
  {
    ...field(0x14d, 'stimecmp', ALL, 'interrupts'),
    write: ({ hart, context }, value) => {
      hart.setCsr('stimecmp', value);
      updateSupervisorTimer(hart, context.time());
    },
    illegal: sstcClosed,
  },
  {
    number: 0x180,
    name: 'satp',
    read: ({ hart }) => hart.csr('satp'),
    // §12.1.11: a mode that does not exist leaves satp as it is. ASIDs have no bits.
    write: ({ hart }, value) => {
      const mode = value >> 60n;
      if (mode === 0n || mode === 8n || mode === 9n) hart.setCsr('satp', value & ~(0xffffn << 44n));
    },
    effects: ['context', 'translation'],
    illegal: tvmTraps,
  },
  // Sdtrig: no triggers. tselect reads back 0, and so does the type of the trigger it selects.
  ...['tselect', 'tdata1', 'tdata2', 'tdata3'].map((name, i) => ({
    ...constant(0x7a0 + i, name, () => 0n),
    write: () => {},
  })),
  ...pmpRegisters(),
  ...zeroCounters(),
];

const byNumber = new Map(CSRS.map((csr) => [csr.number, csr]));

/** A CSR's name, for disassembly. */
export const csrName = (number: number): string | undefined => byNumber.get(number)?.name;

/**
 * The CSR with this number if the hart may access it in its mode.
 * @returns undefined: the access is an illegal instruction.
 */
export function accessibleCsr(
  number: number,
  hart: Hart,
  { extensions }: CsrContext,
  writes: boolean,
): Csr | undefined {
  // §2.1: bits 9:8 are the lowest mode that may access it, bits 11:10 all set mean read-only.
  if (hart.privilege < ((number >> 8) & 3) || (writes && number >> 10 === 3)) return undefined;
  const csr = byNumber.get(number);
  if (csr?.extension !== undefined && !extensions.has(csr.extension)) return undefined;
  return csr?.illegal?.(hart) === true ? undefined : csr;
}
