/** A machine without a machine: what monitors do to it is written down, and its events are fired by the test. */
import { GodwitError } from '../../src/error.ts';
import type { BlockCounters, BlockInfo } from '../../src/monitor/block.ts';
import type { CharStream } from '../../src/monitor/char-stream.ts';
import { monitorContext } from '../../src/monitor/commands.ts';
import type { DirtyLimitInfo, DirtyRateInfo, DirtyRateRequest } from '../../src/monitor/dirty.ts';
import {
  type Capabilities,
  defaultCapabilities,
  defaultParameters,
  type Parameters,
} from '../../src/monitor/migration-parameters.ts';
import type {
  AnnounceParameters,
  InfoTopic,
  MemoryAddress,
  MigrateRequest,
  MigrationInfo,
  MigrationStatus,
  MonitorEvent,
  MonitorHost,
  MonitorTarget,
  RunState,
} from '../../src/monitor/target.ts';

/** Where its memory begins. */
const MEMORY = 0x1000;

export class FakeTarget implements MonitorTarget {
  readonly uuid = '00000000-0000-0000-0000-000000000000';
  readonly infoTopics: InfoTopic[] = [
    {
      name: 'registers',
      help: 'show the cpu registers',
      text: async (args, hart) => `pc 80000000\nhart ${hart} args '${args}'\n`,
    },
  ];
  readonly calls: string[] = [];
  status: RunState = 'running';
  migration: MigrationInfo = {};
  #capabilities = defaultCapabilities();
  #parameters = defaultParameters();
  readonly #listeners = new Set<(event: MonitorEvent) => void>();
  /** While set, `stop` waits for it. */
  gate: Promise<void> | undefined;

  readonly harts = 2;
  readonly threadId = 123;
  /** Physical memory from MEMORY on; a hart's virtual addresses lie 0x10_0000 higher for each hart. */
  readonly memory = new Uint8Array(256);
  readonly values = new Map([['pc', BigInt(MEMORY)]]);

  readonly dirty = {
    rate: {
      status: 'unstarted',
      'start-time': 0,
      'calc-time': 0,
      'sample-pages': 0,
      mode: 'page-sampling',
    } as DirtyRateInfo,
    list: [] as DirtyLimitInfo[],
    queryRate: () => this.dirty.rate,
    measureRate: async ({ calcTime, mode, samplePages }: DirtyRateRequest) =>
      void this.calls.push(`measureRate ${calcTime} ${mode} ${samplePages}`),
    limits: async () => this.dirty.list,
    setLimit: async (limit: number | undefined, hart?: number) =>
      void this.calls.push(`setLimit ${limit} ${hart}`),
  };

  async registers(hart: number) {
    this.calls.push(`registers ${hart}`);
    return this.values;
  }
  readonly logItems = [
    { name: 'in_asm', help: 'show code' },
    { name: 'int', help: 'show traps' },
  ];
  async setLogItems(names: readonly string[]) {
    this.calls.push(`setLogItems ${names.join(' ')}`);
  }
  async setLogFile(file: string) {
    this.calls.push(`setLogFile ${file}`);
  }
  async readMemory({ address, hart }: MemoryAddress, length: number) {
    const at =
      Number(BigInt.asUintN(48, address)) - MEMORY - (hart === undefined ? 0 : (hart + 1) * 0x10_0000);
    return at < 0 ? new Uint8Array() : this.memory.subarray(at, at + length);
  }
  async disassemble({ address, hart }: MemoryAddress, count: number) {
    const line = (i: number): string => `${hart ?? 'physical'} ${(address + BigInt(i)).toString(16)}`;
    return { lines: Array.from({ length: count }, (_, i) => line(i)), next: address + BigInt(count) };
  }
  async saveMemory({ address, hart }: MemoryAddress, size: bigint, file: string) {
    this.calls.push(`saveMemory ${hart} ${address.toString(16)} ${size} ${file}`);
  }

