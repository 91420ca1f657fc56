/**
 * The migration thread: runs the sender or the receiver, owns their connections and scans memory. With the machine
 * thread it only speaks at the documented hand-shakes; the run state is the main thread's.
 */
import { randomBytes } from 'node:crypto';
import { MessageChannel, type MessagePort, parentPort } from 'node:worker_threads';
import { GodwitError } from '../error.ts';
import type { MachinePlan } from '../machine/configuration.ts';
import { machineLayout } from '../machine/machine-layout.ts';
import { HART, HART_CSRS, type Layout } from '../memory/layout.ts';
import type {
  Configuration,
  DestinationBuilder,
  DestinationVm,
  SourceVm,
  StoppedVm,
} from '../migration/migratable-vm.ts';
import type { MigrationParameters } from '../migration/parameters.ts';
import { NO_RESCUE } from '../migration/postcopy-source.ts';
import type { RamJob } from '../migration/ram-applier.ts';
import { Receiver } from '../migration/receiver.ts';
import { MigrationRehearsal } from '../migration/rehearsal.ts';
import type { MigrationSample } from '../migration/samples.ts';
import { type MigrationEvent, Sender } from '../migration/sender.ts';
import type { ChannelOptions } from '../migration/sender-channels.ts';
import { NO_POSTCOPY_TO_PAUSE } from '../migration/sender-states.ts';
import type { MigrationInfo } from '../migration/statistics.ts';
import { type ArrivingDisk, destinationDisk } from './arriving-disks.ts';
import { Attention } from './attention.ts';
import { yieldThisThread } from './background-threads.ts';
import { hostClock } from './clock.ts';
import { deferBackgroundWork } from './compiler-flags.ts';
import type { WantedChunks } from './late-drives.ts';
import { libc } from './libc.ts';
import type { MachineApi } from './machine-api.ts';
import { pageRelease } from './page-release.ts';
import { goToProcessor, processorOf } from './processors.ts';
import { type CompressionName, compressionOf, unpackRam } from './ram-compression.ts';
import { RamHelpers } from './ram-helpers.ts';
import { describeMachine } from './rom-hashes.ts';
import { connect, type Remote, type Told } from './rpc.ts';
import type { TlsSettings } from './tls-credentials.ts';
import { connectTransport, listenTransport, type TransportListener } from './transport-open.ts';
import { hostTimers } from './transport-timers.ts';
import { sourceDisks, type TravellingDisks } from './travelling-disks.ts';
import { untouchedPages } from './untouched-pages.ts';

/** A machine that another thread may talk to. */
export interface MachineHandle {
  readonly configuration: MachinePlan;
  readonly memory: WebAssembly.Memory;
  /** Leads to the machine thread. */
  readonly port: MessagePort;
}

/** What a connection is made with, beside its address. */
export interface ConnectionSettings {
  readonly tls?: TlsSettings;
  /** The capability `return-path`, which only commands need. */
  readonly returnPath: boolean;
  /** The capability `postcopy-preempt`: there may be a second connection. */
  readonly preempt?: boolean;
  /** The capability `multifd` and its parameters. */
  readonly multifd?: {
    readonly channels: number;
    readonly compression: CompressionName;
    readonly zlibLevel: number;
  };
}

/** What a migration fills. */
export interface ArrivingMachine extends MachineHandle {
  readonly disks: readonly ArrivingDisk[];
}

/** What the main thread may call. */
export interface MigrationApi {
  /** Runs an outgoing migration to its end; rejects if the guest is still, or again, ours. @param disks that travel. */
  send(
    uri: string,
    settings: ConnectionSettings,
    machine: MachineHandle,
    parameters: Partial<MigrationParameters>,
    disks?: TravellingDisks,
  ): Promise<void>;
  /** Listens, and resolves with the address where. `receive` is next. */
  listen(uri: string, settings: ConnectionSettings): Promise<string>;
  /** What the user has changed since, for the guest that is awaited. */
  expect(settings: ConnectionSettings, parameters: Partial<MigrationParameters>): void;
  /** Takes the connection and runs the incoming migration to its end. */
  receive(parameters: Partial<MigrationParameters>): Promise<void>;
  cancel(): void;
  /** Post-copy, of the source: see Sender. */
  startPostcopy(): void;
  resume(uri: string, settings: ConnectionSettings): void;
  /** Of either side. */
  pausePostcopy(): void;
  /** Of the source: takes the guest of a paused post-copy up from its last checkpoint. */
  rescue(): void;
  /** Of the destination: listens for another connection, and resolves with the address where. */
  recover(uri: string, settings: ConnectionSettings): Promise<string>;
  /** Ends the wait before the hand-over; false if nothing waits there. */
  continue(): boolean;
  /** The guest, stopped for the hand-over, is to arrive paused; false if it is too late for that. */
  arrivePaused(): boolean;
  setParameters(change: Partial<MigrationParameters>): void;
  info(): MigrationInfo;
  samples(): readonly MigrationSample[];
}

