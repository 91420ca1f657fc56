/**
 * What all virtio devices have in common, whatever they do and however they are reached: status, features, queues.
 * Virtual I/O Device 1.2, chapters 2 and 3; the legacy interface is §2.4.3, §2.7.
 */

import type { AccessSize } from '../../memory/mmio.ts';
import type { Refuse } from '../../vmstate/descriptor.ts';
import { arrayOf, bool, type Fields, type StateOfFields, struct, u8, u64 } from '../../vmstate/fields.ts';
import type { DmaMemory } from '../dma.ts';
import type { PropertyValue } from '../model.ts';
import { MAX_QUEUE_SIZE, QUEUE_FIELDS, resetQueue, Virtqueue } from './virtqueue.ts';

/** §2.1: device status. */
export const STATUS = {
  acknowledge: 1,
  driver: 2,
  driverOk: 4,
  featuresOk: 8,
  needsReset: 0x40,
  failed: 0x80,
};

/** §6: feature bits that belong to no kind of device; NOTIFY_ON_EMPTY and ANY_LAYOUT are legacy, §6.3. */
export const FEATURE = {
  notifyOnEmpty: 24n,
  anyLayout: 27n,
  indirectDesc: 28n,
  eventIndex: 29n,
  version1: 32n,
};

/** Feature bits as a set. */
export const features = (...bits: readonly bigint[]): bigint =>
  bits.reduce((set, bit) => set | (1n << bit), 0n);

/** A kind of virtio device: a disk, a source of entropy. */
export interface VirtioFunction<F extends Fields = Fields> {
  /** "virtio-blk" */
  readonly name: string;
  /** §5: device ID. */
  readonly deviceId: number;
  /** The features that it offers, without those of FEATURE. */
  readonly features: bigint;
  /** The entries that each of its queues has at reset. */
  readonly queueSizes: readonly number[];
  /** Its device configuration space; a driver reads and writes any part of it. */
  readonly configBytes: number;
  readConfig(offset: number, size: AccessSize): number;
  writeConfig(offset: number, size: AccessSize, value: number): void;
  /** Called once, before anything else. */
  connect(host: VirtioHost): void;
  /** The driver made buffers available. */
  notified(queue: number): void;
  /** The driver has taken its features, and is ready. */
  started(): void;
  reset(): void;
  /** Its own state beside that of the queues. */
  readonly fields: F;
  save(): StateOfFields<F>;
  load(state: StateOfFields<F>): void;
  /** @throws what `refuse` makes, for a state that does not fit its queues. */
  check?(state: StateOfFields<F>, queues: readonly QueueShape[], refuse: Refuse): void;
  /** See Device. */
  setRunning?(running: boolean): void;
  drain?(): Promise<void>;
  readonly busy?: boolean;
}

/** What a loaded queue is, for a check of what refers to it. */
export interface QueueShape {
  readonly num: number;
}

/** What a kind of device has of the rest. */
export interface VirtioHost {
  readonly dma: DmaMemory;
  readonly queues: readonly Virtqueue[];
  /** Whether the driver has taken a feature, by its bit. */
  has(feature: bigint): boolean;
  /** Whether queues are to be served. */
  readonly live: boolean;
  /** Tells the driver of what was given back, if it wants to hear; so many chains of the queue are `outstanding`. */
  signal(queue: number, outstanding: () => number): void;
  /** The driver has done what can't be: the device stops until it is reset. */
  fail(reason: string): void;
}

/** What a transport is told. */
export interface VirtioEvents {
  /** The driver is to look at a queue's used ring. */
  queueInterrupt(queue: number): void;
  /** The driver is to look at status and configuration. */
  configInterrupt(): void;
  /** What the guest did wrong, for a log. */
  guestError(text: string): void;
}

export interface VirtioCoreOptions extends VirtioEvents {
  readonly function: VirtioFunction;
  readonly dma: DmaMemory;
  /** The transport speaks the legacy interface, or both. */
  readonly legacy: boolean;
  /** Whether the modern interface can be used. */
  readonly modern: boolean;
  /** What the configuration says of every virtio device. */
  readonly properties: Readonly<Record<string, PropertyValue>>;
}

/** The state that every device has, with so many queues. */
export const coreFields = (queues: number) => ({
  status: u8(),
  driverFeatures: u64(),
  /** It has stopped for what the driver did. */
  broken: bool(),
  queues: arrayOf(struct(QUEUE_FIELDS), queues),
});
export type CoreState = StateOfFields<ReturnType<typeof coreFields>>;

export class VirtioCore implements VirtioHost {
  readonly dma: DmaMemory;
  readonly queues: readonly Virtqueue[];
  /** Offered to the driver. */
  readonly features: bigint;
  readonly function: VirtioFunction;
  readonly #options: VirtioCoreOptions;
  #status = 0;
  #driverFeatures = 0n;
  #broken = false;

