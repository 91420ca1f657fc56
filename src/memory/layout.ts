/**
 * Where everything stands in the VM's one shared WebAssembly memory. This is the only file with offsets: generated
 * code, the machine thread and the migration thread all derive theirs from here.
 *
 *     0        guard page, never used: address 0 is nobody's
 *     4 KiB    control block
 *     8 KiB    hart blocks: registers, CSRs, TLBs
 *     …        page tables of the host: one byte of flags, one dirty, pending and received bit, one code slot per page
 *     …        dirty sites: which instructions have made pages dirty
 *     …        predecoded code, slots of one page each
 *     …        scratch for the migration thread
 *     …        RAM blocks, page after page: what the guest, or a reset, finds in memory
 *
 * A *page index* counts the 4 KiB pages of all RAM blocks from `blocksBase`; it is the index of every bitmap.
 */
import { GodwitError } from '../error.ts';
import { WASM_PAGE } from '../wasm/module.ts';

/** Bytes in a page of the guest, of every bitmap and of a migration. */
export const PAGE_SIZE = 4096;
export const PAGE_SHIFT = 12;

/** TLB entries per hart and kind of access. */
export const TLB_ENTRIES = 256;
/** Bytes of a TLB entry. */
export const TLB_ENTRY_SIZE = 16;
/** Offsets in an entry: i64 address of the page; i32 addend (read, write) or slot address (fetch); u32 direct tag. */
export const TLB_FIELD = {
  tag: 0,
  value: 8,
  /**
   * Of an entry for loads or stores: the page's address again, if it is one below 4 GiB and the addend is that of RAM at its
   * physical address; else an address that nothing looks for in this entry. What knows this tag needs no addend.
   */
  direct: 12,
} as const;
/**
 * Offset from an entry to its victim: what it held before. Misses look there first, so two pages that need the same entry
 * (two buffers, a multiple of TLB_ENTRIES pages apart) change places instead of being walked to again and again.
 */
export const TLB_VICTIM = TLB_ENTRIES * TLB_ENTRY_SIZE;
const TLB_SIZE = 2 * TLB_VICTIM;

/**
 * A hart has a set of TLBs for each context in which an address means something else, so that a trap or a return
 * switches sets instead of flushing: user mode, supervisor mode without and with access to user pages (mstatus.SUM),
 * and physical addresses (machine mode, or no paging).
 */
export const TLB_CONTEXT = { user: 0, supervisor: 1, supervisorSum: 2, physical: 3 } as const;
export const TLB_CONTEXTS = 4;
/** Offsets of the TLBs in a context's set. */
export const TLB = { read: 0, write: TLB_SIZE, fetch: 2 * TLB_SIZE } as const;
/** Bytes of a set. */
export const TLB_SET_SIZE = 3 * TLB_SIZE;

/** Most ranges that the PMP's entries can come to. */
export const PMP_ENTRIES = 16;
/** Bytes of a range: i64 first page, i64 page behind the last, i32 permissions below machine mode, i32 in it. */
export const PMP_RANGE_SIZE = 24;

/** Offsets inside the control block. */
export const CONTROL = {
  /** u32: set by other threads to make the machine thread leave its burst at the next slice end. */
  attention: 0,
  /** u32: 1 while the dirty log is on. */
  dirtyLog: 4,
  /** u32: 1 while a debugger watches data: every TLB miss of a load or store is the host side's. */
  watching: 12,
  /** u32: 1 while pages may be missing, because they have not arrived yet (post-copy). */
  missing: 24,
  /** u32: 1 while the machine waits for one. */
  wanting: 28,
  /** u32: how many slots stand in the list of hot ones, and the list: u32 byte offsets of slots. */
  hotCount: 8,
  /** u32: dirty sites written so far, and dirtied pages that devices did; both wrap. */
  dirtySites: 16,
  dirtiedByDevices: 20,
  /** u32: µs for which harts have run; wraps. */
  ranMicros: 32,
  hotSlots: 64,
} as const;
/** How long the list of hot slots may get. */
export const HOT_SLOTS_MAX = (PAGE_SIZE - CONTROL.hotSlots) / 4;

