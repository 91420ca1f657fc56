/** What the engine needs of the guest's physical address space. */

/** Memory behind an address: a RAM block, or a part of one. */
export interface BusMemory {
  /** First guest-physical address of the range. */
  readonly base: number;
  /** Byte offset of that address in the shared memory. */
  readonly hostOffset: number;
  readonly readonly: boolean;
}

export interface Bus {
  /** The memory at an address; undefined if there is none (a device, or nothing). */
  memoryAt(address: number): BusMemory | undefined;
  /** Reads a device; undefined if there is none, or the access does not fit in it. Unsigned. */
  read(address: number, size: 1 | 2 | 4 | 8): bigint | undefined;
  /** Writes a device; false if there is none. */
  write(address: number, size: 1 | 2 | 4 | 8, value: bigint): boolean;
}
