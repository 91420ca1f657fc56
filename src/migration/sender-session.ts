/**
 * The steps of one outgoing migration: each does its part of the protocol and returns when the source may go on.
 * When to take which step, and what to do when one fails, is the sender's business.
 *
 * Calls to the VM are never abandoned half way: an interruption takes effect when they return, so that taking back
 * finds the VM in a known state.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import { Bandwidth } from './bandwidth.ts';
import { decide, EncodingRatio } from './convergence.ts';
import { FrameReader } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import type { Interrupt } from './interrupt.ts';
import { Kernels } from './kernels.ts';
import type { SourceVm } from './migratable-vm.ts';
import type { MigrationParameters } from './parameters.ts';
import { decodeMessage, encodeConfiguration, encodeMessage, type FrameName } from './protocol.ts';
import { RamSave } from './ram-save.ts';
import { MAX_DATA_PAGES } from './ram-stream.ts';
import { RateLimiter } from './rate-limiter.ts';
import { ReturnPath } from './return-path.ts';
import { SendRing } from './send-ring.ts';
import { Statistics } from './statistics.ts';
import type { Timers } from './timers.ts';
import type { Transport } from './transport.ts';

/** How long packing and writing may go on before the other events of the thread get a turn. */
const TURN_NS = 4e6;
/**
 * After so many passes that did not help, a pass takes at least MIN_PASS_MS: what is dirtied faster than the limit
 * allows will not be caught by hurrying, and each sync stops the guest for a moment.
 */
const HURRIED_PASSES = 100;
const MIN_PASS_MS = 10;
/** Passes that are remembered. */
const MAX_HISTORY = 4096;
/** How long a message that only explains may take. */
const COURTESY_MS = 200;

export interface SessionOptions {
  readonly vm: SourceVm;
  readonly open: () => Promise<Transport>;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly interrupt: Interrupt;
  readonly parameters: () => MigrationParameters;
  readonly onPass: (number: number) => void;
}

export class SenderSession {
  readonly #options: SessionOptions;
  readonly #vm: SourceVm;
  readonly #interrupt: Interrupt;
  readonly #bandwidth = new Bandwidth();
  readonly #ratio = new EncodingRatio();
  readonly #kernels: Kernels;
  readonly #ram: RamSave;
  readonly #ring: SendRing;
  readonly #limiter: RateLimiter;
  readonly statistics: Statistics;
  #transport: Transport | undefined;
  #writer: FrameWriter | undefined;
  #returnPath: ReturnPath | undefined;
  #stateBytes = 0;
  #logging = false;
  #stopped = false;
  #goHandedOver = false;
  #pass = 0;
  #pagesSent = 0;
  #lastTurnNs = 0;
  #pauseStartNs = 0;

