/**
 * A VM's migrations, as its main thread holds them: the migration's status and figures, the migration thread, and what a
 * migration does to the run state.
 */
import type { Worker } from 'node:worker_threads';
import { errorMessage, GodwitError } from '../error.ts';
import {
  checkConfiguration,
  differences,
  type MachineConfiguration,
  type MachinePlan,
} from '../machine/configuration.ts';
import { missingBackends } from '../machine/device-configuration.ts';
import { writableDisks } from '../machine/writable-disks.ts';
import type { Configuration, StoppedVm } from '../migration/migratable-vm.ts';
import { NO_RESCUE } from '../migration/postcopy-source.ts';
import type { MigrationEvent } from '../migration/sender.ts';
import { NO_POSTCOPY_TO_PAUSE } from '../migration/sender-states.ts';
import type { Capabilities, Parameters } from '../monitor/migration-parameters.ts';
import {
  type AnnounceParameters,
  FINAL_MIGRATION_STATES,
  type MigrateRequest,
  type MigrationInfo,
  type MigrationSamples,
  type MigrationStatus,
  type RunState,
} from '../monitor/target.ts';
import { ArrivingImage } from './arriving-image.ts';
import { migrationBlockers } from './migration-blockers.ts';
import { monitorInfo, monitorSample, socketAddresses, waitInfo } from './migration-info.ts';
import { MigrationSettings } from './migration-settings.ts';
import type { ArrivingMachine, MigrationApi, MigrationListener } from './migration-thread.ts';
import { type Connection, connect } from './rpc.ts';
import { hasReturnPath, takesSeveral } from './transport-open.ts';
import type { TravellingDisks } from './travelling-disks.ts';
import type { BuiltMachine, VmMachine } from './vm-machine.ts';

/** What the user asked of an incoming machine. */
export type WantedMachine = Partial<MachineConfiguration>;

interface MigrationThread {
  readonly worker: Worker;
  readonly connection: Connection<MigrationApi>;
  /** It has had a migration: the next one takes a new thread, so that nothing is left of a failed one. */
  used: boolean;
}

export class VmMigration {
  readonly #machine: VmMachine;
  #thread: MigrationThread | undefined;
  #status: MigrationStatus = 'none';
  /** The last outgoing migration's figures, kept when its thread is gone. */
  #lastInfo: MigrationInfo = {};
  /** Of the disks that arrive, until the guest is here. */
  readonly #images: ArrivingImage[] = [];
  #incoming: { readonly wanted: WantedMachine; started: boolean; autostart: boolean } | undefined;
  /** The run state that a migration's stop interrupted. */
  #before: RunState | undefined;
  /** Whether the present migration gives the guest to somebody who says so, and not to a file or into a pipe. */
  #handsOver = false;
  #handedOver = false;
  /** Whether the guest came here before its memory. */
  #cameLate = false;
  readonly #settings: MigrationSettings;

  constructor(machine: VmMachine) {
    this.#machine = machine;
    this.#settings = new MigrationSettings(machine.options.tlsCredentials ?? []);
  }

  // --- outgoing

