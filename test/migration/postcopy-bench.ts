/** A post-copy between fake VMs over links that break: the guest runs at the destination, and waits for its pages. */
import { expect } from 'vitest';
import { CONTROL, PAGE_SIZE } from '../../src/memory/layout.ts';
import { DISK_CHUNK } from '../../src/migration/disk-stream.ts';
import { FrameWriter } from '../../src/migration/frame-writer.ts';
import { Kernels } from '../../src/migration/kernels.ts';
import type { Checkpoint, PostcopyVm } from '../../src/migration/migratable-vm.ts';
import { PageBitmap } from '../../src/migration/page-bitmap.ts';
import type { MigrationParameters } from '../../src/migration/parameters.ts';
import { encodeMessage, MIGRATION_ID_BYTES } from '../../src/migration/protocol.ts';
import { Receiver } from '../../src/migration/receiver.ts';
import { type MigrationEvent, Sender } from '../../src/migration/sender.ts';
import type { Transport } from '../../src/migration/transport.ts';
import { Random } from '../support/random.ts';
import { FakeDestinationDisk, FakeSourceDisk } from './fake-disks.ts';
import { checkSweep, contents, FakeDestination, FakeSourceVm, Guest, giveBack, SWEEP } from './fake-vm.ts';
import { PARAMETERS } from './harness.ts';
import { Link, type LinkOptions } from './memory-transport.ts';
import { VirtualTime } from './virtual-time.ts';

const NS_PER_PAGE = 50_000;
/** Time that a request to a disk takes. */
const NS_PER_REQUEST = 100_000;

/** A destination whose guest runs and needs pages. */
export class LateDestination extends FakeDestination {
  readonly wanted: number[] = [];
  readonly links: boolean[] = [];
  readonly postcopy: PostcopyVm;
  guest: Guest | undefined;
  /** What the source's disks held when it was stopped. */
  sourceDisks: () => readonly Uint8Array[] = () => [];
  /** Pages that the guest ever waited for. */
  ended = false;
  /** Its process has ended. */
  lost = false;
  /** Checkpoints that can't be taken, from now on. */
  refusals = 0;
  /** Where the guest stood at each checkpoint, and what was in the pages that were here. */
  readonly checkpoints: { readonly position: number; readonly pages: ReadonlyMap<number, number> }[] = [];
  #logged = false;
  readonly #time: VirtualTime;
  #lastNs = 0;
  #want: (page: number) => void = () => {};
  readonly #asked = new Set<number>();
  readonly #control: Int32Array;
  readonly #received: Int32Array;
  lateDisks: { here: readonly Int32Array[]; wanted: Parameters<PostcopyVm['beginDisks']>[1] } | undefined;
  /** Chunks of disks that the guest waited for. */
  readonly wantedChunks: number[] = [];
  /** What is to be on each disk, once the guest runs here. */
  model: Uint8Array[] = [];
  readonly #random = new Random(11);
  /** What the guest wants to do to a disk next. */
  #request: { disk: number; sector: number; write: boolean; asked: boolean } | undefined;
  #diskNs = 0;