/** What the migration thread calls in the main thread. */
export interface MigrationListener {
  event(event: MigrationEvent): void;
  /** A connection was sent away; others may come. */
  connectionRefused(reason: string): void;
  /** Stops the VM for the hand-over (SourceVm.stop). */
  stopForMigration(take: boolean): Promise<StoppedVm>;
  /** Undoes that. */
  resumeAfterMigration(): Promise<void>;
  /** The guest is here again: the network is to know. */
  announce(): void;
  /** Builds the machine of this configuration, empty, and new images if its disks arrive as well. */
  buildIncoming(configuration: Configuration, withDisks: boolean): Promise<ArrivingMachine>;
  /** The images of its disks are whole. */
  nameDisks(): void;
  /** The guest has arrived. */
  startIncoming(runningAtSource: boolean): Promise<void>;
}

function machineAt({ memory, configuration, port }: MachineHandle) {
  const layout = machineLayout(configuration);
  const attention = new Attention(memory, layout);
  const { remote } = connect<MachineApi>(port, {}, { ring: () => attention.ring() });
  return { layout, remote, attention };
}

/** Gives how many instructions the harts have retired, slice by slice; what the guest writes to its counters shows. */
function retired(memory: WebAssembly.Memory, layout: Layout): () => number {
  const words = new BigUint64Array(memory.buffer);
  const counters = Array.from(
    { length: layout.harts },
    (_, i) => (layout.hart(i) + HART.csr) / 8 + HART_CSRS.indexOf('minstret'),
  );
  return () => counters.reduce((sum, at) => sum + Number(words[at] ?? 0n), 0);
}

/** The source's further connections, if there are to be any. */
function channelOptions(uri: string, settings: ConnectionSettings): { channels?: ChannelOptions } {
  const { multifd } = settings;
  if (multifd === undefined) return {};
  const compression = compressionOf(multifd.compression, multifd.zlibLevel);
  return {
    channels: {
      count: multifd.channels,
      id: randomBytes(16),
      open: () => connectTransport(uri, settings),
      ...(compression === undefined ? {} : { compression }),
    },
  };
}

/** Whether the source may make further connections. */
const takesFurther = ({ multifd, preempt }: ConnectionSettings): boolean =>
  multifd !== undefined || preempt === true;

/** How long a thread that has nothing to do waits before it rehearses: its VM may be starting a guest. */
const IDLE_MS = 600;

class MigrationThread implements MigrationApi {
  readonly #main: Remote<MigrationListener>;
  readonly #told: Told<MigrationListener>;
  readonly #rehearsal = new MigrationRehearsal(hostClock, hostTimers);
  readonly #idle: NodeJS.Timeout;
  #rehearsed: Promise<number> | undefined;
  #listener: TransportListener | undefined;
  #helpers: RamHelpers | undefined;
  /** Whether there may be more than one connection of who sends a guest here. */
  #further = false;
  #incoming: Partial<MigrationParameters> = {};
  #sender: Sender | undefined;
  #receiver: Receiver | undefined;
  /** Leads to the machine that is arriving. */
  #arriving: MessagePort | undefined;

  constructor(port: NonNullable<typeof parentPort>) {
    const { remote, told } = connect<MigrationListener>(port, this);
    this.#main = remote;
    this.#told = told;
    this.#idle = setTimeout(() => this.#prepare(), IDLE_MS);
  }

  /** What a source would otherwise do while its guest waits. */
  async #prepare(): Promise<void> {
    await this.#rehearse();
    if (this.#sender === undefined) libc();
  }

