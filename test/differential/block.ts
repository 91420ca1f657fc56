/**
 * What one random sequence owns in memory: an arena for its loads and stores, and a *context* that its context register
 * points to while it runs. The sequence leaves there what is compared afterwards, so the whole block must be equal.
 *
 *     0       arena: random bytes; two page boundaries lie inside it or border it on the context
 *     0x2300  f0 … f31 at the start, and at the end; loads in between take them for constants
 *     0x2400  saved registers of the trap handler, log pointer, resume address
 *     0x2440  constants: pointers into the arena, holes in the address space, values for CSRs
 *     0x2640  x0 … x31 at the start, and at the end
 *     0x2740  CSRs at the start, and at the end
 *     0x3000  trap log, a ring: mcause, mepc, mtval, mstatus of each trap
 */
export const BLOCK_SIZE = 0x4000;

/** Offset of the context from the start of the block: a page boundary, so that accesses close to it cross pages. */
export const CONTEXT = 0x2000;

/** Offsets from the context. All but the log are in reach of a 12-bit immediate. */
export const AT = {
  arena: -CONTEXT,
  arenaEnd: 0x300,
  floats: 0x300,
  /** Three registers that the trap handler works with. */
  saved: 0x400,
  logPointer: 0x418,
  /** Where to go on after a fetch that faulted: mepc then is where the jump went, not where it came from. */
  resume: 0x420,
  traps: 0x428,
  constants: 0x440,
  registers: 0x640,
  csrs: 0x740,
  log: 0x1000,
} as const;

/** Bytes of the trap log; a power of two. */
export const LOG_SIZE = 0x1000;
export const LOG_ENTRY_SIZE = 32;
export const MAX_CONSTANTS = (AT.registers - AT.constants) / 8;

/**
 * CSRs that every sequence starts with and leaves for the comparison, in their order in the block, with the bits that
 * are compared. Of mstatus only MIE and MPIE: the rest tells which modes and extensions a processor has.
 */
export const CSRS = [
  { name: 'mscratch', number: 0x340, compared: -1n },
  { name: 'mepc', number: 0x341, compared: -1n },
  { name: 'mcause', number: 0x342, compared: -1n },
  { name: 'mtval', number: 0x343, compared: -1n },
  { name: 'mtvec', number: 0x305, compared: -1n },
  { name: 'mie', number: 0x304, compared: 0x808n },
  { name: 'fcsr', number: 0x003, compared: -1n },
  { name: 'mstatus', number: 0x300, compared: 0x88n },
] as const;

/** MIE and MPIE, as a 12-bit immediate. */
export const MSTATUS_COMPARED = 0x88;
