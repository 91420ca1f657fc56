/**
 * Slows the guest down, or stops it earlier than the pause limit allows, so that a migration gets through: asked at each
 * sync of the dirty log and now and then during a pass. It says why whenever it does something, and undoes all of it at
 * the end.
 */
import type { Clock } from '../clock.ts';
import { errorMessage } from '../error.ts';
import {
  autoConverge,
  type BrakeObservation,
  brake,
  comparison,
  dirtiesTooMuch,
  LEAST_MS,
  type PassObservation,
  throttleFor,
} from './auto-converge.ts';
import type { Bandwidth } from './bandwidth.ts';
import { type DeadlineStep, deadlineStep, seconds, stopBeforeMs } from './deadline.ts';
import { DirtyMeter } from './dirty-meter.ts';
import type { SourceVm } from './migratable-vm.ts';
import type { MigrationParameters } from './parameters.ts';
import type { RamOutlook } from './ram-outlook.ts';
import type { Statistics } from './statistics.ts';

/** How often a pass asks what the deadline demands. */
const LOOK_NS = 20e6;
/** How fast the connection is, is known after so many bytes, or so long. */
const KNOWN_BYTES = 8 * 1024 * 1024;
const KNOWN_MS = 1000;
/** So shortly before the deadline it is met even if it is not known yet how fast the connection is. */
const UNKNOWN_MS = 500;
/** Of a change of the throttle for the deadline, in percent; less is not worth it. */
const LEAST_CHANGE = 3;

/** Of passes that have yet to be judged by. */
const nothing = () => ({ durationMs: 0, sentBytes: 0, dirtiedPages: 0, ranNs: 0, early: 0 });

export interface GuestPaceOptions {
  readonly vm: SourceVm;
  readonly clock: Clock;
  readonly parameters: () => MigrationParameters;
  readonly statistics: Statistics;
  readonly bandwidth: Bandwidth;
  readonly outlook: RamOutlook;
}

export class GuestPace {
  readonly #options: GuestPaceOptions;
  readonly #meter: DirtyMeter;
  /** Pages per second for a guest that runs all the time. */
  #measured: number | undefined;
  #dirtyLimit: number | undefined;
  #lookedNs = 0;
  /** When the first pass began. */
  #beganMs: number | undefined;
  #late = false;
  /** Of passes that were too short to judge by. */
  #gathered = nothing();

  constructor(options: GuestPaceOptions) {
    this.#options = options;
    this.#meter = new DirtyMeter(options.vm.memory, options.vm.layout, options.clock);
  }

  /** The dirty log was switched on, or synced. */
  begin(): void {
    this.#beganMs ??= this.#options.statistics.elapsedMs;
    this.#meter.begin();
  }

