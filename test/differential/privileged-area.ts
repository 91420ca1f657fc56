/**
 * What a privileged sequence owns: an area of 32 pages. It begins as a block of the plain kind does (block.ts): arena,
 * context, trap log. All of it is compared afterwards, page tables with their A and D bits included.
 *
 * Code, context and arena have the same address in every mode, with and without paging (the *identity*), so handlers and
 * steps need not know how they run. Their PTEs' U bits follow the mode of the present segment. Virtual memory is tried out
 * in the *window*, far from all that.
 */
import { BLOCK_SIZE } from './block.ts';

export const PAGE = 0x1000;
export const AREA_PAGES = 32;
export const AREA_SIZE = AREA_PAGES * PAGE;

/** Pages of an area, counted from its start. */
export const PAGES = {
  arena: 0,
  context: 2,
  log: 3,
  /** Physical pages that the window shows. PMP entries cover them in pairs; see `EVEN_FRAMES`. */
  frames: 4,
  /** The last of them: nothing but returns through the link register. */
  codeFrame: 11,
  root48: 12,
  root39: 13,
  identity1: 14,
  identity0: 15,
  window1: 16,
  window0: 17,
  /** Two of each segment. */
  code: 18,
  /** Machine-mode code that leads from one segment to the next. */
  glue: 28,
} as const;
export const MAX_SEGMENTS = 5;
export const GLUE_SIZE = (AREA_PAGES - PAGES.glue) * PAGE;

/** Frames that hold data. */
export const FRAMES = 7;
/**
 * Frames that the window shows. For an access that crosses a page's end, QEMU 7.2 asks the PMP about as many bytes of
 * *physical* memory, so the frame behind must have the same permissions; nobody asks it for its own sake.
 */
export const EVEN_FRAMES = [0, 2, 4, 6] as const;

/** Offsets from the context, beside those of AT: what handlers have to know of the present segment. */
export const AT_PRIVILEGED = {
  /** Three registers that the supervisor's handler works with; the machine's has AT.saved. */
  savedSupervisor: 0x740,
  /** Not 0: the next trap ends the segment. */
  ending: 0x758,
  /** Where machine mode goes on then. */
  next: 0x760,
  /** The segment's mode, as mstatus.MPP and sstatus.SPP have it. */
  mpp: 0x768,
  spp: 0x770,
  /** CSRs at the end. */
  csrs: 0x800,
} as const;

if (BLOCK_SIZE !== (PAGES.log + 1) * PAGE) throw new Error('an area begins with a block');

/** Virtual addresses. In Sv39 and Sv48 alike; physically, nothing is there. */
export const WINDOW = {
  /** 16 pages of 4 KiB. */
  pages: 0x10_0000_0000n,
  /** Superpages: 2 MiB onto the area's, 2 MiB misaligned, a pointer with reserved bits, one to no table. */
  megapage: 0x10_0020_0000n,
  misaligned: 0x10_0040_0000n,
  badPointer: 0x10_0060_0000n,
  /** 1 GiB onto RAM, and one misaligned. */
  gigapage: 0x10_4000_0000n,
  misalignedGigapage: 0x10_8000_0000n,
  /** The same 16 pages at the upper end of the address space. */
  upper: 0xffff_ffff_c000_0000n,
} as const;

/** Pages of the window. */
export const WINDOW_PAGES = { data: 12, exec: 12, execs: 2, invalid: 14, hole: 15 } as const;

/** Nobody's memory in both machines; see HOLES. */
export const PHYSICAL_HOLES: readonly bigint[] = [0x1800_0000n, 0x1_8765_4000n, 0xdead_0000_0000n];

export const PTE = {
  v: 1n,
  r: 2n,
  w: 4n,
  x: 8n,
  u: 16n,
  g: 32n,
  a: 64n,
  d: 128n,
} as const;

/** A page table entry for a physical address. */
export const pte = (physical: bigint, bits: bigint): bigint => ((physical >> 12n) << 10n) | bits;

export const SATP_MODES = { bare: 0n, sv39: 8n, sv48: 9n } as const;

