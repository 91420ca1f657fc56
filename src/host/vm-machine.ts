/**
 * A VM's machine and what it is doing: the machine's thread, the run state and the events. What runs the guest, halts it
 * or resets it for a reason that lies in the machine or the guest is here; monitors, debuggers (`vm.ts`) and migrations
 * (`vm-migration.ts`) bring theirs.
 */
import { isDeepStrictEqual } from 'node:util';
import { MessageChannel, type Worker } from 'node:worker_threads';
import type { Accelerator } from '../cpu/accelerator.ts';
import type { Translation } from '../cpu/jit/translation.ts';
import type { BackendFacts } from '../devices/model.ts';
import { errorMessage, GodwitError } from '../error.ts';
import { type BootContents, installBoot } from '../machine/boot-contents.ts';
import type { MachinePlan } from '../machine/configuration.ts';
import { machineLayout } from '../machine/machine-layout.ts';
import type { DebugStop, RunPlan } from '../machine/turns.ts';
import { createSharedMemory } from '../memory/layout.ts';
import type { BlockIoStatus } from '../monitor/block.ts';
import type { MonitorEvent, RunState, ShutdownCause } from '../monitor/target.ts';
import { Attention } from './attention.ts';
import type { BlockError } from './block-file.ts';
import { type Drive, driveFacts } from './drive.ts';
import type { FilterDumpSpec } from './filter-dump.ts';
import type { Log } from './log.ts';
import type { LogTarget, MachineApi, MachineListener } from './machine-api.ts';
import { migrationBlockers } from './migration-blockers.ts';
import type { MachineHandle } from './migration-thread.ts';
import { type NetdevSpec, netdevFacts } from './netdev.ts';
import { prepareNetdevs } from './netdev-open.ts';
import type { RtcOptions } from './real-time.ts';
import { type Connection, connect, type Remote } from './rpc.ts';
import { removeAtExit } from './socket-open.ts';
import { startThread } from './threads.ts';
import type { TlsCredentials } from './tls-credentials.ts';
import { TranslationKeeper } from './translation-keeper.ts';

export interface VmOptions {
  readonly name?: string;
  /** Where the guest's serial output goes. */
  readonly console: (bytes: Uint8Array) => void;
  /** -S: do not run until `cont`. */
  readonly startPaused: boolean;
  /** A guest that asks for a reset ends the VM. */
  readonly noReboot: boolean;
  /** A guest that switches off leaves the VM stopped, for a look at it. */
  readonly noShutdown: boolean;
  /** The disk images that its machine's devices name. */
  readonly drives?: readonly Drive[];
  /** -object tls-creds-…: what the parameter `tls-creds` can name. */
  readonly tlsCredentials?: readonly TlsCredentials[];
  readonly log: Log;
  /** -accel: how guest code is run. */
  readonly accel: Accelerator;
  /** Keep translations in the user's cache folder; not by default. */
  readonly keepTranslations?: boolean;
  /** -icount: 2^icount ns of virtual time an instruction. */
  readonly icount?: number;
  /** -rtc. */
  readonly rtc?: RtcOptions;
  /** -only-migratable: what could not be moved is refused at once. */
  readonly onlyMigratable?: boolean;
  /** Something that the user should know, and that ends nothing: one line. */
  readonly onWarning?: (text: string) => void;
  /** The VM is over; the process is to end with this status. `reason` is for the user, if it was no ordinary end. */
  readonly onEnd: (status: number, reason?: string) => void;
}

/** The machine, once it has been built in its thread. */
export interface BuiltMachine {
  readonly configuration: MachinePlan;
  readonly memory: WebAssembly.Memory;
  readonly attention: Attention;
}

/** Told of each change of the run state, and what stopped the machine if that was a debugger's. */
export type RunStateWatcher = (state: RunState, stop: DebugStop | undefined) => void;

