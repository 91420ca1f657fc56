/** Memory for tests of one device whose pages are not there at first: each is brought by hand, or as it is asked for. */
import type { DmaMemory } from '../../src/devices/dma.ts';
import { MissingPage } from '../../src/memory/missing-pages.ts';

const PAGE = 4096;

export class LateDma implements DmaMemory {
  /** Pages, by number, that were needed and are not there, in the order in which they were asked for. */
  readonly wanted: number[] = [];
  readonly #memory: DmaMemory;
  readonly #here = new Set<number>();
  readonly #waiting = new Map<object, () => void>();
  /** False: everything is there. */
  late = true;

  constructor(memory: DmaMemory) {
    this.#memory = memory;
  }

  /** Whether something of a device waits. */
  get waits(): boolean {
    return this.#waiting.size > 0;
  }

  /** Brings what was asked for first. */
  arrive(): void {
    const page = this.wanted.shift();
    if (page === undefined) throw new Error('nothing was asked for');
    this.#here.add(page);
    for (const [owner, again] of [...this.#waiting]) {
      this.#waiting.delete(owner);
      again();
    }
  }

  /** Brings pages one by one until nothing is asked for. @returns how many came. */
  arriveAll(): number {
    let count = 0;
    for (; this.wanted.length > 0; count++) this.arrive();
    return count;
  }

  read(address: number, length: number): Uint8Array | undefined {
    this.require(address, length);
    return this.#memory.read(address, length);
  }

  readInto(address: number, target: Uint8Array): boolean {
    this.require(address, target.length);
    return this.#memory.readInto(address, target);
  }

  write(address: number, bytes: Uint8Array): boolean {
    this.require(address, bytes.length);
    return this.#memory.write(address, bytes);
  }

  holds(address: number, length: number, writable: boolean): boolean {
    return this.#memory.holds(address, length, writable);
  }

  attempt(owner: object, step: () => void): void {
    if (this.#waiting.has(owner)) return;
    try {
      step();
    } catch (error) {
      if (!(error instanceof MissingPage)) throw error;
      this.#waiting.set(owner, () => this.attempt(owner, step));
    }
  }

  require(address: number, length: number): void {
    if (!this.late) return;
    for (let page = Math.floor(address / PAGE); page * PAGE < address + length; page++) {
      if (this.#here.has(page)) continue;
      if (!this.wanted.includes(page)) this.wanted.push(page);
      throw new MissingPage(page);
    }
  }
}