  constructor(options: VirtioCoreOptions) {
    const { function: device, dma, legacy, modern, properties } = options;
    this.#options = options;
    this.function = device;
    this.dma = dma;
    this.features =
      device.features |
      (properties.indirect_desc === true ? features(FEATURE.indirectDesc) : 0n) |
      (properties.event_idx === true ? features(FEATURE.eventIndex) : 0n) |
      (legacy ? features(FEATURE.notifyOnEmpty, FEATURE.anyLayout) : 0n) |
      (modern ? features(FEATURE.version1) : 0n);
    this.queues = device.queueSizes.map(
      (num) =>
        new Virtqueue(resetQueue(num), {
          dma,
          eventIndex: () => this.has(FEATURE.eventIndex),
          notifyOnEmpty: () => this.has(FEATURE.notifyOnEmpty),
          fail: (reason) => this.fail(reason),
        }),
    );
    device.connect(this);
  }

  get status(): number {
    return this.#status;
  }

  get driverFeatures(): bigint {
    return this.#driverFeatures;
  }

  /** §3.1: the driver's steps; 0 resets. */
  setStatus(status: number): void {
    if (status === 0) {
      this.reset();
      return;
    }
    const before = this.#status;
    this.#status = (status | (before & STATUS.needsReset)) & 0xff;
    if (this.#status & ~before & STATUS.driverOk) this.function.started();
  }

  /** The driver takes these of the features; ignored once it has said that it is done, §3.1.1. */
  setDriverFeatures(wanted: bigint): void {
    if (this.#status & STATUS.featuresOk) return;
    this.#driverFeatures = wanted & this.features;
  }

  has(feature: bigint): boolean {
    return ((this.#driverFeatures >> feature) & 1n) !== 0n;
  }

  /** A legacy driver may use its queues before it says that it is ready. */
  get live(): boolean {
    const ready = !this.has(FEATURE.version1) || (this.#status & STATUS.driverOk) !== 0;
    return ready && !this.#broken;
  }

  notify(queue: number): void {
    if (this.live && this.queues[queue]?.state.ready) this.function.notified(queue);
  }

  signal(queue: number, outstanding: () => number): void {
    if (!this.#broken && this.queues[queue]?.wantsInterrupt(outstanding)) this.#options.queueInterrupt(queue);
  }

  fail(reason: string): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#options.guestError(`${this.function.name}: ${reason}`);
    // §2.1.2
    if (!this.has(FEATURE.version1)) return;
    this.#status |= STATUS.needsReset;
    this.#options.configInterrupt();
  }

  /** Back to what it was at power-on, §2.4. */
  reset(): void {
    this.#status = 0;
    this.#driverFeatures = 0n;
    this.#broken = false;
    for (const [i, queue] of this.queues.entries()) queue.load(this.#resetQueue(i));
    this.function.reset();
  }

  save(): CoreState {
    return {
      status: this.#status,
      driverFeatures: this.#driverFeatures,
      broken: this.#broken,
      queues: this.queues.map((queue) => queue.state),
    };
  }

  load({ status, driverFeatures, broken, queues }: CoreState): void {
    this.#status = status;
    this.#driverFeatures = driverFeatures;
    this.#broken = broken;
    for (const [i, state] of queues.entries()) this.queues[i]?.load(state);
  }

  /** @throws what `refuse` makes. */
  check({ driverFeatures, queues }: CoreState, refuse: Refuse): void {
    const unknown = driverFeatures & ~this.features;
    if (unknown !== 0n) {
      throw refuse('driverFeatures', `only what is offered (${hex(this.features)})`, hex(driverFeatures));
    }
    for (const { num } of queues) {
      if (!isQueueSize(num))
        throw refuse('queues', `sizes that are powers of 2 to ${MAX_QUEUE_SIZE}`, `${num}`);
    }
  }

  #resetQueue(index: number) {
    return resetQueue(this.function.queueSizes[index] as number);
  }
}

/** A 64-bit value with its low (0) or high (1) half replaced: registers of 32 bits hold halves. */
export function withHalf(value: bigint, index: number, part: number): bigint {
  const shift = BigInt(32 * index);
  return (value & ~(0xffff_ffffn << shift)) | (BigInt(part) << shift);
}

/** The low (0) or high (1) half of a 64-bit value. */
export function halfOf(value: bigint, index: number): number {
  return Number((value >> BigInt(32 * index)) & 0xffff_ffffn);
}

/** §2.7: a power of 2; not more than a driver can be offered. */
export function isQueueSize(num: number): boolean {
  return num > 0 && num <= MAX_QUEUE_SIZE && (num & (num - 1)) === 0;
}

const hex = (value: bigint): string => `0x${value.toString(16)}`;