  /** Nobody waits for this thread. */
  #rehearse(): Promise<unknown> {
    clearTimeout(this.#idle);
    // Whatever is wrong with a migration, the next one will say.
    this.#rehearsed ??= this.#rehearsal.run().catch(() => 0);
    return this.#rehearsed;
  }

  #endRehearsal(): void {
    clearTimeout(this.#idle);
    this.#rehearsal.stop();
  }

  async send(
    uri: string,
    settings: ConnectionSettings,
    machine: MachineHandle,
    parameters: Partial<MigrationParameters>,
    disks?: TravellingDisks,
  ): Promise<void> {
    this.#endRehearsal();
    // Not when the guest asks for its first pages, which would wait for that.
    if (parameters.releaseRam === true) libc();
    const sender = new Sender({
      vm: this.#source(machine, disks),
      open: () => connectTransport(uri, settings),
      ...channelOptions(uri, settings),
      clock: hostClock,
      timers: hostTimers,
      parameters,
      onEvent: (event) => this.#told.event(event),
    });
    this.#sender = sender;
    deferBackgroundWork(parameters.postcopy === true);
    try {
      await sender.run();
    } finally {
      deferBackgroundWork(false);
      machine.port.close();
    }
  }

  async listen(uri: string, settings: ConnectionSettings): Promise<string> {
    this.#further = takesFurther(settings);
    this.#listener = await listenTransport(uri, {
      ...settings,
      channels: () => this.#further,
      onRefused: (reason) => this.#told.connectionRefused(reason),
    });
    this.#helpers = new RamHelpers();
    return this.#listener.address;
  }

  expect(settings: ConnectionSettings, parameters: Partial<MigrationParameters>): void {
    this.#further = takesFurther(settings);
    this.#incoming = parameters;
    this.#receiver?.setParameters(parameters);
  }

  async receive(parameters: Partial<MigrationParameters>): Promise<void> {
    const listener = this.#listener;
    if (listener === undefined) throw new GodwitError('internal', 'receive before listen');
    this.#incoming = parameters;
    void this.#rehearse();
    const transport = await listener.accept();
    this.#endRehearsal();
    const receiver = new Receiver({
      builder: this.#builder(),
      transport,
      ...(this.#further
        ? { channels: { next: () => listener.channel(), close: () => listener.close() } }
        : {}),
      clock: hostClock,
      timers: hostTimers,
      parameters: this.#incoming,
      onEvent: (event) => this.#told.event(event),
    });
    this.#receiver = receiver;
    deferBackgroundWork(this.#incoming.postcopy === true);
    try {
      await receiver.run();
    } finally {
      deferBackgroundWork(false);
      listener.close();
      this.#helpers?.close();
    }
    this.#arriving?.close();
  }

  cancel(): void {
    this.#sender?.cancel();
  }

  startPostcopy(): void {
    if (this.#sender === undefined) {
      throw new GodwitError('state', 'Postcopy must be started after migration has been started');
    }
    this.#sender.startPostcopy();
  }

  resume(uri: string, settings: ConnectionSettings): void {
    if (this.#sender === undefined) {
      throw new GodwitError('state', 'Cannot resume if there is no paused migration');
    }
    this.#sender.recover(() => connectTransport(uri, settings));
  }

  rescue(): void {
    if (this.#sender === undefined) throw new GodwitError('state', NO_RESCUE);
    this.#sender.rescue();
  }

  pausePostcopy(): void {
    const side = this.#sender ?? this.#receiver;
    if (side === undefined) throw new GodwitError('state', NO_POSTCOPY_TO_PAUSE);
    side.pause();
  }

  async recover(uri: string, settings: ConnectionSettings): Promise<string> {
    if (this.#receiver?.paused !== true) {
      throw new GodwitError('state', 'Migrate recover can only be run when postcopy is paused.');
    }
    const further = settings.preempt === true;
    const listener = await listenTransport(uri, {
      ...settings,
      channels: () => further,
      onRefused: (reason) => this.#told.connectionRefused(reason),
    });
    this.#receiver.recover({
      accept: () => listener.accept(),
      ...(further ? { channel: () => listener.channel() } : {}),
      close: () => listener.close(),
    });
    return listener.address;
  }

  continue(): boolean {
    return this.#sender?.continue() ?? false;
  }

  arrivePaused(): boolean {
    return this.#sender?.arrivePaused() ?? false;
  }

  setParameters(change: Partial<MigrationParameters>): void {
    this.#sender?.setParameters(change);
    this.#receiver?.setParameters(change);
  }

  info(): MigrationInfo {
    return this.#sender?.info() ?? this.#receiver?.info() ?? { status: 'none' };
  }

  samples(): readonly MigrationSample[] {
    return this.#sender?.samples() ?? [];
  }

  #source(machine: MachineHandle, disks: TravellingDisks | undefined): SourceVm {
    const { remote, layout } = machineAt(machine);
    let thread: number | undefined;
    const known = (found: number | undefined): void => {
      thread = found;
    };
    // One that has gone answers nothing else either.
    remote.systemThread().then(known, () => {});
    return {
      memory: machine.memory,
      layout,
      configuration: { ...describeMachine(machine.configuration, machine.memory, layout) },
      instructions: retired(machine.memory, layout),
      ...(disks === undefined ? {} : { disks: sourceDisks(disks, remote) }),
      untouched: () => untouchedPages(machine.memory, layout),
      release: pageRelease(machine.memory, layout),
      startDirtyLog: () => remote.startDirtyLog('migration'),
      syncDirtyLog: () => remote.syncDirtyLog(),
      stopDirtyLog: () => remote.stopDirtyLog('migration'),
      setThrottle: (percentage) => remote.setThrottle(percentage),
      setDirtyLimit: (limit) => remote.setDirtyLimit('migration', limit),
      saveState: () => remote.saveState(),
      stop: (take) => this.#main.stopForMigration(take),
      takeProcessor: () => {
        if (thread !== undefined) goToProcessor(processorOf(thread));
      },
      resume: () => this.#main.resumeAfterMigration(),
      checkState: (state) => remote.checkState(state),
      rescue: async (state) => {
        if (state !== undefined) await remote.loadState(state);
        await this.#main.resumeAfterMigration();
        await this.#main.announce();
      },
    };
  }

  #builder(): DestinationBuilder {
    return {
      build: async (configuration, withDisks): Promise<DestinationVm> => {
        const machine = await this.#main.buildIncoming(configuration, withDisks);
        const { remote, layout, attention } = machineAt(machine);
        this.#arriving = machine.port;
        const helpers = this.#helpers;
        await helpers?.attach(machine.memory, machine.configuration);
        const ids = machine.disks.map(({ id }) => id);
        let latePort: MessagePort | undefined;
        return {
          memory: machine.memory,
          layout,
          disks: machine.disks.map(destinationDisk),
          ...(helpers === undefined || helpers.count === 0
            ? {}
            : { applyRam: (job: RamJob) => helpers.apply(job) }),
          unpackRam,
          checkState: (state) => remote.checkState(state),
          loadState: (state) => remote.loadState(state),
          postcopy: {
            begin: async (wanted, logged) => {
              const { port1, port2 } = new MessageChannel();
              port1.on('message', wanted);
              await remote.beginPostcopy(port2, logged);
            },
            checkpoint: (also) => remote.checkpoint(also),
            arrived: () => attention.ring(),
            setLink: (up) => remote.setPostcopyLink(up),
            fetch: (connection, from, confirms) => {
              // From here on this thread brings only what nobody waits for, unless disks come late, too.
              if (machine.disks.length === 0) yieldThisThread();
              return { done: remote.fetchPages(connection, from, confirms), end: () => remote.endFetching() };
            },
            end: () => remote.endPostcopy(),
            beginDisks: async (here, wanted) => {
              const { port1, port2 } = new MessageChannel();
              port1.on('message', ({ disk, run }: WantedChunks) => wanted(disk, run));
              latePort = port1;
              await remote.beginLateDisks(new Map(here.map((bits, i) => [ids[i] as string, bits])), port2);
            },
            disksArrived: () => {
              latePort?.postMessage(undefined);
              attention.ring();
            },
            endDisks: async () => {
              await remote.endLateDisks();
              latePort?.close();
            },
          },
          nameDisks: () => this.#main.nameDisks(),
          start: (runningAtSource) => this.#main.startIncoming(runningAtSource),
        };
      },
    };
  }
}

if (parentPort === null)
  throw new GodwitError('internal', 'the migration thread was not started as a worker');
new MigrationThread(parentPort);
