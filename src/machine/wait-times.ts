/** How long harts waited for pages that had not arrived: what `postcopy-blocktime` and `postcopy-latency` show. */
import type { Clock } from '../clock.ts';

/** Steps of the distribution per doubling: a percentile is exact to a twelfth. */
const STEPS = 8;
const OCTAVES = 40;

/** Plain data; times in ns. */
export interface WaitFigures {
  /** While all harts waited. */
  readonly blocked: number;
  /** By hart id: the sum of its waits, and how many there were. */
  readonly harts: readonly { readonly blocked: number; readonly waits: number }[];
  /** Waits of all harts, by duration: element N counts those of 2^N to 2^(N+1) µs; shorter ones are in the first. */
  readonly distribution: readonly number[];
  /** Of the waits of all harts; 0 if there was none. */
  readonly median: number;
  readonly p99: number;
  readonly longest: number;
}

export class WaitTimes {
  readonly #clock: Clock;
  readonly #harts: { blocked: number; waits: number; since: number | undefined }[];
  /** Waits by the logarithm of their nanoseconds. */
  readonly #counts = new Array<number>(STEPS * OCTAVES).fill(0);
  readonly #micro: number[] = [];
  #longest = 0;
  #waiting = 0;
  #allSince = 0;
  #blocked = 0;

  constructor(clock: Clock, harts: number) {
    this.#clock = clock;
    this.#harts = Array.from({ length: harts }, () => ({ blocked: 0, waits: 0, since: undefined }));
  }

  began(id: number): void {
    const hart = this.#harts[id];
    if (hart === undefined || hart.since !== undefined) return;
    hart.since = this.#clock.nowNs();
    if (++this.#waiting === this.#harts.length) this.#allSince = hart.since;
  }

  ended(id: number): void {
    const hart = this.#harts[id];
    if (hart?.since === undefined) return;
    const now = this.#clock.nowNs();
    const ns = now - hart.since;
    hart.since = undefined;
    hart.blocked += ns;
    hart.waits++;
    if (this.#waiting-- === this.#harts.length) this.#blocked += now - this.#allSince;
    this.#longest = Math.max(this.#longest, ns);
    const step = Math.min(Math.max(Math.floor(Math.log2(ns) * STEPS), 0), this.#counts.length - 1);
    this.#counts[step] = (this.#counts[step] ?? 0) + 1;
    const bucket = Math.max(0, Math.floor(Math.log2(ns / 1000)));
    while (this.#micro.length <= bucket) this.#micro.push(0);
    this.#micro[bucket] = (this.#micro[bucket] ?? 0) + 1;
  }

  figures(): WaitFigures {
    return {
      blocked: Math.round(this.#blocked),
      harts: this.#harts.map(({ blocked, waits }) => ({ blocked: Math.round(blocked), waits })),
      distribution: [...this.#micro],
      median: this.#percentile(0.5),
      p99: this.#percentile(0.99),
      longest: Math.round(this.#longest),
    };
  }

  /** Upper end of the step that it falls into. */
  #percentile(part: number): number {
    const all = this.#counts.reduce((sum, count) => sum + count, 0);
    if (all === 0) return 0;
    let seen = 0;
    const step = this.#counts.findIndex((count) => {
      seen += count;
      return seen >= part * all;
    });
    return Math.round(Math.min(2 ** ((step + 1) / STEPS), this.#longest));
  }
}
