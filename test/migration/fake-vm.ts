import { GodwitError } from '../../src/error.ts';
import { DirtyLog } from '../../src/memory/dirty-log.ts';
import { createLayout, createSharedMemory, type Layout, PAGE_SIZE } from '../../src/memory/layout.ts';
import { RunTime } from '../../src/memory/run-time.ts';
import type {
  Configuration,
  DestinationBuilder,
  DestinationVm,
  SourceDisks,
  SourceVm,
  StoppedVm,
} from '../../src/migration/migratable-vm.ts';
import type { FakeDestinationDisk, FakeSourceDisk } from './fake-disks.ts';
import type { VirtualTime } from './virtual-time.ts';

export const PAGES = 200;
/** The guest's sweep goes over these pages; the ones before hold a pattern, the ones after stay zero. */
export const SWEEP = { first: 40, pages: 60 };

export function testLayout(): Layout {
  return createLayout(1, [
    { name: 'ram', size: (PAGES - 1) * PAGE_SIZE },
    { name: 'rom', size: PAGE_SIZE },
  ]);
}

const pool: WebAssembly.Memory[] = [];

/** Memories are reused: address space for thousands of them is not to be had. */
export function borrowMemory(layout: Layout): WebAssembly.Memory {
  const memory = pool.pop() ?? createSharedMemory(layout);
  new Uint8Array(memory.buffer).fill(0);
  return memory;
}

export function giveBack(memory: WebAssembly.Memory): void {
  pool.push(memory);
}

/** All guest memory, copied. */
export function contents(memory: WebAssembly.Memory, layout: Layout): Uint8Array {
  return new Uint8Array(memory.buffer, layout.blocksBase, layout.pages * PAGE_SIZE).slice();
}

/**
 * A guest that sweeps upwards through its pages for ever and adds 1 to byte 0 of each: the a-b rule. It runs whenever
 * virtual time passes.
 */
export class Guest {
  readonly #bytes: Uint8Array;
  readonly #log: DirtyLog;
  readonly #runTime: RunTime;
  readonly #layout: Layout;
  readonly #nsPerPage: number;
  #position: number;
  #owedNs = 0;
  running = true;
  logging = false;
  /** Percent of the time that it does not run. */
  throttle = 0;
  /** Whether it fills the rest of each page anew, with what no delta makes smaller. */
  scrambles = false;
  #random = 1;
  /** Says whether the guest can have a page, by its index; it stands still until it can. */
  has: (page: number) => boolean = () => true;

  constructor(memory: WebAssembly.Memory, layout: Layout, nsPerPage: number, position = 0) {
    this.#bytes = new Uint8Array(memory.buffer);
    this.#log = new DirtyLog(memory, layout);
    this.#runTime = new RunTime(memory, layout);
    this.#layout = layout;
    this.#nsPerPage = nsPerPage;
    this.#position = position;
  }

  get position(): number {
    return this.#position;
  }

  set position(position: number) {
    this.#position = position;
  }

  runFor(ns: number): void {
    if (!this.running) return;
    this.#runTime.add(ns * (1 - this.throttle / 100));
    this.#owedNs += ns * (1 - this.throttle / 100);
    while (this.#owedNs >= this.#nsPerPage) {
      if (!this.has(SWEEP.first + this.#position)) {
        this.#owedNs = this.#nsPerPage;
        return;
      }
      this.#owedNs -= this.#nsPerPage;
      this.step();
    }
  }

  step(): void {
    const page = SWEEP.first + this.#position;
    this.#position = (this.#position + 1) % SWEEP.pages;
    const at = this.#layout.blocksBase + page * PAGE_SIZE;
    this.#bytes[at] = ((this.#bytes[at] ?? 0) + 1) & 0xff;
    if (this.scrambles) this.#scramble(at);
    if (this.logging) this.#log.mark(page, { id: 0, pc: 0n });
  }

  #scramble(at: number): void {
    for (let i = 1; i < PAGE_SIZE; i++) {
      this.#random = (Math.imul(this.#random, 1103515245) + 12345) >>> 0;
      this.#bytes[at + i] = this.#random >>> 16;
    }
  }
}

/** The a-b rule: scanning upward, all bytes equal, but for one place where they fall by one. */
export function checkSweep(memory: WebAssembly.Memory, layout: Layout): void {
  const bytes = new Uint8Array(memory.buffer);
  let falls = 0;
  for (let i = 1; i < SWEEP.pages; i++) {
    const at = layout.blocksBase + (SWEEP.first + i) * PAGE_SIZE;
    const [before, here] = [bytes[at - PAGE_SIZE] ?? 0, bytes[at] ?? 0];
    if (before === here) continue;
    if (((here + 1) & 0xff) !== before || ++falls > 1) {
      throw new Error(`the a-b rule is broken at page ${SWEEP.first + i}: ${here} after ${before}`);
    }
  }
}