/** Offsets inside a hart block. Fields are 8 bytes unless said otherwise. */
export const HART = {
  /** x0 … x31. */
  x: 0,
  /** Where results for x0 go; never read. */
  sink: 256,
  /** f0 … f31. */
  f: 264,
  pc: 520,
  /** i32: what is left of the slice, while the engine is in a call out of generated code. */
  remaining: 528,
  /** i64: guest address of a memory access that left the fast path. */
  address: 536,
  /** i64: address of the LR reservation; -1 for none. */
  reservation: 544,
  /** Two predecoded entries and an end mark, for an instruction that no page keeps: it lies across two, or a breakpoint may stand there. */
  straddle: 576,
  /** i32: privilege mode, as in mstatus.MPP: 0 user, 1 supervisor, 3 machine. */
  privilege: 616,
  /** i32 each: address of the set of TLBs for loads and stores, and for fetches. */
  dataTlbs: 620,
  fetchTlbs: 624,
  /** i32 each: what a page walk for loads and stores, and for fetches, has to know (WALK). */
  dataWalk: 628,
  fetchWalk: 632,
  /** i32: number of PMP ranges that follow at `pmp`. */
  pmpCount: 636,
  /** u64 fields of the CSRs that hold state, in the order of HART_CSRS. */
  csr: 640,
  /** i32: not 0 while floating-point instructions need no look at mstatus.FS: it says Dirty. */
  floatOn: 1024,
  /** i32: bit n is set if an instruction with rounding mode n (7: the dynamic one) is `nearest` (isa/semantics.ts). */
  floatNearest: 1028,
  /** i32: not 0 while cbo.zero is allowed. */
  zeroBlocks: 1032,
  /** i32: page index of the page that was missing, where a translation says so. */
  missing: 1036,
  /** i64 each: instructions run in translated regions, how often one was entered, and how often it bailed. */
  translated: 1048,
  entered: 1056,
  bailed: 1064,
  /**
   * i64: bit (address >> 30) mod 64 is set if the TLBs of virtual addresses may hold a part of a superpage there: it came
   * in pieces of 4 KiB, and a fence for one address of the superpage is to reach all of them.
   */
  superpages: 1072,
  /** The PMP's entries as ranges of pages, first match first. */
  pmp: 2048,
  /** u32: clean pages that this hart has made dirty while the log was on; wraps, and no reset clears it. */
  dirtied: 4088,
  /** TLB_CONTEXTS sets of TLBs. */
  tlbs: 4096,
} as const;

/** Bits of `dataWalk` and `fetchWalk`: how an address is translated and which permissions hold. */
export const WALK = {
  /** Addresses are virtual. */
  paging: 1,
  /** The access is made as user mode makes it. */
  user: 2,
  /** Supervisor mode may reach user pages. */
  sum: 4,
  /** Loads may read executable pages. */
  mxr: 8,
  /** The access is made as machine mode makes it: of the PMP, only locked entries count. */
  machine: 16,
  /** A page whose A or D bit would have to be set faults (menvcfg.ADUE is 0). */
  svade: 32,
  /** Translations are traced (cpu/trace.ts). */
  trace: 64,
} as const;
/** CSRs with a field of their own in the hart block. */
export const HART_CSRS = [
  'mstatus',
  'mie',
  'mip',
  'mtvec',
  'mscratch',
  'mepc',
  'mcause',
  'mtval',
  'mcycle',
  'minstret',
  'medeleg',
  'mideleg',
  'mcounteren',
  'mcountinhibit',
  'menvcfg',
  'stvec',
  'sscratch',
  'sepc',
  'scause',
  'stval',
  'satp',
  'scounteren',
  'senvcfg',
  'stimecmp',
  'fcsr',
  'miselect',
  'siselect',
] as const;
export type HartCsr = (typeof HART_CSRS)[number];

/** Offset of a CSR's field inside a hart block. */
export const hartCsr = (name: HartCsr): number => HART.csr + 8 * HART_CSRS.indexOf(name);

/** Bytes of a hart block. */
export const HART_SIZE = HART.tlbs + TLB_CONTEXTS * TLB_SET_SIZE;

/** Flags of a page, one byte each. Any flag that is set sends writes through the slow path. */
export const PAGE_FLAG = {
  /** Predecoded entries exist for this page. */
  code: 1,
  /** The guest can't write here. */
  readonly: 2,
} as const;

/**
 * A dirty site says who made a page dirty: i64 pc of the instruction, u32 page index, u32 byte offset of the hart's block
 * or 0 for a device. The latest DIRTY_SITES are kept: site n stands at n modulo DIRTY_SITES.
 */
export const DIRTY_SITE = { pc: 0, page: 8, hart: 12, size: 16 } as const;
export const DIRTY_SITES = 16384;
/** The pc of a site where a page walk set an A or D bit: odd, so no instruction's. */
export const PAGE_WALK_PC = 1n;

/** Bytes of one predecoded entry: u32 operation and operands, i32 immediate. One entry per halfword of a page. */
export const ENTRY_SIZE = 8;
/** Entries of a page's slot: one per halfword, then the end mark. */
export const SLOT_ENTRIES = PAGE_SIZE / 2 + 1;
/**
 * Offsets in a page's slot: its entries, and what the JIT keeps of the page. A page belongs to at most one translated
 * region, which may have several pages.
 */
export const SLOT = {
  entries: 0,
  /** i32: index of the region's function in the table. Meaningless while no state is set. */
  function: SLOT_ENTRIES * ENTRY_SIZE,
  /** i32: counts down at each jump into the page that the interpreter takes; at 0 the page is hot. */
  heat: SLOT_ENTRIES * ENTRY_SIZE + 4,
  /** i64: address of the page less that of the region's base page. */
  delta: SLOT_ENTRIES * ENTRY_SIZE + 8,
  /** u32: byte offset of the page's contents. */
  host: SLOT_ENTRIES * ENTRY_SIZE + 16,
  /** u32: the instruction that lies across the page's end, as it was decoded last, or 0; and its entry. */
  straddleBits: SLOT_ENTRIES * ENTRY_SIZE + 20,
  straddle: SLOT_ENTRIES * ENTRY_SIZE + 24,
  /** u16 per halfword: the region's state that begins there, or 0. */
  states: SLOT_ENTRIES * ENTRY_SIZE + 32,
} as const;
export const SLOT_SIZE = align(SLOT.states + PAGE_SIZE, 64);
/** How many pages of code are kept predecoded. */
export const SLOT_COUNT = 4096;

