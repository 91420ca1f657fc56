/**
 * The steps of one outgoing migration: each does its part of the protocol and returns when the source may go on.
 * When to take which step, and what to do when one fails, is the sender's business; what walks over memory is in
 * ram-passes.ts, the connection in source-link.ts.
 *
 * Calls to the VM are never abandoned half way: an interruption takes effect when they return, so that taking back
 * finds the VM in a known state.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import { AutoMode } from './auto-mode.ts';
import { Bandwidth } from './bandwidth.ts';
import { seconds } from './deadline.ts';
import { DiskPasses } from './disk-passes.ts';
import { FrameWriter } from './frame-writer.ts';
import { asGodwitError, Interrupt } from './interrupt.ts';
import { Kernels } from './kernels.ts';
import type { SourceVm } from './migratable-vm.ts';
import type { MigrationParameters } from './parameters.ts';
import { PostcopySource, type PostcopySourceOptions, type ServedLink } from './postcopy-source.ts';
import { encodeConfiguration, encodeMessage, MIGRATION_ID_BYTES } from './protocol.ts';
import { RamPasses } from './ram-passes.ts';
import type { ChannelOptions } from './sender-channels.ts';
import { SourceLink, type SourceLinkOptions } from './source-link.ts';
import { Statistics } from './statistics.ts';
import type { Timers } from './timers.ts';
import type { Transport } from './transport.ts';

export interface SessionOptions {
  readonly vm: SourceVm;
  readonly open: () => Promise<Transport>;
  readonly channels?: ChannelOptions;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly interrupt: Interrupt;
  readonly parameters: () => MigrationParameters;
  readonly onPass: (number: number) => void;
}

export class SenderSession {
  readonly #options: SessionOptions;
  readonly #vm: SourceVm;
  readonly #parts: Omit<SourceLinkOptions, 'open' | 'interrupt'> & Omit<PostcopySourceOptions, 'disks'>;
  #interrupt: Interrupt;
  #link: SourceLink;
  #postcopy: PostcopySource | undefined;
  #postcopyWanted = false;
  readonly #disks: DiskPasses | undefined;
  readonly #ram: RamPasses;
  readonly statistics: Statistics;
  #stateBytes = 0;
  #stopped = false;
  /** The guest's state, if it was taken when it was stopped. */
  #taken: Uint8Array | undefined;
  /** Whether the guest is to run at the destination; fixed when that has been told. */
  #running = false;
  #toldRunning = false;
  #release: (() => void) | undefined;
  #goHandedOver = false;
  #pauseStartNs = 0;

  constructor(options: SessionOptions) {
    const { vm, clock } = options;
    this.#options = options;
    this.#vm = vm;
    this.#interrupt = options.interrupt;
    const { postcopy, postcopyPreempt } = options.parameters();
    if (postcopy && postcopyPreempt) {
      this.#urgentId = crypto.getRandomValues(new Uint8Array(MIGRATION_ID_BYTES));
    }
    const kernels = new Kernels(vm.memory, vm.layout.scratch);
    const bandwidth = new Bandwidth();
    this.statistics = new Statistics(clock, vm.layout.pages, bandwidth);
    const { xbzrle, xbzrleCacheSize, autoConverge } = options.parameters();
    const auto = options.parameters().auto
      ? new AutoMode({ xbzrle, xbzrleCacheSize, autoConverge })
      : undefined;
    const parameters = () => ({ ...options.parameters(), ...auto?.choice });
    const id = crypto.getRandomValues(new Uint8Array(MIGRATION_ID_BYTES));
    const parts = { ...options, parameters, kernels, bandwidth, statistics: this.statistics, id };
    this.#parts = parts;
    this.#link = new SourceLink(parts);
    const ofDisks = { kernels, scratch: vm.layout.scratch, link: this.#link, statistics: this.statistics };
    this.#disks = vm.disks === undefined ? undefined : new DiskPasses(vm.disks, ofDisks);
    this.#ram = new RamPasses({
      ...parts,
      link: this.#link,
      disks: this.#disks,
      auto,
      postcopyWanted: () => this.#postcopyWanted,
      wantPostcopy: () => this.wantPostcopy(),
    });
  }

  /** Whether the other side may run the guest: "go" was handed to a connection. A file runs nothing. */
  get mayRunElsewhere(): boolean {
    return this.#goHandedOver && this.#link.live;
  }

  /** Takes over a change of `parameters()`. */
  parametersChanged(): void {
    this.#ram.parametersChanged();
    this.#postcopy?.parametersChanged();
  }

  /** Names the connection for page requests, if there is to be one. */
  readonly #urgentId: Uint8Array | undefined;

  /** Connects, sends the configuration and a first device state, and waits until the destination accepts both. */
  async handshake(): Promise<void> {
    const { vm } = this.#options;
    await this.#link.connect();
    if (this.#options.parameters().postcopy && !this.#link.duplex) {
      throw new GodwitError('usage', 'post-copy needs a destination that answers: a socket, not a file');
    }
    await this.#link.send(
      'hello',
      encodeMessage('hello', {
        features: this.#features(),
        pageSize: PAGE_SIZE,
        blocks: vm.layout.blocks.map(({ name, size }) => ({ name, size })),
        configuration: encodeConfiguration(vm.configuration),
      }),
    );
    await this.#disks?.announce();
    await this.#disks?.hearDigests();
    await this.#link.announceChannels();
    if (this.#urgentId !== undefined) {
      await this.#link.send('urgent', encodeMessage('urgent', { id: this.#urgentId }));
    }
    const state = await vm.saveState();
    this.#stateBytes = FrameWriter.size(state.length);
    await this.#link.send('checkState', state);
    await this.#link.expect('accepted', 'accept the machine');
    await this.#link.openChannels();
    if (this.#urgentId !== undefined) await this.#link.openUrgent(this.#urgentId);
  }

  #features(): string[] {
    const { postcopy, postcopyRescue, postcopyPreempt, releaseRam, xbzrle, auto } =
      this.#options.parameters();
    return [
      ...(xbzrle || auto ? ['xbzrle'] : []),
      ...(postcopy ? ['postcopy'] : []),
      ...(this.#disks === undefined ? [] : ['disks']),
      ...(postcopy && postcopyRescue ? ['rescue'] : []),
      ...(postcopy && postcopyPreempt ? ['preempt'] : []),
      ...(postcopy && postcopyPreempt && releaseRam ? ['confirm'] : []),
      ...(this.#options.channels === undefined ? [] : ['multifd']),
      ...(this.#disks !== undefined && postcopy ? ['postcopy-disks'] : []),
    ];
  }

  /** Passes over memory while the guest runs, until the rest fits the pause limit, or post-copy is wanted. */
  iterate(): Promise<'converged' | 'postcopy'> {
    return this.#ram.iterate(this.#stateBytes);
  }

  /** Ends the passes: the guest is to run at the destination, whatever is missing there. */
  wantPostcopy(): void {
    this.#postcopyWanted = true;
    this.#ram.wake();
  }

  /** Whether the guest is being stopped, or was, for post-copy. */
  get postcopy(): boolean {
    return this.#postcopyWanted;
  }

  /** Stops the guest: from here on it is not here that it runs on, unless it is taken back. */
  async stopGuest(): Promise<void> {
    this.#pauseStartNs = this.#now();
    this.statistics.stopped();
    this.#stopped = true;
    // While it is held, somebody may yet look into it, and change it.
    const { ran, state } = await this.#vm.stop(!this.#options.parameters().pauseBeforeSwitchover);
    this.#running = ran;
    this.#taken = state;
    this.#interrupt.check();
  }

  /** Waits for `release`. */
  async hold(): Promise<void> {
    const t0 = this.#now();
    await this.#interrupt.guard(
      new Promise<void>((resolve) => {
        this.#release = resolve;
      }),
    );
    this.statistics.pause.heldMs = (this.#now() - t0) / 1e6;
  }

  release(): void {
    this.#release?.();
  }

  /** The guest is to arrive paused. Returns false if it has been told already that it is to run. */
  arrivePaused(): boolean {
    if (this.#running && this.#toldRunning) return false;
    this.#running = false;
    return true;
  }

  /** Sends all that is left of the guest, which stands still. Returns when the destination has it and is ready. */
  async switchOver(): Promise<void> {
    const { pause } = this.statistics;
    const held = (pause.heldMs ?? 0) * 1e6;
    const saved = this.#save();
    this.#vm.takeProcessor?.();
    const pass = await this.#ram.finalPass(this.#pauseStartNs + held, this.#taken !== undefined);
    const t1 = this.#now();
    pause.finalPassMs = (t1 - this.#pauseStartNs - held) / 1e6;
    const state = await saved;
    this.#interrupt.check();
    const t2 = this.#now();
    pause.takeStateMs = (t2 - t1) / 1e6;
    const { pages, passes } = this.#ram.counts;
    this.#toldRunning = true;
    const running = this.#running;
    // In one breath: each write that is waited for wakes both sides once more.
    const sent = Promise.all([
      pass.ended,
      this.#link.send('state', state),
      this.#link.send('end', encodeMessage('end', { pagesSent: pages >>> 0, passes, running })),
    ]);
    pass.record();
    await sent;
    const t3 = this.#now();
    pause.sendStateMs = (t3 - t2) / 1e6;
    await this.#link.expect('ready', 'get ready');
    pause.loadAndReadyMs = (this.#now() - t3) / 1e6;
  }

  /** The state of the guest, which stands still. It does not change any more: it is taken while other things are done. */
  #save(): Promise<Uint8Array> {
    const saved = this.#taken === undefined ? this.#vm.saveState() : Promise.resolve(this.#taken);
    saved.catch(() => {});
    return saved;
  }

  /** Tells the destination what it lacks, and sends the device state. Returns when it is ready to run without the rest. */
  async switchToPostcopy(): Promise<void> {
    const { pause } = this.statistics;
    const held = (pause.heldMs ?? 0) * 1e6;
    const saved = this.#save();
    await this.#ram.syncLast(this.#taken !== undefined);
    const t0 = this.#now();
    pause.finalPassMs = (t0 - this.#pauseStartNs - held) / 1e6;
    const state = await saved;
    this.#interrupt.check();
    const t1 = this.#now();
    pause.takeStateMs = (t1 - t0) / 1e6;
    const { scratch } = this.#vm.layout;
    this.#postcopy = new PostcopySource({
      ...this.#parts,
      disks: this.#disks?.server({ scratch, clock: this.#options.clock }),
    });
    this.#toldRunning = true;
    await this.#postcopy.switchOver(this.#served, state, this.#running);
    const t2 = this.#now();
    pause.sendStateMs = (t2 - t1) / 1e6;
    await this.#link.expect('ready', 'get ready');
    pause.loadAndReadyMs = (this.#now() - t2) / 1e6;
    this.#postcopy.listen(this.#served);
  }

  /** Serves what the destination lacks; returns when it has everything. */
  async serve(): Promise<void> {
    await this.#ram.stopLogging();
    await this.#disks?.endLog();
    await this.#store.serve(this.#served);
  }

  /** Ends the connection, and so what is being done over it. */
  breakLink(reason: GodwitError): void {
    this.#interrupt.fire(reason);
    this.#link.destroy();
  }

  /** Connects again, after the link of a post-copy is gone. */
  async reconnect(open: () => Promise<Transport>): Promise<void> {
    this.#interrupt = new Interrupt(this.#options.timers);
    this.#link = new SourceLink({ ...this.#parts, open, interrupt: this.#interrupt });
    await this.#link.connect();
  }

  /** Learns what the destination has, and lets it go on. */
  async resync(): Promise<void> {
    const started = await this.#store.resume(this.#served);
    if (this.#urgentId !== undefined) await this.#link.openUrgent(this.#urgentId);
    this.#store.listen(this.#served);
    if (started) await this.#link.send('resumed');
    else {
      await this.#link.send('go');
      await this.#link.expect('running', 'say that it runs');
    }
  }

  /** Whether there is something to go on from here, in post-copy. */
  get canRescue(): boolean {
    return this.#postcopy?.rescues === true;
  }

  /** Takes the guest up from the last checkpoint. Never rejects. @returns what the user is to know. */
  async rescue(): Promise<GodwitError> {
    let from = '';
    try {
      const { number, ageMs, state } = await this.#store.rescuePoint();
      const which = number === 0 ? 'the hand-over' : `checkpoint ${number}`;
      from = `from ${which}, ${seconds(ageMs)} ago`;
      await this.#vm.rescue(state);
      this.#stopped = false;
      await this.#ram.stopLogging();
      await this.#ram.lift();
      await this.#disks?.stop();
      this.#ram.clear();
      this.statistics.ended();
      return new GodwitError('transport', `the destination was lost: the guest goes on here ${from}`);
    } catch (error) {
      const { kind, message } = asGodwitError(error);
      return new GodwitError(kind, `the guest could not be taken up here ${from}: ${message}`, {}, error);
    }
  }

  get #served(): ServedLink {
    return { link: this.#link, interrupt: this.#interrupt };
  }

  get #store(): PostcopySource {
    if (this.#postcopy === undefined) throw new GodwitError('internal', 'migration: no post-copy');
    return this.#postcopy;
  }

  /** Says "go", and waits until the destination says that it runs, or until the file is on disk. */
  async handOver(): Promise<void> {
    const t0 = this.#now();
    this.#interrupt.check();
    this.#goHandedOver = true;
    await this.#link.send('go');
    if (this.#link.duplex) await this.#link.expect('running', 'say that it runs');
    else await this.#link.end();
    const now = this.#now();
    this.statistics.pause.resumeMs = (now - t0) / 1e6;
    this.statistics.downtimeMs = (now - this.#pauseStartNs) / 1e6;
    this.statistics.resumedBytes = this.statistics.transferred;
  }

  /** The guest is gone: what is left here is cleaned up. Never rejects. */
  async finish(): Promise<void> {
    await this.#ram.stopLogging();
    await this.#ram.lift();
    await this.#disks?.stop();
    await this.#link.close();
  }

  /**
   * Makes everything as it was before: dirty log off, guest on. Never rejects; returns what could not be undone, in
   * words for the user, or undefined.
   */
  async takeBack(reason: GodwitError): Promise<string | undefined> {
    const failures: string[] = [];
    const logFailure = await this.#ram.stopLogging();
    if (logFailure !== undefined) failures.push(`the dirty log could not be stopped: ${logFailure}`);
    const throttleFailure = await this.#ram.lift();
    if (throttleFailure !== undefined) failures.push(`the throttle could not be lifted: ${throttleFailure}`);
    const diskFailure = await this.#disks?.stop();
    if (diskFailure !== undefined)
      failures.push(`the log of writes to disks could not be stopped: ${diskFailure}`);
    if (this.#stopped) {
      try {
        await this.#vm.resume();
        this.#stopped = false;
      } catch (error) {
        failures.push(`the guest could not be resumed: ${error instanceof Error ? error.message : error}`);
      }
    }
    // Only now, with the guest running again, the other side is told. It never runs without "go".
    await this.#link.abort(reason);
    await this.#disks?.settled();
    this.#ram.clear();
    return failures.length === 0 ? undefined : failures.join('; ');
  }

  /** The other side may run the guest: nothing here may. Never rejects. */
  async leaveStopped(): Promise<void> {
    await this.#ram.stopLogging();
    await this.#ram.lift();
    await this.#disks?.stop();
    this.#link.destroy();
    this.#ram.clear();
  }

  /** Why a step really failed (SourceLink.reasonFor). */
  reasonFor(error: GodwitError): Promise<GodwitError> {
    return this.#link.reasonFor(error);
  }

  #now(): number {
    return this.#options.clock.nowNs();
  }
}
