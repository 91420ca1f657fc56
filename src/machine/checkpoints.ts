/**
 * Checkpoints of a machine that runs: what has been written since the one before, and the device state, of one instant. To
 * be taken at safe points, while the dirty log is on for a migration.
 */
import type { Clock } from '../clock.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import type { Machine } from './machine.ts';

export interface MachineCheckpoint {
  /** Page indices, in ascending order. */
  readonly pages: Uint32Array;
  /** Their contents, one after the other, in memory that the next checkpoint takes. */
  readonly data: Uint8Array;
  readonly state: Uint8Array;
  /** How long it took. */
  readonly pausedNs: number;
}

export class Checkpoints {
  readonly #machine: Machine;
  readonly #clock: Clock;
  #staging = new SharedArrayBuffer(0);

  /** From here on every write is logged. */
  constructor(machine: Machine, clock: Clock) {
    this.#machine = machine;
    this.#clock = clock;
    this.#pending().fill(0);
    machine.dirtyTracking.start('migration');
  }

  /**
   * @param also pages that are to be in it, whether they have been written to or not.
   * @returns undefined while a device waits for a page: what it does then is part of no state.
   */
  take(also: Uint32Array): MachineCheckpoint | undefined {
    const { memory, dirtyTracking } = this.#machine;
    if (memory.missing.waiting) return undefined;
    const startNs = this.#clock.nowNs();
    const pending = this.#pending();
    for (const page of also) pending[page >>> 5] = (pending[page >>> 5] ?? 0) | (1 << (page & 31));
    dirtyTracking.collect();
    const pages = Uint32Array.from(members(pending));
    pending.fill(0);
    const data = this.#copy(pages);
    const state = this.#machine.saveState();
    return { pages, data, state, pausedNs: this.#clock.nowNs() - startNs };
  }

  end(): void {
    this.#machine.dirtyTracking.stop('migration');
  }

  /** Pages that are neighbours are copied together. */
  #copy(pages: Uint32Array): Uint8Array {
    const { memory } = this.#machine;
    const size = pages.length * PAGE_SIZE;
    if (this.#staging.byteLength < size) this.#staging = new SharedArrayBuffer(Math.ceil(size * 1.25));
    const data = new Uint8Array(this.#staging, 0, size);
    for (let i = 0; i < pages.length; ) {
      const first = pages[i] as number;
      let count = 1;
      while (pages[i + count] === first + count) count++;
      const from = memory.layout.blocksBase + first * PAGE_SIZE;
      data.set(memory.view(from, count * PAGE_SIZE), i * PAGE_SIZE);
      i += count;
    }
    return data;
  }

  #pending(): Uint32Array {
    const { memory, layout } = this.#machine.memory;
    return new Uint32Array(memory.buffer, layout.pendingBitmap, layout.bitmapSize / 4);
  }
}

/** The bits that are set. */
function* members(words: Uint32Array): Generator<number> {
  for (let word = 0; word < words.length; word++) {
    for (let left = words[word] as number; left !== 0; left &= left - 1) {
      yield word * 32 + (31 - Math.clz32(left & -left));
    }
  }
}