/** Bytes for the migration thread to gather and check pages in. */
export const SCRATCH_SIZE = 6 * 1024 * 1024;
/** Bytes behind those for payloads that arrive, and for the threads that put them in place. */
export const ARRIVAL_SIZE = 16 * 1024 * 1024;

/** A piece of memory that belongs to the guest and travels with it. */
export interface RamBlockSpec {
  /** Unique, e.g. "ram", "rom", "boot". */
  readonly name: string;
  /** Bytes; a multiple of PAGE_SIZE. */
  readonly size: number;
}

export interface RamBlock extends RamBlockSpec {
  /** Byte offset of its first page in the shared memory. */
  readonly offset: number;
  /** Page index of its first page. */
  readonly firstPage: number;
  readonly pages: number;
}

/** The offsets of one VM, in bytes. */
export interface Layout {
  readonly harts: number;
  readonly control: number;
  /** Byte offset of each hart's block. */
  readonly hart: (index: number) => number;
  /** One byte of PAGE_FLAG bits per page index. */
  readonly pageFlags: number;
  /** Dirty log: one bit per page index, bit n & 31 of word n >> 5. */
  readonly dirtyBitmap: number;
  readonly dirtySites: number;
  /** Pages that the migration thread has yet to send, same form. */
  readonly pendingBitmap: number;
  /** While CONTROL.missing is set: pages that are here. Same form; bits are only ever set, and atomically. */
  readonly receivedBitmap: number;
  /** u32 per page index: byte offset of the page's slot of predecoded entries, or 0. */
  readonly codeSlots: number;
  readonly slots: number;
  readonly scratch: number;
  readonly arrival: number;
  readonly blocksBase: number;
  /** Number of pages in all blocks. */
  readonly pages: number;
  /** Bytes of each of the three bitmaps; a multiple of 8. */
  readonly bitmapSize: number;
  readonly blocks: readonly RamBlock[];
  /** Bytes in all. */
  readonly size: number;
  /** The same in WebAssembly pages of 64 KiB. */
  readonly wasmPages: number;
}

/** WebAssembly can address no more. */
const MAX_SIZE = 65536 * WASM_PAGE;

/** @throws GodwitError kind "machine" if it does not fit in 4 GiB. */
export function createLayout(harts: number, specs: readonly RamBlockSpec[]): Layout {
  const pages = specs.reduce((sum, { size }) => sum + size / PAGE_SIZE, 0);
  const bitmapSize = align(Math.ceil(pages / 8), 64);
  let next = 2 * PAGE_SIZE;
  const take = (size: number): number => {
    const at = next;
    next = align(next + size, PAGE_SIZE);
    return at;
  };
  const hartBase = take(harts * HART_SIZE);
  const pageFlags = take(pages);
  const dirtyBitmap = take(bitmapSize);
  const pendingBitmap = take(bitmapSize);
  const dirtySites = take(DIRTY_SITES * DIRTY_SITE.size);
  const receivedBitmap = take(bitmapSize);
  const codeSlots = take(pages * 4);
  const slots = take(SLOT_COUNT * SLOT_SIZE);
  const scratch = take(SCRATCH_SIZE);
  const arrival = take(ARRIVAL_SIZE);
  const blocksBase = align(next, WASM_PAGE);
  let offset = blocksBase;
  const blocks = specs.map((spec): RamBlock => {
    const block = {
      ...spec,
      offset,
      firstPage: (offset - blocksBase) / PAGE_SIZE,
      pages: spec.size / PAGE_SIZE,
    };
    offset += spec.size;
    return block;
  });
  const size = align(offset, WASM_PAGE);
  if (size > MAX_SIZE) {
    throw GodwitError.unexpected('machine', 'memory', 'at most 4 GiB in all', `${size} bytes`);
  }
  return {
    harts,
    control: PAGE_SIZE,
    hart: (index) => hartBase + index * HART_SIZE,
    pageFlags,
    dirtyBitmap,
    pendingBitmap,
    dirtySites,
    receivedBitmap,
    codeSlots,
    slots,
    scratch,
    arrival,
    blocksBase,
    pages,
    bitmapSize,
    blocks,
    size,
    wasmPages: size / WASM_PAGE,
  };
}

/** A new shared memory of the layout's size, all zero. The host gives pages to it only as they are touched. */
export function createSharedMemory(layout: Layout): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: layout.wasmPages, maximum: layout.wasmPages, shared: true });
  } catch (cause) {
    throw new GodwitError(
      'machine',
      `memory: the host can't give ${layout.size} bytes of address space`,
      {},
      cause,
    );
  }
}

function align(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}
