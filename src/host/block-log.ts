/**
 * The log of writes to a disk that travels, and the brake on them. Both work on chunks: a bit in shared memory is set when
 * a write has ended, however it did, and before the guest hears of it; what counts against the limit is chunks that were
 * clean.
 */
import { DISK_CHUNK } from '../migration/disk-stream.ts';
import { hostClock } from './clock.ts';

export class BlockLog {
  readonly #dirty: Int32Array;
  /** Bytes per second; 0 for none. */
  #limit = 0;
  /** When what was written so far has been paid for. */
  #paidNs = 0;
  readonly #waiting = new Set<() => void>();

  /** @param dirty a bit for each chunk. */
  constructor(dirty: Int32Array) {
    this.#dirty = dirty;
  }

  /** A write to this range has ended. */
  mark(offset: number, length: number): void {
    const end = Math.ceil((offset + length) / DISK_CHUNK);
    let clean = 0;
    for (let chunk = Math.floor(offset / DISK_CHUNK); chunk < end; chunk++) {
      const bit = 1 << (chunk & 31);
      if ((Atomics.or(this.#dirty, chunk >>> 5, bit) & bit) === 0) clean++;
    }
    if (this.#limit === 0) return;
    const costNs = ((clean * DISK_CHUNK) / this.#limit) * 1e9;
    this.#paidNs = Math.max(this.#paidNs, hostClock.nowNs()) + costNs;
  }

  setLimit(bytesPerSecond: number): void {
    this.#limit = bytesPerSecond;
    this.#paidNs = hostClock.nowNs();
    this.release();
  }

  /** Resolves when the next write may begin: at once, as a rule. */
  async mayWrite(): Promise<void> {
    if (this.#limit === 0) return;
    const ms = (this.#paidNs - hostClock.nowNs()) / 1e6;
    if (ms <= 0) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#waiting.add(done);
    });
  }

  /** Lets all that wait go on: the machine stops, and waits for its requests. */
  release(): void {
    for (const done of this.#waiting) done();
  }
}
