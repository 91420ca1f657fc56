/**
 * The VM as its process's main thread holds it: run state, events, the machine and the migration thread. This is what
 * monitors drive; it answers whatever the guest or a migration does.
 */

import { MessageChannel, Worker } from 'node:worker_threads';
import type { Accelerator } from '../cpu/accelerator.ts';
import type { BackendFacts } from '../devices/model.ts';
import { errorMessage, GodwitError } from '../error.ts';
import type { BootContents } from '../machine/boot-contents.ts';
import type { CodeLines } from '../machine/code-dump.ts';
import { checkConfiguration, differences, type MachineConfiguration } from '../machine/configuration.ts';
import type { MachineDebugger } from '../machine/debugger.ts';
import { missingBackends } from '../machine/device-configuration.ts';
import { machineLayout } from '../machine/machine.ts';
import type { DebugStop, RunPlan } from '../machine/turns.ts';
import { createSharedMemory } from '../memory/layout.ts';
import type { Configuration } from '../migration/migratable-vm.ts';
import type { MigrationParameters } from '../migration/parameters.ts';
import type { MigrationEvent } from '../migration/sender.ts';
import type { BlockCounters, BlockInfo, BlockIoStatus } from '../monitor/block.ts';
import { topic } from '../monitor/info.ts';
import {
  type Capabilities,
  checkCapabilities,
  checkParameter,
  defaultCapabilities,
  defaultParameters,
  type ParameterName,
  type Parameters,
  type ParameterValue,
} from '../monitor/migration-parameters.ts';
import {
  type AnnounceParameters,
  FINAL_MIGRATION_STATES,
  type InfoTopic,
  type MemoryAddress,
  type MigrateRequest,
  type MigrationInfo,
  type MigrationStatus,
  type MonitorEvent,
  type MonitorTarget,
  type RunState,
  type ShutdownCause,
  type StatusInfo,
} from '../monitor/target.ts';
import { Attention } from './attention.ts';
import type { BlockError } from './block-file.ts';
import { blockInfo, snapshotsInUse } from './block-info.ts';
import { type Drive, driveFacts } from './drive.ts';
import type { FilterDumpSpec } from './filter-dump.ts';
import { LOG_ITEM_LIST, type Log, type LogItem } from './log.ts';
import type { LogTarget, MachineApi, MachineListener } from './machine-thread.ts';
import { saveMemory } from './memory-file.ts';
import { monitorInfo, socketAddress } from './migration-info.ts';
import type { MachineHandle, MigrationApi, MigrationListener } from './migration-thread.ts';
import { type NetdevSpec, netdevFacts } from './netdev.ts';
import { prepareNetdevs } from './netdev-open.ts';
import { type NewMachine, NO_UUID } from './new-machine.ts';
import type { RtcOptions } from './real-time.ts';
import { type Connection, connect, type Remote } from './rpc.ts';
import { removeAtExit } from './socket-open.ts';
import { parseTransportAddress } from './transport-address.ts';

/** How long after its launch a VM gets a thread for migrations, if none has been asked for. */
const MIGRATION_THREAD_DELAY_MS = 300;

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
  readonly log: Log;
  /** -accel: how guest code is run. */
  readonly accel: Accelerator;
  /** -icount: 2^icount ns of virtual time an instruction. */
  readonly icount?: number;
  /** -rtc. */
  readonly rtc?: RtcOptions;
  /** The VM is over; the process is to end with this status. `reason` is for the user, if it was no ordinary end. */
  readonly onEnd: (status: number, reason?: string) => void;
}

/** What the user asked of an incoming machine. */
export type WantedMachine = Partial<MachineConfiguration>;

/** The machine, once it has been built in its thread. */
interface BuiltMachine {
  readonly configuration: MachineConfiguration;
  readonly memory: WebAssembly.Memory;
  readonly attention: Attention;
}

interface MigrationThread {
  readonly worker: Worker;
  readonly connection: Connection<MigrationApi>;
  /** It has had a migration: the next one takes a new thread, so that nothing is left of a failed one. */
  used: boolean;
}