  constructor(options: SessionOptions) {
    const { vm, clock } = options;
    this.#options = options;
    this.#vm = vm;
    this.#interrupt = options.interrupt;
    this.#kernels = new Kernels(vm.memory, vm.layout.scratch);
    this.#ram = new RamSave(this.#kernels, vm.layout);
    this.#ring = new SendRing(vm.layout.scratch);
    this.#limiter = new RateLimiter(clock, options.parameters().maxBandwidth);
    this.statistics = new Statistics(clock, vm.layout.pages, this.#bandwidth);
  }

  /** Whether the other side may run the guest: "go" was handed to a connection. A file runs nothing. */
  get mayRunElsewhere(): boolean {
    return this.#goHandedOver && this.#transport?.duplex === true;
  }

  /** Takes over a change of `parameters()`. */
  parametersChanged(): void {
    this.#limiter.setRate(this.#options.parameters().maxBandwidth);
  }

  /** Connects, sends the configuration and a first device state, and waits until the destination accepts both. */
  async handshake(): Promise<void> {
    const { vm } = this.#options;
    this.statistics.started();
    // Until there is something to go by: what the user allows, as QEMU shows it.
    this.statistics.expectedDowntimeMs = this.#options.parameters().downtimeLimitMs;
    const transport = await this.#connect();
    const writer = new FrameWriter(transport, this.#kernels, 'forward');
    this.#writer = writer;
    if (transport.duplex) {
      this.#returnPath = new ReturnPath(new FrameReader(transport, 'return'), this.#interrupt);
      void this.#returnPath.listen();
    }
    await this.#send(
      'hello',
      encodeMessage('hello', {
        features: [],
        pageSize: PAGE_SIZE,
        blocks: vm.layout.blocks.map(({ name, size }) => ({ name, size })),
        configuration: encodeConfiguration(vm.configuration),
      }),
    );
    const state = await vm.saveState();
    this.#stateBytes = FrameWriter.size(state.length);
    await this.#send('checkState', state);
    await this.#returnPath?.expect('accepted', this.#patience('accept the machine'));
  }

  /** Passes over memory while the guest runs, until the rest fits the pause limit. */
  async iterate(): Promise<void> {
    const { statistics } = this;
    this.#logging = true;
    await this.#vm.startDirtyLog();
    let lastSyncNs = this.#now();
    this.#ram.markAll();
    statistics.remainingPages = this.#ram.remaining;
    statistics.setupDone();
    for (;;) {
      const startNs = this.#now();
      const pass = await this.#sendPass(false);
      const durationMs = (this.#now() - startNs) / 1e6;
      this.#ratio.passDone(this.#pass, pass.pages, pass.bytes);
      const wait = MIN_PASS_MS - durationMs;
      const converged = await this.#sync();
      const nowNs = this.#now();
      const rate = nowNs > lastSyncNs ? (this.#ram.remaining / (nowNs - lastSyncNs)) * 1e9 : 0;
      lastSyncNs = nowNs;
      statistics.dirtyPagesRate = rate;
      this.#recordPass({ ...pass, durationMs, dirtyPagesPerSecond: rate });
      if (converged) return;
      if (wait > 0 && this.#pass > HURRIED_PASSES) await this.#interrupt.sleep(wait);
    }
  }

  /** Stops the guest and sends all that is left. Returns when the destination has it and is ready. */
  async switchOver(): Promise<void> {
    const { pause } = this.statistics;
    const t0 = this.#now();
    this.#pauseStartNs = t0;
    this.statistics.precopyBytes = this.statistics.transferred;
    this.#stopped = true;
    const running = await this.#vm.stop();
    this.#interrupt.check();
    await this.#sync();
    const pass = await this.#sendPass(true);
    const t1 = this.#now();
    pause.finalPassMs = (t1 - t0) / 1e6;
    this.#recordPass({ ...pass, durationMs: pause.finalPassMs, dirtyPagesPerSecond: 0 });
    const state = await this.#vm.saveState();
    this.#interrupt.check();
    const t2 = this.#now();
    pause.takeStateMs = (t2 - t1) / 1e6;
    await this.#send('state', state);
    await this.#send(
      'end',
      encodeMessage('end', { pagesSent: this.#pagesSent >>> 0, passes: this.#pass, running }),
    );
    const t3 = this.#now();
    pause.sendStateMs = (t3 - t2) / 1e6;
    await this.#returnPath?.expect('ready', this.#patience('get ready'));
    pause.loadAndReadyMs = (this.#now() - t3) / 1e6;
  }

  /** Says "go", and waits until the destination says that it runs, or until the file is on disk. */
  async handOver(): Promise<void> {
    const t0 = this.#now();
    this.#interrupt.check();
    this.#goHandedOver = true;
    await this.#send('go');
    if (this.#returnPath !== undefined) {
      await this.#returnPath.expect('running', this.#patience('say that it runs'));
    } else {
      await this.#transport?.end();
    }
    const now = this.#now();
    this.statistics.pause.resumeMs = (now - t0) / 1e6;
    this.statistics.downtimeMs = (now - this.#pauseStartNs) / 1e6;
  }

  /** The guest is gone: what is left here is cleaned up. Never rejects. */
  async finish(): Promise<void> {
    this.statistics.ended();
    await this.#stopLogging();
    if (this.#transport?.duplex === true) await this.#politely(() => this.#transport?.end());
    this.#transport?.destroy();
  }

  /**
   * Makes everything as it was before: dirty log off, guest on. Never rejects; returns what could not be undone, in
   * words for the user, or undefined.
   */
  async takeBack(reason: GodwitError): Promise<string | undefined> {
    const failures: string[] = [];
    const logFailure = await this.#stopLogging();
    if (logFailure !== undefined) failures.push(`the dirty log could not be stopped: ${logFailure}`);
    if (this.#stopped) {
      try {
        await this.#vm.resume();
        this.#stopped = false;
      } catch (error) {
        failures.push(`the guest could not be resumed: ${error instanceof Error ? error.message : error}`);
      }
    }
    // Only now, with the guest running again, the other side is told. It never runs without "go".
    if (this.#writer?.idle === true && this.#transport?.duplex === true && reason.kind !== 'transport') {
      const writer = this.#writer;
      const message = encodeMessage('abort', { reason: reason.message.slice(0, 1000) });
      await this.#politely(() => writer.send('abort', message));
    }
    this.#transport?.destroy();
    this.#ram.clear();
    this.statistics.ended();
    return failures.length === 0 ? undefined : failures.join('; ');
  }

  /** The other side may run the guest: nothing here may. Never rejects. */
  async leaveStopped(): Promise<void> {
    await this.#stopLogging();
    this.#transport?.destroy();
    this.#ram.clear();
    this.statistics.ended();
  }

  /**
   * Why a step really failed: a link that breaks while we write often has the destination's reason in its other
   * direction.
   */
  async reasonFor(error: GodwitError): Promise<GodwitError> {
    if (error.kind === 'transport' && this.#returnPath !== undefined) {
      try {
        await this.#interrupt.sleep(COURTESY_MS);
      } catch {
        const fired = this.#interrupt.error;
        if (fired?.kind === 'refused') return fired;
      }
    }
    return error;
  }

  async #connect(): Promise<Transport> {
    const opening = this.#options.open();
    try {
      this.#transport = await this.#interrupt.guard(opening, this.#patience('take the connection'));
      return this.#transport;
    } catch (error) {
      // It may still come: nobody wants it then.
      opening.then(
        (late) => late.destroy(),
        () => {},
      );
      throw error;
    }
  }

  /** Sends all that is pending, as one pass, and waits until the destination has it (but not after the final one). */
  async #sendPass(final: boolean): Promise<{ pages: number; zeroPages: number; bytes: number }> {
    const { statistics } = this;
    const writer = this.#connected();
    const number = ++this.#pass;
    const firstByte = writer.bytes;
    let pages = 0;
    let zeroPages = 0;
    this.#ram.beginPass(number);
    for (;;) {
      this.#interrupt.check();
      const waitedNs = final ? 0 : await this.#limiter.ready(this.#interrupt);
      const startNs = this.#now();
      const slot = await this.#interrupt.guard(this.#ring.acquire(), this.#patience('take more data'));
      const payload = this.#ram.pack(slot, final ? MAX_DATA_PAGES : this.#frameOfPages());
      if (payload === undefined) {
        this.#ring.release(slot);
        break;
      }
      this.#ring.submit(slot, writer.sendInPlace('ram', payload.at, payload.length));
      const bytes = FrameWriter.size(payload.length);
      pages += payload.pages;
      zeroPages += payload.zeroPages;
      statistics.duplicate += payload.zeroPages;
      statistics.normal += payload.pages - payload.zeroPages;
      statistics.remainingPages = this.#ram.remaining;
      if (!final) this.#limiter.charge(bytes);
      await this.#turn();
      this.#sent(bytes, payload.pages, startNs, waitedNs);
    }
    const startNs = this.#now();
    const before = writer.bytes;
    await this.#interrupt.guard(this.#ring.drain(), this.#patience('take more data'));
    await this.#send('pass', encodeMessage('pass', { number, pages, zeroPages, final }), false);
    if (!final && this.#returnPath !== undefined) {
      const { payload, offset } = await this.#returnPath.expect('passed', this.#patience('confirm a pass'));
      const passed = decodeMessage('passed', payload, offset).number;
      if (passed !== number) {
        throw GodwitError.unexpected('format', 'frame "passed", number', `${number}`, `${passed}`, offset);
      }
    }
    this.#sent(writer.bytes - before, 0, startNs, 0);
    this.#pagesSent += pages;
    return { pages, zeroPages, bytes: writer.bytes - firstByte };
  }

  /** Syncs the dirty log. Returns whether the guest can be stopped now. */
  async #sync(): Promise<boolean> {
    const { statistics } = this;
    await this.#vm.syncDirtyLog();
    this.#interrupt.check();
    const pendingPages = this.#ram.count();
    statistics.dirtySyncCount++;
    statistics.remainingPages = pendingPages;
    const decision = decide({
      pendingPages,
      bytesPerPage: this.#ratio.bytesPerPage,
      stateBytes: this.#stateBytes,
      bandwidth: this.#bandwidth.forPause,
      downtimeLimitMs: this.#options.parameters().downtimeLimitMs,
    });
    statistics.expectedDowntimeMs = decision.expectedDowntimeMs;
    return decision.converged;
  }

  #recordPass(pass: {
    pages: number;
    zeroPages: number;
    bytes: number;
    durationMs: number;
    dirtyPagesPerSecond: number;
  }): void {
    const { passes } = this.statistics;
    if (passes.length === MAX_HISTORY) passes.shift();
    passes.push({ number: this.#pass, ...pass });
    this.#options.onPass(this.#pass);
  }

  /** Pages in a frame: fewer if the cap is so low that a full frame would overdraw it. */
  #frameOfPages(): number {
    return Math.max(1, Math.min(MAX_DATA_PAGES, Math.floor(this.#limiter.budget / PAGE_SIZE)));
  }

  async #send(type: FrameName, payload?: Uint8Array, account = true): Promise<void> {
    const writer = this.#connected();
    const startNs = this.#now();
    const before = writer.bytes;
    const write = writer.send(type, payload);
    await this.#interrupt.guard(write, this.#patience('take more data'));
    if (account) this.#sent(writer.bytes - before, 0, startNs, 0);
  }

  #sent(bytes: number, pages: number, startNs: number, waitedNs: number): void {
    this.#bandwidth.add(bytes, pages, this.#now() - startNs, waitedNs);
    this.statistics.transferred += bytes;
  }

  async #turn(): Promise<void> {
    if (this.#now() - this.#lastTurnNs < TURN_NS) return;
    await this.#options.timers.turn();
    this.#lastTurnNs = this.#now();
  }

  /** Returns why it failed, if it did. */
  async #stopLogging(): Promise<string | undefined> {
    if (!this.#logging) return undefined;
    try {
      await this.#vm.stopDirtyLog();
      this.#logging = false;
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** Does something that may fail or hang without harm. */
  #politely(what: () => Promise<void> | undefined): Promise<void> {
    return new Promise((resolve) => {
      const forget = this.#options.timers.after(COURTESY_MS, resolve);
      const done = (): void => {
        forget();
        resolve();
      };
      const doing = what();
      if (doing === undefined) done();
      else doing.then(done, done);
    });
  }

  #patience(what: string): { ms: number; what: string } {
    return { ms: this.#options.parameters().stallTimeoutMs, what };
  }

  #connected(): FrameWriter {
    if (this.#writer === undefined) throw new GodwitError('internal', 'migration: not connected');
    return this.#writer;
  }

  #now(): number {
    return this.#options.clock.nowNs();
  }
}
