/**
 * What `query-migrate` shows. Names and meaning are QEMU's (qapi/migration.json, MigrationInfo and MigrationStats,
 * 9.0), so the object is answered as it stands; `passes` and `pause` are ours.
 */
import type { Clock } from '../clock.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import type { Bandwidth } from './bandwidth.ts';
import { addPages, encodedBytes, foundPages, noPages, type PageCounts, sentPages } from './page-counts.ts';
import type { MigrationSample } from './samples.ts';

export type MigrationStatus =
  | 'none'
  | 'setup'
  | 'active'
  | 'pre-switchover'
  | 'device'
  | 'postcopy-active'
  | 'postcopy-paused'
  | 'postcopy-recover-setup'
  | 'postcopy-recover'
  | 'completed'
  | 'cancelling'
  | 'cancelled'
  | 'failed';

export interface PassStatistics {
  /** 1 for the first. */
  readonly number: number;
  /** From its first page to the other side's word that all is in place, in ms; waits for the cap included. */
  readonly durationMs: number;
  readonly pages: number;
  /** Those of `pages` that were zero, and those of which a delta was sent. */
  readonly zeroPages: number;
  readonly deltaPages: number;
  /** In the stream, headers included. */
  readonly bytes: number;
  /** Of these, what whole pages, deltas and pieces of disks took; the rest are tables and headers. */
  readonly wholeBytes: number;
  readonly deltaBytes: number;
  readonly diskBytes: number;
  /** Pages that the guest dirtied during the pass, per second of it; of the final pass 0. */
  readonly dirtyPagesPerSecond: number;
}

/** Where the pause went, in ms. The parts follow each other and their sum is `downtime`. */
export interface PauseSplit {
  /** Waiting for the user's word, with `pause-before-switchover`; else 0. */
  readonly heldMs: number;
  /** The stop, the last sync, and its last pages, until they were handed over. */
  readonly finalPassMs: number;
  /** Until the device state was there, which is encoded while the last pages are sent. */
  readonly takeStateMs: number;
  /** Handing over the device state and the end mark. */
  readonly sendStateMs: number;
  /** Until the destination said "ready": what is still on its way, verification, loading. To a file: 0. */
  readonly loadAndReadyMs: number;
  /** From "go" to "running"; the destination starts the guest right after that. To a file: until it is on disk. */
  readonly resumeMs: number;
}

/** The end of a migration as the destination measured it, in ms. */
export interface ArrivalSplit {
  /**
   * From its word that it has a pass, which was the last before the guest was stopped, until the guest ran: a little more
   * than the guest stood still; of a post-copy, from when that begins: a little less. Unknown for a file.
   */
  readonly downtimeMs: number;
  /** Loading the device state. */
  readonly loadMs: number;
  /** Starting the guest. */
  readonly startMs: number;
}

export interface RamStatistics {
  /** Bytes handed over, everything included. */
  readonly transferred: number;
  /** Bytes of pages that are known to be pending, as whole pages. */
  readonly remaining: number;
  /** Bytes of all pages. */
  readonly total: number;
  /** Zero pages sent. */
  readonly duplicate: number;
  /** Whole pages sent, and their bytes. */
  readonly normal: number;
  readonly 'normal-bytes': number;
  /** Throughput in megabits per second, waits for the cap included. */
  readonly mbps: number;
  readonly 'pages-per-second': number;
  /** Pages dirtied per second between the last two syncs. */
  readonly 'dirty-pages-rate': number;
  readonly 'dirty-sync-count': number;
  readonly 'page-size': number;
  readonly 'postcopy-requests': number;
  /** Bytes sent while the guest ran, and while it stood still. */
  readonly 'precopy-bytes': number;
  readonly 'downtime-bytes': number;
  readonly 'postcopy-bytes': number;
  readonly 'multifd-bytes': number;
}

/** What xbzrle did. */
export interface XbzrleStatistics {
  readonly 'cache-size': number;
  /** Bytes of the deltas, and of the pages whose delta would have been too long. */
  readonly bytes: number;
  /** Pages that were found in the cache. */
  readonly pages: number;
  readonly 'cache-miss': number;
  /** Between the last two syncs: misses per page sent, and bytes of the pages found per byte sent of them. */
  readonly 'cache-miss-rate': number;
  readonly 'encoding-rate': number;
  readonly overflow: number;
}

