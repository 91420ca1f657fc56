/** The auto mode's eyes and hands: what a pass over RAM shows it, and what becomes of its choice. */
import type { Clock } from '../clock.ts';
import { errorMessage } from '../error.ts';
import type { AutoMode } from './auto-mode.ts';
import type { Bandwidth } from './bandwidth.ts';
import type { Decision } from './convergence.ts';
import type { SourceVm } from './migratable-vm.ts';
import { encodedBytes, foundPages, type PageCounts } from './page-counts.ts';
import type { MigrationParameters } from './parameters.ts';
import type { RamSave } from './ram-save.ts';
import type { Statistics } from './statistics.ts';
import { type Probed, XbzrleProbe } from './xbzrle-probe.ts';

/** How long the guest has written when the pages for a probe are chosen. */
const PROBE_NS = 20e6;

export interface AutoPilotOptions {
  readonly auto: AutoMode;
  readonly vm: SourceVm;
  readonly clock: Clock;
  readonly ram: RamSave;
  readonly parameters: () => MigrationParameters;
  readonly bandwidth: Bandwidth;
  readonly statistics: Statistics;
  /** Makes the cache what the parameters say. @throws GodwitError kind "usage" if there is no memory for it. */
  readonly setCache: () => void;
}

export class AutoPilot {
  readonly #options: AutoPilotOptions;
  readonly #probe: XbzrleProbe;
  #probed: Probed | undefined;

  constructor(options: AutoPilotOptions) {
    this.#options = options;
    this.#probe = new XbzrleProbe(options.vm.memory, options.vm.layout);
  }

  /** During a pass: once the guest has had the time to write, some of what it writes is kept. @param beganNs the pass. */
  look(beganNs: number): void {
    const { parameters, clock, ram } = this.#options;
    if (this.#probe.taken || parameters().xbzrle || clock.nowNs() - beganNs < PROBE_NS) return;
    this.#probe.take(ram.writtenPages(XbzrleProbe.size));
  }

  /** A pass is over, and the dirty log about to be synced. */
  passed(): void {
    this.#probed = this.#probe.taken ? this.#probe.look() : undefined;
  }

  /** After the sync. */
  choose(pass: number, { converged, expectedDowntimeMs }: Decision, counts: PageCounts): void {
    const { auto, parameters, bandwidth, vm, ram, statistics, setCache } = this.#options;
    const why = auto.observe({
      pass,
      pendingPages: ram.remaining,
      totalPages: vm.layout.pages,
      expectedDowntimeMs,
      downtimeLimitMs: parameters().downtimeLimitMs,
      converged,
      throughput: bandwidth.throughput,
      probed: this.#probed,
      found: { pages: foundPages(counts), bytes: encodedBytes(counts) },
      missed: counts.miss,
    });
    if (why === undefined) return;
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
