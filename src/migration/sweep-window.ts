/**
 * How much of the sweep may be on its way in post-copy. A page that is asked for stands in line behind it, so there is to
 * be no more than the link needs: the window grows while frames are confirmed about as fast as the fastest ever was, and
 * shrinks when they begin to queue.
 */
import type { Clock } from '../clock.ts';

/** Frames that are always allowed: one being placed, one arriving. */
const MIN_FRAMES = 2;
const MAX_FRAMES = 256;
/** How much longer than the shortest a confirmation may take. */
const QUEUE_NS = 200_000;

export class SweepWindow {
  readonly #clock: Clock;
  /** When each frame that is on its way was handed over, oldest first. */
  readonly #sent: number[] = [];
  #shortest = Infinity;
  #size = MIN_FRAMES;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Frames on their way. */
  get underWay(): number {
    return this.#sent.length;
  }

  get open(): boolean {
    return this.#sent.length < this.#size;
  }

  sent(): void {
    this.#sent.push(this.#clock.nowNs());
  }

  /** The oldest frame is in place. @returns false if there was none. */
  placed(): boolean {
    const at = this.#sent.shift();
    if (at === undefined) return false;
    const took = this.#clock.nowNs() - at;
    this.#shortest = Math.min(this.#shortest, took);
    if (took <= this.#shortest + QUEUE_NS) this.#size = Math.min(this.#size + 1 / this.#size, MAX_FRAMES);
    else this.#size = Math.max(this.#size * 0.8, MIN_FRAMES);
    return true;
  }
}