/** What is to be expected if all goes on as now. */
export interface Forecast {
  readonly downtimeMs: number;
  /** Until the guest is the other side's; undefined if that would be never. */
  readonly timeLeftMs: number | undefined;
}

/** Something that a migration did by itself. */
export interface MigrationDecision {
  /** ms since the start. */
  readonly time: number;
  readonly text: string;
}

/** Decisions that are remembered. */
const MAX_DECISIONS = 200;

export interface DiskStatistics {
  /** Bytes sent. */
  readonly transferred: number;
  /** Bytes of the disks that are known to be pending, holes included, and of all disks. */
  readonly remaining: number;
  readonly total: number;
  /** Bytes per second that the guest may write, while it is held down; ours. */
  readonly 'write-limit'?: number;
  /** In post-copy: how often the guest asked for what was not there, and bytes sent; ours. */
  readonly 'postcopy-requests'?: number;
  readonly 'postcopy-bytes'?: number;
}

/** Checkpoints of a guest in post-copy that have come back to the source (`postcopy-rescue`). */
export interface RescueStatistics {
  readonly checkpoints: number;
  /** Of all of them, and their bytes in the stream. */
  readonly pages: number;
  readonly bytes: number;
  /** At the source: ms since what the guest could be taken up from, which is the hand-over before the first one. */
  readonly age?: number;
  /** At the destination: ns for which the guest stood still for one. */
  readonly 'pause-mean'?: number;
  readonly 'pause-max'?: number;
}

export interface MigrationInfo {
  readonly status: MigrationStatus;
  readonly 'error-desc'?: string;
  /** ms since the start; at the end, until the end. */
  readonly 'total-time'?: number;
  /** ms from the start to the first page: connecting, the hand-shake. */
  readonly 'setup-time'?: number;
  /** ms that the guest stood still; only when completed. */
  readonly downtime?: number;
  /** ms that the guest would stand still if it were stopped now; while it is not. */
  readonly 'expected-downtime'?: number;
  /** ms until the guest is the other side's; null if the guest dirties memory faster than it can be sent. */
  readonly 'expected-time-left'?: number | null;
  readonly ram?: RamStatistics;
  readonly 'xbzrle-cache'?: XbzrleStatistics;
  /** While the guest is slowed down. */
  readonly 'cpu-throttle-percentage'?: number;
  /** What was done about how it goes, and why. */
  readonly decisions?: readonly MigrationDecision[];
  readonly disk?: DiskStatistics;
  readonly rescue?: RescueStatistics;
  readonly passes?: readonly PassStatistics[];
  /** When the guest was asked to stop, in ms since the start. */
  readonly 'stopped-at'?: number;
  readonly pause?: PauseSplit;
  /** Only at the destination. */
  readonly arrival?: Partial<ArrivalSplit>;
}

/** Where nothing has been moved. */
export const NO_RAM: RamStatistics = {
  transferred: 0,
  remaining: 0,
  total: 0,
  duplicate: 0,
  normal: 0,
  'normal-bytes': 0,
  mbps: 0,
  'pages-per-second': 0,
  'dirty-pages-rate': 0,
  'dirty-sync-count': 0,
  'page-size': PAGE_SIZE,
  'postcopy-requests': 0,
  'precopy-bytes': 0,
  'downtime-bytes': 0,
  'postcopy-bytes': 0,
  'multifd-bytes': 0,
};

