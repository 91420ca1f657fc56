/**
 * The machine thread: runs the machine in bursts and, between them, serves calls from the other threads. Every call is
 * therefore at a safe point.
 */
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { type MessagePort, parentPort } from 'node:worker_threads';
import type { Accelerator } from '../cpu/accelerator.ts';
import type { Hart } from '../cpu/hart.ts';
import { GodwitError } from '../error.ts';
import type { MachineCheckpoint } from '../machine/checkpoints.ts';
import { type CodeLines, codeLines } from '../machine/code-dump.ts';
import { MachineDebugger } from '../machine/debugger.ts';
import { DIRTY_LIMIT_PERIOD_MS, type DirtyLimitOwner, type HartDirtyLimit } from '../machine/dirty-limit.ts';
import type { DirtyLogUser, DirtyReport } from '../machine/dirty-tracking.ts';
import { GuestLog } from '../machine/guest-log.ts';
import { jitLines } from '../machine/jit-info.ts';
import { type BurstEnd, Machine } from '../machine/machine.ts';
import { deviceTreeLines, memoryTreeLines } from '../machine/machine-trees.ts';
import { pciLines } from '../machine/pci-info.ts';
import { registerLines, registerValues } from '../machine/register-dump.ts';
import { Rehearsal } from '../machine/rehearsal.ts';
import { translationLines } from '../machine/translation-dump.ts';
import type { RunPlan } from '../machine/turns.ts';
import type { WaitFigures } from '../machine/wait-times.ts';
import type { StreamPlace } from '../migration/frame-reader.ts';
import type { LentConnection } from '../migration/transport.ts';
import type { BlockCounters } from '../monitor/block.ts';
import type { AnnounceParameters } from '../monitor/target.ts';
import { ArrivingState } from './arriving-state.ts';
import { Attention } from './attention.ts';
import { ownThread, yieldBackgroundThreads } from './background-threads.ts';
import { hostClock } from './clock.ts';
import { canKeepCompiled } from './compiled-wasm.ts';
import { deferBackgroundWork, setCompilerFlags } from './compiler-flags.ts';
import { reasonOf } from './drive.ts';
import { LateMemory } from './late-memory.ts';
import { writeLog } from './log.ts';
import type { LogTarget, MachineApi, MachineBlueprint, MachineListener } from './machine-api.ts';
import { MachineDisks } from './machine-disks.ts';
import { MachineNetworks } from './machine-networks.ts';
import { netdevAddress } from './netdev.ts';
import type { NetworkSpecs } from './netdev-open.ts';
import { realTime } from './real-time.ts';
import { connect, type Port, type Told } from './rpc.ts';
import { cacheFile, TranslationCache } from './translation-cache.ts';

/** What this thread runs, and so what makes translations. */
const PROGRAM = fileURLToPath(new URL('./machine-thread.js', import.meta.url));
/** Characters of log that are written at once at the latest. */
const MAX_LOG_TEXT = 64 * 1024;
/** How long a burst may keep calls waiting; one during which the host works for a device is as short as can be. */
const BURST_NS = 2e6;
/** Sleeps shorter than this block the thread: a timer of the event loop is only exact to a millisecond. */
const SHORT_SLEEP_NS = 2e6;
/** How long a thread with networks sleeps between two looks at its sockets. */
const NAP_NS = 0.2e6;
/** How long a machine that waits for its guest runs another one. */
const REHEARSAL_NS = 100e6;

class MachineThread implements MachineApi {
  #machine!: Machine;
  #attention!: Attention;
  #late!: LateMemory;
  readonly #main: Told<MachineListener>;
  #disks = new MachineDisks([], () => {});
  #arriving!: ArrivingState;
  #accel!: Accelerator;
  #kept: TranslationCache | undefined;
  #rehearsal: Rehearsal | undefined;
  readonly #networks = new MachineNetworks();
  #output: number[] = [];
  #log!: GuestLog;
  #logFile = 2;
  /** What the present burst has logged. */
  #logText = '';
  /** Set while the next burst has been asked for, or a timer will ask for it. */
  #scheduled: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;
  #limitTimer: NodeJS.Timeout | undefined;
  #attached: MessagePort | undefined;

