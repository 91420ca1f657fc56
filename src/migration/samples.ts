/**
 * What a migration's figures were all the way, for plots: samples at equal distances, taken by the engine itself. There
 * are never more than MAX_SAMPLES: when there are, every other one is dropped and the distance doubles. They hold sums, not
 * rates, so that what lies between any two of them is exact.
 */
import type { Timers } from './timers.ts';

export const MAX_SAMPLES = 256;
const FIRST_INTERVAL_MS = 10;

export interface MigrationSample {
  /** ms since the start. */
  readonly ms: number;
  /** Passes that are over. */
  readonly passes: number;
  /** Bytes of pages that are known to be pending. */
  readonly remaining: number;
  /** The same of disks that travel. */
  readonly diskRemaining: number;
  /** Bytes handed over so far. */
  readonly transferred: number;
  /** Pages dirtied per second between the last two syncs. */
  readonly dirtyPagesPerSecond: number;
  /** How much of their time harts are held back, in percent. */
  readonly throttle: number;
  /** Instructions that the guest has run, from any point on. */
  readonly instructions: number;
}

export class Samples {
  readonly #timers: Timers;
  readonly #take: () => MigrationSample | undefined;
  #intervalMs = FIRST_INTERVAL_MS;
  #forget = (): void => {};
  #samples: MigrationSample[] = [];

  /** @param take makes a sample of the present moment; undefined if there is nothing to tell yet. */
  constructor(timers: Timers, take: () => MigrationSample | undefined) {
    this.#timers = timers;
    this.#take = take;
  }

  /** All that there are, oldest first. */
  get list(): readonly MigrationSample[] {
    return this.#samples;
  }

  start(): void {
    this.#add();
    this.#forget = this.#timers.after(this.#intervalMs, () => this.start());
  }

  /** Takes a last one. */
  stop(): void {
    this.#forget();
    this.#add();
  }

  #add(): void {
    const sample = this.#take();
    if (sample === undefined) return;
    if (this.#samples.length >= MAX_SAMPLES) {
      this.#samples = this.#samples.filter((_, i) => i % 2 === 0);
      this.#intervalMs *= 2;
    }
    this.#samples.push(sample);
  }
}