/** Gathers the figures of one outgoing migration. Times are of the injected clock. */
export class Statistics {
  readonly #clock: Clock;
  readonly #totalPages: number;
  readonly #bandwidth: Bandwidth;
  #startNs: number | undefined;
  #setupNs: number | undefined;
  #endNs: number | undefined;
  #stoppedMs: number | undefined;
  readonly passes: PassStatistics[] = [];
  readonly pause: { -readonly [K in keyof PauseSplit]?: number } = {};
  readonly disk = {
    ...{ transferred: 0, remaining: 0, total: 0, writeLimit: 0 },
    /** In post-copy. */
    ...{ requests: 0, postcopyBytes: 0 },
  };
  transferred = 0;
  multifdBytes = 0;
  remainingPages = 0;
  /** In all passes. */
  readonly pages = noPages();
  #xbzrleCacheSize = 0;
  #xbzrleRates = { miss: 0, encoding: 0 };
  #atSync = noPages();
  dirtyPagesRate = 0;
  dirtySyncCount = 0;
  /** Bytes handed over when the guest was stopped. */
  precopyBytes: number | undefined;
  forecast: () => Forecast | undefined = () => undefined;
  /** The same when it ran again, at the destination, of a post-copy. */
  resumedBytes: number | undefined;
  postcopyRequests = 0;
  /** With `postcopy-rescue`, once the guest is at the destination. */
  rescue: (() => RescueStatistics) | undefined;
  /** Percent of the time for which the guest is kept from running. */
  throttle = 0;
  readonly #decisions: MigrationDecision[] = [];
  downtimeMs: number | undefined;

  constructor(clock: Clock, totalPages: number, bandwidth: Bandwidth) {
    this.#clock = clock;
    this.#totalPages = totalPages;
    this.#bandwidth = bandwidth;
  }

  started(): void {
    this.#startNs = this.#clock.nowNs();
  }

  /** ms since the start. */
  get elapsedMs(): number {
    return this.#startNs === undefined ? 0 : (this.#clock.nowNs() - this.#startNs) / 1e6;
  }