  constructor(port: Port) {
    this.#main = connect<MachineListener>(port, this).told;
  }

  async openNetworks(specs: NetworkSpecs): Promise<void> {
    await this.#networks.open(specs, {
      connected: (id, address) => this.#main.netdevConnected(id, netdevAddress(address)),
      disconnected: (id) => this.#main.netdevDisconnected(id),
    });
  }

  build({
    configuration,
    memory,
    accel,
    keepTranslations,
    icount,
    rtc,
    drives,
    log,
  }: MachineBlueprint): void {
    this.#disks = new MachineDisks(drives, (error) => this.#main.blockError(error));
    this.#accel = accel;
    this.#machine = new Machine(configuration, memory, {
      clock: hostClock,
      random: randomBytes,
      accel,
      realTime: realTime(rtc, icount !== undefined),
      ...(icount === undefined ? {} : { icount }),
      ...(keepTranslations && canKeepCompiled
        ? { translations: (machine) => this.#translations(machine) }
        : {}),
      backends: {
        drive: (id) => this.#disks.backend(id),
        netdev: (id) => this.#networks.backend(id),
      },
      transmit: (byte) => this.#output.push(byte),
      guestError: (text) => this.#main.guestError(text),
      powerOff: (code) => this.#later(() => this.#main.poweredOff(code)),
      interrupted: () => this.#schedule(),
      resetRequested: () => this.#later(() => this.#main.resetRequested()),
      debugStopped: (stop) => {
        // At once: the main thread is to know before a stop that it asks for is answered.
        this.#flushOutput();
        this.#main.debugStopped(stop);
      },
    });
    this.#arriving = new ArrivingState(this.#machine);
    this.#networks.watch(this.#machine.cables);
    this.#attention = new Attention(memory, this.#machine.memory.layout);
    this.#late = new LateMemory(this.#machine, () => this.#schedule());
    this.#log = new GuestLog(this.#machine.engine, this.#machine.debug, (text) => this.#logLines(text));
    this.setLog(log);
  }

  #translations(machine: string): TranslationCache | undefined {
    const file = cacheFile(PROGRAM, machine);
    if (file === undefined) return undefined;
    this.#kept = new TranslationCache(file, (...kept) => this.#main.translated(file, ...kept));
    return this.#kept;
  }

  start(plan?: RunPlan): void {
    this.#disks.release();
    this.#machine.start(plan);
    this.#schedule();
  }

  async stop(): Promise<void> {
    this.#machine.stop();
    this.#disks.hold();
    try {
      await this.#machine.drained();
    } catch (error) {
      throw new GodwitError('file', `a disk could not be flushed: ${reasonOf(error)}`, {}, error);
    } finally {
      this.#flushOutput();
    }
  }

  async stopAndSave(): Promise<Uint8Array> {
    await this.stop();
    this.syncDirtyLog();
    return this.saveState();
  }

  async reset(): Promise<void> {
    await this.#late.when(() => this.#machine.reset());
    this.#schedule();
  }

  networks(): string[] {
    return this.#networks.lines();
  }

  setLink(name: string, up: boolean): void {
    this.#networks.setLink(name, up);
  }

  interrupts(): string[] {
    return this.#machine.interrupts.devices.flatMap((device) => device.describe());
  }

  announce(parameters: AnnounceParameters): void {
    this.#networks.announce(parameters);
  }

  jit(): string[] {
    return jitLines(this.#machine.engine);
  }

  pci(): string[] {
    return pciLines(this.#machine.pci.bus);
  }

  memoryTree(): string[] {
    return memoryTreeLines(this.#machine.mappings);
  }

  deviceTree(): string[] {
    return deviceTreeLines(this.#machine.devices, this.#machine.configuration.devices);
  }

  registers(): string[][] {
    return this.#machine.engine.harts.map((hart) => registerLines(hart));
  }

  registerValues(hart: number): Map<string, bigint> {
    return registerValues(this.#hart(hart));
  }

  readMemory(hart: number | undefined, address: bigint, length: number): Promise<Uint8Array> {
    const of = hart === undefined ? undefined : this.#hart(hart);
    return this.#late.look(() => this.#machine.debug.read(of, address, length));
  }

  disassemble(hart: number | undefined, address: bigint, count: number): Promise<CodeLines> {
    const of = hart === undefined ? undefined : this.#hart(hart);
    const { debug } = this.#machine;
    return this.#late.look(() => codeLines((at, length) => debug.read(of, at, length), address, count));
  }

  setLog({ fd, items }: LogTarget): void {
    this.#flushLog();
    this.#logFile = fd;
    this.#log.setItems(items);
  }

  #logLines(text: string): void {
    this.#logText += text;
    if (this.#logText.length > MAX_LOG_TEXT) this.#flushLog();
  }

  #flushLog(): void {
    if (this.#logText !== '') writeLog(this.#logFile, this.#logText);
    this.#logText = '';
  }

  translations(hart: number): Promise<string[]> {
    return this.#late.look(() => translationLines(this.#hart(hart), this.#machine.debug));
  }

  #hart(index: number): Hart {
    return this.#machine.engine.harts[index] as Hart;
  }

  blockStats(): ReadonlyMap<string, BlockCounters> {
    return this.#disks.counters();
  }

  input(bytes: Uint8Array): number {
    return this.#machine.uart.receive(bytes);
  }

  startDirtyLog(user: DirtyLogUser): void {
    this.#machine.dirtyTracking.start(user);
  }

  syncDirtyLog(): void {
    this.#machine.dirtyTracking.collect();
    // So that there is little left to flush when the machine stops.
    this.#disks.flushSoon();
  }

  stopDirtyLog(user: DirtyLogUser): void {
    this.#machine.dirtyTracking.stop(user);
  }

  dirtyReport(): DirtyReport {
    return this.#machine.dirtyTracking.report();
  }

  setThrottle(percentage: number): void {
    const { engine, throttle } = this.#machine;
    throttle.set(
      'migration',
      engine.harts.map(() => percentage / 100),
    );
    this.#schedule();
  }

  setDirtyLimit(owner: DirtyLimitOwner, limit: number | undefined, hart?: number): void {
    const { dirtyLimit } = this.#machine;
    dirtyLimit.set(owner, limit, hart);
    clearInterval(this.#limitTimer);
    if (dirtyLimit.active) this.#limitTimer = setInterval(() => dirtyLimit.look(), DIRTY_LIMIT_PERIOD_MS);
    this.#schedule();
  }

  dirtyLimits(): HartDirtyLimit[] {
    return this.#machine.dirtyLimit.limits();
  }

  startBlockLog(bitmaps: ReadonlyMap<string, Int32Array>): void {
    this.#disks.startLog(bitmaps);
  }

  stopBlockLog(): void {
    this.#disks.stopLog();
  }

  limitBlockWrites(bytesPerSecond: number): void {
    this.#disks.limitWrites(bytesPerSecond);
  }

  saveState(): Uint8Array {
    return this.#machine.saveState();
  }

  rehearse(): void {
    this.#arriving.rehearse();
    const { configuration } = this.#machine;
    this.#rehearsal = new Rehearsal(configuration, this.#accel, hostClock, REHEARSAL_NS);
    const next = (): void => {
      if (this.#rehearsal?.burst(BURST_NS) === true) setImmediate(next);
      else this.#rehearsal = undefined;
    };
    setImmediate(next);
  }

  expectGuest(): void {
    this.#kept?.prepare();
  }

  checkState(state: Uint8Array): void {
    this.#rehearsal = undefined;
    this.#arriving.check(state);
  }

  loadState(state: Uint8Array): void {
    this.#arriving.load(state);
  }

  beginPostcopy(wanted: MessagePort, logged: boolean): void {
    // The migration thread has; this one is to know as well, for the translations that it finds.
    deferBackgroundWork(true);
    this.#late.begin(wanted, logged);
  }

  checkpoint(also: Uint32Array): MachineCheckpoint | undefined {
    return this.#late.checkpoint(also);
  }

  setPostcopyLink(up: boolean): void {
    this.#late.setLink(up);
  }

  fetchPages(connection: LentConnection, from: StreamPlace, confirms: boolean): Promise<void> {
    return this.#late.fetch(connection, from, confirms);
  }

  endFetching(): void {
    this.#late.endFetching();
  }

  waitFigures(): WaitFigures {
    return this.#late.figures();
  }

  endPostcopy(): void {
    this.#late.end();
    deferBackgroundWork(false);
    this.#schedule();
  }

  beginLateDisks(here: ReadonlyMap<string, Int32Array>, wanted: MessagePort): void {
    this.#disks.beginLate(here, wanted);
  }

  endLateDisks(): void {
    this.#disks.endLate();
  }

  systemThread(): number | undefined {
    return ownThread();
  }

  attach(port: MessagePort): void {
    this.#endMigration();
    this.#attached = port;
    connect(port, this);
    // The port closes with the other thread, however that ends.
    port.once('close', () => {
      if (this.#attached === port) this.#endMigration();
    });
  }

  /** Nothing of a migration that is over stays behind. */
  #endMigration(): void {
    this.setThrottle(0);
    this.setDirtyLimit('migration', undefined);
    this.stopDirtyLog('migration');
    this.stopBlockLog();
    this.endFetching();
  }

  attachDebugger(port: MessagePort): void {
    connect(port, new MachineDebugger(this.#machine, (look) => this.#late.look(look)));
  }

  #burst(): void {
    this.#attention.clear();
    const until = hostClock.nowNs() + BURST_NS;
    const end = this.#machine.burst(
      () => this.#attention.rung || this.#machine.busy || this.#late.fetching || hostClock.nowNs() >= until,
    );
    this.#flushOutput();
    this.#networks.flush();
    if (this.#late.poll()) this.#schedule();
    else this.#sleepUntilNext(end);
  }

  #sleepUntilNext(end: BurstEnd): void {
    if (end.kind === 'busy') {
      this.#schedule();
      return;
    }
    if (this.#late.awaited) {
      const timerInNs = end.kind === 'idle' ? (end.timerInNs ?? Infinity) : Infinity;
      this.#attention.sleep(Math.min(this.#napNs, this.#late.napNs, timerInNs) / 1e6);
      this.#schedule();
      return;
    }
    // Halted: a call starts it again.
    if (end.kind === 'halted' || end.timerInNs === undefined) return;
    // What the host does for a device ends with an event, and a thread that sleeps sees none.
    if (end.timerInNs > SHORT_SLEEP_NS || this.#machine.busy) {
      const early = Math.max(Math.floor((end.timerInNs - SHORT_SLEEP_NS / 2) / 1e6), 1);
      this.#timer = setTimeout(() => this.#burst(), Math.min(early, 2 ** 31 - 1));
    } else {
      this.#attention.sleep(Math.min(end.timerInNs, this.#napNs) / 1e6);
      this.#schedule();
    }
  }

  /** How long the thread may sleep at a time: frames, and what the host does for a device, come by themselves. */
  get #napNs(): number {
    return this.#networks.any || this.#machine.busy ? NAP_NS : Infinity;
  }

  /** Asks for a burst after the events that are waiting now. */
  #schedule(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      this.#burst();
    });
  }

  #flushOutput(): void {
    this.#flushLog();
    if (this.#output.length === 0) return;
    this.#main.console(Uint8Array.from(this.#output));
    this.#output = [];
  }

  /** After the burst that is under way, and its output. */
  #later(what: () => void): void {
    setImmediate(what);
  }
}

if (parentPort === null) throw new GodwitError('internal', 'the machine thread was not started as a worker');
setCompilerFlags();
yieldBackgroundThreads();
new MachineThread(parentPort);
