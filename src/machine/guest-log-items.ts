/** What GuestLog can log, in a file of its own: whoever lists the items needs no processor. */

/** What can be logged of harts. */
export const GUEST_LOG_ITEMS = {
  in_asm: 'show guest code as it is decoded: once for each instruction, in the order of execution',
  int: 'show interrupts/exceptions in short format',
  cpu: 'show CPU registers before each run of straight-line code (lots of logs, and slow: one instruction at a time)',
  fpu: "include FPU registers in the 'cpu' logging",
  mmu: 'show page walks: each TLB fill, each access to a device, each fault',
} as const;
export type GuestLogItem = keyof typeof GUEST_LOG_ITEMS;