  constructor(time: VirtualTime, disks: readonly FakeDestinationDisk[]) {
    super(disks);
    this.#time = time;
    this.#control = new Int32Array(this.memory.buffer, this.layout.control, CONTROL.hotSlots / 4);
    this.#received = new Int32Array(
      this.memory.buffer,
      this.layout.receivedBitmap,
      this.layout.bitmapSize / 4,
    );
    this.postcopy = {
      begin: async (wanted, logged) => {
        this.calls.push('begin');
        this.#want = wanted;
        this.#logged = logged;
      },
      checkpoint: async (also) => {
        await Promise.resolve();
        if (this.refusals-- > 0) return undefined;
        this.catchUp();
        return this.#checkpoint(also);
      },
      arrived: () => {
        time.spend(0);
        this.catchUp();
      },
      setLink: async (up) => void this.links.push(up),
      end: async () => {
        this.ended = true;
      },
      beginDisks: async (here, wanted) => {
        this.calls.push('beginDisks');
        this.lateDisks = { here, wanted };
      },
      disksArrived: () => {
        time.spend(0);
        this.catchUp();
      },
      endDisks: async () => {
        this.calls.push('endDisks');
        this.lateDisks = undefined;
      },
    };
  }

  isHere(page: number): boolean {
    return (((this.#received[page >>> 5] as number) >>> (page & 31)) & 1) === 1;
  }

  override async start(runningAtSource: boolean): Promise<void> {
    await super.start(runningAtSource);
    this.model = this.sourceDisks().map((contents) => contents.slice());
    const guest = new Guest(this.memory, this.layout, NS_PER_PAGE, this.position);
    guest.running = runningAtSource && !this.lost;
    guest.logging = this.#logged;
    guest.has = (page) => this.#has(page);
    this.guest = guest;
    this.#lastNs = this.#time.nowNs();
    guest.runFor(NS_PER_PAGE);
  }

  override get running(): boolean {
    return super.running && !this.lost;
  }

  /** The guest reads and writes sectors, one after the other, and waits for those that are not here. */
  #useDisks(ns: number): void {
    if (this.guest?.running !== true || this.disks.length === 0) return;
    this.#diskNs += ns;
    while (this.#diskNs >= NS_PER_REQUEST) {
      if (this.#request === undefined) {
        const disk = this.#random.below(this.disks.length);
        const sector = this.#random.below((this.disks[disk] as FakeDestinationDisk).size / 512);
        this.#request = { disk, sector, write: this.#random.chance(0.5), asked: false };
      }
      const request = this.#request;
      const chunk = Math.floor((request.sector * 512) / DISK_CHUNK);
      const here = this.lateDisks?.here[request.disk];
      if (here !== undefined && (((here[chunk >> 5] as number) >>> (chunk & 31)) & 1) === 0) {
        if (!request.asked) {
          request.asked = true;
          this.wantedChunks.push(chunk);
          this.lateDisks?.wanted(request.disk, { first: chunk, count: 1 });
        }
        this.#diskNs = NS_PER_REQUEST;
        return;
      }
      this.#diskNs -= NS_PER_REQUEST;
      this.#request = undefined;
      const { contents } = this.disks[request.disk] as FakeDestinationDisk;
      const model = this.model[request.disk] as Uint8Array;
      const at = request.sector * 512;
      if (Buffer.compare(contents.subarray(at, at + 512), model.subarray(at, at + 512)) !== 0) {
        throw new Error(`disk ${request.disk}, sector ${request.sector} is not what it was`);
      }
      if (!request.write) continue;
      contents.fill(this.#random.below(256), at, at + 512);
      model.set(contents.subarray(at, at + 512), at);
    }
  }

  catchUp(): void {
    const now = this.#time.nowNs();
    this.#useDisks(now - this.#lastNs);
    this.guest?.runFor(now - this.#lastNs);
    this.#lastNs = now;
  }

  #checkpoint(also: Uint32Array): Checkpoint {
    const dirty = new Uint32Array(
      this.memory.buffer,
      this.layout.dirtyBitmap,
      Math.ceil(this.layout.pages / 32),
    );
    const set = PageBitmap.create(this.layout.pages);
    for (const page of also) set.add(page);
    for (const [i, word] of dirty.entries()) set.addWord(i, word);
    dirty.fill(0);
    const pages = Uint32Array.from(
      Array.from({ length: this.layout.pages }, (_, page) => page).filter((page) => set.has(page)),
    );
    const data = new Uint8Array(pages.length * PAGE_SIZE);
    const all = contents(this.memory, this.layout);
    for (const [i, page] of pages.entries()) {
      data.set(all.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE), i * PAGE_SIZE);
    }
    const position = this.guest?.position ?? 0;
    const sweep = Array.from({ length: SWEEP.pages }, (_, i) => SWEEP.first + i);
    const here = sweep.filter((page) => this.isHere(page));
    this.checkpoints.push({
      position,
      pages: new Map(here.map((page) => [page, all[page * PAGE_SIZE] as number])),
    });
    return { pages, data, state: new TextEncoder().encode(`position ${position}`), pausedNs: 1000 };
  }

  #has(page: number): boolean {
    if (this.calls.includes('begin') && !this.ended && !this.isHere(page)) {
      Atomics.store(this.#control, CONTROL.wanting / 4, 1);
      if (!this.#asked.has(page)) {
        this.#asked.add(page);
        this.wanted.push(page);
        this.#want(page);
      }
      return false;
    }
    return true;
  }
}

export interface PostcopySetting {
  /** One for each connection; the last is used again. */
  readonly links?: readonly LinkOptions[];
  readonly parameters?: Partial<MigrationParameters>;
  /** Pages are asked for over a connection of their own: one for each of `links`; the last is used again. */
  readonly urgent?: readonly LinkOptions[];
  /** When post-copy is asked for: before anything, or after so many passes. */
  readonly after?: number;
  readonly paused?: boolean;
  /** Sizes of disks that travel as well, and what is special about them. */
  readonly disks?: readonly number[];
  /** After so many pauses the destination is lost, and the source's user wants the guest back. */
  readonly rescueAfter?: number;
  readonly incremental?: boolean;
  readonly nsPerWrite?: number;
  /** Bytes after which the first is full at the destination. */
  readonly room?: number;
  /** The number of the read that fails. */
  readonly failAtRead?: number;
  /** The first who connects after a pause is somebody else. */
  readonly intruder?: boolean;
  /** Called when the sender's status changes. */
  readonly onStatus?: (status: string, sides: PostcopySides) => void;
}

export interface PostcopySides {
  readonly sender: Sender;
  readonly receiver: Receiver;
  readonly destination: LateDestination;
  readonly links: readonly Link[];
}

export interface PostcopyOutcome extends PostcopySides {
  readonly time: VirtualTime;
  readonly source: FakeSourceVm;
  readonly sent: Error | undefined;
  /** Undefined too if it still waits for a connection. */
  readonly received: Error | undefined;
  readonly urgents: readonly Link[];
  readonly statuses: string[];
  readonly arrivals: string[];
  /** Why the destination was paused, each time. */
  readonly pauses: (string | undefined)[];
}

export async function postcopy(setting: PostcopySetting = {}): Promise<PostcopyOutcome> {
  const time = new VirtualTime();
  const disks = (setting.disks ?? []).map((size, i) => new FakeSourceDisk(time, `d${i}`, size, i + 1));
  // Of the base, a half is as it will be.
  const arriving = disks.map(
    ({ id, size, contents }) =>
      new FakeDestinationDisk(time, id, size, contents.slice().fill(0, 0, size >> 1)),
  );
  for (const disk of disks.slice(0, 1)) disk.failAtRead = setting.failAtRead ?? Infinity;
  for (const disk of arriving.slice(0, 1)) disk.room = setting.room ?? Infinity;
  const { paused = false, incremental = false, nsPerWrite = 500_000 } = setting;
  const source = new FakeSourceVm(time, { paused, disks, incremental, nsPerWrite });
  const destination = new LateDestination(time, arriving);
  destination.sourceDisks = () => source.disksAtStop;
  const links: Link[] = [];
  const urgents: Link[] = [];
  const newLink = (list = links, options = setting.links ?? []): Link => {
    const link = new Link({
      time,
      rate: 40e6,
      onWrite: () => {
        source.catchUp();
        destination.catchUp();
      },
      ...options[Math.min(list.length, options.length - 1)],
    });
    list.push(link);
    return link;
  };
  const statuses: string[] = [];
  const arrivals: string[] = [];
  const pauses: (string | undefined)[] = [];
  const parameters = {
    ...PARAMETERS,
    postcopy: true,
    postcopyPreempt: setting.urgent !== undefined,
    ...setting.parameters,
  };
  /** The source's side of a connection, and, asked again, of another beside it. */
  const opening = (link: Link) => {
    let opened = false;
    return async () => {
      if (!opened) {
        opened = true;
        return link.source();
      }
      const urgent = newLink(urgents, setting.urgent);
      come(urgent.destination());
      return urgent.source();
    };
  };
  let come: (transport: Transport) => void = () => {};
  /** Where the destination has it from. */
  const further = () => {
    const next = new Promise<Transport>((resolve) => {
      come = resolve;
    });
    let taken = false;
    return () => {
      if (taken) return new Promise<Transport>(() => {});
      taken = true;
      return next;
    };
  };
  const channels = setting.urgent === undefined ? undefined : further();
  let passes = 0;
  const begin = (): void => {
    if (passes === (setting.after ?? 1)) sender.startPostcopy();
  };
  const sides = (): PostcopySides => ({ sender, receiver, links, destination });
  let failed = false;
  /** Both know that the link is gone: another one. */
  const recover = (): void => {
    if (sender.state !== 'postcopy-paused' || failed) return;
    if (statuses.filter((status) => status === 'postcopy-paused').length === setting.rescueAfter) {
      // Its process has ended.
      if (destination.guest !== undefined) destination.guest.running = false;
      destination.lost = true;
      sender.rescue();
      return;
    }
    if (!receiver.paused) return;
    const link = newLink();
    if (setting.intruder === true && pauses.length === 1) {
      receiver.recover({ accept: async () => link.destination(), close() {} });
      const id = new Uint8Array(MIGRATION_ID_BYTES);
      const writer = new FrameWriter(link.source(), Kernels.standalone(), 'forward');
      void writer.send('resume', encodeMessage('resume', { id })).catch(() => {});
      return;
    }
    const channel = setting.urgent === undefined ? {} : { channel: further() };
    receiver.recover({ accept: async () => link.destination(), ...channel, close() {} });
    sender.recover(opening(link));
  };
  const told = (event: MigrationEvent): void => {
    time.spend(0);
    if (event.event === 'pass') {
      passes = event.pass;
      begin();
      return;
    }
    if (event.event !== 'status') return;
    statuses.push(event.status);
    setting.onStatus?.(event.status, sides());
    if (event.status === 'postcopy-paused') setImmediate(recover);
  };
  const first = newLink();
  const sender = new Sender({
    vm: source,
    open: opening(first),
    clock: time,
    timers: time,
    parameters,
    onEvent: told,
  });
  const receiver = new Receiver({
    builder: destination,
    transport: first.destination(),
    ...(channels === undefined ? {} : { channels: { next: channels, close() {} } }),
    clock: time,
    timers: time,
    parameters,
    onEvent: (event) => {
      time.spend(0);
      if (event.event !== 'status') return;
      arrivals.push(event.status);
      if (event.status === 'postcopy-paused') {
        pauses.push(event.error);
        setImmediate(recover);
      }
    },
  });
  let received: Error | undefined;
  const sending = sender.run().then(
    () => undefined,
    (error: Error) => {
      failed = true;
      return error;
    },
  );
  begin();
  const receiving = receiver.run().then(
    () => {},
    (error: Error) => {
      received = error;
    },
  );
  /** A destination that was ready when the source took back waits for ever. */
  const taken = sending.then(async (error) => {
    for (let turn = 0; turn < 40; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (error !== undefined && (receiver.paused || destination.lost)) return error;
    }
    await receiving;
    return error;
  });
  /** The source does not hear that the destination has everything: it keeps what it has. */
  const unheard = receiving.then(async () => {
    while (sender.state !== 'postcopy-paused') await new Promise((resolve) => setImmediate(resolve));
    return setting.rescueAfter === undefined ? undefined : await sending;
  });
  const done = Promise.race([taken, unheard]);
  const sent = await time.run(done).catch((error: Error) => {
    const states = `the source is ${sender.state}, the destination ${receiver.state}`;
    throw new Error(`${error.message}: ${states}; ${statuses}; ${arrivals}`, { cause: error });
  });
  const both = { links, urgents };
  return { time, source, destination, sender, receiver, ...both, sent, received, statuses, arrivals, pauses };
}

/** What must hold however it went. */
export function checkPostcopy({ source, destination, sent }: PostcopyOutcome): void {
  expect(source.running && destination.running, 'both sides run').toBe(false);
  checkSweep(source.memory, source.layout);
  if (sent !== undefined) {
    expect(destination.started, 'the destination never ran').toBeUndefined();
    expect(source.running, 'the source runs').toBe(!source.paused);
    return;
  }
  expect(source.stopped, 'the source stays stopped').toBe(true);
  expect(source.guest.logging).toBe(false);
  expect(destination.started).toBe(!source.paused);
  expect(destination.ended).toBe(true);
  checkSweep(destination.memory, destination.layout);
  // All else is as it was when the source was stopped.
  const [here, there] = [contents(destination.memory, destination.layout), source.atStop as Uint8Array];
  for (let i = 0; i < SWEEP.pages; i++) {
    const at = (SWEEP.first + i) * 4096;
    there[at] = here[at] as number;
  }
  expect(Buffer.compare(here, there), 'memory').toBe(0);
  for (const [i, { contents, named }] of destination.disks.entries()) {
    const [model, there] = [destination.model[i] as Uint8Array, source.disksAtStop[i] as Uint8Array];
    expect(Buffer.compare(contents, model), `disk ${i}`).toBe(0);
    const safe = named as Uint8Array;
    const lost = safe.findIndex((byte, at) => byte !== there[at] && model[at] === there[at]);
    expect(lost, `what is not safe of disk ${i} when it gets its name`).toBe(-1);
    expect(Buffer.compare((source.fakeDisks[i] as FakeSourceDisk).contents, there), 'the source').toBe(0);
  }
  for (const disk of source.fakeDisks) expect(disk.logging).toBe(false);
}

export function doneWith({ source, destination }: PostcopyOutcome): void {
  giveBack(source.memory);
  giveBack(destination.memory);
}
