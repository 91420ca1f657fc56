/**
 * The dirty log of a machine and those who have it on: a migration, a measurement of the dirty rate, a limit of it. Only a
 * migration takes the marks; the others go by the counts. To be called at safe points.
 */
import type { Clock } from '../clock.ts';
import type { DirtyLog, DirtySite } from '../memory/dirty-log.ts';
import type { Tlbs } from '../memory/tlb.ts';

export type DirtyLogUser = 'migration' | 'rate' | 'limit';

/** Who made pages dirty, since the log was last switched on. */
export interface DirtyReport {
  /** False if the log has never been on. */
  readonly measured: boolean;
  /** The latest, oldest first; not all, if there were more than DIRTY_SITES. */
  readonly sites: readonly DirtySite[];
  /** How many there were in all. */
  readonly total: number;
  /** In ns, until now or until the log was switched off. */
  readonly durationNs: number;
}

export class DirtyTracking {
  readonly #log: DirtyLog;
  readonly #tlbs: Tlbs;
  readonly #clock: Clock;
  readonly #users = new Set<DirtyLogUser>();
  #epoch = 0;
  #firstSite = 0;
  #startNs: number | undefined;
  #endNs: number | undefined;

  constructor(log: DirtyLog, tlbs: Tlbs, clock: Clock) {
    this.#log = log;
    this.#tlbs = tlbs;
    this.#clock = clock;
  }

  /** From here on every write is logged. For a migration nothing is marked then. */
  start(user: DirtyLogUser): void {
    if (this.#users.size === 0) {
      this.#firstSite = this.#log.siteCount;
      this.#startNs = this.#clock.nowNs();
      this.#endNs = undefined;
      this.#log.on = true;
    } else if (user === 'migration') this.#log.clear();
    this.#users.add(user);
    this.#tlbs.flush('write');
  }

  /** For a migration: moves what was logged to the pending bitmap. A later write to any page is logged again. */
  collect(): void {
    this.#log.collect();
    this.#tlbs.flush('write');
    this.#epoch++;
  }

  /** Another number since all pages were last made clean. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Without a migration, which does it itself: has pages counted again that have been dirtied already. */
  refresh(): void {
    if (this.#users.has('migration')) return;
    this.#epoch++;
    this.#log.clear();
    this.#tlbs.flush('write');
  }

  /** Does nothing if it is not on for this user. */
  stop(user: DirtyLogUser): void {
    if (!this.#users.delete(user) || this.#users.size > 0) return;
    this.#log.on = false;
    this.#endNs = this.#clock.nowNs();
  }

  report(): DirtyReport {
    const start = this.#startNs;
    return {
      measured: start !== undefined,
      sites: this.#log.sites(this.#firstSite),
      total: (this.#log.siteCount - this.#firstSite) >>> 0,
      durationNs: start === undefined ? 0 : (this.#endNs ?? this.#clock.nowNs()) - start,
    };
  }
}
