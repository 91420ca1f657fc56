/**
 * Virtual time from retired instructions (`-icount shift=N`): every instruction of any hart takes 2^N ns, and time in which
 * all harts wait is skipped. A run is then a function of the machine and its input alone, on any host.
 */
import type { Clock } from '../clock.ts';

/** What `shift` may be: 1 ns to about 1 ms an instruction. */
export const MAX_ICOUNT_SHIFT = 20;

export class IcountClock implements Clock {
  readonly #nsPerInstruction: number;
  readonly #instructions: () => number;
  #skippedNs = 0;

  /** @param instructions how many have been run by all harts, the present one's slice included. */
  constructor(shift: number, instructions: () => number) {
    this.#nsPerInstruction = 2 ** shift;
    this.#instructions = instructions;
  }

  nowNs(): number {
    return this.#instructions() * this.#nsPerInstruction + this.#skippedNs;
  }

  /** Nothing runs for `ns` nanoseconds. */
  skip(ns: number): void {
    this.#skippedNs += ns;
  }

  /** Instructions that fit into `ns` nanoseconds; at least one, so that time goes on. */
  instructionsIn(ns: number): number {
    return Math.max(1, Math.ceil(ns / this.#nsPerInstruction));
  }
}

/**
 * Bytes that look random and are the same in every run: xorshift32 (G. Marsaglia, "Xorshift RNGs", Journal of
 * Statistical Software 8 (14), 2003).
 */
export function repeatableRandom(): (bytes: number) => Uint8Array {
  let x = 0x9e37_79b9;
  const next = (): number => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x & 0xff;
  };
  return (bytes) => Uint8Array.from({ length: bytes }, next);
}
