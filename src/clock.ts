/**
 * The injected clock. Nothing outside `host/` reads the host's time: whoever needs time gets one of these.
 */

/** A monotonic clock. */
export interface Clock {
  /** Nanoseconds since an arbitrary fixed point; never goes back. A double: exact to a fraction of a µs for years. */
  nowNs(): number;
}

/** A clock that only moves when told to: for tests, and for time that is frozen. */
export class ManualClock implements Clock {
  #ns: number;

  constructor(startNs = 0) {
    this.#ns = startNs;
  }

  nowNs(): number {
    return this.#ns;
  }

  /** Moves the clock on by `ns` nanoseconds. */
  advance(ns: number): void {
    this.#ns += ns;
  }
}
