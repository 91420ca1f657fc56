/** A function's 256 bytes of configuration space: the header, and a list of capabilities. PCI 3.0, §6.1 and §6.7. */
import { GodwitError } from '../../error.ts';
import type { AccessSize, MmioHandler } from '../../memory/mmio.ts';

/** A capability structure, §6.7. */
export interface PciCapability {
  readonly id: number;
  /** Bytes, with the two of its head; rounded up to dwords in the list. */
  readonly length: number;
  /** By offset from its start; the two bytes of its head are answered for it. */
  readonly handler: MmioHandler;
}

const HEADER_BYTES = 0x40;
const CONFIG_BYTES = 0x100;
/** Identity and pointer to the next. */
const HEAD_BYTES = 2;

interface Placed {
  readonly start: number;
  readonly end: number;
  /** The first two bytes. */
  readonly head: number;
  readonly handler: MmioHandler;
}

export class ConfigSpace implements MmioHandler {
  /** Where the list begins, if there is one. */
  static readonly FIRST_CAPABILITY = HEADER_BYTES;
  readonly #header: MmioHandler;
  readonly #capabilities: readonly Placed[];

  /** @throws GodwitError kind "internal" if the capabilities don't fit. */
  constructor(header: MmioHandler, capabilities: readonly PciCapability[]) {
    this.#header = header;
    let start = HEADER_BYTES;
    this.#capabilities = capabilities.map(({ id, length, handler }, index) => {
      const end = start + ((length + 3) & ~3);
      const next = index + 1 < capabilities.length ? end : 0;
      const placed = { start, end, head: id | (next << 8), handler };
      start = end;
      return placed;
    });
    if (start > CONFIG_BYTES)
      throw new GodwitError('internal', 'the capabilities exceed configuration space');
  }

  read(offset: number, size: AccessSize): number {
    if (offset < HEADER_BYTES) return this.#header.read(offset, size);
    const found = this.#find(offset);
    if (found === undefined) return 0;
    const at = offset - found.start;
    const body = found.handler.read(at, size);
    if (at >= HEAD_BYTES) return body;
    const bits = 8 * Math.min(size, HEAD_BYTES - at);
    const mask = (1 << bits) - 1;
    return ((body & ~mask) | ((found.head >>> (8 * at)) & mask)) >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset < HEADER_BYTES) this.#header.write(offset, size, value);
    else {
      const found = this.#find(offset);
      found?.handler.write(offset - found.start, size, value);
    }
  }

  #find(offset: number): Placed | undefined {
    return this.#capabilities.find(({ start, end }) => offset >= start && offset < end);
  }
}