  async migrate({ uri, resume, blk = false, inc = false }: MigrateRequest): Promise<void> {
    if (resume === true) return await this.#resumePostcopy(uri);
    const { state, built } = this.#machine;
    if (state === 'inmigrate') throw new GodwitError('state', 'Guest is waiting for an incoming migration');
    if (!FINAL_MIGRATION_STATES.has(this.#status)) {
      throw new GodwitError('state', "There's a migration process in progress");
    }
    if (this.#handedOver) throw new GodwitError('state', 'the guest was handed over already');
    if (built === undefined) throw new GodwitError('state', 'there is no machine to migrate');
    const [blocker] = this.#blockers();
    if (blocker !== undefined) throw new GodwitError('state', blocker);
    if (this.parameters['on-deadline'] === 'postcopy' && !this.capabilities['postcopy-ram']) {
      throw new GodwitError('usage', "on-deadline=postcopy needs the capability 'postcopy-ram'");
    }
    this.#checkRescue(built);
    if (this.capabilities['postcopy-preempt'] && !takesSeveral(uri)) {
      throw new GodwitError(
        'usage',
        `Postcopy preempt needs a destination that listens on a socket, not ${uri}`,
      );
    }
    const disks = this.#travelling(built, blk || inc, inc);
    const settings = this.#settings.connection;
    this.#handsOver = hasReturnPath(uri, settings);
    if (this.capabilities['postcopy-ram'] && !this.#handsOver) {
      throw new GodwitError('usage', `Postcopy needs a destination that answers, which ${uri} does not`);
    }
    // A destination of this user on this host goes on with them.
    this.#machine.saveTranslations();
    const { remote } = this.#unusedThread().connection;
    this.#lastInfo = { status: 'setup' };
    this.#setStatus('setup');
    void remote.send(uri, settings, this.#machine.handle(built), this.#settings.engine, disks).then(
      () => this.query(),
      () => this.query(),
    );
  }

  /** Goes on with a paused post-copy over another connection. */
  async #resumePostcopy(uri: string): Promise<void> {
    if (this.#incoming !== undefined || this.#status !== 'postcopy-paused' || this.#thread === undefined) {
      throw new GodwitError('state', 'Cannot resume if there is no paused migration');
    }
    await this.#thread.connection.remote.resume(uri, this.#settings.connection);
  }

  async startPostcopy(): Promise<void> {
    if (!this.capabilities['postcopy-ram']) {
      throw new GodwitError(
        'state',
        'Enable postcopy with migrate_set_capability before the start of migration',
      );
    }
    if (this.#incoming !== undefined || this.#thread === undefined) {
      throw new GodwitError('state', 'Postcopy must be started after migration has been started');
    }
    await this.#thread.connection.remote.startPostcopy();
  }

  async pausePostcopy(): Promise<void> {
    if (this.#thread === undefined) {
      throw new GodwitError('state', NO_POSTCOPY_TO_PAUSE);
    }
    await this.#thread.connection.remote.pausePostcopy();
  }

  async rescue(): Promise<void> {
    if (this.#incoming !== undefined || this.#thread === undefined) throw new GodwitError('state', NO_RESCUE);
    await this.#thread.connection.remote.rescue();
  }

  /** A checkpoint holds what a guest has in memory, not what it has written elsewhere since the one before. */
  #checkRescue({ configuration }: BuiltMachine): void {
    if (!this.capabilities['postcopy-rescue']) return;
    if (!this.capabilities['postcopy-ram']) {
      throw new GodwitError('usage', "The capability 'postcopy-rescue' needs 'postcopy-ram'");
    }
    const disks = writableDisks(configuration.devices).map(({ id }) => `'${id}'`);
    if (disks.length === 0) return;
    const why = 'a guest taken up from a checkpoint would find later writes on it';
    throw new GodwitError(
      'usage',
      `postcopy-rescue can't be with a disk that can be written (${disks.join(', ')}): ${why}`,
    );
  }

  async recover(uri: string): Promise<void> {
    if (this.#incoming === undefined || this.#thread === undefined) {
      throw new GodwitError('state', 'Migrate recover can only be run when postcopy is paused.');
    }
    const address = await this.#thread.connection.remote.recover(uri, this.#settings.connection);
    this.#lastInfo = { ...this.#lastInfo, 'socket-address': socketAddresses(address) };
  }

  /**
   * The disks that go with the guest: those that it can write, if the user says so.
   * @param block by an option of `migrate`, which takes the place of the capability.
   */
  #travelling(
    { configuration }: BuiltMachine,
    block: boolean,
    incremental: boolean,
  ): TravellingDisks | undefined {
    const set = this.capabilities.block;
    if (block && set) {
      throw new GodwitError('state', 'Command options are incompatible with current migration capabilities');
    }
    if (!block && !set) return undefined;
    const disks = writableDisks(configuration.devices).map(({ id, size }) => {
      const drive = this.#machine.drives.find((each) => each.id === id);
      if (drive === undefined) throw new GodwitError('internal', `no drive ${id}`);
      return { id, size, fd: drive.fd };
    });
    return { disks, incremental: incremental || (set && this.parameters['block-incremental']) };
  }