  /** The migration does something about how it goes, by itself. @param text what, and why. */
  decided(text: string): void {
    if (this.#decisions.length === MAX_DECISIONS) this.#decisions.shift();
    this.#decisions.push({ time: Math.round(this.elapsedMs), text });
    this.onDecision(text);
  }

  /** Told of each decision. */
  onDecision: (text: string) => void = () => {};

  setupDone(): void {
    this.#setupNs = this.#clock.nowNs();
  }

  /** @param cacheSize in bytes; 0 without xbzrle. */
  xbzrle(cacheSize: number): void {
    this.#xbzrleCacheSize = cacheSize;
  }

  /** What was packed. */
  packed(pages: PageCounts): void {
    addPages(this.pages, pages);
  }

  /** The dirty log was synced. */
  synced(pendingPages: number): void {
    const [now, before] = [this.pages, this.#atSync];
    const pages = sentPages(now) - sentPages(before);
    const bytes = encodedBytes(now) - encodedBytes(before);
    this.#xbzrleRates = {
      miss: pages === 0 ? 0 : (now.miss - before.miss) / pages,
      encoding: bytes === 0 ? 0 : ((foundPages(now) - foundPages(before)) * PAGE_SIZE) / bytes,
    };
    this.#atSync = { ...now };
    this.dirtySyncCount++;
    this.remainingPages = pendingPages;
  }

  /** The guest has been asked to stop. */
  stopped(): void {
    this.precopyBytes = this.transferred;
    this.#stoppedMs = this.#sinceStartMs();
  }

  ended(): void {
    this.#endNs = this.#clock.nowNs();
  }

  /** The present moment, for plots. @param instructions that the guest has run so far. */
  sample(instructions: number): MigrationSample | undefined {
    if (this.#startNs === undefined) return undefined;
    return {
      ms: this.#sinceStartMs(),
      passes: this.passes.at(-1)?.number ?? 0,
      remaining: this.remainingPages * PAGE_SIZE,
      diskRemaining: this.disk.remaining,
      transferred: this.transferred,
      dirtyPagesPerSecond: this.dirtyPagesRate,
      throttle: this.throttle,
      instructions,
    };
  }

  #sinceStartMs(): number {
    return (this.#clock.nowNs() - (this.#startNs ?? 0)) / 1e6;
  }

  #diskStatistics(): DiskStatistics {
    const { writeLimit, requests, postcopyBytes, ...figures } = this.disk;
    return {
      ...figures,
      ...(writeLimit === 0 ? {} : { 'write-limit': writeLimit }),
      ...(postcopyBytes === 0 ? {} : { 'postcopy-requests': requests, 'postcopy-bytes': postcopyBytes }),
    };
  }

  info(status: MigrationStatus, error: string | undefined): MigrationInfo {
    const start = this.#startNs;
    if (start === undefined) return { status };
    const ms = (ns: number): number => Math.round((ns - start) / 1e6);
    const done = status === 'completed';
    const precopy = this.precopyBytes ?? this.transferred;
    const forecast = EXPECTING.has(status) ? this.forecast() : undefined;
    const resumed = this.resumedBytes ?? this.transferred;
    const stopped = done || status.startsWith('postcopy');
    return {
      status,
      ...(error === undefined ? {} : { 'error-desc': error }),
      'total-time': ms(this.#endNs ?? this.#clock.nowNs()),
      ...(this.#setupNs === undefined ? {} : { 'setup-time': ms(this.#setupNs) }),
      ...(stopped && this.downtimeMs !== undefined ? { downtime: Math.round(this.downtimeMs) } : {}),
      ...(forecast === undefined
        ? {}
        : {
            'expected-downtime': Math.round(forecast.downtimeMs),
            'expected-time-left': forecast.timeLeftMs === undefined ? null : Math.round(forecast.timeLeftMs),
          }),
      ram: {
        transferred: this.transferred,
        remaining: this.remainingPages * PAGE_SIZE,
        total: this.#totalPages * PAGE_SIZE,
        duplicate: this.pages.zero,
        normal: this.pages.whole,
        'normal-bytes': this.pages.whole * PAGE_SIZE,
        mbps: (this.#throughput(done) * 8) / 1e6,
        'pages-per-second': Math.round(this.#bandwidth.pagesPerSecond),
        'dirty-pages-rate': Math.round(this.dirtyPagesRate),
        'dirty-sync-count': this.dirtySyncCount,
        'page-size': PAGE_SIZE,
        'postcopy-requests': this.postcopyRequests,
        'precopy-bytes': precopy,
        'downtime-bytes': resumed - precopy,
        'postcopy-bytes': this.transferred - resumed,
        'multifd-bytes': this.multifdBytes,
      },
      ...(this.throttle === 0 || forecast === undefined ? {} : { 'cpu-throttle-percentage': this.throttle }),
      ...(this.#decisions.length === 0 ? {} : { decisions: [...this.#decisions] }),
      ...(this.#xbzrleCacheSize === 0 ? {} : { 'xbzrle-cache': this.#xbzrle() }),
      ...(this.disk.total === 0 ? {} : { disk: this.#diskStatistics() }),
      ...(this.rescue === undefined ? {} : { rescue: this.rescue() }),
      passes: [...this.passes],
      ...(this.#stoppedMs === undefined ? {} : { 'stopped-at': this.#stoppedMs }),
      ...(done ? { pause: { ...NO_PAUSE, ...this.pause } } : {}),
    };
  }

  /** Bytes per second: at the end, as in QEMU, from the first page to the last; before that, of late. */
  #throughput(done: boolean): number {
    const ns = (this.#endNs ?? 0) - (this.#setupNs ?? 0);
    return done && ns > 0 ? (this.transferred / ns) * 1e9 : this.#bandwidth.throughput;
  }

  #xbzrle(): XbzrleStatistics {
    return {
      'cache-size': this.#xbzrleCacheSize,
      bytes: encodedBytes(this.pages),
      pages: foundPages(this.pages),
      'cache-miss': this.pages.miss,
      'cache-miss-rate': this.#xbzrleRates.miss,
      'encoding-rate': this.#xbzrleRates.encoding,
      overflow: this.pages.overflow,
    };
  }
}

/** While the pause is still to come, or under way. */
const EXPECTING: ReadonlySet<MigrationStatus> = new Set(['active', 'pre-switchover', 'device']);

const NO_PAUSE: PauseSplit = {
  heldMs: 0,
  finalPassMs: 0,
  takeStateMs: 0,
  sendStateMs: 0,
  loadAndReadyMs: 0,
  resumeMs: 0,
};
