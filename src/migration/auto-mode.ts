/**
 * Chooses for the user what helps a migration to its end: deltas and the size of their cache, and the throttle. It looks
 * at what each pass has shown, changes one thing at a time, and says why.
 */
import { PAGE_SIZE } from '../memory/layout.ts';
import type { MigrationParameters } from './parameters.ts';
import type { Probed } from './xbzrle-probe.ts';

/** What is chosen instead of the user's own parameters. */
export type Choice = Pick<MigrationParameters, 'xbzrle' | 'xbzrleCacheSize' | 'autoConverge'>;

/** What is known when a pass is over and the dirty log has been synced. */
export interface Observation {
  /** Number of the pass. */
  readonly pass: number;
  readonly pendingPages: number;
  /** Of the guest. */
  readonly totalPages: number;
  readonly expectedDowntimeMs: number;
  readonly downtimeLimitMs: number;
  /** Whether the guest is stopped now. */
  readonly converged: boolean;
  /** Bytes per second that are sent while the guest runs; undefined if not known yet. */
  readonly throughput: number | undefined;
  /** The same while it stands still; a guess until the connection has shown it. */
  readonly capacity: number | undefined;
  readonly shown: boolean;
  /** Pages that have changed meanwhile, and what would have been sent of them as deltas; without xbzrle. */
  readonly probed: Probed | undefined;
  /** What xbzrle did in the pass: pages that it found, what they came to, and pages that it did not find. */
  readonly found: Probed;
  readonly missed: number;
  /** Percent, and how many the guest may be throttled by. */
  readonly throttle: number;
  readonly maxThrottle: number;
  /** Whether post-copy is allowed. */
  readonly postcopy: boolean;
}

/** What the connection has turned out to carry: see Observation. */
export type Link = Pick<Observation, 'throughput' | 'capacity'>;

/** What the pass under way will leave if all goes on as now. */
export interface Ahead {
  readonly pass: number;
  readonly pages: number;
  readonly expectedDowntimeMs: number;
  readonly downtimeLimitMs: number;
}

/** Pages below which a measurement says nothing. */
const ENOUGH_PAGES = 16;
/** Time that a small delta takes to make, in ns a page, measured on a 2-core machine: 1.4 to 3.5 µs. */
export const DELTA_NS = 2500;
/** A connection whose speed is not known yet may be as fast as this, in bytes per second. */
const SWIFT = 1e9;
/** Part of the pending pages that a cache has room for at least. */
const FITTING = 0.9;
/** Part of the pages looked up in vain from which on a larger cache is tried. */
const MANY_MISSES = 0.1;
/** Passes after which what is pending has to fall from pass to pass, by this part at least. */
const PATIENCE = 4;
const PROGRESS = 0.2;

export class AutoMode {
  #choice: Choice;
  /** Passes for which deltas have been on: the first fills the cache. */
  #deltaPasses = 0;
  #memory = true;
  /** What pages that change come to as deltas, as last seen. */
  #known: Probed | undefined;
  #pendingBefore = Infinity;
  /** The last pass, if what is to be done about it depends on what the connection carries. */
  #undecided: Observation | undefined;
  #throttledFully = false;
  #postcopy = false;

  /** @param start what the user has set: the cache is no smaller. */
  constructor(start: Choice) {
    this.#choice = { ...start, xbzrle: false };
  }

  get choice(): Choice {
    return this.#choice;
  }

  /** What deltas come to, if they are on and that is known. */
  get deltas(): Probed | undefined {
    return this.#choice.xbzrle ? this.#known : undefined;
  }

  /** Whether nothing but post-copy is left to try. */
  get postcopy(): boolean {
    return this.#postcopy;
  }

