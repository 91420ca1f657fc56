/**
 * The guest's physical address space: which region answers an address. Regions never overlap; RAM and ROM stand in it
 * too, so that a page's kind has one source. After RISC-V's Privileged Architecture 20211203, §3.6 (physical memory
 * attributes): an access that no single region answers raises an access fault, which is the caller's to raise.
 */
import { GodwitError } from '../error.ts';
import type { AccessSize, MmioRegion } from './mmio.ts';

/** A range of physical addresses backed by bytes of the shared memory. */
export interface RamRegion {
  /** Unique in its address space; shown by the monitor, e.g. "ram". */
  readonly name: string;
  /** First physical address. */
  readonly base: number;
  /** Size in bytes. */
  readonly size: number;
  /** Where its first byte lies in the shared memory, in bytes. */
  readonly hostOffset: number;
  /** True for ROM: what the guest stores is lost. */
  readonly readonly: boolean;
}

/** What stands at an address. */
export type Mapping =
  | { readonly kind: 'ram'; readonly region: RamRegion }
  | { readonly kind: 'mmio'; readonly region: MmioRegion };

/** Addresses below this are exact in a double; RV64 physical addresses have 56 bits, but nothing is mapped above. */
const ADDRESS_LIMIT = Number.MAX_SAFE_INTEGER;

/** A set of regions that don't overlap, with fast look-up. */
export class AddressSpace {
  /** Sorted by base. */
  readonly #mappings: Mapping[] = [];
  /** The mapping that answered last: accesses come in runs. */
  #last: Mapping | undefined;

  /**
   * Adds a region.
   * @throws GodwitError kind "machine" when its range is empty or unreachable, it overlaps another, or its name is
   * taken.
   */
  add(region: MmioRegion | RamRegion): void {
    const { name, base, size } = region;
    if (!isAddress(base) || !isAddress(size) || size === 0 || base + size > ADDRESS_LIMIT) {
      throw new GodwitError('machine', `${name}: a region can't have base ${base} and size ${size}`);
    }
    for (const { region: other } of this.#mappings) {
      if (other.name === name) throw new GodwitError('machine', `two regions are named ${name}`);
      if (base < other.base + other.size && other.base < base + size) {
        throw new GodwitError(
          'machine',
          `${name} at ${range(region)} overlaps ${other.name} at ${range(other)}`,
          { where: name, expected: `a range outside ${range(other)}`, got: range(region) },
        );
      }
    }
    const at = this.#mappings.findIndex((mapping) => mapping.region.base > base);
    const mapping: Mapping = 'handler' in region ? { kind: 'mmio', region } : { kind: 'ram', region };
    this.#mappings.splice(at < 0 ? this.#mappings.length : at, 0, mapping);
  }

  /** Removes the region of this name; returns whether there was one. */
  remove(name: string): boolean {
    const at = this.#mappings.findIndex((mapping) => mapping.region.name === name);
    if (at < 0) return false;
    this.#mappings.splice(at, 1);
    this.#last = undefined;
    return true;
  }

  /** What stands at `address`, or undefined. */
  lookup(address: number): Mapping | undefined {
    const last = this.#last;
    if (last !== undefined && holds(last, address)) return last;
    let low = 0;
    let high = this.#mappings.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#mappings[middle] as Mapping).region.base <= address) low = middle + 1;
      else high = middle;
    }
    const found = this.#mappings[low - 1];
    if (found === undefined || !holds(found, address)) return undefined;
    this.#last = found;
    return found;
  }

  /** The device region that answers all `size` bytes from `address` on, or undefined. */
  findMmio(address: number, size: number): MmioRegion | undefined {
    const found = this.lookup(address);
    if (found?.kind !== 'mmio') return undefined;
    const { region } = found;
    return address + size <= region.base + region.size ? region : undefined;
  }

  /** Reads from a device; undefined if no device region holds the whole access. */
  read(address: number, size: AccessSize): number | undefined {
    const region = this.findMmio(address, size);
    return region?.handler.read(address - region.base, size);
  }

  /** Writes to a device; false if no device region holds the whole access. */
  write(address: number, size: AccessSize, value: number): boolean {
    const region = this.findMmio(address, size);
    if (region === undefined) return false;
    region.handler.write(address - region.base, size, value);
    return true;
  }

  /** Reads 8 bytes from a device, as one access or as two (see MmioHandler); undefined as for `read`. */
  read64(address: number): bigint | undefined {
    const region = this.findMmio(address, 8);
    if (region === undefined) return undefined;
    const { handler } = region;
    const offset = address - region.base;
    if (handler.read64 !== undefined) return BigInt.asUintN(64, handler.read64(offset));
    const low = BigInt(handler.read(offset, 4) >>> 0);
    return low | (BigInt(handler.read(offset + 4, 4) >>> 0) << 32n);
  }

  /** Writes 8 bytes to a device, as one access or as two (see MmioHandler); false as for `write`. */
  write64(address: number, value: bigint): boolean {
    const region = this.findMmio(address, 8);
    if (region === undefined) return false;
    const { handler } = region;
    const offset = address - region.base;
    if (handler.write64 !== undefined) {
      handler.write64(offset, BigInt.asUintN(64, value));
    } else {
      handler.write(offset, 4, Number(BigInt.asUintN(32, value)));
      handler.write(offset + 4, 4, Number(BigInt.asUintN(32, value >> 32n)));
    }
    return true;
  }

  /** All regions by rising address. */
  list(): readonly Mapping[] {
    return [...this.#mappings];
  }
}

/** A region's addresses as people read them: "0x10000000-0x10000007", the last one included. */
export function range(region: { readonly base: number; readonly size: number }): string {
  return `0x${region.base.toString(16)}-0x${(region.base + region.size - 1).toString(16)}`;
}

function isAddress(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function holds({ region }: Mapping, address: number): boolean {
  return address >= region.base && address < region.base + region.size;
}
