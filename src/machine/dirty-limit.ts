/**
 * Holds harts to a rate at which they may make clean pages dirty: only those that dirty too fast are slowed down, by as
 * much as it takes, found by watching. A page counts once from one look to the next, or, during a migration, from one of
 * its syncs to the next.
 */
import type { Clock } from '../clock.ts';
import { type DirtyCounts, type DirtyLog, dirtiedPages } from '../memory/dirty-log.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import type { DirtyTracking } from './dirty-tracking.ts';
import { MAX_THROTTLE, type Throttle } from './throttle.ts';

const MB = 1024 * 1024;

/** How often `look` is to be called while there is a limit, in ms. */
export const DIRTY_LIMIT_PERIOD_MS = 200;

/** A hart that stays below its limit gets so much more of the time at each look. */
const RECOVERY = 1.5;
/** A hart's share of the time falls to no less of what it was at one look. */
const DECLINE = 0.05;

/** Whose limit it is: a migration's holds for all harts, and ends with it. */
export type DirtyLimitOwner = 'user' | 'migration';

export interface HartDirtyLimit {
  readonly hart: number;
  /** MiB per second. */
  readonly limit: number;
  /** As at the last look. */
  readonly current: number;
}

interface HartState {
  /** MiB per second. */
  readonly limits: Map<DirtyLimitOwner, number>;
  /** Of the time. */
  share: number;
  current: number;
}

export class DirtyLimit {
  readonly #tracking: DirtyTracking;
  readonly #log: DirtyLog;
  readonly #throttle: Throttle;
  readonly #clock: Clock;
  readonly #harts: readonly HartState[];
  #counts: DirtyCounts;
  #sinceNs = 0;
  #epoch = 0;

  constructor(harts: number, log: DirtyLog, tracking: DirtyTracking, throttle: Throttle, clock: Clock) {
    this.#tracking = tracking;
    this.#log = log;
    this.#throttle = throttle;
    this.#clock = clock;
    this.#counts = log.counts();
    this.#harts = Array.from({ length: harts }, () => ({ limits: new Map(), share: 1, current: 0 }));
  }

  /** Whether a hart has a limit, so that somebody has to `look`. */
  get active(): boolean {
    return this.#harts.some(({ limits }) => limits.size > 0);
  }

  /**
   * @param limit MiB per second; undefined for none.
   * @param hart all, if none is named.
   */
  set(owner: DirtyLimitOwner, limit: number | undefined, hart?: number): void {
    const wasActive = this.active;
    for (const state of hart === undefined ? this.#harts : [this.#harts[hart] as HartState]) {
      if (limit === undefined) state.limits.delete(owner);
      else state.limits.set(owner, limit);
      if (state.limits.size === 0) Object.assign(state, { share: 1, current: 0 });
    }
    if (this.active && !wasActive) {
      this.#tracking.start('limit');
      this.#begin();
    } else if (!this.active && wasActive) this.#tracking.stop('limit');
    this.#apply();
  }

  /** Measures, and adjusts shares. */
  look(): void {
    const seconds = (this.#clock.nowNs() - this.#sinceNs) / 1e9;
    if (!this.active || seconds <= 0) return;
    const { harts } = dirtiedPages(this.#counts, this.#log.counts());
    // Without a sync, what is left to dirty gets less and less: that a hart dirties little is no reason to let it go then.
    const most = this.#tracking.epoch === this.#epoch ? 1 : RECOVERY;
    for (const [i, state] of this.#harts.entries()) {
      if (state.limits.size === 0) continue;
      state.current = ((harts[i] ?? 0) * PAGE_SIZE) / MB / seconds;
      const factor = Math.min(Math.max(limitOf(state) / state.current, DECLINE), most);
      state.share = Math.min(Math.max(state.share * factor, 1 - MAX_THROTTLE), 1);
    }
    this.#epoch = this.#tracking.epoch;
    this.#tracking.refresh();
    this.#begin();
    this.#apply();
  }

  limits(): HartDirtyLimit[] {
    return this.#harts.flatMap((state, hart) =>
      state.limits.size === 0 ? [] : [{ hart, limit: limitOf(state), current: state.current }],
    );
  }

  #begin(): void {
    this.#counts = this.#log.counts();
    this.#sinceNs = this.#clock.nowNs();
  }

  #apply(): void {
    this.#throttle.set(
      'limit',
      this.#harts.map(({ share }) => 1 - share),
    );
  }
}

const limitOf = ({ limits }: HartState): number => Math.min(...limits.values());
