/**
 * What a device shows to the bus: a range of physical addresses that answers reads and writes of 1, 2, 4 or 8 bytes.
 */

/** Width of one access in bytes. */
export type AccessSize = 1 | 2 | 4;

/**
 * The handler behind a memory-mapped region. Offsets are relative to the region's base and always leave the whole
 * access inside the region. Values are unsigned. 8-byte accesses are split into two 4-byte ones, low half first,
 * unless the handler offers `read64`/`write64`. A handler never throws for what a guest does: it ignores the write, or
 * reads as zero, as its specification says.
 */
export interface MmioHandler {
  read(offset: number, size: AccessSize): number;
  write(offset: number, size: AccessSize, value: number): void;
  read64?(offset: number): bigint;
  write64?(offset: number, value: bigint): void;
}

/** A named region of the guest's physical address space, served by a handler. */
export interface MmioRegion {
  /** Unique in its address space; shown by the monitor, e.g. "uart16550". */
  readonly name: string;
  /** First physical address. */
  readonly base: number;
  /** Size in bytes. */
  readonly size: number;
  readonly handler: MmioHandler;
}
