/**
 * Memory as a debugger reaches it: past the TLBs, whatever the permissions, and without a trace: no A or D bit is set, no
 * device is touched.
 */
import type { GuestMemory } from '../memory/guest-memory.ts';
import { PAGE_SHIFT, PAGE_SIZE, WALK } from '../memory/layout.ts';
import type { Bus } from './bus.ts';
import type { Hart } from './hart.ts';
import { findMapping, type ReadEntry } from './page-tables.ts';

/** Addresses from here on can't be numbers of JavaScript; nothing is there. */
const ADDRESS_LIMIT = 1n << 53n;

export class DebugAccess {
  readonly #memory: GuestMemory;
  readonly #bus: Bus;
  readonly #view: DataView;
  /** A page, by its index, that was needed and has not arrived (post-copy): what was looked at seems to end there. */
  missing: number | undefined;

  constructor(memory: GuestMemory, bus: Bus) {
    this.#memory = memory;
    this.#bus = bus;
    this.#view = new DataView(memory.memory.buffer);
  }

  /** An entry of a page table. */
  readonly entry: ReadEntry = (physical) => {
    const host = this.#host(physical);
    return host === undefined ? undefined : this.#view.getBigUint64(host, true);
  };

  /** Where the hart's loads and stores at an address would go now; undefined if its tables map nothing there. */
  translate(hart: Hart, address: bigint): bigint | undefined {
    if ((hart.data.walk & WALK.paging) === 0) return address;
    const page = findMapping(hart.csr('satp'), address, this.entry);
    return page === undefined ? undefined : page.physical + (address % page.size);
  }

  /**
   * What stands at a virtual address of `hart`, or at a physical one without.
   * @returns the `length` bytes, or as many as there are before the first that is not mapped to memory.
   */
  read(hart: Hart | undefined, address: bigint, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    let done = 0;
    for (const { host, size } of this.#pieces(hart, address, length)) {
      bytes.set(this.#memory.view(host, size), done);
      done += size;
    }
    return bytes.subarray(0, done);
  }

  /** The counterpart of `read`; also writes to ROM. @returns false, and nothing is written, if not all is memory. */
  write(hart: Hart | undefined, address: bigint, bytes: Uint8Array): boolean {
    const pieces = [...this.#pieces(hart, address, bytes.length)];
    if (pieces.reduce((sum, { size }) => sum + size, 0) !== bytes.length) return false;
    let done = 0;
    for (const { host, size } of pieces) {
      this.#memory.write(host, bytes.subarray(done, done + size));
      done += size;
    }
    return true;
  }

  /** Byte ranges of the shared memory, page by page, up to the first that is none. */
  *#pieces(
    hart: Hart | undefined,
    address: bigint,
    length: number,
  ): Generator<{ host: number; size: number }> {
    let left = length;
    let at = BigInt.asUintN(64, address);
    while (left > 0) {
      const size = Math.min(left, PAGE_SIZE - Number(at % BigInt(PAGE_SIZE)));
      const physical = hart === undefined ? at : this.translate(hart, at);
      const host = physical === undefined ? undefined : this.#host(physical);
      if (host === undefined) return;
      yield { host, size };
      left -= size;
      at = BigInt.asUintN(64, at + BigInt(size));
    }
  }

  /** Regions of memory begin and end at pages. */
  #host(physical: bigint): number | undefined {
    if (physical >= ADDRESS_LIMIT) return undefined;
    const at = Number(physical);
    const memory = this.#bus.memoryAt(at);
    if (memory === undefined) return undefined;
    const host = memory.hostOffset + at - memory.base;
    const page = (host - this.#memory.layout.blocksBase) >>> PAGE_SHIFT;
    if (!this.#memory.missing.isMissing(page)) return host;
    this.missing = page;
    return undefined;
  }
}
