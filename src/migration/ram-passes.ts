/**
 * The source's walk over RAM: pass after pass over the pages that are pending, a sync of the dirty log behind each, and
 * the bookkeeping of both. When to walk is the session's business.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import type { AutoMode } from './auto-mode.ts';
import { AutoPilot } from './auto-pilot.ts';
import { type Bandwidth, isBulky } from './bandwidth.ts';
import { type Decision, isWorthAnotherPass, isWorthSprinting } from './convergence.ts';
import type { DiskPasses } from './disk-passes.ts';
import { FrameWriter } from './frame-writer.ts';
import { GuestPace } from './guest-pace.ts';
import type { Interrupt } from './interrupt.ts';
import { type Kernels, sizeOf } from './kernels.ts';
import type { SourceVm } from './migratable-vm.ts';
import { addPages, noPages, type PageCounts, sentPages } from './page-counts.ts';
import type { MigrationParameters } from './parameters.ts';
import { decodeMessage, encodeMessage } from './protocol.ts';
import { RamOutlook } from './ram-outlook.ts';
import { RamSave } from './ram-save.ts';
import { MAX_DATA_PAGES } from './ram-stream.ts';
import { RateLimiter } from './rate-limiter.ts';
import { ramSlots, SendRing } from './send-ring.ts';
import type { SourceLink } from './source-link.ts';
import type { Statistics } from './statistics.ts';
import type { Timers } from './timers.ts';

/** How long packing and writing may go on before the other events of the thread get a turn. */
const TURN_NS = 4e6;
/**
 * After so many passes that did not help, a pass takes at least MIN_PASS_MS: what is dirtied faster than the limit
 * allows will not be caught by hurrying, and each sync stops the guest for a moment.
 */
const HURRIED_PASSES = 100;
const MIN_PASS_MS = 10;
/**
 * Every frame costs both sides some 100 µs besides its bytes, most of that for waking threads: over a link that takes
 * MAX_DATA_PAGES in less than FRAME_NS, frames are that long. Over others, or as long as it is not known, they are
 * shorter: what has been handed over can't be taken back, and everything else waits behind it.
 */
const FRAME_NS = 5e6;
const COMMON_DATA_PAGES = 64;
/** How often a pass is asked whether it is futile, and the part of what is pending that has to be written again for that. */
const LOOK_NS = 5e6;
const FUTILE = 0.9;
/** Pending pages that are looked at to foresee what all of them will take. */
const SAMPLE = 256;
/** Passes that are remembered. */
const MAX_HISTORY = 4096;

/** What a pass has sent. */
interface PassResult {
  readonly counts: PageCounts;
  /** In the stream; of disks, without headers. */
  readonly bytes: number;
  readonly diskBytes: number;
  /** Why it was broken off, if it was: what has not been sent is still pending. */
  readonly cut: 'futile' | 'spent' | 'deadline' | 'postcopy' | undefined;
  /** Resolves when its last frame has been taken. */
  readonly ended: Promise<void>;
}

/** The pass of a guest that stands still. */
export interface FinalPass {
  /** Resolves when its last frame, behind which others may be sent at once, has been taken. */
  readonly ended: Promise<void>;
  /** Counts it, and tells of it. To be called once. */
  record(): void;
}

export interface RamPassesOptions {
  readonly vm: SourceVm;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly interrupt: Interrupt;
  readonly kernels: Kernels;
  readonly link: SourceLink;
  /** Disks that travel in the same passes. */
  readonly disks: DiskPasses | undefined;
  readonly bandwidth: Bandwidth;
  readonly parameters: () => MigrationParameters;
  readonly statistics: Statistics;
  readonly onPass: (number: number) => void;
  /** Whether the user wants post-copy: passes end at once then, wherever they are. */
  readonly postcopyWanted: () => boolean;
  /** The deadline demands post-copy, which is allowed. */
  readonly wantPostcopy: () => void;
  /** Chooses some of the parameters. */
  readonly auto: AutoMode | undefined;
}