export class VmMachine {
  readonly options: VmOptions;
  readonly #listeners = new Set<(event: MonitorEvent) => void>();
  readonly #watchers = new Set<RunStateWatcher>();
  #state: RunState = 'prelaunch';
  /** Why the machine stopped by itself, until it runs again. */
  #debugStop: DebugStop | undefined;
  /** What a debugger lets each hart do. */
  #plan: RunPlan | undefined;
  /** The thread starts with the VM, which has its machine a little later. */
  readonly #thread: { readonly worker: Worker; readonly connection: Connection<MachineApi> };
  #built: BuiltMachine | undefined;
  #anticipated: Promise<BuiltMachine> | undefined;
  /** Input that came before there was a guest for it; undefined from then on. */
  #earlyInput: Uint8Array[] | undefined = [];
  #drives: readonly Drive[];
  #netdevs: readonly NetdevSpec[] = [];
  #lastChange: Promise<unknown> = Promise.resolve();
  /** The errors for which the VM stopped, by the drive's id. */
  readonly ioStatus = new Map<string, BlockIoStatus>();
  #ended = false;
  #keeper: TranslationKeeper | undefined;

  constructor(options: VmOptions) {
    this.options = options;
    this.#drives = options.drives ?? [];
    const worker = this.startThread('machine-thread');
    const listener: MachineListener = {
      console: (bytes) => options.console(bytes),
      poweredOff: (code) => this.end(code, code === 0 ? 'guest-shutdown' : 'guest-panic', true),
      resetRequested: () => void this.#guestReset().catch(() => {}),
      guestError: (line) => options.log.line('guest_errors', line),
      blockError: (error) => this.#blockError(error),
      netdevConnected: (id, addr) =>
        this.publish({ event: 'NETDEV_STREAM_CONNECTED', data: { 'netdev-id': id, addr } }),
      netdevDisconnected: (id) =>
        this.publish({ event: 'NETDEV_STREAM_DISCONNECTED', data: { 'netdev-id': id } }),
      debugStopped: (stop) => this.#debugStopped(stop),
      translated: (file, translation, module) => this.#keep(file, translation, module),
    };
    const ring = (): void => this.#built?.attention.ring();
    this.#thread = { worker, connection: connect<MachineApi>(worker, listener, { ring }) };
  }

  /** The machine's thread, whether or not it has a machine. */
  get thread(): Remote<MachineApi> {
    return this.#thread.connection.remote;
  }

  /** The machine's thread. @throws GodwitError kind 'state' while it has no machine. */
  get remote(): Remote<MachineApi> {
    if (this.#built === undefined) throw new GodwitError('state', 'there is no machine yet');
    return this.thread;
  }

  get built(): BuiltMachine | undefined {
    return this.#built;
  }

  get drives(): readonly Drive[] {
    return this.#drives;
  }

  /** What devices can find on this host by an id. */
  get backends(): BackendFacts[] {
    return [...this.drives.map(driveFacts), ...this.#netdevs.map(netdevFacts)];
  }

  /**
   * Builds a machine that will probably arrive, while there is time. Another one can still be built in its place, so one with
   * back ends, which could be left in two hands, is not built before it is there.
   */
  anticipate(plan: MachinePlan): void {
    if (this.backends.length > 0) return;
    const building = this.#construct(plan, undefined, []).then(async (built) => {
      await this.thread.rehearse();
      return built;
    });
    this.#anticipated = building;
    // It will fail again when it counts.
    building.catch(() => {});
  }

  /** @param boot absent at a destination. @param drives with the images of an incoming guest among them. */
  async build(
    configuration: MachinePlan,
    boot?: BootContents,
    drives: readonly Drive[] = this.#drives,
  ): Promise<BuiltMachine> {
    const [blocker] = migrationBlockers(drives, configuration.devices);
    if (this.options.onlyMigratable === true && blocker !== undefined) {
      throw new GodwitError('usage', `disallowing migration blocker (--only-migratable) for: ${blocker}`);
    }
    const early = await this.#takeAnticipated(configuration);
    this.#built = early ?? (await this.#construct(configuration, boot, drives));
    this.#drives = drives;
    if (boot === undefined) this.thread.expectGuest().catch(() => {});
    return this.#built;
  }