export class Vm implements MonitorTarget {
  readonly infoTopics: readonly InfoTopic[] = [
    {
      name: 'registers',
      params: '[-a]',
      help: 'show the cpu registers (-a: of all harts)',
      text: (args, hart) => this.#registers(args.trim(), hart),
    },
    topic('mem', 'show the active virtual memory mappings', (hart) => this.#built.translations(hart)),
    topic('mtree', 'show memory tree', () => this.#built.memoryTree()),
    topic('network', 'show the network state', () => this.#built.networks()),
    topic('jit', 'show what the JIT has translated', () => this.#built.jit()),
    topic('pci', 'show PCI info', () => this.#built.pci()),
    topic('pic', 'show the interrupt controller', () => this.#built.interrupts()),
    topic('qtree', 'show device tree', () => this.#built.deviceTree()),
  ];
  readonly #options: VmOptions;
  readonly #listeners = new Set<(event: MonitorEvent) => void>();
  #runState: RunState = 'prelaunch';
  /** Told of each change of the run state, and what stopped the machine if that was a debugger's. */
  readonly #watchers = new Set<(state: RunState, stop: DebugStop | undefined) => void>();
  /** Why the machine stopped by itself, until it runs again. */
  #debugStop: DebugStop | undefined;
  /** What a debugger lets each hart do. */
  #plan: RunPlan | undefined;
  #debugger: Remote<MachineDebugger> | undefined;
  /** The machine's thread starts with the VM, which has its machine a little later. */
  readonly #machineThread: { readonly worker: Worker; readonly connection: Connection<MachineApi> };
  #machine: BuiltMachine | undefined;
  /** Input that came before there was a guest for it; undefined from then on. */
  #earlyInput: Uint8Array[] | undefined = [];
  #netdevs: readonly NetdevSpec[] = [];
  #migration: MigrationThread | undefined;
  #migrationStatus: MigrationStatus = 'none';
  /** The last outgoing migration's figures, kept when its thread is gone. */
  #lastInfo: MigrationInfo = {};
  #incoming: { wanted: WantedMachine; started: boolean; autostart: boolean } | undefined;
  /** The run state that a migration's stop interrupted. */
  #beforeMigration: RunState | undefined;
  /** Whether the present migration gives the guest to somebody else, and not to a file. */
  #handsOver = false;
  #handedOver = false;
  #capabilities: Capabilities = defaultCapabilities();
  #parameters: Parameters = defaultParameters();
  #ended = false;
  /** The errors for which the VM stopped, by the drive's id. */
  readonly #ioStatus = new Map<string, BlockIoStatus>();

  constructor(options: VmOptions) {
    this.#options = options;
    const worker = this.#startThread('machine-thread');
    const listener: MachineListener = {
      console: (bytes) => this.#options.console(bytes),
      poweredOff: (code) => this.#poweredOff(code),
      resetRequested: () => void this.#guestReset().catch(() => {}),
      guestError: (line) => this.#options.log.line('guest_errors', line),
      blockError: (error) => this.#blockError(error),
      netdevConnected: (id, addr) =>
        this.#publish({ event: 'NETDEV_STREAM_CONNECTED', data: { 'netdev-id': id, addr } }),
      netdevDisconnected: (id) =>
        this.#publish({ event: 'NETDEV_STREAM_DISCONNECTED', data: { 'netdev-id': id } }),
      debugStopped: (stop) => this.#debugStopped(stop),
    };
    const ring = (): void => this.#machine?.attention.ring();
    this.#machineThread = { worker, connection: connect<MachineApi>(worker, listener, { ring }) };
  }

  get name(): string | undefined {
    return this.#options.name;
  }

  get uuid(): string {
    return this.#machine?.configuration.uuid ?? this.#incoming?.wanted.uuid ?? NO_UUID;
  }

  /** Builds a machine and, unless it is to start paused, runs it. */
  async launch({ configuration, boot }: NewMachine): Promise<void> {
    await this.#build(configuration, boot);
    this.#acceptInput();
    if (!this.#options.startPaused) await this.#run();
    // A thread takes its time to start: it is there before a migration wants it, but not in the way of the guest's start.
    const timer = setTimeout(() => {
      if (this.#migration === undefined && !this.#ended) this.#startMigrationThread();
    }, MIGRATION_THREAD_DELAY_MS);
    timer.unref();
  }

  /**
   * Waits for a guest. With `uri` undefined ("defer") until `migrateIncoming` says where.
   * @param wanted what the user said of the machine; another one is refused.
   */
  async awaitIncoming(wanted: WantedMachine, uri: string | undefined): Promise<void> {
    this.#state = 'inmigrate';
    this.#incoming = { wanted, started: false, autostart: !this.#options.startPaused };
    if (uri === undefined) this.#startMigrationThread();
    else await this.#listen(uri);
  }

  /** Bytes for the guest's serial port; they wait until there is a guest. */
  input(bytes: Uint8Array): void {
    if (this.#earlyInput === undefined) void this.#remote.input(bytes).catch(() => {});
    else this.#earlyInput.push(bytes);
  }

  /** The guest is there: a reset or a state that arrives takes nothing of its input away any more. */
  #acceptInput(): void {
    const early = this.#earlyInput ?? [];
    this.#earlyInput = undefined;
    for (const bytes of early) this.input(bytes);
  }

  /** Ends the threads. */
  async close(): Promise<void> {
    this.#ended = true;
    const gone = new GodwitError('state', 'the VM is shut down');
    this.#machineThread.connection.close(gone);
    await Promise.all([this.#machineThread.worker.terminate(), this.#migration?.worker.terminate()]);
  }

  // --- run state

  async queryStatus(): Promise<StatusInfo> {
    return { status: this.#state, running: this.#state === 'running', singlestep: false };
  }

  async stop(): Promise<void> {
    if (this.#incoming !== undefined && this.#state === 'inmigrate') {
      this.#incoming.autostart = false;
      return;
    }
    if (this.#state === 'finish-migrate') this.#beforeMigration = 'paused';
    if (this.#state !== 'running') return;
    await this.#halt('paused');
  }

  /** @param plan what a debugger lets each hart do. */
  async cont(plan?: RunPlan): Promise<void> {
    switch (this.#state) {
      case 'running':
        return;
      case 'inmigrate':
        if (this.#incoming !== undefined) this.#incoming.autostart = true;
        return;
      case 'finish-migrate':
        throw new GodwitError('state', 'Migration is not finalized yet');
      case 'shutdown':
        throw new GodwitError('state', 'Resetting the Virtual Machine is required');
      case 'postmigrate':
        if (this.#handedOver) {
          throw new GodwitError(
            'state',
            'the guest was handed over: it belongs to the migration destination now',
          );
        }
    }
    await this.#run(plan);
  }

  async queryBlock(): Promise<BlockInfo[]> {
    return blockInfo(this.#drives, this.#machine?.configuration.devices ?? [], this.#ioStatus);
  }

  async queryBlockStats(): Promise<ReadonlyMap<string, BlockCounters>> {
    return this.#machine === undefined ? new Map() : await this.#remote.blockStats();
  }

  async systemReset(): Promise<void> {
    // Its memory has been sent, its state is about to be.
    if (this.#state === 'finish-migrate') throw new GodwitError('state', 'Migration is not finalized yet');
    await this.#reset({ guest: false, reason: 'host-qmp-system-reset' });
  }

  /** The machine has no button that a guest could notice: the event is all there is, as on QEMU's `virt`. */
  async systemPowerdown(): Promise<void> {
    this.#publish({ event: 'POWERDOWN' });
  }

  async setLink(name: string, up: boolean): Promise<void> {
    await this.#built.setLink(name, up);
  }

  async announceSelf(changes: Partial<AnnounceParameters>): Promise<void> {
    const initial = this.#parameters['announce-initial'];
    const max = this.#parameters['announce-max'];
    const rounds = this.#parameters['announce-rounds'];
    const step = this.#parameters['announce-step'];
    await this.#built.announce({ initial, max, rounds, step, ...changes });
  }

  async quit(): Promise<void> {
    this.#end(0, 'host-qmp-quit', false);
  }

  /** The process was told to end by a signal. */
  terminate(): void {
    this.#end(0, 'host-signal', false);
  }

  // --- debuggers

  get runState(): RunState {
    return this.#runState;
  }

  /** Whether time comes from retired instructions. */
  get virtualTime(): boolean {
    return this.#options.icount !== undefined;
  }

  /**
   * Stops the machine for a debugger, and gives a way to it; good while the machine stands still.
   * @throws GodwitError kind 'state' if there is no guest yet.
   */
  async attachDebugger(): Promise<Remote<MachineDebugger>> {
    if (this.#machine === undefined || this.#state === 'inmigrate') {
      throw new GodwitError('state', 'there is no guest to debug yet');
    }
    await this.stop();
    if (this.#debugger === undefined) {
      const { port1, port2 } = new MessageChannel();
      this.#debugger = connect<MachineDebugger>(port2, {}).remote;
      await this.#remote.attachDebugger(port1);
    }
    return this.#debugger;
  }

  /** Tells of every change of the run state. Returns the function that ends it. */
  watchRunState(watcher: (state: RunState, stop: DebugStop | undefined) => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** A debugger has ended the VM. */
  killedByDebugger(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.onEnd(0, 'terminated by the debugger');
  }

  // --- migration

  async migrate({ uri }: MigrateRequest): Promise<void> {
    if (this.#state === 'inmigrate')
      throw new GodwitError('state', 'Guest is waiting for an incoming migration');
    if (!FINAL_MIGRATION_STATES.has(this.#migrationStatus)) {
      throw new GodwitError('state', "There's a migration process in progress");
    }
    if (this.#handedOver) throw new GodwitError('state', 'the guest was handed over already');
    if (this.#machine === undefined) throw new GodwitError('state', 'there is no machine to migrate');
    const lost = snapshotsInUse(this.#drives, this.#machine.configuration.devices);
    if (lost.length > 0) {
      const why = 'what the guest wrote to it is in a temporary file of this process';
      throw new GodwitError('state', `the drive '${lost[0]}' has snapshot=on: ${why}`);
    }
    this.#handsOver = parseTransportAddress(uri).kind !== 'file';
    const { remote } = this.#unusedMigrationThread().connection;
    this.#lastInfo = { status: 'setup' };
    this.#setMigrationStatus('setup');
    void remote.send(uri, this.#handle(this.#machine), this.#engineParameters()).then(
      () => this.queryMigrate(),
      () => this.queryMigrate(),
    );
  }

  async migrateCancel(): Promise<void> {
    if (this.#incoming === undefined) await this.#migration?.connection.remote.cancel();
  }

  async migrateIncoming(uri: string): Promise<void> {
    if (this.#incoming === undefined) {
      throw new GodwitError('state', "'-incoming' was not specified on the command line");
    }
    if (this.#incoming.started)
      throw new GodwitError('state', 'The incoming migration has already been started');
    await this.#listen(uri);
  }

  async queryMigrate(): Promise<MigrationInfo> {
    const asked = this.#migration;
    if (asked === undefined) return this.#lastInfo;
    // If its thread ends meanwhile, another migration has taken its place.
    const info = await asked.connection.remote.info().catch(() => undefined);
    if (info !== undefined && info.status !== 'none' && asked === this.#migration) {
      this.#lastInfo = monitorInfo(info, this.#migrationStatus);
    }
    return this.#lastInfo;
  }

  capabilities(): Capabilities {
    return this.#capabilities;
  }

  async setCapabilities(changes: Partial<Capabilities>): Promise<void> {
    if (!FINAL_MIGRATION_STATES.has(this.#migrationStatus)) {
      throw new GodwitError('state', "There's a migration process in progress");
    }
    checkCapabilities(changes);
    this.#capabilities = { ...this.#capabilities, ...changes };
  }

  parameters(): Parameters {
    return this.#parameters;
  }

  async setParameters(changes: Partial<Parameters>): Promise<void> {
    for (const [name, value] of Object.entries(changes)) {
      checkParameter(name as ParameterName, value as ParameterValue, this.#parameters);
    }
    this.#parameters = { ...this.#parameters, ...changes };
    await this.#migration?.connection.remote.setParameters(this.#engineParameters());
  }

  subscribe(listener: (event: MonitorEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // --- the machine

  get harts(): number {
    if (this.#machine === undefined) throw new GodwitError('state', 'there is no machine yet');
    return this.#machine.configuration.harts;
  }

  get threadId(): number {
    return process.pid;
  }

  async registers(hart: number): Promise<ReadonlyMap<string, bigint>> {
    return this.#built.registerValues(hart);
  }

  async readMemory({ address, hart }: MemoryAddress, length: number): Promise<Uint8Array> {
    return this.#built.readMemory(hart, address, length);
  }

  async disassemble({ address, hart }: MemoryAddress, count: number): Promise<CodeLines> {
    return this.#built.disassemble(hart, address, count);
  }

  async saveMemory({ address, hart }: MemoryAddress, size: bigint, file: string): Promise<void> {
    const remote = this.#built;
    const read = (at: bigint, length: number) => remote.readMemory(hart, at, length);
    await saveMemory(file, address, size, read, hart === undefined);
  }

  readonly logItems = LOG_ITEM_LIST;

  async setLogItems(names: readonly string[]): Promise<void> {
    this.#options.log.items = new Set(names as readonly LogItem[]);
    await this.#updateLog();
  }

  async setLogFile(file: string): Promise<void> {
    await this.#options.log.moveTo(file, () => this.#updateLog());
  }

  get #logTarget(): LogTarget {
    const { fd, items } = this.#options.log;
    return { fd, items };
  }

  async #updateLog(): Promise<void> {
    if (this.#machine !== undefined) await this.#remote.setLog(this.#logTarget);
  }

  async #registers(args: string, hart: number): Promise<string> {
    if (args !== '' && args !== '-a') {
      throw GodwitError.unexpected('usage', 'info registers', '-a or nothing', args);
    }
    const texts = (await this.#built.registers()).map((lines, i) => ['', `CPU#${i}`, ...lines].join('\n'));
    return args === '-a' ? texts.join('\n') : (texts[hart] ?? '');
  }

  /**
   * Opens network back ends and packet dumps, before there is a machine.
   * @throws GodwitError kind 'transport' or 'file'.
   */
  async openNetworks(netdevs: readonly NetdevSpec[], dumps: readonly FilterDumpSpec[]): Promise<void> {
    if (netdevs.length === 0) return;
    const prepared = await prepareNetdevs(netdevs);
    await this.#remote.openNetworks({ netdevs: prepared, dumps });
    this.#netdevs = prepared;
    // The machine's thread ends without a word: its socket files go with this one.
    for (const spec of prepared) {
      if ('server' in spec && spec.server && spec.address.kind === 'unix') removeAtExit(spec.address.path);
    }
  }

  get #backends(): BackendFacts[] {
    return [...this.#drives.map(driveFacts), ...this.#netdevs.map(netdevFacts)];
  }

  get #drives(): readonly Drive[] {
    return this.#options.drives ?? [];
  }

  get #state(): RunState {
    return this.#runState;
  }

  set #state(state: RunState) {
    if (state === this.#runState) return;
    this.#runState = state;
    for (const watcher of this.#watchers) watcher(state, this.#debugStop);
  }

  get #remote(): Remote<MachineApi> {
    return this.#machineThread.connection.remote;
  }

  /** The machine thread, once it has a machine. */
  get #built(): Remote<MachineApi> {
    if (this.#machine === undefined) throw new GodwitError('state', 'there is no machine yet');
    return this.#remote;
  }

  async #build(configuration: MachineConfiguration, boot?: BootContents): Promise<BuiltMachine> {
    const layout = machineLayout(configuration);
    const memory = createSharedMemory(layout);
    await this.#remote.build({
      configuration,
      memory,
      log: this.#logTarget,
      drives: this.#drives,
      accel: this.#options.accel,
      rtc: this.#options.rtc ?? {},
      ...(this.#options.icount === undefined ? {} : { icount: this.#options.icount }),
      ...(boot === undefined ? {} : { boot }),
    });
    this.#machine = { configuration, memory, attention: new Attention(memory, layout) };
    return this.#machine;
  }

  #startThread(name: string): Worker {
    const worker = new Worker(new URL(`./${name}.js`, import.meta.url));
    worker.on('error', (error) => this.#options.onEnd(1, `the ${name} failed: ${errorMessage(error)}`));
    return worker;
  }

  async #run(plan?: RunPlan): Promise<void> {
    this.#ioStatus.clear();
    this.#debugStop = undefined;
    this.#plan = plan;
    await this.#remote.start(plan);
    this.#state = 'running';
    this.#publish({ event: 'RESUME' });
  }

  /** If a disk could not be flushed, that is told when all the rest has been done. */
  async #halt(state: RunState): Promise<void> {
    try {
      await this.#remote.stop();
    } finally {
      this.#halted(state);
    }
  }

  #halted(state: RunState): void {
    const ran = this.#state === 'running';
    // Somebody else has stopped it, too, and what for counts.
    if (!ran && state === 'debug') return;
    this.#state = state;
    if (ran) this.#publish({ event: 'STOP' });
  }

  #debugStopped(stop: DebugStop): void {
    this.#debugStop = stop;
    if (this.#state === 'running') void this.#halt('debug').catch(() => {});
  }

  async #reset(data: { guest: boolean; reason: ShutdownCause }): Promise<void> {
    if (this.#machine !== undefined) await this.#remote.reset();
    if (['paused', 'debug', 'shutdown'].includes(this.#state)) this.#state = 'prelaunch';
    this.#options.log.line('cpu_reset', `reset: ${data.reason}`);
    this.#publish({ event: 'RESET', data });
  }

  async #guestReset(): Promise<void> {
    if (this.#options.noReboot) this.#end(0, 'guest-reset', true);
    else await this.#reset({ guest: true, reason: 'guest-reset' });
  }

  #poweredOff(code: number): void {
    this.#end(code, code === 0 ? 'guest-shutdown' : 'guest-panic', true);
  }

  #end(status: number, reason: ShutdownCause, guest: boolean): void {
    if (this.#ended) return;
    this.#publish({ event: 'SHUTDOWN', data: { guest, reason } });
    if (guest && this.#options.noShutdown) {
      void this.#halt('shutdown').catch(() => {});
      return;
    }
    this.#ended = true;
    this.#options.onEnd(status);
  }

  #blockError({ device, operation, action, nospace, reason }: BlockError): void {
    this.#publish({ event: 'BLOCK_IO_ERROR', data: { device, operation, action, nospace, reason } });
    if (action === 'stop') this.#ioStatus.set(device, nospace ? 'nospace' : 'failed');
    // Who stopped it meanwhile, finds the request tried again when it goes on.
    if (action === 'stop' && this.#state === 'running') void this.#halt('io-error').catch(() => {});
  }

  #publish(event: MonitorEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  // --- migration threads

  #unusedMigrationThread(): MigrationThread {
    let thread = this.#migration;
    if (thread === undefined || thread.used) {
      thread?.connection.close(new GodwitError('state', 'the migration is over'));
      void thread?.worker.terminate();
      thread = this.#startMigrationThread();
    }
    thread.used = true;
    return thread;
  }

  #startMigrationThread(): MigrationThread {
    const worker = this.#startThread('migration-thread');
    const listener: MigrationListener = {
      event: (event) => this.#migrationEvent(event),
      stopForMigration: () => this.#stopForMigration(),
      resumeAfterMigration: () => this.#resumeAfterMigration(),
      buildIncoming: (configuration) => this.#buildIncoming(configuration),
      startIncoming: (runningAtSource) => this.#startIncoming(runningAtSource),
    };
    const thread = { worker, connection: connect<MigrationApi>(worker, listener), used: false };
    this.#migration = thread;
    return thread;
  }

  /** A way to the machine thread for another thread. */
  #handle({ configuration, memory }: BuiltMachine): MachineHandle {
    const { port1, port2 } = new MessageChannel();
    this.#remote.attach(port1).catch(() => {});
    return { configuration, memory, port: port2 };
  }

  #engineParameters(): Partial<MigrationParameters> {
    return {
      downtimeLimitMs: this.#parameters['downtime-limit'],
      maxBandwidth: this.#parameters['max-bandwidth'],
    };
  }

  #migrationEvent(event: MigrationEvent): void {
    if (event.event === 'pass') {
      this.#options.log.line('migration', `migration: pass ${event.pass} is over`);
      this.#publish({ event: 'MIGRATION_PASS', data: { pass: event.pass } });
    } else this.#setMigrationStatus(event.status);
  }

  #setMigrationStatus(status: MigrationStatus): void {
    if (status === this.#migrationStatus) return;
    this.#migrationStatus = status;
    this.#options.log.line('migration', `migration: ${status}`);
    // Before anybody is told, so that nobody can run the guest a second time.
    if (this.#incoming === undefined) {
      if (status === 'completed') {
        this.#state = 'postmigrate';
        this.#handedOver = this.#handsOver;
      }
      // Stopped by a migration that could not take it back: the user decides.
      if (status === 'failed' && this.#state === 'finish-migrate') this.#state = 'postmigrate';
    } else if (status === 'completed') this.#incoming = undefined;
    this.#publish({ event: 'MIGRATION', data: { status } });
  }

  async #stopForMigration(): Promise<boolean> {
    const ran = this.#state === 'running';
    this.#beforeMigration = this.#state;
    if (!ran) {
      this.#state = 'finish-migrate';
      return false;
    }
    await this.#halt('finish-migrate');
    if (this.#debugStop === undefined) return true;
    // It stood at a breakpoint before it was asked to stop.
    this.#beforeMigration = 'debug';
    return false;
  }

  async #resumeAfterMigration(): Promise<void> {
    const before = this.#beforeMigration;
    this.#beforeMigration = undefined;
    if (before === undefined || this.#state !== 'finish-migrate') return;
    this.#state = before;
    if (before === 'running') await this.#run(this.#plan);
  }

  // --- the destination

  async #listen(uri: string): Promise<void> {
    const incoming = this.#incoming;
    if (incoming === undefined) throw new GodwitError('internal', 'no incoming migration is awaited');
    incoming.started = true;
    const { remote } = this.#unusedMigrationThread().connection;
    try {
      this.#lastInfo = { status: 'setup', 'socket-address': [socketAddress(await remote.listen(uri))] };
    } catch (error) {
      incoming.started = false;
      throw error;
    }
    remote.receive().catch((error) => {
      // The guest is the source's: there is nothing left to do here. (Once it has arrived, none is awaited any more.)
      if (this.#ended || this.#incoming !== incoming) return;
      this.#options.onEnd(1, `incoming migration failed: ${errorMessage(error)}`);
    });
  }

  async #buildIncoming(given: Configuration): Promise<MachineHandle> {
    const configuration = checkConfiguration(given);
    const different = differences(this.#incoming?.wanted ?? {}, configuration);
    if (different.length > 0) {
      throw new GodwitError('mismatch', `the machines differ: ${different.join('; ')}`);
    }
    const missing = missingBackends(configuration.devices, this.#backends);
    if (missing.length > 0) throw new GodwitError('mismatch', missing.join('; '));
    return this.#handle(await this.#build(configuration));
  }

  async #startIncoming(runningAtSource: boolean): Promise<void> {
    this.#acceptInput();
    if (runningAtSource && this.#incoming?.autostart === true) await this.#run();
    else this.#state = 'paused';
    void this.announceSelf({}).catch(() => {});
  }
}