  /** Takes note of where a pass is going. Returns why the guest is to be throttled now, or undefined. */
  foresee({ pass, pages, expectedDowntimeMs, downtimeLimitMs }: Ahead): string | undefined {
    if (this.#choice.autoConverge || expectedDowntimeMs <= downtimeLimitMs) return undefined;
    this.#choice = { ...this.#choice, autoConverge: true };
    const left = `${mib(pages * PAGE_SIZE)} would be left`;
    return `pass ${pass}: ${left}, expected pause ${pauseOf({ expectedDowntimeMs, downtimeLimitMs })}`;
  }

  /** Takes note of what the connection carries, in the middle of a pass. Returns why something changes, or undefined. */
  learn(link: Link): string | undefined {
    if (this.#undecided === undefined) return undefined;
    const seen = { ...this.#undecided, ...link, shown: true };
    this.#undecided = undefined;
    if (wholePagesMs(seen, link.capacity) <= seen.downtimeLimitMs) return undefined;
    const said = this.#withoutDeltas(seen);
    return said === undefined ? undefined : `pass ${seen.pass + 1}: ${said}`;
  }

  /** The host had no memory for the cache that was chosen: no deltas, then. */
  withoutMemory(): void {
    this.#choice = { ...this.#choice, xbzrle: false };
    this.#memory = false;
  }

  /** Takes note of a pass. Returns why something changes, or undefined if nothing does. */
  observe(seen: Observation): string | undefined {
    const said = this.#said(seen);
    return said === undefined ? undefined : `pass ${seen.pass}: ${said}`;
  }

  #said(seen: Observation): string | undefined {
    this.#undecided = undefined;
    if (seen.converged) {
      const pending = `${mib(seen.pendingPages * PAGE_SIZE)} pending`;
      return `${pending}, expected pause ${pauseOf(seen)}: the guest stops`;
    }
    const before = this.#pendingBefore;
    const said = this.#choice.xbzrle ? this.#withDeltas(seen) : this.#withoutDeltas(seen);
    // What has just changed gets a pass to show.
    this.#pendingBefore = said === undefined ? seen.pendingPages : Infinity;
    if (said !== undefined || seen.pass < PATIENCE) return said;
    return seen.pendingPages > before * (1 - PROGRESS) ? this.#stuck(seen) : undefined;
  }

  /** Passes change nothing any more. */
  #stuck(seen: Observation): string | undefined {
    const pending = `${mib(seen.pendingPages * PAGE_SIZE)} are pending again`;
    if (!this.#choice.autoConverge) {
      this.#choice = { ...this.#choice, autoConverge: true };
      return `${pending}: the guest may be throttled`;
    }
    if (seen.throttle < seen.maxThrottle || !seen.postcopy || this.#postcopy) return undefined;
    // The throttle gets one pass to show.
    this.#postcopy = this.#throttledFully;
    this.#throttledFully = true;
    return this.#postcopy ? `${pending} at a throttle of ${seen.throttle} %: post-copy` : undefined;
  }

  #withoutDeltas(seen: Observation): string | undefined {
    if (!this.#memory) return undefined;
    // Deltas slow down a pass that fills their cache: not before it is known that the guest can't just be stopped.
    if (!seen.shown && wholePagesMs(seen, SWIFT) <= seen.downtimeLimitMs) {
      this.#undecided = seen;
      return undefined;
    }
    const { probed, pendingPages } = seen;
    const ratio = probed === undefined ? undefined : ratioOf(probed);
    if (ratio === undefined) {
      // Nothing known is no reason against it: to keep copies costs little. What is known holds until something else is.
      if (this.#known !== undefined) return undefined;
    } else {
      const first = this.#known === undefined;
      this.#known = probed;
      const rate = rateOf(seen);
      if (probed !== undefined && !worthIt(probed, rate)) {
        return first ? `delta ratio ${ratio}${at(rate)}, no deltas` : undefined;
      }
    }
    const size = Math.max(this.#choice.xbzrleCacheSize, this.#cacheFor(pendingPages, seen.totalPages));
    this.#choice = { ...this.#choice, xbzrle: true, xbzrleCacheSize: size };
    this.#deltaPasses = 0;
    const known = ratio === undefined ? 'deltas not known yet' : `delta ratio ${ratio}`;
    return `${mib(pendingPages * PAGE_SIZE)} pending, ${known}, xbzrle on, cache ${mib(size)}`;
  }

  #withDeltas(seen: Observation): string | undefined {
    const { found, missed, pendingPages, totalPages } = seen;
    this.#deltaPasses++;
    if (ratioOf(found) !== undefined) this.#known = found;
    const rate = rateOf(seen);
    const ratio = this.#known === undefined ? undefined : ratioOf(this.#known);
    if (ratio !== undefined && !worthIt(this.#known as Probed, rate)) {
      this.#choice = { ...this.#choice, xbzrle: false };
      return `delta ratio ${ratio}${at(rate)}, xbzrle off`;
    }
    const looked = found.pages + missed;
    const misses = looked === 0 ? 0 : missed / looked;
    const size = Math.min(
      Math.max(2 * this.#choice.xbzrleCacheSize, this.#cacheFor(pendingPages, totalPages)),
      this.#cacheFor(totalPages, totalPages),
    );
    const grows = size > this.#choice.xbzrleCacheSize;
    if (this.#deltaPasses > 1 && missed >= ENOUGH_PAGES && misses > MANY_MISSES && grows) {
      this.#choice = { ...this.#choice, xbzrleCacheSize: size };
      return `${Math.round(100 * misses)} % of the pages not in the cache, cache ${mib(size)}`;
    }
    return undefined;
  }

  /** Bytes, a power of two: so many pages, but no more than the guest has. A few that share a slot do no harm. */
  #cacheFor(pages: number, totalPages: number): number {
    return PAGE_SIZE * 2 ** Math.ceil(Math.log2(Math.max(1, FITTING * Math.min(pages, totalPages))));
  }
}

/**
 * Bytes per second that deltas have to be worth it at: if what is pending fits the pause as it is, all there is to gain is
 * a shorter pause.
 */
function rateOf(seen: Observation): number | undefined {
  const { capacity, throughput, downtimeLimitMs } = seen;
  if (capacity === undefined) return throughput;
  return wholePagesMs(seen, capacity) <= downtimeLimitMs ? capacity : throughput;
}

/** How long what is pending takes as it is. */
function wholePagesMs({ pendingPages }: Observation, capacity = SWIFT): number {
  return (pendingPages * PAGE_SIZE * 1000) / capacity;
}

/** Whether deltas save more time on the link than they take to make. */
function worthIt({ pages, bytes, pageNs }: Probed, rate = SWIFT): boolean {
  const savedNs = ((PAGE_SIZE - bytes / pages) / Math.max(rate, 1)) * 1e9;
  return savedNs > Math.max(pageNs, DELTA_NS);
}

/** " at 128 MiB/s" */
function at(rate: number | undefined): string {
  return rate === undefined ? '' : ` at ${mib(rate)}/s`;
}

/** "61:1"; undefined if too little is known. */
function ratioOf({ pages, bytes }: Probed): string | undefined {
  if (pages < ENOUGH_PAGES) return undefined;
  const ratio = (pages * PAGE_SIZE) / Math.max(1, bytes);
  return `${ratio < 10 ? ratio.toFixed(1) : Math.round(ratio)}:1`;
}

function pauseOf(seen: Pick<Observation, 'expectedDowntimeMs' | 'downtimeLimitMs'>): string {
  return `${Math.round(seen.expectedDowntimeMs)} ms of ${seen.downtimeLimitMs} ms`;
}

function mib(bytes: number): string {
  if (bytes < 1024 * 1024) return `${Math.ceil(bytes / 1024)} KiB`;
  return `${(bytes / 1024 / 1024).toFixed(bytes < 10 * 1024 * 1024 ? 1 : 0)} MiB`;
}