  /** What a pass showed, before the sync behind it. @param dirtiedPages meanwhile. */
  passed(durationMs: number, sentBytes: number, dirtiedPages: number): void {
    const gathered = this.#gathered;
    gathered.durationMs += durationMs;
    gathered.sentBytes += sentBytes;
    gathered.dirtiedPages += dirtiedPages;
    gathered.ranNs += this.#meter.ranNs;
    gathered.early = Math.max(gathered.early, this.#meter.early ?? 0);
    if (gathered.ranNs > 0) {
      this.#measured = Math.max(gathered.early, (gathered.dirtiedPages / gathered.ranNs) * 1e9);
    }
  }

  /** After a pass and its sync, with so many pages pending that the guest can't be stopped yet. */
  async adjust(pendingPages: number): Promise<void> {
    const { statistics } = this.#options;
    const parameters = this.#options.parameters();
    const seen = this.#observation(pendingPages);
    if (seen === undefined) return;
    if (seen.durationMs >= LEAST_MS) this.#gathered = nothing();
    const pass = `pass ${statistics.passes.length}`;
    if (parameters.autoConverge) {
      const advice = autoConverge(seen, parameters);
      if (advice !== undefined) await this.#throttle(advice.throttle, `${pass}: ${advice.why}`);
    }
    const limit = parameters.vcpuDirtyLimit;
    const limits = parameters.dirtyLimit && this.#dirtyLimit !== limit;
    if (
      limits &&
      (this.#dirtyLimit !== undefined || dirtiesTooMuch(seen, parameters.throttleTriggerThreshold))
    ) {
      this.#dirtyLimit = limit;
      statistics.decided(`${pass}: each hart is limited to ${limit} MB/s: ${comparison(seen)}`);
      await this.#options.vm.setDirtyLimit(limit);
    }
    await this.#meetDeadline(seen);
  }

  /**
   * To be called often during a pass. @returns what the deadline demands: that the pass is broken off, and the guest
   * stopped, or handed over by post-copy.
   * @param pendingPages to be sent if the guest were stopped now; asked only if it matters.
   */
  async look(pendingPages: () => number): Promise<DeadlineStep | undefined> {
    this.#meter.look();
    const { deadlineMs, onDeadline, postcopy } = this.#options.parameters();
    const now = this.#options.clock.nowNs();
    if (deadlineMs === 0 || onDeadline === 'cancel' || now - this.#lookedNs < LOOK_NS) return undefined;
    this.#lookedNs = now;
    const pages = pendingPages();
    const leftMs = this.#leftMs();
    const pauseMs = this.#pauseMs(pages);
    // Without the capability the next best is to pause.
    const rung = onDeadline === 'postcopy' && !postcopy ? 'pause' : onDeadline;
    const known = this.#bandwidthKnown;
    const step =
      known || leftMs < UNKNOWN_MS ? deadlineStep({ leftMs, pauseMs, onDeadline: rung }) : undefined;
    const { statistics } = this.#options;
    if (step === 'pause') {
      const why = `${seconds(leftMs)} are left and the rest takes ${seconds(pauseMs)}`;
      statistics.decided(`deadline: ${why}: the guest is paused now`);
    } else if (step === 'postcopy') {
      statistics.decided(`deadline: ${seconds(leftMs)} are left: post-copy`);
    } else if (leftMs < 0 && !this.#late) {
      this.#late = true;
      statistics.decided('deadline: it has passed, and all that is allowed is to throttle the guest');
    }
    const seen = step === undefined && known ? this.#observation(pages) : undefined;
    if (seen !== undefined) await this.#meetDeadline(seen);
    return step;
  }

  /** Slows the guest down in the middle of a pass, if it has not been yet. @param why so in words. */
  async brake(seen: Omit<BrakeObservation, 'fullDirtyRate'>, why: string): Promise<void> {
    const { parameters, statistics } = this.#options;
    const fullDirtyRate = this.#rate;
    if (fullDirtyRate === undefined || statistics.throttle > 0) return;
    const throttle = brake({ ...seen, fullDirtyRate }, parameters());
    await this.#throttle(throttle, `${why}: throttle ${throttle} %`);
  }

  /** The guest may run as before. Never rejects; returns why it failed, if it did. */
  async lift(): Promise<string | undefined> {
    const { vm, statistics } = this.#options;
    try {
      if (statistics.throttle > 0) await vm.setThrottle(0);
      if (this.#dirtyLimit !== undefined) await vm.setDirtyLimit(undefined);
      statistics.throttle = 0;
      this.#dirtyLimit = undefined;
      return undefined;
    } catch (error) {
      return errorMessage(error);
    }
  }

  /** Slows the guest down so that what is left can fall to the pause limit before the deadline. */
  async #meetDeadline(seen: PassObservation): Promise<void> {
    const { downtimeLimitMs, deadlineMs, onDeadline } = this.#options.parameters();
    if (deadlineMs === 0 || onDeadline === 'cancel') return;
    const leftMs = this.#leftMs();
    const throttle = throttleFor(leftMs - stopBeforeMs(downtimeLimitMs), seen);
    if (throttle < seen.throttle + LEAST_CHANGE && !(throttle === 99 && seen.throttle < 99)) return;
    const left = leftMs < 0 ? 'the deadline has passed' : `${seconds(leftMs)} to the deadline`;
    await this.#throttle(throttle, `deadline: throttle ${throttle} %: ${left}, ${comparison(seen)}`);
  }

  async #throttle(percentage: number, why: string): Promise<void> {
    const { vm, statistics } = this.#options;
    statistics.throttle = percentage;
    statistics.decided(why);
    await vm.setThrottle(percentage);
  }

  /** How long the guest would stand still now, at the best that the connection has shown: too early is a long pause. */
  #pauseMs(pages: number): number {
    const { bandwidth, outlook } = this.#options;
    const { forPause = 1, best = 1 } = bandwidth;
    return (outlook.decide(pages).expectedDowntimeMs * forPause) / best;
  }

  /** First moments, in which pages are looked for and buffers are filled, say nothing. */
  get #bandwidthKnown(): boolean {
    const { bandwidth, statistics, parameters } = this.#options;
    const sinceMs = statistics.elapsedMs - (this.#beganMs ?? 0);
    return bandwidth.basis >= KNOWN_BYTES || sinceMs >= Math.min(KNOWN_MS, parameters().deadlineMs / 4);
  }

  #leftMs(): number {
    return this.#options.parameters().deadlineMs - this.#options.statistics.elapsedMs;
  }

  #observation(pendingPages: number): PassObservation | undefined {
    const { bandwidth, outlook, statistics } = this.#options;
    const { downtimeLimitMs, maxBandwidth } = this.#options.parameters();
    const rate = this.#rate;
    const capacity = bandwidth.forPause;
    if (rate === undefined || capacity === undefined) return undefined;
    const { bytesPerPage } = outlook.mix;
    const { durationMs, sentBytes, dirtiedPages } = this.#gathered;
    return {
      durationMs,
      sentBytes,
      dirtiedBytes: dirtiedPages * bytesPerPage,
      pendingBytes: pendingPages * bytesPerPage,
      pauseBytes: outlook.pagesWithin(downtimeLimitMs, pendingPages) * bytesPerPage,
      throughput: maxBandwidth === 0 ? capacity : Math.min(maxBandwidth, capacity),
      fullDirtyRate: rate * bytesPerPage,
      throttle: statistics.throttle,
    };
  }

  /** Pages per second that the guest would dirty if it ran all the time. */
  get #rate(): number | undefined {
    return this.#measured ?? this.#meter.early;
  }
}