export class RamPasses {
  readonly #options: RamPassesOptions;
  readonly #vm: SourceVm;
  readonly #interrupt: Interrupt;
  readonly #link: SourceLink;
  readonly #disks: DiskPasses | undefined;
  readonly #statistics: Statistics;
  readonly #outlook: RamOutlook;
  readonly #pilot: AutoPilot | undefined;
  readonly #ram: RamSave;
  readonly #pace: GuestPace;
  readonly #ring: SendRing;
  readonly #limiter: RateLimiter;
  #logging = false;
  #pass = 0;
  #pagesSent = 0;
  #lastTurnNs = 0;
  #lookedNs = 0;

  constructor(options: RamPassesOptions) {
    const { vm, clock, kernels } = options;
    this.#options = options;
    this.#vm = vm;
    this.#interrupt = options.interrupt;
    this.#link = options.link;
    this.#disks = options.disks;
    this.#statistics = options.statistics;
    this.#ram = new RamSave(kernels, vm.layout);
    const diskBytes = (): number => this.#disks?.remaining ?? 0;
    this.#outlook = new RamOutlook(options.bandwidth, options.parameters, vm.layout.pages, diskBytes);
    this.#pace = new GuestPace({ ...options, outlook: this.#outlook });
    const { auto } = options;
    if (auto !== undefined) {
      const parts = { ...options, auto, ram: this.#ram, outlook: this.#outlook, pace: this.#pace };
      this.#pilot = new AutoPilot({ ...parts, setCache: () => this.#setCache() });
    }
    this.#ring = new SendRing(ramSlots(vm.layout.scratch));
    this.#limiter = new RateLimiter(clock, options.parameters().maxBandwidth);
  }

  /** Passes so far, and pages in all of them. */
  get counts(): { passes: number; pages: number } {
    return { passes: this.#pass, pages: this.#pagesSent };
  }

  /** Takes over a change of `parameters()`. @throws GodwitError kind "usage" if there is no memory for the cache. */
  parametersChanged(): void {
    const { maxBandwidth } = this.#options.parameters();
    this.#limiter.setRate(maxBandwidth);
    if (this.#logging) this.#setCache();
  }

  /** Looks again at `postcopyWanted`. */
  wake(): void {
    this.#limiter.wake();
  }

  /**
   * Passes over memory while the guest runs, until the rest fits the pause limit, the deadline demands that it is stopped,
   * or post-copy is wanted.
   * @param stateBytes what a device state takes in the stream.
   */
  async iterate(stateBytes: number): Promise<'converged' | 'postcopy'> {
    const statistics = this.#statistics;
    this.#logging = true;
    await this.#vm.startDirtyLog();
    await this.#disks?.start();
    let lastSyncNs = this.#now();
    this.#pace.begin();
    this.#pilot?.begin();
    this.#ram.markAll(this.#vm.untouched?.());
    this.#setCache();
    this.#outlook.stateBytes = stateBytes;
    // How much of memory is zero, before the first pass finds out.
    const sampleNs = this.#now();
    const sample = this.#ram.sample(SAMPLE);
    this.#outlook.synced(0, sample, this.#now() - sampleNs, 0);
    statistics.remainingPages = this.#ram.remaining;
    statistics.forecast = () => {
      const { remaining, remainingAndDirty } = this.#ram;
      return this.#outlook.forecast(remaining, remainingAndDirty, this.#ram.dirty);
    };
    statistics.setupDone();
    let more: 'pass' | 'sprint' | undefined;
    for (;;) {
      const startNs = this.#now();
      const before = this.#ram.remaining;
      const pass = await this.#sendPass(false, more === 'sprint');
      const durationMs = (this.#now() - startNs) / 1e6;
      const wait = MIN_PASS_MS - durationMs;
      const written = this.#ram.dirty;
      const dirtyNs = this.#now() - lastSyncNs;
      lastSyncNs = this.#now();
      const rate = dirtyNs > 0 ? (written / dirtyNs) * 1e9 : 0;
      if (pass.cut === 'postcopy') {
        this.#recordPass(pass, durationMs, rate);
        return 'postcopy';
      }
      this.#pace.passed(durationMs, pass.bytes, written);
      this.#pilot?.passed();
      let decision = await this.#sync(rate);
      statistics.dirtyPagesRate = rate;
      this.#recordPass(pass, durationMs, rate);
      // What a sprint leaves is stopped for: it has no more to send before a wait.
      more = more === 'sprint' ? undefined : this.#more(before, pass, decision, rate);
      if (more !== undefined) continue;
      decision = this.#pilot?.choose(this.#pass, decision, pass.counts) ?? decision;
      if (decision.converged || pass.cut === 'deadline') return 'converged';
      await this.#pace.adjust(this.#ram.remaining);
      if (wait > 0 && this.#pass > HURRIED_PASSES) await this.#interrupt.sleep(wait);
    }
  }

  /**
   * Sends all that is left of a guest that stands still.
   * @param startNs when the pause began.
   * @param synced whether the dirty log has been, since.
   */
  async finalPass(startNs: number, synced: boolean): Promise<FinalPass> {
    if (!synced) await this.#vm.syncDirtyLog();
    this.#interrupt.check();
    const pendingPages = this.#ram.count();
    this.#disks?.collect();
    this.#statistics.synced(pendingPages);
    const pass = await this.#sendPass(true);
    const durationMs = (this.#now() - startNs) / 1e6;
    return { ended: pass.ended, record: () => this.#recordPass(pass, durationMs, 0) };
  }

  /** What a guest that stands still has not been sent is pending after this. @param synced whether the log has been, since. */
  async syncLast(synced: boolean): Promise<void> {
    if (!synced) await this.#vm.syncDirtyLog();
    this.#interrupt.check();
    this.#statistics.dirtySyncCount++;
  }

  /** Nothing is pending any more. */
  clear(): void {
    this.#ram.clear();
  }

  /** The guest may run as before. Never rejects; returns why it failed, if it did. */
  lift(): Promise<string | undefined> {
    return this.#pace.lift();
  }

  /** Turns the dirty log off. Never rejects; returns why it failed, if it did. */
  async stopLogging(): Promise<string | undefined> {
    if (!this.#logging) return undefined;
    try {
      await this.#vm.stopDirtyLog();
      this.#logging = false;
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /**
   * Sends all that is pending, as one pass, and waits until the destination has it (but not after the final one, nor if
   * post-copy breaks it off).
   * @param sprint whether it is broken off where it would have to wait for the cap.
   */
  async #sendPass(final: boolean, sprint = false): Promise<PassResult> {
    const statistics = this.#statistics;
    const link = this.#link;
    const number = ++this.#pass;
    const firstByte = link.bytes;
    const firstDiskByte = statistics.disk.transferred;
    const counts = noPages();
    let ramLeft = true;
    this.#ram.beginPass(number, final);
    let cut: PassResult['cut'];
    const result = (why: PassResult['cut'], ended = Promise.resolve()): PassResult => ({
      ended,
      counts,
      bytes: link.bytes - firstByte,
      diskBytes: statistics.disk.transferred - firstDiskByte,
      cut: why,
    });
    this.#disks?.beginPass(number);
    for (;;) {
      this.#interrupt.check();
      const step = final ? undefined : await this.#pace.look(() => this.#ram.remainingAndDirty);
      if (step === 'pause') cut = 'deadline';
      else if (!final && this.#isFutile()) cut = 'futile';
      else if (sprint && this.#limiter.room === 0) cut = 'spent';
      if (cut !== undefined) break;
      if (step === 'postcopy') this.#options.wantPostcopy();
      const waitedNs = final ? 0 : await this.#limiter.ready(this.#interrupt, this.#options.postcopyWanted);
      if (!final && this.#options.postcopyWanted()) {
        await this.#closeDisks();
        await link.guard(this.#ring.drain(), 'take more data');
        return result('postcopy');
      }
      const startNs = this.#now();
      if (!ramLeft) await this.#waitForDisks();
      if (ramLeft ? this.#disks?.due : this.#disks?.ready) {
        await this.#sendDisk(final, startNs, waitedNs);
        continue;
      }
      if (!ramLeft) break;
      const slot = await link.guard(this.#ring.acquire(), 'take more data');
      const packNs = this.#now();
      const payload = this.#ram.pack(slot, this.#frameOfPages(final));
      if (payload === undefined) {
        this.#ring.release(slot);
        ramLeft = false;
        continue;
      }
      const { pieces, pages } = payload;
      addPages(counts, pages);
      this.#outlook.packed(pages, this.#now() - packNs, counts, number === 1);
      statistics.packed(pages);
      statistics.remainingPages = this.#ram.remaining;
      if (pieces.length === 0) this.#ring.release(slot);
      else this.#ring.submit(slot, link.submit('ram', pieces));
      const bytes = pieces.length === 0 ? 0 : FrameWriter.size(sizeOf(pieces));
      if (!final) this.#limiter.charge(bytes);
      this.#disks?.credit(bytes);
      await this.#turn();
      const count = sentPages(pages) + pages.equal;
      // What only announces pages says nothing about the link.
      link.sent(bytes, count, startNs, waitedNs, count > 0 && isBulky(bytes, count));
      // Not while the time is taken that sending needs: that is what the pause is reckoned with.
      if (!final) await this.#pilot?.look(number);
    }
    const startNs = this.#now();
    const before = link.bytes;
    await this.#closeDisks();
    const bulky = isBulky(before - firstByte, sentPages(counts) + counts.equal);
    const [pages, zeroPages] = [sentPages(counts), counts.zero];
    await link.guard(this.#ring.drain(), 'take more data');
    await link.endPass(number);
    const ended = link.send('pass', encodeMessage('pass', { number, pages, zeroPages, final }), false);
    ended.catch(() => {});
    if (!final) {
      await ended;
      await this.#confirmed(number);
    }
    link.sent(link.bytes - before, 0, startNs, 0, bulky);
    this.#pagesSent += pages;
    return result(cut, ended);
  }

  /**
   * What a guest that could be stopped now runs on for, because that will make the pause shorter: another pass, or what of one
   * can be sent without a wait.
   * @param pending pages before the last pass.
   * @param dirtyPagesPerSecond during it.
   */
  #more(
    pending: number,
    { counts }: PassResult,
    decision: Decision,
    dirtyPagesPerSecond: number,
  ): 'pass' | 'sprint' | undefined {
    // What is zero is not known before the first pass has seen it.
    const before = this.#pass === 1 ? counts.whole + counts.delta + counts.equal : pending;
    const { deadlineMs, downtimeLimitMs } = this.#options.parameters();
    if (!decision.converged || deadlineMs > 0 || this.#disks !== undefined) return undefined;
    // What is slowed down for the migration's sake is not to be slow any longer.
    if (this.#statistics.throttle > 0) return undefined;
    const dirtyBytes = dirtyPagesPerSecond * this.#outlook.mix.bytesPerPage;
    const another = isWorthAnotherPass(decision, before, this.#ram.remaining);
    if (!another && !isWorthSprinting(decision, this.#limiter.room, dirtyBytes)) return undefined;
    const pause = `expected pause ${Math.round(decision.expectedDowntimeMs)} ms of ${downtimeLimitMs} ms`;
    const why = another
      ? 'and passes get shorter: one more'
      : 'and the bandwidth limit leaves room: that much goes first';
    this.#statistics.decided(`pass ${this.#pass}: ${pause}, ${why}`);
    return another ? 'pass' : 'sprint';
  }

  /**
   * Whether the guest might as well be stopped now: what is pending fits the pause, and nearly all of it has been written
   * again already, so that the rest of the pass would hardly make it less.
   */
  #isFutile(): boolean {
    const now = this.#now();
    const bandwidth = this.#options.bandwidth.shown;
    if (now - this.#lookedNs < LOOK_NS || bandwidth === undefined || this.#disks?.remaining) return false;
    this.#lookedNs = now;
    const { dirty, remainingAndDirty } = this.#ram;
    return (
      dirty >= FUTILE * remainingAndDirty &&
      this.#outlook.decide(remainingAndDirty, 0, { bandwidth }).converged
    );
  }

  /** Ends the pass of disks: sends what was begun. */
  async #closeDisks(): Promise<void> {
    const disks = this.#disks;
    if (disks === undefined) return;
    disks.closePass();
    while (disks.more) {
      this.#interrupt.check();
      await this.#waitForDisks();
      if (disks.ready) await this.#sendDisk(true, this.#now(), 0);
    }
    await this.#link.guard(disks.drain(), 'take more data');
  }

  /** Until a disk's next frame has been read, or there is none. */
  async #waitForDisks(): Promise<void> {
    if (this.#disks !== undefined) await this.#interrupt.guard(this.#disks.next());
  }

  /** Sends the frame of a disk that is ready. */
  async #sendDisk(final: boolean, startNs: number, waitedNs: number): Promise<void> {
    const bytes = (this.#disks as DiskPasses).submit();
    if (!final) this.#limiter.charge(bytes);
    await this.#turn();
    this.#link.sent(bytes, 0, startNs, waitedNs);
  }

  /** Waits until the destination has all of pass `number`. To a file, there is nothing to wait for. */
  async #confirmed(number: number): Promise<void> {
    const answer = await this.#link.expect('passed', 'confirm a pass');
    if (answer === undefined) return;
    const passed = decodeMessage('passed', answer.payload, answer.offset).number;
    if (passed !== number) {
      throw GodwitError.unexpected(
        'format',
        'frame "passed", number',
        `${number}`,
        `${passed}`,
        answer.offset,
      );
    }
  }

  /**
   * Syncs the dirty log. Returns whether the guest can be stopped now, and for how long that would be.
   * @param dirtyPagesPerSecond since the sync before.
   */
  async #sync(dirtyPagesPerSecond: number): Promise<Decision> {
    const startNs = this.#now();
    await this.#vm.syncDirtyLog();
    this.#interrupt.check();
    const syncMs = (this.#now() - startNs) / 1e6;
    const pendingPages = this.#ram.count();
    this.#disks?.collect();
    this.#statistics.synced(pendingPages);
    const sampleNs = this.#now();
    const sample = this.#ram.sample(SAMPLE);
    this.#outlook.synced(syncMs, sample, this.#now() - sampleNs, dirtyPagesPerSecond);
    this.#pace.begin();
    this.#pilot?.begin();
    const decision = this.#outlook.decide(pendingPages);
    const bandwidth = this.#options.bandwidth.forPause;
    if (!decision.converged && bandwidth !== undefined) await this.#disks?.restrain(bandwidth);
    return decision;
  }

  #setCache(): void {
    const { xbzrle, xbzrleCacheSize } = this.#options.parameters();
    this.#ram.setCacheSize(xbzrle ? xbzrleCacheSize : 0);
    this.#statistics.xbzrle(xbzrle ? xbzrleCacheSize : 0);
  }

  #recordPass(
    { counts, bytes, diskBytes, cut }: PassResult,
    durationMs: number,
    dirtyPagesPerSecond: number,
  ): void {
    const { passes } = this.#statistics;
    if (passes.length === MAX_HISTORY) passes.shift();
    passes.push({
      number: this.#pass,
      durationMs,
      pages: sentPages(counts),
      zeroPages: counts.zero,
      deltaPages: counts.delta,
      bytes,
      wholeBytes: counts.whole * PAGE_SIZE,
      deltaBytes: counts.deltaBytes,
      diskBytes,
      dirtyPagesPerSecond,
    });
    // One that was broken off has ended without a sync, and is not told.
    if (cut !== 'postcopy') this.#options.onPass(this.#pass);
  }

  /** Pages in a frame: fewer if the cap is so low that a full frame would overdraw it. The final pass has no cap. */
  #frameOfPages(final: boolean): number {
    const bandwidth = this.#options.bandwidth.early ?? 0;
    const brisk = Math.floor((bandwidth * FRAME_NS) / 1e9 / PAGE_SIZE);
    const pages = Math.min(Math.max(brisk, COMMON_DATA_PAGES), MAX_DATA_PAGES);
    return final ? pages : Math.max(1, Math.min(pages, Math.floor(this.#limiter.budget / PAGE_SIZE)));
  }

  async #turn(): Promise<void> {
    if (this.#disks?.reading !== true && this.#now() - this.#lastTurnNs < TURN_NS) return;
    await this.#options.timers.turn();
    this.#lastTurnNs = this.#now();
  }

  #now(): number {
    return this.#options.clock.nowNs();
  }
}