  fire(event: MonitorEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }
  get listeners(): number {
    return this.#listeners.size;
  }
  async queryStatus() {
    this.calls.push('queryStatus');
    return { status: this.status, running: this.status === 'running' };
  }
  async stop() {
    this.calls.push('stop');
    await this.gate;
    if (this.status !== 'running') return;
    this.status = 'paused';
    this.fire({ event: 'STOP' });
  }
  async cont() {
    this.calls.push('cont');
    this.status = 'running';
    this.fire({ event: 'RESUME' });
  }
  blocks: BlockInfo[] = [];
  async queryBlock() {
    return this.blocks;
  }
  async queryBlockStats() {
    return new Map<string, BlockCounters>();
  }
  async systemReset() {
    this.calls.push('systemReset');
    this.fire({ event: 'RESET', data: { guest: false, reason: 'host-qmp-system-reset' } });
  }
  async setLink(name: string, up: boolean) {
    this.calls.push(`set_link ${name} ${up ? 'on' : 'off'}`);
  }
  async announceSelf(changes: Partial<AnnounceParameters>) {
    this.calls.push(`announce_self ${JSON.stringify(changes)}`);
  }
  async systemPowerdown() {
    this.fire({ event: 'POWERDOWN' });
  }
  async quit() {
    this.calls.push('quit');
  }
  async migrate({ uri, resume }: MigrateRequest) {
    this.calls.push(`migrate ${uri}${resume ? ' resume' : ''}`);
    if (uri.startsWith('foo')) {
      throw new GodwitError('usage', "Parameter 'uri' expects a valid migration protocol");
    }
    this.fire({ event: 'MIGRATION', data: { status: 'setup' } });
  }
  async migrateCancel() {
    this.calls.push('migrateCancel');
  }
  async migrateStartPostcopy() {
    this.calls.push('migrateStartPostcopy');
  }
  async migratePause() {
    this.calls.push('migratePause');
  }
  async migrateRescue() {
    this.calls.push('migrateRescue');
  }

  async migrateRecover(uri: string) {
    this.calls.push(`migrateRecover ${uri}`);
  }
  async migrateContinue(state: MigrationStatus) {
    this.calls.push(`migrateContinue ${state}`);
  }
  async migrationSamples() {
    return [];
  }
  async migrateIncoming(uri: string) {
    this.calls.push(`migrateIncoming ${uri}`);
    throw new GodwitError('state', "'-incoming' was not specified on the command line");
  }
  async queryMigrate() {
    return this.migration;
  }
  capabilities() {
    return this.#capabilities;
  }
  async setCapabilities(changes: Partial<Capabilities>) {
    this.#capabilities = { ...this.#capabilities, ...changes };
  }
  parameters() {
    return this.#parameters;
  }
  async setParameters(changes: Partial<Parameters>) {
    this.#parameters = { ...this.#parameters, ...changes };
  }
  subscribe(listener: (event: MonitorEvent) => void) {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}

/** 2026-11-20 12:00:00.25 UTC. */
export const NOW_US = 1_795_176_000_250_000;

export class FakeHost implements MonitorHost {
  readonly version = '0.1.0';
  readonly tickers = new Set<() => void>();
  wallClockUs() {
    return NOW_US;
  }
  every(_ms: number, run: () => void) {
    this.tickers.add(run);
    return () => void this.tickers.delete(run);
  }
  readonly gdbDevices: string[] = [];
  async gdbserver(device: string) {
    this.gdbDevices.push(device);
  }
}

/** The far end of a stream: collects what a session writes, and lets a test wait for a text. */
export class FarEnd implements CharStream {
  text = '';
  closed = false;
  #data: (bytes: Uint8Array) => void = () => {};
  #close: () => void = () => {};
  #end: () => void = () => {};
  #woken: (() => void)[] = [];
  paused = false;

  write(bytes: Uint8Array) {
    this.text += new TextDecoder().decode(bytes);
    for (const wake of this.#woken.splice(0)) wake();
  }
  onData(listener: (bytes: Uint8Array) => void) {
    this.#data = listener;
  }
  onClose(listener: () => void) {
    this.#close = listener;
  }
  onEnd(listener: () => void) {
    this.#end = listener;
  }
  close() {
    if (this.closed) return;
    this.closed = true;
    this.#close();
    for (const wake of this.#woken.splice(0)) wake();
  }
  pause() {
    this.paused = true;
  }
  resume() {
    this.paused = false;
  }
  send(data: string | Uint8Array) {
    this.#data(typeof data === 'string' ? new TextEncoder().encode(data) : data);
  }
  end() {
    this.#end();
  }
  /** Waits until `done` holds for what was written. The test's time limit is the only clock. */
  async until(done: (text: string) => boolean): Promise<string> {
    while (!done(this.text)) {
      await new Promise<void>((resolve) => void this.#woken.push(resolve));
    }
    return this.text;
  }
  /** The first `count` messages that came as JSON lines. */
  async messages(count: number): Promise<unknown[]> {
    await this.until((text) => text.split('\r\n').length > count);
    return this.text
      .trimEnd()
      .split('\r\n')
      .map((line) => JSON.parse(line));
  }
}

export function setUp() {
  const target = new FakeTarget();
  const host = new FakeHost();
  return { target, host, far: new FarEnd(), context: monitorContext(target, host) };
}
