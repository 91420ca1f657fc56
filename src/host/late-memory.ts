/**
 * Memory that arrives while the machine runs (post-copy), as its thread has it: fetches the pages that are needed, or tells
 * the migration thread which they are, and lets whoever looks at memory from outside wait for them.
 */
import type { MessagePort } from 'node:worker_threads';
import { GodwitError } from '../error.ts';
import { Checkpoints, type MachineCheckpoint } from '../machine/checkpoints.ts';
import type { Machine } from '../machine/machine.ts';
import type { WaitFigures } from '../machine/wait-times.ts';
import type { StreamPlace } from '../migration/frame-reader.ts';
import type { LentConnection } from '../migration/transport.ts';
import { hostClock } from './clock.ts';
import { OwnPages } from './own-pages.ts';

/** How often a connection of this thread's own is looked at while nobody waits, and nothing runs. */
const LOOK_MS = 5;
/** After so long without a page, the migration thread is told that it is needed: it knows when to give up. */
const LATE_NS = 100e6;
/**
 * How long the thread looks for a page all the time: as long as a source that is awake may take. The kernel may have put the
 * source on this very processor, because whoever wakes somebody often sleeps then; so it sleeps between two looks from
 * then on, for a quarter of the time that it has waited, within limits.
 */
const SPIN_NS = 0.06e6;
const MIN_NAP_NS = 0.05e6;
const MAX_NAP_NS = 2e6;

export class LateMemory {
  readonly #machine: Machine;
  /** Asks for a burst, in which pages that have come are noticed. */
  readonly #schedule: () => void;
  #port: MessagePort | undefined;
  #checkpoints: Checkpoints | undefined;
  /** Pages can come: false while the migration is paused. */
  #linked = true;
  #own: OwnPages | undefined;
  #looks: NodeJS.Timeout | undefined;
  /** Pages asked for over that connection, and when; Infinity once the migration thread was told. */
  readonly #askedNs = new Map<number, number>();
  /** Since when something waits, and nothing has come. */
  #awaitedNs: number | undefined;
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
    missing.onWanted = (page) => this.#ask(page);
    missing.any = true;
    this.#machine.engine.tlbs.flushAll();
    if (logged) this.#checkpoints = new Checkpoints(this.#machine, hostClock);
  }

  /** All pages are here. */
  end(): void {
    const { missing } = this.#machine.memory;
    missing.any = false;
    this.endFetching();
    missing.deliver();
    this.#port?.close();
    this.#port = undefined;
    this.#checkpoints?.end();
    this.#checkpoints = undefined;
  }

  /** Fetches pages over this connection. Settles as PageFetcher.run does, or when it ends with `endFetching`. */
  async fetch(connection: LentConnection, from: StreamPlace, confirms: boolean): Promise<void> {
    this.endFetching();
    const own = new OwnPages(this.#machine.memory, connection, from, confirms);
    this.#own = own;
    this.#looks = setInterval(() => this.#look(), LOOK_MS);
    try {
      await own.done;
    } finally {
      if (this.#own === own) this.endFetching();
    }
  }

  /** From now on the connection is not touched. */
  endFetching(): void {
    if (this.#own === undefined) return;
    clearInterval(this.#looks);
    this.#own.close();
    this.#own = undefined;
    this.#askedNs.clear();
    for (const page of this.#machine.memory.missing.wanted) this.#port?.postMessage(page);
  }

  /** Whether pages that are waited for come only when this thread looks. */
  get fetching(): boolean {
    return this.#own !== undefined && this.awaited;
  }

  /** How long the thread may sleep while something is awaited; what comes by itself rings. */
  get napNs(): number {
    if (this.#own === undefined || this.#awaitedNs === undefined) return MAX_NAP_NS;
    const waitedNs = hostClock.nowNs() - this.#awaitedNs;
    return Math.min(Math.max(MIN_NAP_NS, waitedNs / 4), MAX_NAP_NS);
  }

  /** To be called between bursts. @returns whether to look again at once, and not to sleep before. */
  poll(): boolean {
    if (this.#own === undefined) return false;
    const come = this.#own.poll();
    if (!this.awaited) {
      this.#awaitedNs = undefined;
      return false;
    }
    const now = hostClock.nowNs();
    if (come) this.#awaitedNs = now;
    this.#awaitedNs ??= now;
    return now - this.#awaitedNs < SPIN_NS;
  }

  #ask(page: number): void {
    if (this.#own === undefined || !this.#linked) {
      this.#port?.postMessage(page);
      return;
    }
    this.#askedNs.set(page, hostClock.nowNs());
    this.#own.ask(page);
  }

  #look(): void {
    this.#own?.poll();
    const { missing } = this.#machine.memory;
    const late = hostClock.nowNs() - LATE_NS;
    for (const [page, askedNs] of this.#askedNs) {
      if (!missing.isMissing(page)) this.#askedNs.delete(page);
      else if (askedNs <= late) {
        this.#askedNs.set(page, Infinity);
        this.#port?.postMessage(page);
      }
    }
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
    if (up) {
      if (this.#own !== undefined) for (const page of this.#machine.memory.missing.wanted) this.#ask(page);
      this.#schedule();
    } else for (const reject of this.#waiting) reject(paused());
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
