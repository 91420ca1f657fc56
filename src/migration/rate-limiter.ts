/**
 * Holds the bandwidth cap: in each window of 100 ms, a tenth of the cap may be sent. What a frame takes too much is
 * missing in the next window, so that the average keeps the cap.
 */
import type { Clock } from '../clock.ts';
import type { Interrupt } from './interrupt.ts';

export const WINDOW_MS = 100;
const WINDOW_NS = WINDOW_MS * 1e6;

export class RateLimiter {
  readonly #clock: Clock;
  #rate: number;
  #used = 0;
  #windowStart: number;
  #wake: () => void = () => {};

  /** @param rate bytes per second; 0 for no cap. */
  constructor(clock: Clock, rate: number) {
    this.#clock = clock;
    this.#rate = rate;
    this.#windowStart = clock.nowNs();
  }

  /** Bytes that a window may carry; Infinity without a cap. */
  get budget(): number {
    return this.#rate === 0 ? Infinity : Math.max(1, this.#rate / (1000 / WINDOW_MS));
  }

  /** Changes the cap at once: debts of the old one are forgotten and whoever waits looks again. */
  setRate(rate: number): void {
    if (rate === this.#rate) return;
    this.#rate = rate;
    this.#used = 0;
    this.#windowStart = this.#clock.nowNs();
    this.#wake();
  }

  /** Whoever waits looks again whether it still wants to. */
  wake(): void {
    this.#wake();
  }

  /** `bytes` were sent. */
  charge(bytes: number): void {
    this.#used += bytes;
  }

  /**
   * Waits until more may be sent, or `enough` says so when woken. Returns the nanoseconds waited.
   * @throws what the interrupt was fired with.
   */
  async ready(interrupt: Interrupt, enough: () => boolean = () => false): Promise<number> {
    const start = this.#clock.nowNs();
    for (;;) {
      const left = this.#leftNs();
      if (left <= 0 || enough()) return this.#clock.nowNs() - start;
      await interrupt.sleep(left / 1e6, (wake) => {
        this.#wake = wake;
      });
    }
  }

  /** Bytes that may be sent before it has to be waited; Infinity without a cap. */
  get room(): number {
    return this.#leftNs() > 0 ? 0 : this.budget - this.#used;
  }

  /** Milliseconds until something may be sent; 0 or less for now. */
  get leftMs(): number {
    return this.#leftNs() / 1e6;
  }

  /** Nanoseconds until something may be sent; 0 or less for now. */
  #leftNs(): number {
    const { budget } = this;
    const now = this.#clock.nowNs();
    const windows = Math.floor((now - this.#windowStart) / WINDOW_NS);
    if (windows > 0) {
      // What an idle window did not use is lost: a cap is a cap, not a savings account.
      this.#used = Math.max(0, this.#used - windows * budget);
      this.#windowStart += windows * WINDOW_NS;
    }
    if (budget === Infinity || this.#used < budget) return 0;
    const owed = Math.floor(this.#used / budget);
    return this.#windowStart + owed * WINDOW_NS - now;
  }
}
