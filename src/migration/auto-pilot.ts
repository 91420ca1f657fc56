/** The auto mode's eyes and hands: what the passes over RAM show it, and what becomes of its choice. */
import type { Clock } from '../clock.ts';
import { errorMessage } from '../error.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import { type AutoMode, DELTA_NS } from './auto-mode.ts';
import type { Bandwidth } from './bandwidth.ts';
import { type Decision, WHOLE_PAGES } from './convergence.ts';
import { DirtyGrowth } from './dirty-growth.ts';
import type { GuestPace } from './guest-pace.ts';
import type { SourceVm } from './migratable-vm.ts';
import { encodedBytes, foundPages, type PageCounts } from './page-counts.ts';
import type { MigrationParameters } from './parameters.ts';
import type { Assumption, RamOutlook } from './ram-outlook.ts';
import type { RamSave } from './ram-save.ts';
import type { Statistics } from './statistics.ts';
import { type Probed, XbzrleProbe } from './xbzrle-probe.ts';

/** How often a pass is looked at. */
const LOOK_NS = 5e6;
/** A connection may turn out to be so many times as fast as in its first moments. */
const WARMER = 2;
/** How long the guest has written when the pages for a probe are chosen. */
const PROBE_NS = 20e6;

export interface AutoPilotOptions {
  readonly auto: AutoMode;
  readonly vm: SourceVm;
  readonly clock: Clock;
  readonly ram: RamSave;
  readonly outlook: RamOutlook;
  readonly pace: GuestPace;
  readonly parameters: () => MigrationParameters;
  readonly bandwidth: Bandwidth;
  readonly statistics: Statistics;
  /** Makes the cache what the parameters say. @throws GodwitError kind "usage" if there is no memory for it. */
  readonly setCache: () => void;
  readonly wantPostcopy: () => void;
}

export class AutoPilot {
  readonly #options: AutoPilotOptions;
  readonly #growth: DirtyGrowth;
  #probe: XbzrleProbe | undefined;
  #probed: Probed | undefined;
  #syncedNs = 0;
  #lookedNs = 0;

  constructor(options: AutoPilotOptions) {
    this.#options = options;
    this.#growth = new DirtyGrowth(options.vm.layout.pages);
  }

  /** The dirty log was switched on, or synced. */
  begin(): void {
    this.#syncedNs = this.#options.clock.nowNs();
    this.#growth.synced();
  }

  /** To be called often during a pass. */
  async look(pass: number): Promise<void> {
    const now = this.#options.clock.nowNs();
    if (now - this.#lookedNs < LOOK_NS) return;
    this.#lookedNs = now;
    this.#growth.look((now - this.#syncedNs) / 1e6, this.#options.ram.dirty);
    if (now - this.#syncedNs >= PROBE_NS) this.#takeProbe();
    this.#learn(pass);
    if (pass > 1) await this.#foresee(pass, now);
  }

  /** Once the guest has had the time to write, some of what it writes is kept. */
  #takeProbe(): void {
    const { parameters, vm, ram } = this.#options;
    if (parameters().xbzrle) return;
    this.#probe ??= new XbzrleProbe(vm.memory, vm.layout);
    if (!this.#probe.taken) this.#probe.take(ram.writtenPages(XbzrleProbe.size));
  }

  /** What waited for the connection to be known is decided as soon as it is. */
  #learn(pass: number): void {
    const { auto, bandwidth } = this.#options;
    const { known: capacity } = bandwidth;
    if (capacity === undefined) return;
    const why = auto.learn({ throughput: this.#throughput, capacity });
    if (why !== undefined) this.#follow(pass, why);
  }

  /** Slows the guest down at once if the pass under way will leave more than fits the pause. */
  async #foresee(pass: number, now: number): Promise<void> {
    const { auto, parameters, bandwidth, outlook, ram, pace } = this.#options;
    const { known, early = Number.NaN } = bandwidth;
    const capacity = known ?? WARMER * early;
    const throughput = this.#throughput;
    if (Number.isNaN(capacity) || throughput === undefined || auto.choice.autoConverge) return;
    const { downtimeLimitMs } = parameters();
    const sendingMs = outlook.sendingMs(ram.remaining, throughput);
    const pages = this.#growth.pagesAfter((now - this.#syncedNs) / 1e6 + sendingMs);
    if (pages === undefined) return;
    const assumed = { ...this.#deltas(), bandwidth: capacity };
    const { expectedDowntimeMs } = outlook.decide(pages, undefined, assumed);
    const why = auto.foresee({ pass, pages, expectedDowntimeMs, downtimeLimitMs });
    if (why === undefined) return;
    const pausePages = outlook.pagesWithin(downtimeLimitMs, pages, assumed);
    const { bytesPerPage } = assumed.mix ?? outlook.mix;
    await pace.brake({ sendingMs, pausePages, pagesPerSecond: throughput / Math.max(1, bytesPerPage) }, why);
  }

  /** Bytes per second that are sent while the guest runs; undefined if not known yet. */
  get #throughput(): number | undefined {
    const { early } = this.#options.bandwidth;
    const cap = this.#options.parameters().maxBandwidth;
    return cap === 0 ? early : Math.min(cap, early ?? cap);
  }

  /** What is left will be sent as deltas: what they come to, as long as no sample shows that. */
  #deltas(): Partial<Assumption> {
    const { auto, outlook } = this.#options;
    const { deltas } = auto;
    if (deltas === undefined || outlook.mix.bytesPerPage < PAGE_SIZE) return {};
    return { mix: { bytesPerPage: deltas.bytes / deltas.pages, compactShare: 1 }, compactPageNs: DELTA_NS };
  }

  /** A pass is over, and the dirty log about to be synced. */
  passed(): void {
    const { clock, ram } = this.#options;
    this.#growth.look((clock.nowNs() - this.#syncedNs) / 1e6, ram.dirty);
    this.#probed = this.#probe?.taken === true ? this.#probe.look(clock) : undefined;
  }

  /** After the sync. Returns the decision that holds with what was chosen. */
  choose(pass: number, decision: Decision, counts: PageCounts): Decision {
    const { auto, parameters, vm, ram, outlook, bandwidth, statistics } = this.#options;
    const { converged, expectedDowntimeMs } = decision;
    const { downtimeLimitMs, maxCpuThrottle, postcopy } = parameters();
    const why = auto.observe({
      pass,
      pendingPages: ram.remaining,
      totalPages: vm.layout.pages,
      expectedDowntimeMs,
      downtimeLimitMs,
      converged,
      throughput: this.#throughput,
      capacity: bandwidth.forPause,
      shown: bandwidth.shown !== undefined,
      probed: this.#probed,
      found: { pages: foundPages(counts), bytes: encodedBytes(counts), pageNs: outlook.comparedPageNs },
      missed: counts.miss,
      throttle: statistics.throttle,
      maxThrottle: maxCpuThrottle,
      postcopy,
    });
    if (why === undefined) return decision;
    if (auto.postcopy) this.#options.wantPostcopy();
    this.#follow(pass, why);
    return converged || auto.choice.xbzrle
      ? decision
      : outlook.decide(ram.remaining, undefined, { mix: WHOLE_PAGES });
  }

  /** Does what was chosen in this pass, and says why. */
  #follow(pass: number, why: string): void {
    const { auto, statistics, setCache } = this.#options;
    statistics.decided(why);
    try {
      setCache();
    } catch (error) {
      auto.withoutMemory();
      statistics.decided(`pass ${pass}: ${errorMessage(error)}, xbzrle off`);
      setCache();
    }
  }
}
