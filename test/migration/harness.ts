import { expect } from 'vitest';
import { DEFAULT_PARAMETERS, type MigrationParameters } from '../../src/migration/parameters.ts';
import { type Arrival, Receiver } from '../../src/migration/receiver.ts';
import { type MigrationEvent, Sender } from '../../src/migration/sender.ts';
import type { Compression } from '../../src/migration/sender-channels.ts';
import type { Transport } from '../../src/migration/transport.ts';
import { checkSweep, contents, FakeDestination, FakeSourceVm, giveBack } from './fake-vm.ts';
import { Link, type LinkOptions } from './memory-transport.ts';
import { VirtualTime } from './virtual-time.ts';

export interface Setting {
  readonly link?: LinkOptions;
  readonly parameters?: Partial<MigrationParameters>;
  readonly source?: FakeSourceVm;
  readonly destination?: FakeDestination;
  readonly time?: VirtualTime;
  /** Time that the guest takes for a page. */
  readonly nsPerPage?: number;
  /** So many passes are made before the guest is stopped. */
  readonly passes?: number;
  /** Further connections, the feature "multifd": one for each of these. */
  readonly channels?: readonly LinkOptions[];
  /** Connections of strangers, which come before those. */
  readonly strangers?: readonly Transport[];
  readonly compression?: Compression;
  /** The destination knows nothing of them. */
  readonly withoutChannels?: boolean;
  /** Called with both sides before they run. */
  readonly prepare?: (sides: { sender: Sender; receiver: Receiver; link: Link }) => void;
}

export interface Outcome {
  readonly time: VirtualTime;
  readonly source: FakeSourceVm;
  readonly destination: FakeDestination;
  readonly sender: Sender;
  readonly receiver: Receiver;
  readonly link: Link;
  readonly channels: readonly Link[];
  /** What each side threw; undefined for success. */
  readonly sent: Error | undefined;
  readonly received: Error | undefined;
  readonly arrival: Arrival | undefined;
  readonly events: MigrationEvent[];
  readonly statuses: string[];
}

/** A fast link, and a pause limit that takes some passes to reach. */
export const PARAMETERS: MigrationParameters = {
  ...DEFAULT_PARAMETERS,
  downtimeLimitMs: 0.7,
  maxBandwidth: 0,
  stallTimeoutMs: 5000,
};

export async function migrate(setting: Setting = {}): Promise<Outcome> {
  const time = setting.time ?? new VirtualTime();
  const source = setting.source ?? new FakeSourceVm(time, { nsPerPage: setting.nsPerPage ?? 200_000 });
  const destination = setting.destination ?? new FakeDestination();
  const link = new Link({ time, rate: 40e6, onWrite: () => source.catchUp(), ...setting.link });
  const channels = (setting.channels ?? []).map(
    (options) => new Link({ time, rate: 40e6, onWrite: () => source.catchUp(), ...options }),
  );
  const arriving = new Queue<Transport>();
  for (const stranger of setting.strangers ?? []) arriving.push(stranger);
  let opened = 0;
  const further = {
    count: channels.length,
    id: new Uint8Array(16).fill(7),
    open: async () => {
      const link = channels[opened++] as Link;
      arriving.push(link.destination());
      return link.source();
    },
    ...(setting.compression === undefined ? {} : { compression: setting.compression }),
  };
  const events: MigrationEvent[] = [];
  const { passes = 0 } = setting;
  const parameters = { ...PARAMETERS, ...(passes > 0 ? { downtimeLimitMs: 0 } : {}), ...setting.parameters };
  const sender = new Sender({
    vm: source,
    open: async () => link.source(),
    ...(channels.length === 0 ? {} : { channels: further }),
    clock: time,
    timers: time,
    parameters,
    onEvent: (event) => {
      events.push(event);
      if (event.event === 'pass' && event.pass === passes - 1) {
        sender.setParameters({ downtimeLimitMs: 1000 });
      }
    },
  });
  const receiver = new Receiver({
    builder: destination,
    transport: link.destination(),
    ...(setting.channels === undefined || setting.withoutChannels === true
      ? {}
      : { channels: { next: () => arriving.next(), close: () => arriving.close() } }),
    clock: time,
    timers: time,
    parameters,
  });
  setting.prepare?.({ sender, receiver, link });
  const sending = sender.run().then(
    () => undefined,
    (error: Error) => error,
  );
  let arrival: Arrival | undefined;
  const receiving = receiver.run().then(
    (value) => {
      arrival = value;
      return undefined;
    },
    (error: Error) => error,
  );
  const [sent, received] = await time.run(Promise.all([sending, receiving]));
  const statuses = events.flatMap((e) => (e.event === 'status' ? [e.status as string] : []));
  return {
    time,
    source,
    destination,
    sender,
    receiver,
    link,
    channels,
    sent,
    received,
    arrival,
    events,
    statuses,
  };
}

/** What has come and was not asked for yet, and who waits. */
class Queue<T> {
  readonly #items: T[] = [];
  #waiting: ((item: T) => void) | undefined;

  push(item: T): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) this.#items.push(item);
    else waiting(item);
  }

  next(): Promise<T> {
    const item = this.#items.shift();
    if (item !== undefined) return Promise.resolve(item);
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  close(): void {
    this.#waiting = undefined;
  }
}

/** What must hold however a migration ended. */
export function checkSafe({ time, source, destination, sent, received }: Outcome): void {
  const both = source.running && destination.running;
  expect(both, 'both sides run').toBe(false);
  expect(source.guest.logging, 'the dirty log is on').toBe(false);
  for (const disk of source.fakeDisks) {
    expect(disk.logging, 'writes to disks are logged').toBe(false);
    expect(disk.reading, 'reads into memory that another migration may use').toBe(0);
  }
  expect(time.timers, 'timers left behind').toBe(0);
  checkSweep(source.memory, source.layout);
  if (destination.started !== undefined) {
    expect(received).toBeUndefined();
    expect(source.stopped, 'the source stays stopped').toBe(true);
    const equal = Buffer.compare(
      contents(destination.memory, destination.layout),
      source.atStop ?? new Uint8Array(),
    );
    expect(equal, 'memory is equal at the hand-over').toBe(0);
    expect(destination.position).toBe(source.guest.position);
    checkSweep(destination.memory, destination.layout);
    for (const [i, disk] of destination.disks.entries()) {
      const there = source.disksAtStop[i] as Uint8Array;
      expect(Buffer.compare(disk.contents, there), `disk ${i} is equal at the hand-over`).toBe(0);
      expect(Buffer.compare(disk.safe, there), `disk ${i} survives the host's end`).toBe(0);
    }
  }
  if (sent === undefined) {
    expect(destination.started, 'the destination has the guest').toBeDefined();
  } else if (!source.stopped) {
    expect(source.running, 'the source runs on').toBe(!source.paused);
  } else {
    expect(sent.message).toContain('may be running at the destination');
  }
}

/** A second migration, to a fresh destination: what was left behind must not harm it. */
export async function again({ source, time, destination }: Outcome, setting: Setting = {}): Promise<void> {
  giveBack(destination.memory);
  source.guest.running = !source.paused;
  source.stopped = false;
  const second = await migrate({ ...setting, source, time });
  expect(second.sent).toBeUndefined();
  expect(second.received).toBeUndefined();
  checkSafe(second);
  expect(second.destination.started).toBe(!source.paused);
  done(second);
}

export function done({ source, destination }: Outcome): void {
  giveBack(source.memory);
  giveBack(destination.memory);
}
