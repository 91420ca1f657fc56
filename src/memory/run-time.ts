/** For how long harts have run: written by the machine's thread, read by any. */
import { CONTROL, type Layout } from './layout.ts';

export class RunTime {
  readonly #word: Uint32Array;
  /** Not told yet, in µs. */
  #rest = 0;

  constructor(memory: WebAssembly.Memory, layout: Layout) {
    this.#word = new Uint32Array(memory.buffer, layout.control + CONTROL.ranMicros, 1);
  }

  /** Harts have run for so long, on the host's clock. */
  add(ns: number): void {
    this.#rest += ns / 1000;
    const whole = Math.floor(this.#rest);
    this.#rest -= whole;
    this.#word[0] = (this.#word[0] ?? 0) + whole;
  }

  /** µs, in a count that wraps at 2^32. */
  get micros(): number {
    return this.#word[0] ?? 0;
  }
}
