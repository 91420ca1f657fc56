/**
 * The bell of the machine thread: a word in the control block that another thread sets when it has sent a message. The
 * machine leaves its burst at the next slice end, or wakes from its sleep.
 */
import { CONTROL, type Layout } from '../memory/layout.ts';

export class Attention {
  readonly #word: Int32Array;

  constructor(memory: WebAssembly.Memory, layout: Layout) {
    this.#word = new Int32Array(memory.buffer, layout.control + CONTROL.attention, 1);
  }

  ring(): void {
    Atomics.store(this.#word, 0, 1);
    Atomics.notify(this.#word, 0);
  }

  get rung(): boolean {
    return Atomics.load(this.#word, 0) !== 0;
  }

  /** To be called before messages are looked at, so that a later ring is not lost. */
  clear(): void {
    Atomics.store(this.#word, 0, 0);
  }

  /** Sleeps for `ms` milliseconds, or until it rings. Blocks the thread. */
  sleep(ms: number): void {
    Atomics.wait(this.#word, 0, 0, ms);
  }
}