/** A CSR that a sequence may access, whatever the mode allows. */
export interface PrivilegedCsr {
  readonly name: string;
  readonly number: number;
  /** Bits that may be written, below 2^30, or all. */
  readonly writable: bigint;
  /** Bits of what is read that must be equal. */
  readonly compared: bigint;
}

const csr = (name: string, number: number, writable: bigint, compared = -1n): PrivilegedCsr => ({
  name,
  number,
  writable,
  compared,
});

const bits = (...numbers: number[]): bigint => numbers.reduce((sum, n) => sum | (1n << BigInt(n)), 0n);

/** SSI, STI, SEI. */
export const SUPERVISOR_INTERRUPTS = bits(1, 5, 9);
/**
 * All exceptions but ECALL from S, which the end of a segment needs. Bits 10 and up of which QEMU has more (it also
 * delegates ECALL from M, which §3.1.8 has read-only zero) are left alone.
 */
export const DELEGABLE = bits(1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 15);
/** Bits of mcounteren and scounteren, as far as one LUI and ADDI reach. */
export const COUNTERS = (1n << 30n) - 1n;
/** QEMU's timer is pending from reset on. */
const PENDING = bits(1, 3, 5, 9, 11);
const ENABLED = bits(1, 3, 5, 9, 11);

/**
 * Of pmpaddr the bits below the granularity are not compared: QEMU's is 4 bytes. Of mstatus, TSR is not written, because the
 * supervisor's handler returns with SRET; FS has a step of its own, and is Off or Dirty: between them, §3.1.6.6 lets a
 * processor choose when it calls the state dirty. TW is the segments' choice.
 */
export const PRIVILEGED_CSRS: readonly PrivilegedCsr[] = [
  csr('sstatus', 0x100, bits(1, 5, 8, 18, 19)),
  csr('sie', 0x104, SUPERVISOR_INTERRUPTS),
  csr('stvec', 0x105, 0n),
  csr('scounteren', 0x106, COUNTERS),
  csr('sscratch', 0x140, 0n),
  csr('sepc', 0x141, ~1n),
  csr('scause', 0x142, -1n),
  csr('stval', 0x143, -1n),
  csr('sip', 0x144, SUPERVISOR_INTERRUPTS),
  csr('satp', 0x180, 0n),
  csr('mstatus', 0x300, bits(1, 3, 5, 7, 8, 18, 19, 20)),
  csr('medeleg', 0x302, DELEGABLE),
  csr('mideleg', 0x303, SUPERVISOR_INTERRUPTS),
  csr('mie', 0x304, ENABLED),
  csr('mtvec', 0x305, 0n),
  csr('mcounteren', 0x306, COUNTERS),
  csr('mscratch', 0x340, 0n),
  csr('mepc', 0x341, ~1n),
  csr('mcause', 0x342, -1n),
  csr('mtval', 0x343, -1n),
  csr('mip', 0x344, SUPERVISOR_INTERRUPTS, PENDING),
  csr('pmpcfg0', 0x3a0, 0n),
  csr('pmpcfg2', 0x3a2, 0n),
  ...[0, 1, 2, 3, 4, 5, 15].map((i) => csr(`pmpaddr${i}`, 0x3b0 + i, 0n, ~0x3ffn)),
];

/** As mstatus.MPP has them. */
export const MODES = { user: 0, supervisor: 1, machine: 3 } as const;
export type Mode = (typeof MODES)[keyof typeof MODES];

/** Where a hart's software interrupt is raised. */
export const CLINT = 0x200_0000;

/** Numbers of CSRs. */
export const CSR = {
  stimecmp: 0x14d,
  satp: 0x180,
  mstatus: 0x300,
  mepc: 0x341,
  sepc: 0x141,
  pmpcfg0: 0x3a0,
  pmpcfg2: 0x3a2,
  pmpaddr0: 0x3b0,
  sstatus: 0x100,
} as const;
/** Fields of mstatus. */
export const MSTATUS = {
  sum: 1n << 18n,
  tvm: 1n << 20n,
  tw: 1n << 21n,
  tsr: 1n << 22n,
  fs: 3n << 13n,
} as const;
/** menvcfg.STCE. */
export const STCE = 1n << 63n;
