/** The guest's memory as its devices reach it: a transfer is one copy, and everybody hears of what it changed. */
import type { DmaMemory } from '../devices/dma.ts';
import type { AddressSpace } from '../memory/address-space.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';

/** Below this, a loop is faster than a view. */
const LOOP_BYTES = 32;

/**
 * @param wrote called after each transfer into memory: harts lose their reservations. (Which page an LR was to only its
 * hart knows; that an SC fails for another reason is allowed, Unprivileged ISA §8.2.)
 */
export function guestDma(space: AddressSpace, memory: GuestMemory, wrote: () => void): DmaMemory {
  const shared = memory.view(0, memory.layout.size);
  const { missing } = memory;

  /** Where the bytes stand in the shared memory. */
  const find = (address: number, length: number, writable: boolean): number | undefined => {
    const mapping = space.lookup(address);
    if (mapping?.kind !== 'ram') return undefined;
    const { base, size, hostOffset, readonly } = mapping.region;
    if (writable && readonly) return undefined;
    return address + length <= base + size ? hostOffset + (address - base) : undefined;
  };

  return {
    read(address, length) {
      const at = find(address, length, false);
      if (at === undefined) return undefined;
      missing.require(at, length);
      return shared.slice(at, at + length);
    },
    readInto(address, target) {
      const at = find(address, target.length, false);
      if (at === undefined) return false;
      missing.require(at, target.length);
      if (target.length <= LOOP_BYTES) {
        for (let i = 0; i < target.length; i++) target[i] = shared[at + i] as number;
      } else target.set(shared.subarray(at, at + target.length));
      return true;
    },
    write(address, bytes) {
      const at = find(address, bytes.length, true);
      if (at === undefined) return false;
      missing.require(at, bytes.length);
      memory.write(at, bytes);
      wrote();
      return true;
    },
    holds: (address, length, writable) => find(address, length, writable) !== undefined,
    attempt: (owner, step) => missing.attempt(owner, step),
    require(address, length) {
      if (!missing.any) return;
      const at = find(address, length, false);
      if (at !== undefined) missing.require(at, length);
    },
  };
}