export type VmCall =
  | 'startDiskLog'
  | 'stopDiskLog'
  | 'startDirtyLog'
  | 'syncDirtyLog'
  | 'stopDirtyLog'
  | 'setThrottle'
  | 'setDirtyLimit'
  | 'stop'
  | 'resume'
  | 'saveState';

export class FakeSourceVm implements SourceVm {
  readonly layout = testLayout();
  readonly memory: WebAssembly.Memory;
  readonly configuration: Configuration = { machine: 'virt-1.0', harts: 1, isa: 'rv64imac' };
  readonly guest: Guest;
  readonly calls: VmCall[] = [];
  /** What it was told of its throttle, in percent, and of its dirty limit. */
  readonly throttles: number[] = [];
  readonly dirtyLimits: (number | undefined)[] = [];
  /** Whether migration has stopped it. */
  stopped = false;
  /** Whether its user has paused it. */
  paused: boolean;
  /** Called before each call takes effect; may throw. */
  onCall: (call: VmCall) => void = () => {};
  /** What was in memory, and how many calls there had been, when it was stopped. */
  atStop: Uint8Array | undefined;
  /** The disks' contents then. */
  disksAtStop: Uint8Array[] = [];
  readonly fakeDisks: readonly FakeSourceDisk[];
  readonly disks: SourceDisks | undefined;
  readonly #nsPerWrite: number;
  /** Bytes per second that the guest may write to them; 0 for no limit. */
  writeLimit = 0;
  #diskDebt = 0;
  readonly #time: VirtualTime;
  #lastNs: number;

  constructor(
    time: VirtualTime,
    {
      nsPerPage = 200_000,
      paused = false,
      disks = [] as readonly FakeSourceDisk[],
      incremental = false,
      /** Nanoseconds from one write to a disk to the next. */
      nsPerWrite = 2_000_000,
    } = {},
  ) {
    this.fakeDisks = disks;
    this.#nsPerWrite = nsPerWrite;
    this.disks = disks.length === 0 ? undefined : this.#sourceDisks(incremental);
    this.#time = time;
    this.#lastNs = time.nowNs();
    this.memory = borrowMemory(this.layout);
    this.guest = new Guest(this.memory, this.layout, nsPerPage);
    this.paused = paused;
    this.guest.running = !paused;
    const bytes = new Uint8Array(this.memory.buffer, this.layout.blocksBase);
    let x = 1;
    for (let i = 0; i < 30 * PAGE_SIZE; i++) {
      x = (Math.imul(x, 1103515245) + 12345) >>> 0;
      bytes[i] = x >>> 16;
    }
    bytes[(PAGES - 1) * PAGE_SIZE + 17] = 99;
  }

  get running(): boolean {
    return this.guest.running;
  }

  instructions(): number {
    return this.#time.nowNs();
  }

  /** The guest does what it does in the time that has passed. */
  catchUp(): void {
    const now = this.#time.nowNs();
    if (this.guest.running) this.#useDisks(now - this.#lastNs);
    this.guest.runFor(now - this.#lastNs);
    this.#lastNs = now;
  }

  #useDisks(ns: number): void {
    const slowest = this.writeLimit === 0 ? 0 : (65536 / this.writeLimit) * 1e9;
    this.#diskDebt += ns;
    while (this.#diskDebt >= Math.max(this.#nsPerWrite, slowest)) {
      this.#diskDebt -= Math.max(this.#nsPerWrite, slowest);
      for (const disk of this.fakeDisks) disk.write();
    }
  }

