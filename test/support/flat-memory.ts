/** Guest memory for tests of one device: RAM and nothing else. */
import type { DmaMemory } from '../../src/devices/dma.ts';

export const FLAT_BASE = 0x8000_0000;

export class FlatMemory implements DmaMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  /** @param size bytes. */
  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
  }

  read(address: number, length: number): Uint8Array | undefined {
    return this.holds(address, length)
      ? this.bytes.slice(address - FLAT_BASE, address - FLAT_BASE + length)
      : undefined;
  }

  readInto(address: number, target: Uint8Array): boolean {
    const bytes = this.read(address, target.length);
    if (bytes !== undefined) target.set(bytes);
    return bytes !== undefined;
  }

  write(address: number, bytes: Uint8Array): boolean {
    if (!this.holds(address, bytes.length)) return false;
    this.bytes.set(bytes, address - FLAT_BASE);
    return true;
  }

  holds(address: number, length: number): boolean {
    return address >= FLAT_BASE && address + length <= FLAT_BASE + this.bytes.length;
  }

  attempt(_owner: object, step: () => void): void {
    step();
  }

  require(_address: number, _length: number): void {}
}
