import type { Clock } from '../../src/clock.ts';
import type { Timers } from '../../src/migration/timers.ts';

/**
 * A clock and timers that move by themselves: when nothing has happened for some turns of the event loop, time jumps to
 * the next timer. Hours of stalls pass in milliseconds, and the order of events is always the same.
 */
export class VirtualTime implements Clock, Timers {
  #ns = 0;
  #timers: { at: number; callback: () => void }[] = [];
  #activity = 0;

  nowNs(): number {
    return this.#ns;
  }

  /** Time passes because something was done. */
  spend(ns: number): void {
    this.#ns += ns;
    this.#activity++;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.#ns + ms * 1e6, callback };
    this.#timers.push(timer);
    this.#activity++;
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  turn(): Promise<void> {
    this.#activity++;
    return new Promise((resolve) => setImmediate(resolve));
  }

  get timers(): number {
    return this.#timers.length;
  }

  /** Lets time run until `promise` settles. */
  async run<T>(promise: Promise<T>): Promise<T> {
    let done = false;
    const finish = (): void => {
      done = true;
    };
    promise.then(finish, finish);
    let quiet = 0;
    let seen = this.#activity;
    while (!done) {
      await new Promise((resolve) => setImmediate(resolve));
      if (seen !== this.#activity) {
        seen = this.#activity;
        quiet = 0;
      }
      this.#fireDue();
      if (++quiet < 4) continue;
      const next = this.#timers.reduce((min, { at }) => Math.min(min, at), Infinity);
      if (next === Infinity) {
        if (quiet > 50) throw new Error('everybody waits and no timer runs');
        continue;
      }
      this.#ns = Math.max(this.#ns, next);
      this.#fireDue();
      quiet = 0;
    }
    return promise;
  }

  #fireDue(): void {
    const due = this.#timers.filter(({ at }) => at <= this.#ns).sort((a, b) => a.at - b.at);
    if (due.length === 0) return;
    this.#timers = this.#timers.filter((timer) => !due.includes(timer));
    this.#activity++;
    for (const { callback } of due) callback();
  }
}