  #sourceDisks(incremental: boolean): SourceDisks {
    const log = async (call: 'startDiskLog' | 'stopDiskLog'): Promise<void> => {
      await this.#call(call);
      for (const disk of this.fakeDisks) disk.logging = call === 'startDiskLog';
    };
    return {
      disks: this.fakeDisks,
      incremental,
      startLog: () => log('startDiskLog'),
      stopLog: () => log('stopDiskLog'),
      limitWrites: async (bytesPerSecond) => {
        this.writeLimit = bytesPerSecond;
      },
    };
  }

  /** Pages that it was told to give back, each time. */
  readonly released: number[] = [];

  release(first: number, count: number): void {
    this.released.push(count);
    new Uint8Array(this.memory.buffer, this.layout.blocksBase).fill(
      0,
      first * PAGE_SIZE,
      (first + count) * PAGE_SIZE,
    );
  }

  async startDirtyLog(): Promise<void> {
    await this.#call('startDirtyLog');
    this.#dirty().fill(0);
    this.guest.logging = true;
  }

  async syncDirtyLog(): Promise<void> {
    await this.#call('syncDirtyLog');
    if (!this.guest.logging) throw new Error('a sync without a dirty log');
    const dirty = this.#dirty();
    const pending = new Uint32Array(
      this.memory.buffer,
      this.layout.pendingBitmap,
      this.layout.bitmapSize / 4,
    );
    for (let i = 0; i < dirty.length; i++) pending[i] = (pending[i] ?? 0) | (dirty[i] ?? 0);
    dirty.fill(0);
  }

  async setThrottle(percentage: number): Promise<void> {
    await this.#call('setThrottle');
    this.guest.throttle = percentage;
    this.throttles.push(percentage);
  }

  async setDirtyLimit(limit: number | undefined): Promise<void> {
    await this.#call('setDirtyLimit');
    this.dirtyLimits.push(limit);
  }

  async stopDirtyLog(): Promise<void> {
    await this.#call('stopDirtyLog');
    this.guest.logging = false;
  }

  async stop(take: boolean): Promise<StoppedVm> {
    await this.#call('stop');
    this.guest.running = false;
    this.stopped = true;
    this.atStop = contents(this.memory, this.layout);
    this.disksAtStop = this.fakeDisks.map((disk) => disk.contents.slice());
    if (!take || this.paused) return { ran: !this.paused };
    await this.syncDirtyLog();
    return { ran: true, state: await this.saveState() };
  }

  async resume(): Promise<void> {
    await this.#call('resume');
    this.stopped = false;
    this.guest.running = !this.paused;
    this.#lastNs = this.#time.nowNs();
  }

  async saveState(): Promise<Uint8Array> {
    await this.#call('saveState');
    return new TextEncoder().encode(`position ${this.guest.position}`);
  }

  async checkState(state: Uint8Array): Promise<void> {
    parse(state);
  }

  /** Where it was taken up, and what was in memory then. */
  readonly rescues: { readonly position: number; readonly contents: Uint8Array }[] = [];

  async rescue(state: Uint8Array | undefined): Promise<void> {
    if (state !== undefined) this.guest.position = parse(state);
    this.rescues.push({ position: this.guest.position, contents: contents(this.memory, this.layout) });
    await this.resume();
  }

  async #call(call: VmCall): Promise<void> {
    this.calls.push(call);
    this.#time.spend(10_000);
    this.catchUp();
    await Promise.resolve();
    this.onCall(call);
  }

  #dirty(): Uint32Array {
    return new Uint32Array(this.memory.buffer, this.layout.dirtyBitmap, this.layout.bitmapSize / 4);
  }
}

export class FakeDestination implements DestinationBuilder, DestinationVm {
  readonly layout = testLayout();
  readonly memory = borrowMemory(this.layout);
  readonly calls: string[] = [];
  readonly disks: readonly FakeDestinationDisk[];
  configuration: Configuration | undefined;
  started: boolean | undefined;
  position: number | undefined;
  /** Throws at this call. */
  failAt: string | undefined;

  constructor(disks: readonly FakeDestinationDisk[] = []) {
    this.disks = disks;
  }

  /** Whether the guest is this side's and runs. */
  get running(): boolean {
    return this.started === true;
  }

  async build(configuration: Configuration): Promise<DestinationVm> {
    this.#call('build');
    this.configuration = configuration;
    return this;
  }

  async checkState(state: Uint8Array): Promise<void> {
    this.#call('checkState');
    parse(state);
  }

  async loadState(state: Uint8Array): Promise<void> {
    this.#call('loadState');
    this.position = parse(state);
  }

  async nameDisks(): Promise<void> {
    this.#call('nameDisks');
    for (const disk of this.disks) disk.name();
  }

  async start(runningAtSource: boolean): Promise<void> {
    this.#call('start');
    this.started = runningAtSource;
  }

  #call(call: string): void {
    this.calls.push(call);
    if (call === this.failAt) throw new GodwitError('mismatch', `${call} says no`);
  }
}

function parse(state: Uint8Array): number {
  const match = /^position (\d+)$/.exec(new TextDecoder().decode(state));
  if (match === null) throw new GodwitError('format', 'device state: expected a position');
  return Number(match[1]);
}
