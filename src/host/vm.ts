/**
 * The VM as its process's main thread holds it, and what monitors and debuggers drive; it answers whatever the guest or a
 * migration does. Its parts are the machine (`vm-machine.ts`), what can be asked of it (`vm-inspection.ts`) and its
 * migrations (`vm-migration.ts`).
 */
import { MessageChannel } from 'node:worker_threads';
import { GodwitError } from '../error.ts';
import type { CodeLines } from '../machine/code-dump.ts';
import type { MachinePlan } from '../machine/configuration.ts';
import type { MachineDebugger } from '../machine/debugger.ts';
import type { RunPlan } from '../machine/turns.ts';
import type { BlockCounters, BlockInfo } from '../monitor/block.ts';
import type { Capabilities, Parameters } from '../monitor/migration-parameters.ts';
import type {
  AnnounceParameters,
  InfoTopic,
  MemoryAddress,
  MigrateRequest,
  MigrationInfo,
  MigrationSamples,
  MigrationStatus,
  MonitorEvent,
  MonitorTarget,
  RunState,
  StatusInfo,
} from '../monitor/target.ts';
import type { FilterDumpSpec } from './filter-dump.ts';
import { LOG_ITEM_LIST, type LogItem } from './log.ts';
import type { NetdevSpec } from './netdev.ts';
import { type NewMachine, NO_UUID } from './new-machine.ts';
import { connect, type Remote } from './rpc.ts';
import { VmDirty } from './vm-dirty.ts';
import { VmInspection } from './vm-inspection.ts';
import { type RunStateWatcher, VmMachine, type VmOptions } from './vm-machine.ts';
import { VmMigration, type WantedMachine } from './vm-migration.ts';

/** How long after its launch a VM gets a thread for migrations, if none has been asked for. */
const MIGRATION_THREAD_DELAY_MS = 300;

export class Vm implements MonitorTarget {
  readonly #machine: VmMachine;
  readonly dirty: VmDirty;
  readonly #inspection: VmInspection;
  readonly #migration: VmMigration;
  #debugger: Remote<MachineDebugger> | undefined;

  constructor(options: VmOptions) {
    this.#machine = new VmMachine(options);
    this.dirty = new VmDirty(this.#machine);
    this.#inspection = new VmInspection(this.#machine, this.dirty);
    this.#migration = new VmMigration(this.#machine);
  }

  get name(): string | undefined {
    return this.#machine.options.name;
  }

  get uuid(): string {
    return this.#machine.built?.configuration.uuid ?? this.#migration.awaited?.uuid ?? NO_UUID;
  }

  get threadId(): number {
    return process.pid;
  }

  /**
   * Opens network back ends and packet dumps, before there is a machine.
   * @throws GodwitError kind 'transport' or 'file'.
   */
  openNetworks(netdevs: readonly NetdevSpec[], dumps: readonly FilterDumpSpec[]): Promise<void> {
    return this.#machine.openNetworks(netdevs, dumps);
  }

  /** Builds a machine; `launch` is next. */
  async build({ configuration, boot }: NewMachine): Promise<void> {
    this.dirty.symbols = boot.symbols;
    await this.#machine.build(configuration, boot);
  }

  /** Runs the machine, unless it is to start paused. */
  async launch(): Promise<void> {
    this.#machine.acceptInput();
    if (!this.#machine.options.startPaused) await this.#machine.run();
    // A thread takes its time to start: it is there before a migration wants it, but not in the way of the guest's start.
    setTimeout(() => this.#migration.prepare(), MIGRATION_THREAD_DELAY_MS).unref();
  }

  /**
   * Waits for a guest. With `uri` undefined ("defer") until `migrateIncoming` says where.
   * @param wanted what the user said of the machine; another one is refused.
   * @param expected the machine that will probably come, if enough was said.
   */
  awaitIncoming(
    wanted: WantedMachine,
    uri: string | undefined,
    expected: MachinePlan | undefined,
  ): Promise<void> {
    return this.#migration.await(wanted, uri, expected);
  }

  /** Bytes for the guest's serial port; they wait until there is a guest. */
  input(bytes: Uint8Array): void {
    this.#machine.input(bytes);
  }

  /** Ends the threads. */
  async close(): Promise<void> {
    await Promise.all([this.#machine.close(), this.#migration.close()]);
  }

  subscribe(listener: (event: MonitorEvent) => void): () => void {
    return this.#machine.subscribe(listener);
  }

  // --- run state

  get runState(): RunState {
    return this.#machine.state;
  }

  async queryStatus(): Promise<StatusInfo> {
    return { status: this.runState, running: this.runState === 'running', singlestep: false };
  }

  async stop(): Promise<void> {
    const handsOver = await this.#machine.inTurn(async () => {
      if (this.runState === 'inmigrate') this.#migration.autostart = false;
      else if (this.runState === 'running') await this.#machine.halt('paused');
      return this.runState === 'finish-migrate';
    });
    if (handsOver) await this.#migration.stopDuringHandOver();
  }

  /** @param plan what a debugger lets each hart do. */
  async cont(plan?: RunPlan): Promise<void> {
    await this.#machine.inTurn(() => this.#cont(plan));
  }

  async #cont(plan: RunPlan | undefined): Promise<void> {
    switch (this.runState) {
      case 'running':
        return;
      case 'inmigrate':
        this.#migration.autostart = true;
        return;
      case 'finish-migrate':
        throw new GodwitError('state', 'Migration is not finalized yet');
      case 'shutdown':
        throw new GodwitError('state', 'Resetting the Virtual Machine is required');
      case 'postmigrate':
        if (this.#migration.handedOver) {
          const why = 'the guest was handed over: it belongs to the migration destination now';
          throw new GodwitError('state', why);
        }
    }
    await this.#machine.run(plan);
  }

  async systemReset(): Promise<void> {
    await this.#machine.inTurn(async () => {
      // Its memory has been sent, its state is about to be.
      if (this.runState === 'finish-migrate')
        throw new GodwitError('state', 'Migration is not finalized yet');
      await this.#machine.reset({ guest: false, reason: 'host-qmp-system-reset' });
    });
  }

