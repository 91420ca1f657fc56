/** What a device sees of the guest's memory: guest-physical RAM, and nothing else. */

/**
 * Guest-physical memory for devices that are bus masters. Addresses and lengths come from the guest and may be
 * anything: whatever does not lie in RAM as a whole is refused, never half done. Called on the machine's thread, during
 * a burst or between two.
 */
export interface DmaMemory {
  /** A copy of `length` bytes; undefined if any of them is not RAM or ROM. */
  read(address: number, length: number): Uint8Array | undefined;
  /** The same into `target`, for its whole length; false and nothing read if any byte is not RAM or ROM. */
  readInto(address: number, target: Uint8Array): boolean;
  /**
   * False and nothing written if any byte is not writable RAM. Like a store of a hart it is logged as dirty, forgets
   * code that was derived from what stood there, and breaks reservations of LR.
   */
  write(address: number, bytes: Uint8Array): boolean;
  /** Whether `length` bytes from `address` on can be read, or (`writable`) be written. */
  holds(address: number, length: number, writable: boolean): boolean;
  /**
   * Does a piece of a device's work. In a post-copy migration memory may not have arrived yet: read, readInto, write and
   * `require` throw then, to be caught here, and `step` is done again, from its start, when it has. So a step touches
   * memory before it changes anything else, or does so that it can be done twice. While one of an owner waits, further
   * ones are not taken: a step does all that there is to do.
   */
  attempt(owner: object, step: () => void): void;
  /** Makes sure that these bytes have arrived, as far as they are memory: what touches them later does not wait. */
  require(address: number, length: number): void;
}

/** Where there is none: every access is refused. */
export const NO_MEMORY: DmaMemory = {
  read: () => undefined,
  readInto: () => false,
  write: () => false,
  holds: () => false,
  attempt: (_owner, step) => step(),
  require: () => {},
};
