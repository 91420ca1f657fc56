/**
 * What the passes over RAM have shown so far, and what is to be expected from it: how long the guest would stand still
 * now, and when the migration will be over.
 */
import type { Bandwidth } from './bandwidth.ts';
import { type Decision, decide, mixOf, type PageMix, timeLeft, WHOLE_PAGES } from './convergence.ts';
import type { PageCounts } from './page-counts.ts';
import type { MigrationParameters } from './parameters.ts';
import type { Forecast } from './statistics.ts';

/** What is reckoned with instead of what was measured. */
export interface Assumption {
  readonly mix: PageMix;
  /** Of a page that is compared, in ns. */
  readonly compactPageNs: number;
  /** Bytes per second. */
  readonly bandwidth: number;
}

/** Weight of a new measurement of what a page costs. */
const NEWEST = 1 / 8;

export class RamOutlook {
  readonly #bandwidth: Bandwidth;
  readonly #parameters: () => MigrationParameters;
  readonly #totalPages: number;
  readonly #diskBytes: () => number;
  #stateBytes = 0;
  /** Of the pages that the guest writes, as sampled at the last sync; whole ones until then. */
  #mix: PageMix = WHOLE_PAGES;
  /** Of the rest of the present pass. */
  #passMix: PageMix = WHOLE_PAGES;
  #sampledPageNs = 0;
  #compactPageNs: number | undefined;
  #syncMs = 0;
  #dirtyPagesPerSecond = 0;

  /** @param diskBytes bytes of disks that are pending. */
  constructor(
    bandwidth: Bandwidth,
    parameters: () => MigrationParameters,
    totalPages: number,
    diskBytes: () => number,
  ) {
    this.#bandwidth = bandwidth;
    this.#parameters = parameters;
    this.#totalPages = totalPages;
    this.#diskBytes = diskBytes;
  }

  /** What the pages cost that were sampled at the last sync. */
  get mix(): PageMix {
    return this.#mix;
  }

  /** How long sending so many pages of the present pass takes, in ms, at `bytesPerSecond`. */
  sendingMs(pages: number, bytesPerSecond: number): number {
    const { bytesPerPage, compactShare } = this.#passMix;
    return pages * ((bytesPerPage / bytesPerSecond) * 1e3 + (compactShare * this.comparedPageNs) / 1e6);
  }

  /** What a device state takes in the stream. */
  set stateBytes(bytes: number) {
    this.#stateBytes = bytes;
  }

  /** Packing these pages took `ns`; `passPages` have been packed in this pass, which is the first or a later one. */
  packed(pages: PageCounts, ns: number, passPages: PageCounts, first: boolean): void {
    if (first) this.#passMix = mixOf(passPages, this.#passMix);
    const compared = pages.delta + pages.equal;
    if (compared <= pages.whole + pages.zero) return;
    const before = this.#compactPageNs;
    const now = ns / (compared + pages.whole + pages.zero);
    this.#compactPageNs = before === undefined ? now : before + (now - before) * NEWEST;
  }

  /** The dirty log was synced, which took `syncMs`; a sample of what is pending was looked at in `ns`. */
  synced(syncMs: number, sample: PageCounts, ns: number, dirtyPagesPerSecond: number): void {
    const sampled = sample.zero + sample.equal + sample.delta + sample.whole;
    this.#syncMs = syncMs;
    this.#mix = mixOf(sample, this.#mix);
    this.#passMix = this.#mix;
    if (sampled > 0) this.#sampledPageNs = ns / sampled;
    this.#dirtyPagesPerSecond = dirtyPagesPerSecond;
  }

  /** Whether the guest can be stopped with so many pages pending, and for how long it would stand still. */
  decide(pendingPages: number, diskBytes = this.#diskBytes(), assumed: Partial<Assumption> = {}): Decision {
    const { downtimeLimitMs, availSwitchoverBandwidth } = this.#parameters();
    return decide({
      pendingPages,
      mix: assumed.mix ?? this.#mix,
      compactPageNs: assumed.compactPageNs ?? this.comparedPageNs,
      diskBytes,
      stateBytes: this.#stateBytes,
      syncMs: this.#syncMs,
      bandwidth: availSwitchoverBandwidth || (assumed.bandwidth ?? this.#bandwidth.forPause),
      downtimeLimitMs,
    });
  }

  /** How many pages fit a pause of `ms`, reckoned from what `pendingPages` would take; at most all there are. */
  pagesWithin(ms: number, pendingPages: number, assumed?: Partial<Assumption>): number {
    const pause = (pages: number): number =>
      this.decide(pages, this.#diskBytes(), assumed).expectedDowntimeMs;
    const none = pause(0);
    const pages = Math.max(pendingPages, 1);
    const msPerPage = (pause(pages) - none) / pages;
    return msPerPage <= 0
      ? this.#totalPages
      : Math.min(Math.max((ms - none) / msPerPage, 0), this.#totalPages);
  }

  /**
   * @param sendingPages of the present pass.
   * @param pendingPages those, and what was written since the last sync.
   * @param dirtyPages of these, those written since the last sync.
   */
  forecast(sendingPages: number, pendingPages: number, dirtyPages: number): Forecast {
    return {
      downtimeMs: this.decide(pendingPages).expectedDowntimeMs,
      timeLeftMs: timeLeft(
        {
          pendingPages: sendingPages,
          diskBytes: this.#diskBytes(),
          dirtyPages,
          dirtyPagesPerSecond: this.#dirtyPagesPerSecond,
          totalPages: this.#totalPages,
          throughput: this.#bandwidth.throughput,
          compactPageNs: this.comparedPageNs,
          passMix: this.#passMix,
          mix: this.#mix,
        },
        // What the guest will write to disks meanwhile is not known.
        (pages) => this.decide(pages, 0),
      ),
    };
  }

  /** What a page takes that is not sent whole, in ns; 0 if that is not known yet. */
  get comparedPageNs(): number {
    return this.#compactPageNs ?? this.#sampledPageNs;
  }
}
