/**
 * How fast the guest dirties memory, as the dirty log counts it. A page counts once from one sync to the next, so over a
 * pass a small working set looks slow, however fast it is rewritten: the rate right after a sync tells more.
 */
import type { Clock } from '../clock.ts';
import { type DirtyCounts, DirtyLog, dirtiedPages } from '../memory/dirty-log.ts';
import type { Layout } from '../memory/layout.ts';
import { RunTime } from '../memory/run-time.ts';

/** How long after a sync the early rate is taken: several turns of a throttled guest, too short to rewrite much. */
const EARLY_NS = 40e6;

export class DirtyMeter {
  readonly #log: DirtyLog;
  readonly #runTime: RunTime;
  readonly #clock: Clock;
  #counts: DirtyCounts;
  #micros = 0;
  #startNs = 0;
  #early: number | undefined;

  constructor(memory: WebAssembly.Memory, layout: Layout, clock: Clock) {
    this.#log = new DirtyLog(memory, layout);
    this.#runTime = new RunTime(memory, layout);
    this.#clock = clock;
    this.#counts = this.#log.counts();
  }

  /** The dirty log was switched on, or synced. */
  begin(): void {
    this.#counts = this.#log.counts();
    this.#micros = this.#runTime.micros;
    this.#startNs = this.#clock.nowNs();
    this.#early = undefined;
  }

  /** To be called now and then between two syncs. */
  look(): void {
    if (this.#early !== undefined || this.#clock.nowNs() - this.#startNs < EARLY_NS || this.ranNs === 0)
      return;
    this.#early = (dirtiedPages(this.#counts, this.#log.counts()).total / this.ranNs) * 1e9;
  }

  /** Pages per second that a guest would dirty that ran all the time, by the first moments; undefined until it is known. */
  get early(): number | undefined {
    return this.#early;
  }

  /** For how long the guest has run since `begin`. */
  get ranNs(): number {
    return ((this.#runTime.micros - this.#micros) >>> 0) * 1000;
  }
}
