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

/** The time for which it has run, on another clock. Made stopped, at zero. */
export class StopClock implements Clock {
  readonly #clock: Clock;
  #ns = 0;
  /** The other clock's time when `#ns` was true; undefined while stopped. */
  #since: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get running(): boolean {
    return this.#since !== undefined;
  }

  nowNs(): number {
    return this.#since === undefined ? this.#ns : this.#ns + (this.#clock.nowNs() - this.#since);
  }

  /** Does nothing while it runs. */
  start(): void {
    this.#since ??= this.#clock.nowNs();
  }

  /** Does nothing while it stands still. */
  stop(): void {
    this.#ns = this.nowNs();
    this.#since = undefined;
  }
}
