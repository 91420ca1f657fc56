/**
 * Memory that arrives while the machine runs (post-copy), as its thread has it: tells the migration thread which pages are
 * needed, and lets whoever looks at memory from outside wait for them.
 */
import type { MessagePort } from 'node:worker_threads';
import { GodwitError } from '../error.ts';
import { Checkpoints, type MachineCheckpoint } from '../machine/checkpoints.ts';
import type { Machine } from '../machine/machine.ts';
import type { WaitFigures } from '../machine/wait-times.ts';
import { hostClock } from './clock.ts';

export class LateMemory {
  readonly #machine: Machine;
  /** Asks for a burst, in which pages that have come are noticed. */
  readonly #schedule: () => void;
  #port: MessagePort | undefined;
  #checkpoints: Checkpoints | undefined;
  /** Pages can come: false while the migration is paused. */
  #linked = true;
  /** Those who look from outside and wait, to be told that it is in vain. */
  readonly #waiting = new Set<(error: GodwitError) => void>();

  constructor(machine: Machine, schedule: () => void) {
    this.#machine = machine;
    this.#schedule = schedule;
  }

  /** Whether something waits for a page that may come at any moment. */
  get awaited(): boolean {
    return this.#linked && this.#machine.wantsMemory;
  }

  /**
   * From now on pages without a bit in the received bitmap are missing; those that are needed are told on the port.
   * @param logged whether there will be checkpoints.
   */
  begin(port: MessagePort, logged: boolean): void {
    const { missing } = this.#machine.memory;
    this.#port = port;
    missing.onWanted = (page) => port.postMessage(page);
    missing.any = true;
    this.#machine.engine.tlbs.flushAll();
    if (logged) this.#checkpoints = new Checkpoints(this.#machine, hostClock);
  }

  /** All pages are here. */
  end(): void {
    const { missing } = this.#machine.memory;
    missing.any = false;
    missing.deliver();
    this.#port?.close();
    this.#port = undefined;
    this.#checkpoints?.end();
    this.#checkpoints = undefined;
  }

  /** See Checkpoints. */
  checkpoint(also: Uint32Array): MachineCheckpoint | undefined {
    return this.#checkpoints?.take(also);
  }

  figures(): WaitFigures {
    return this.#machine.waits.figures();
  }

  setLink(up: boolean): void {
    this.#linked = up;
    if (up) this.#schedule();
    else for (const reject of this.#waiting) reject(paused());
  }

  /** Looks at memory, again and again until all that it needs has arrived. @throws GodwitError kind "state". */
  async look<T>(look: () => T): Promise<T> {
    const { debug, memory } = this.#machine;
    for (;;) {
      debug.missing = undefined;
      const seen = look();
      const page = debug.missing as number | undefined;
      if (page === undefined) return seen;
      if (!this.#linked) throw paused();
      await this.#whileLinked(this.when(() => memory.missing.requirePage(page)));
    }
  }

  /** Does `step` as MissingPages.attempt does; resolves when it is done, however long that takes. */
  when(step: () => void): Promise<void> {
    return new Promise((resolve) => {
      let done = false;
      this.#machine.memory.missing.attempt({}, () => {
        step();
        done = true;
        resolve();
      });
      if (!done) this.#schedule();
    });
  }

  /** `promise`, unless the migration is paused before. */
  #whileLinked(promise: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (error: GodwitError): void => {
        this.#waiting.delete(fail);
        reject(error);
      };
      this.#waiting.add(fail);
      void promise.then(() => {
        this.#waiting.delete(fail);
        resolve();
      });
    });
  }
}

function paused(): GodwitError {
  return new GodwitError('state', 'this memory has not arrived yet, and the post-copy migration is paused');
}