  async cancel(): Promise<void> {
    if (this.#status.startsWith('postcopy')) {
      throw new GodwitError('state', 'Postcopy cannot be cancelled: the guest is at the destination');
    }
    if (this.#incoming === undefined) await this.#thread?.connection.remote.cancel();
  }

  /** Lets a migration go on that waits before the hand-over. `state` is the status that the user believes it has. */
  async continue(state: MigrationStatus): Promise<void> {
    if (state !== this.#status) {
      throw new GodwitError('state', `Migration not in expected state: ${this.#status}`);
    }
    if (state === 'pre-switchover') await this.#thread?.connection.remote.continue();
  }

  #blockers(): string[] {
    const { drives, built } = this.#machine;
    return migrationBlockers(drives, built?.configuration.devices ?? []);
  }

  /** The guest was given away: it must not run here. */
  get handedOver(): boolean {
    return this.#handedOver;
  }

  /**
   * The guest that stands still for the hand-over is not to run: neither here, if it is taken back, nor at the
   * destination.
   * @throws GodwitError kind 'state' if the destination has been told already that it is to run.
   */
  async stopDuringHandOver(): Promise<void> {
    this.#before = 'paused';
    if (await this.#thread?.connection.remote.arrivePaused()) return;
    const then = 'stop it there; if it comes back, it stays paused here';
    throw new GodwitError('state', `the guest is being handed over, to run at the destination: ${then}`);
  }

  // --- incoming

  /** What the user said of the machine that is awaited; undefined if none is. */
  get awaited(): WantedMachine | undefined {
    return this.#incoming?.wanted;
  }

  /** @param uri undefined ("defer") until `listen` says where. */
  async await(
    wanted: WantedMachine,
    uri: string | undefined,
    expected: MachinePlan | undefined,
  ): Promise<void> {
    this.#machine.state = 'inmigrate';
    if (expected !== undefined) this.#machine.anticipate(expected);
    this.#incoming = { wanted, started: false, autostart: !this.#machine.options.startPaused };
    if (uri === undefined) this.prepare();
    else await this.#listen(uri);
  }

  /** Whether the guest that is awaited is to run on arrival, if it ran. */
  set autostart(on: boolean) {
    if (this.#incoming !== undefined) this.#incoming.autostart = on;
  }

  async listen(uri: string): Promise<void> {
    if (this.#incoming === undefined) {
      throw new GodwitError('state', "'-incoming' was not specified on the command line");
    }
    if (this.#incoming.started) {
      throw new GodwitError('state', 'The incoming migration has already been started');
    }
    await this.#listen(uri);
  }

  async #listen(uri: string): Promise<void> {
    const incoming = this.#incoming;
    if (incoming === undefined) throw new GodwitError('internal', 'no incoming migration is awaited');
    incoming.started = true;
    const { remote } = this.#unusedThread().connection;
    try {
      const addresses = socketAddresses(await remote.listen(uri, this.#settings.connection));
      this.#lastInfo = {
        status: 'setup',
        ...(addresses.length === 0 ? {} : { 'socket-address': addresses }),
      };
    } catch (error) {
      incoming.started = false;
      throw error;
    }
    remote.receive(this.#settings.engine).catch((error) => {
      for (const image of this.#images.splice(0)) image.discard();
      // The guest is the source's: there is nothing left to do here. (Once it has arrived, none is awaited any more.)
      if (this.#machine.ended || this.#incoming !== incoming) return;
      this.#machine.options.onEnd(1, `incoming migration failed: ${errorMessage(error)}`);
    });
  }

  async #buildIncoming(given: Configuration, withDisks: boolean): Promise<ArrivingMachine> {
    const configuration = checkConfiguration(given);
    const different = differences(this.#incoming?.wanted ?? {}, configuration);
    if (different.length > 0) {
      throw new GodwitError('mismatch', `the machines differ: ${different.join('; ')}`);
    }
    const missing = missingBackends(configuration.devices, this.#machine.backends);
    if (missing.length > 0) throw new GodwitError('mismatch', missing.join('; '));
    const arriving = withDisks ? writableDisks(configuration.devices) : [];
    for (const { id } of arriving) {
      const drive = this.#machine.drives.find((each) => each.id === id);
      if (drive === undefined) throw new GodwitError('internal', `no drive ${id}`);
      this.#images.push(new ArrivingImage(drive));
    }
    const arrivingDrives = new Map(this.#images.map(({ drive }) => [drive.id, drive]));
    const drives = this.#machine.drives.map((drive) => arrivingDrives.get(drive.id) ?? drive);
    const machine = this.#machine.handle(await this.#machine.build(configuration, undefined, drives));
    const disks = this.#images.map(({ baseFd, drive: { id, fd, size } }) => ({ id, fd, baseFd, size }));
    return { ...machine, disks };
  }

  /** Those that have their names are left out, should another one fail, and all be tried again. */
  #nameDisks(): void {
    for (let image = this.#images[0]; image !== undefined; image = this.#images[0]) {
      image.commit();
      this.#images.shift();
    }
  }

  async #startIncoming(runningAtSource: boolean): Promise<void> {
    for (const image of this.#images) image.keep();
    this.#machine.acceptInput();
    await this.#machine.inTurn(async () => {
      if (runningAtSource && this.#incoming?.autostart === true) await this.#machine.run();
      else this.#machine.state = 'paused';
    });
    void this.announce({}).catch(() => {});
  }

  /** Tells the network where the machine's adapters are. */
  async announce(changes: Partial<AnnounceParameters>): Promise<void> {
    const initial = this.parameters['announce-initial'];
    const max = this.parameters['announce-max'];
    const rounds = this.parameters['announce-rounds'];
    const step = this.parameters['announce-step'];
    await this.#machine.remote.announce({ initial, max, rounds, step, ...changes });
  }

  // --- capabilities, parameters, figures

  get capabilities(): Capabilities {
    return this.#settings.capabilities;
  }

  get parameters(): Parameters {
    return this.#settings.parameters;
  }

  async setCapabilities(changes: Partial<Capabilities>): Promise<void> {
    // As in QEMU: of a migration that comes here, the source has decided already.
    if (this.#incoming === undefined && !FINAL_MIGRATION_STATES.has(this.#status)) {
      throw new GodwitError('state', "There's a migration process in progress");
    }
    await this.#tellThread(this.#settings.setCapabilities(changes));
  }

  async setParameters(changes: Partial<Parameters>): Promise<void> {
    await this.#tellThread(this.#settings.setParameters(changes));
  }

  /** A migration that is under way, or awaited, goes by what is set now; if it can't, that is undone. */
  async #tellThread(undo: () => void): Promise<void> {
    const remote = this.#thread?.connection.remote;
    const { engine } = this.#settings;
    try {
      if (this.#incoming?.started === true) await remote?.expect(this.#settings.connection, engine);
      else await remote?.setParameters(engine);
    } catch (error) {
      undo();
      throw error;
    }
  }

  async query(): Promise<MigrationInfo> {
    const info = { ...(await this.#figures()), ...(await this.#waits()) };
    const reasons = this.#blockers();
    return reasons.length === 0 ? info : { ...info, 'blocked-reasons': reasons };
  }

  /** How the present or last outgoing migration went. */
  async samples(): Promise<MigrationSamples> {
    const list = (await this.#thread?.connection.remote.samples().catch(() => undefined)) ?? [];
    return list.map((sample) => monitorSample(sample));
  }

  /** How long harts waited for pages: of a post-copy that came here. */
  async #waits(): Promise<MigrationInfo> {
    if (!this.capabilities['postcopy-blocktime'] || !this.#cameLate) return {};
    return waitInfo(await this.#machine.remote.waitFigures());
  }

  async #figures(): Promise<MigrationInfo> {
    const asked = this.#thread;
    if (asked === undefined) return this.#lastInfo;
    // If its thread ends meanwhile, another migration has taken its place.
    const info = await asked.connection.remote.info().catch(() => undefined);
    if (info !== undefined && info.status !== 'none' && asked === this.#thread) {
      this.#lastInfo = monitorInfo(info, this.#status);
    }
    return this.#lastInfo;
  }

  // --- threads

  /** Starts the thread of the next migration, unless there is one. */
  prepare(): void {
    if (this.#thread === undefined && !this.#machine.ended) this.#startThread();
  }

  #unusedThread(): MigrationThread {
    let thread = this.#thread;
    if (thread === undefined || thread.used) {
      thread?.connection.close(new GodwitError('state', 'the migration is over'));
      void thread?.worker.terminate();
      thread = this.#startThread();
    }
    thread.used = true;
    return thread;
  }

  #startThread(): MigrationThread {
    const worker = this.#machine.startThread('migration-thread');
    const listener: MigrationListener = {
      event: (event) => this.#event(event),
      connectionRefused: (reason) => this.#machine.options.onWarning?.(reason),
      stopForMigration: (take) => this.#stop(take),
      resumeAfterMigration: () => this.#resume(),
      announce: () => void this.announce({}).catch(() => {}),
      buildIncoming: (configuration, withDisks) => this.#buildIncoming(configuration, withDisks),
      nameDisks: () => this.#nameDisks(),
      startIncoming: (runningAtSource) => this.#startIncoming(runningAtSource),
    };
    const thread = { worker, connection: connect<MigrationApi>(worker, listener), used: false };
    this.#thread = thread;
    return thread;
  }

  /** Ends the thread. */
  async close(): Promise<void> {
    await this.#thread?.worker.terminate();
  }

  // --- what the thread tells and asks

  #event(event: MigrationEvent): void {
    if (event.event === 'pass') {
      this.#machine.options.log.line('migration', `migration: pass ${event.pass} is over`);
      this.#machine.publish({ event: 'MIGRATION_PASS', data: { pass: event.pass } });
    } else if (event.event === 'decision') {
      this.#machine.options.log.line('migration', `migration: ${event.text}`);
      this.#machine.publish({ event: 'MIGRATION_DECISION', data: { text: event.text } });
    } else this.#setStatus(event.status);
  }

  #setStatus(status: MigrationStatus): void {
    if (status === this.#status) return;
    this.#status = status;
    this.#machine.options.log.line('migration', `migration: ${status}`);
    if (status === 'postcopy-active' && this.#incoming !== undefined) this.#cameLate = true;
    // Before anybody is told, so that nobody can run the guest a second time.
    if (this.#incoming === undefined) {
      if (status === 'completed') {
        this.#machine.state = 'postmigrate';
        this.#handedOver = this.#handsOver;
      }
      // Stopped by a migration that could not take it back: the user decides.
      if (status === 'failed' && this.#machine.state === 'finish-migrate')
        this.#machine.state = 'postmigrate';
    } else if (status === 'completed') this.#incoming = undefined;
    this.#machine.publish({ event: 'MIGRATION', data: { status } });
  }

  /** Stops the VM for the hand-over, and takes its state if it ran and `take` says so. */
  #stop(take: boolean): Promise<StoppedVm> {
    return this.#machine.inTurn(async () => {
      const { state } = this.#machine;
      this.#before = state;
      if (state !== 'running') {
        this.#machine.state = 'finish-migrate';
        return { ran: false };
      }
      let saved: Uint8Array | undefined;
      const { thread } = this.#machine;
      const stop = async (): Promise<void> => {
        if (take) saved = await thread.stopAndSave();
        else await thread.stop();
      };
      // It may have stopped by itself, or stood at a breakpoint, before it was asked to.
      const found = await this.#machine.halt('finish-migrate', stop);
      this.#before = this.#machine.stoppedByDebugger ? 'debug' : found;
      return { ran: this.#before === 'running', state: saved };
    });
  }

  #resume(): Promise<void> {
    return this.#machine.inTurn(() => this.#takeUp());
  }

  async #takeUp(): Promise<void> {
    const before = this.#before;
    this.#before = undefined;
    if (before === undefined || this.#machine.state !== 'finish-migrate') return;
    this.#machine.state = before;
    if (before === 'running') await this.#machine.runOn();
  }
}