  /** The machine that was built beforehand, if it is this one. */
  async #takeAnticipated(configuration: MachinePlan): Promise<BuiltMachine | undefined> {
    const anticipated = this.#anticipated;
    this.#anticipated = undefined;
    const built = await anticipated?.catch(() => undefined);
    if (built === undefined || !isSameMachine(built.configuration, configuration)) return undefined;
    // It may have changed meanwhile.
    await this.thread.setLog(this.#logTarget);
    return { ...built, configuration };
  }

  async #construct(
    configuration: MachinePlan,
    boot: BootContents | undefined,
    drives: readonly Drive[],
  ): Promise<BuiltMachine> {
    const { accel, keepTranslations, rtc, icount } = this.options;
    const layout = machineLayout(configuration);
    const memory = createSharedMemory(layout);
    const building = this.thread.build({
      configuration,
      memory,
      log: this.#logTarget,
      drives,
      accel,
      keepTranslations: keepTranslations ?? false,
      rtc: rtc ?? {},
      ...(icount === undefined ? {} : { icount }),
    });
    // Files are read while the machine's thread is at work.
    const reading = async (): Promise<void> => boot && installBoot({ memory, layout }, boot);
    await Promise.all([building, reading()]);
    if (boot !== undefined) await this.thread.reset();
    return { configuration, memory, attention: new Attention(memory, layout) };
  }

  /** A way to the machine's thread for another thread. */
  handle({ configuration, memory }: BuiltMachine): MachineHandle {
    const { port1, port2 } = new MessageChannel();
    this.thread.attach(port1).catch(() => {});
    return { configuration, memory, port: port2 };
  }

  /**
   * Opens network back ends and packet dumps, before there is a machine.
   * @throws GodwitError kind 'transport' or 'file'.
   */
  async openNetworks(netdevs: readonly NetdevSpec[], dumps: readonly FilterDumpSpec[]): Promise<void> {
    if (netdevs.length === 0) return;
    const prepared = await prepareNetdevs(netdevs);
    await this.thread.openNetworks({ netdevs: prepared, dumps });
    this.#netdevs = prepared;
    // The machine's thread ends without a word: its socket files go with this one.
    for (const spec of prepared) {
      if ('server' in spec && spec.server && spec.address.kind === 'unix') removeAtExit(spec.address.path);
    }
  }

  /** Starts one of the VM's threads, whose failure is the VM's end. */
  startThread(name: string): Worker {
    const worker = startThread(name);
    worker.on('error', (error) => this.options.onEnd(1, `the ${name} failed: ${errorMessage(error)}`));
    return worker;
  }

  /** Bytes for the guest's serial port; they wait until there is a guest. */
  input(bytes: Uint8Array): void {
    if (this.#earlyInput === undefined) void this.thread.input(bytes).catch(() => {});
    else this.#earlyInput.push(bytes);
  }

  /** The guest is there: a reset or a state that arrives takes nothing of its input away any more. */
  acceptInput(): void {
    const early = this.#earlyInput ?? [];
    this.#earlyInput = undefined;
    for (const bytes of early) this.input(bytes);
  }

  async updateLog(): Promise<void> {
    if (this.#built !== undefined) await this.thread.setLog(this.#logTarget);
  }

  get #logTarget(): LogTarget {
    const { fd, items } = this.options.log;
    return { fd, items };
  }

  // --- run state

  get state(): RunState {
    return this.#state;
  }

  set state(state: RunState) {
    if (state === this.#state) return;
    this.#state = state;
    for (const watcher of this.#watchers) watcher(state, this.#debugStop);
  }

  /** Whether a debugger's breakpoint, watchpoint or step is why the machine stands still. */
  get stoppedByDebugger(): boolean {
    return this.#debugStop !== undefined;
  }

  /**
   * Makes a change of the run state that somebody asks for: one after another, so that each finds what the one before
   * has left. `change` must not wait for another one.
   */
  inTurn<T>(change: () => Promise<T>): Promise<T> {
    const changed = this.#lastChange.then(change);
    this.#lastChange = changed.catch(() => {});
    return changed;
  }

  /** Tells of every change of the run state. Returns the function that ends it. */
  watchState(watcher: RunStateWatcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** @param plan what a debugger lets each hart do. */
  async run(plan?: RunPlan): Promise<void> {
    this.ioStatus.clear();
    this.#debugStop = undefined;
    this.#plan = plan;
    await this.thread.start(plan);
    this.state = 'running';
    this.publish({ event: 'RESUME' });
  }

  /** Runs on as before the last stop. */
  runOn(): Promise<void> {
    return this.run(this.#plan);
  }

  /**
   * Stops the machine. Resolves with the state that this ended: not 'running' if somebody else has stopped it, too.
   * If a disk could not be flushed, that is told when all the rest has been done.
   * @param stop what stops it.
   */
  async halt(state: RunState, stop: () => Promise<unknown> = () => this.thread.stop()): Promise<RunState> {
    let found = this.#state;
    try {
      await stop();
    } finally {
      found = this.#state;
      // Of two that stop it at once, what the other one did it for may count more.
      if (found === 'running' || (state !== 'debug' && found !== 'finish-migrate')) this.state = state;
      if (found === 'running') this.publish({ event: 'STOP' });
    }
    return found;
  }

  #debugStopped(stop: DebugStop): void {
    this.#debugStop = stop;
    if (this.#state === 'running') void this.halt('debug').catch(() => {});
  }

  async reset(data: { guest: boolean; reason: ShutdownCause }): Promise<void> {
    if (this.#built !== undefined) await this.thread.reset();
    if (['paused', 'debug', 'shutdown'].includes(this.#state)) this.state = 'prelaunch';
    this.options.log.line('cpu_reset', `reset: ${data.reason}`);
    this.publish({ event: 'RESET', data });
  }

  async #guestReset(): Promise<void> {
    if (this.options.noReboot) this.end(0, 'guest-reset', true);
    else await this.reset({ guest: true, reason: 'guest-reset' });
  }

  #blockError({ device, operation, action, nospace, reason }: BlockError): void {
    this.publish({ event: 'BLOCK_IO_ERROR', data: { device, operation, action, nospace, reason } });
    if (action === 'stop') this.ioStatus.set(device, nospace ? 'nospace' : 'failed');
    // Who stopped it meanwhile, finds the request tried again when it goes on.
    if (action === 'stop' && this.#state === 'running') void this.halt('io-error').catch(() => {});
  }

  #keep(file: string, translation: Translation, module: WebAssembly.Module): void {
    if (this.#built === undefined) return;
    this.#keeper ??= new TranslationKeeper(file, this.#built.memory);
    this.#keeper.add(translation, module);
  }

  /** Those that V8 has optimized are there for other machines. */
  saveTranslations(): void {
    this.#keeper?.save();
  }

  // --- events

  publish(event: MonitorEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** Tells of every event, in order. Returns the function that ends it. */
  subscribe(listener: (event: MonitorEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // --- the end

  /** Whether the VM is over. */
  get ended(): boolean {
    return this.#ended;
  }

  /** @param guest whether it was the guest's wish, which a user may want to look at. */
  end(status: number, reason: ShutdownCause, guest: boolean): void {
    if (this.#ended) return;
    this.publish({ event: 'SHUTDOWN', data: { guest, reason } });
    if (guest && this.options.noShutdown) void this.halt('shutdown').catch(() => {});
    else this.endWithoutWord(status);
  }

  /** @param why for the user. */
  endWithoutWord(status: number, why?: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.options.onEnd(status, why);
  }

  /** Ends the thread. */
  async close(): Promise<void> {
    this.#ended = true;
    this.saveTranslations();
    this.#thread.connection.close(new GodwitError('state', 'the VM is shut down'));
    await this.#thread.worker.terminate();
  }
}

/** Whether two machines are built alike: whatever else they are called by. */
function isSameMachine(one: MachinePlan, other: MachinePlan): boolean {
  const shape = ({ uuid: _, rom, boot, ...rest }: MachinePlan) => ({
    ...rest,
    rom: rom.size,
    boot: boot.size,
  });
  return isDeepStrictEqual(shape(one), shape(other));
}