  /** The machine has no button that a guest could notice: the event is all there is, as on QEMU's `virt`. */
  async systemPowerdown(): Promise<void> {
    this.#machine.publish({ event: 'POWERDOWN' });
  }

  async quit(): Promise<void> {
    this.#machine.end(0, 'host-qmp-quit', false);
  }

  /** The process was told to end by a signal. */
  terminate(): void {
    this.#machine.end(0, 'host-signal', false);
  }

  // --- debuggers

  /** Whether time comes from retired instructions. */
  get virtualTime(): boolean {
    return this.#machine.options.icount !== undefined;
  }

  /**
   * Stops the machine for a debugger, and gives a way to it; good while the machine stands still.
   * @throws GodwitError kind 'state' if there is no guest yet.
   */
  async attachDebugger(): Promise<Remote<MachineDebugger>> {
    if (this.#machine.built === undefined || this.runState === 'inmigrate') {
      throw new GodwitError('state', 'there is no guest to debug yet');
    }
    await this.stop();
    if (this.#debugger === undefined) {
      const { port1, port2 } = new MessageChannel();
      this.#debugger = connect<MachineDebugger>(port2, {}).remote;
      await this.#machine.remote.attachDebugger(port1);
    }
    return this.#debugger;
  }

  /** Tells of every change of the run state. Returns the function that ends it. */
  watchRunState(watcher: RunStateWatcher): () => void {
    return this.#machine.watchState(watcher);
  }

  /** A debugger has ended the VM. */
  killedByDebugger(): void {
    this.#machine.endWithoutWord(0, 'terminated by the debugger');
  }

  // --- migration

  migrate(request: MigrateRequest): Promise<void> {
    return this.#migration.migrate(request);
  }

  migrateCancel(): Promise<void> {
    return this.#migration.cancel();
  }

  migrateContinue(state: MigrationStatus): Promise<void> {
    return this.#migration.continue(state);
  }

  migrateStartPostcopy(): Promise<void> {
    return this.#migration.startPostcopy();
  }

  migratePause(): Promise<void> {
    return this.#migration.pausePostcopy();
  }

  migrateRecover(uri: string): Promise<void> {
    return this.#migration.recover(uri);
  }

  migrateRescue(): Promise<void> {
    return this.#migration.rescue();
  }

  migrateIncoming(uri: string): Promise<void> {
    return this.#migration.listen(uri);
  }

  queryMigrate(): Promise<MigrationInfo> {
    return this.#migration.query();
  }

  migrationSamples(): Promise<MigrationSamples> {
    return this.#migration.samples();
  }

  capabilities(): Capabilities {
    return this.#migration.capabilities;
  }

  async setCapabilities(changes: Partial<Capabilities>): Promise<void> {
    await this.#migration.setCapabilities(changes);
  }

  parameters(): Parameters {
    return this.#migration.parameters;
  }

  setParameters(changes: Partial<Parameters>): Promise<void> {
    return this.#migration.setParameters(changes);
  }

  // --- the machine

  async setLink(name: string, up: boolean): Promise<void> {
    await this.#machine.remote.setLink(name, up);
  }

  announceSelf(changes: Partial<AnnounceParameters>): Promise<void> {
    return this.#migration.announce(changes);
  }

  get infoTopics(): readonly InfoTopic[] {
    return this.#inspection.infoTopics;
  }

  get harts(): number {
    return this.#inspection.harts;
  }

  async registers(hart: number): Promise<ReadonlyMap<string, bigint>> {
    return this.#inspection.registers(hart);
  }

  async readMemory(at: MemoryAddress, length: number): Promise<Uint8Array> {
    return this.#inspection.readMemory(at, length);
  }

  async disassemble(at: MemoryAddress, count: number): Promise<CodeLines> {
    return this.#inspection.disassemble(at, count);
  }

  saveMemory(at: MemoryAddress, size: bigint, file: string): Promise<void> {
    return this.#inspection.saveMemory(at, size, file);
  }

  async queryBlock(): Promise<BlockInfo[]> {
    return this.#inspection.blocks();
  }

  queryBlockStats(): Promise<ReadonlyMap<string, BlockCounters>> {
    return this.#inspection.blockStats();
  }

  readonly logItems = LOG_ITEM_LIST;

  async setLogItems(names: readonly string[]): Promise<void> {
    this.#machine.options.log.items = new Set(names as readonly LogItem[]);
    await this.#machine.updateLog();
  }

  async setLogFile(file: string): Promise<void> {
    await this.#machine.options.log.moveTo(file, () => this.#machine.updateLog());
  }
}
