/**
 * One place where everything that ends a migration early arrives: a cancel, the other side's refusal, a broken link.
 * Whoever waits, waits through `guard`, so that no wait outlives the reason to wait.
 */
import { errorMessage, GodwitError } from '../error.ts';
import type { Timers } from './timers.ts';

/** How long a wait may take, and what it is for (ends the sentence "the other side did not …"). */
export interface Patience {
  readonly ms: number;
  readonly what: string;
}

export class Interrupt {
  readonly #timers: Timers;
  readonly #listeners = new Set<(error: GodwitError) => void>();
  #error: GodwitError | undefined;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** The first error that was fired. */
  get error(): GodwitError | undefined {
    return this.#error;
  }

  /** Ends all waits with `error`. Only the first call counts. */
  fire(error: GodwitError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    for (const listener of this.#listeners) listener(error);
    this.#listeners.clear();
  }

  /** @throws the error that was fired, if any. */
  check(): void {
    if (this.#error !== undefined) throw this.#error;
  }

  /** `promise`, or the interruption, or kind "transport" when patience runs out, whichever is first. */
  guard<T>(promise: Promise<T>, patience?: Patience): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const done = (): void => {
        this.#listeners.delete(fail);
        forget();
      };
      const fail = (error: unknown): void => {
        done();
        reject(error);
      };
      const forget =
        patience === undefined
          ? () => {}
          : this.#timers.after(patience.ms, () =>
              fail(
                new GodwitError(
                  'transport',
                  `the other side did not ${patience.what} within ${patience.ms} ms`,
                ),
              ),
            );
      promise.then((value) => {
        done();
        resolve(value);
      }, fail);
      if (this.#error !== undefined) fail(this.#error);
      else this.#listeners.add(fail);
    });
  }

  /** Waits `ms`, or until `wake` (given the function that ends the wait) says so, or until interrupted. */
  async sleep(ms: number, onWake?: (wake: () => void) => void): Promise<void> {
    let forget = (): void => {};
    const slept = new Promise<void>((resolve) => {
      forget = this.#timers.after(ms, resolve);
      onWake?.(resolve);
    });
    try {
      await this.guard(slept);
    } finally {
      forget();
    }
  }
}

/** Anything thrown, as a GodwitError. */
export function asGodwitError(error: unknown): GodwitError {
  return error instanceof GodwitError ? error : new GodwitError('internal', errorMessage(error), {}, error);
}
