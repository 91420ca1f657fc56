/** A driver of a virtio-mmio device, for tests: rings in flat memory, every step of which a test can falsify. */
import type { Device } from '../../src/devices/device.ts';
import type { MmioHandler } from '../../src/memory/mmio.ts';
import { FLAT_BASE, type FlatMemory } from './flat-memory.ts';

/** Offsets of registers, Virtual I/O Device 1.2, §4.2.2 and §4.2.4. */
export const REG = {
  ...{ magic: 0x00, version: 0x04, deviceId: 0x08, vendor: 0x0c, features: 0x10, featuresSel: 0x14 },
  ...{
    driverFeatures: 0x20,
    driverFeaturesSel: 0x24,
    guestPageSize: 0x28,
    queueSel: 0x30,
    queueNumMax: 0x34,
  },
  ...{ queueNum: 0x38, queueAlign: 0x3c, queuePfn: 0x40, queueReady: 0x44, queueNotify: 0x50 },
  ...{ interruptStatus: 0x60, interruptAck: 0x64, status: 0x70, queueDesc: 0x80, queueDriver: 0x90 },
  ...{ queueDevice: 0xa0, configGeneration: 0xfc, config: 0x100 },
};

export const DESC = { next: 1, write: 2, indirect: 4 };

/** A buffer of a chain. */
export interface Buffer {
  readonly address: number;
  readonly length: number;
  readonly writable?: boolean;
}

/** Entries of a queue, unless its device says how many. */
export const ENTRIES = 8;
const QUEUE_BYTES = 0x3000;

/** The rings of some queues. */
export class Rings {
  readonly memory: FlatMemory;
  /** Of each queue. */
  entries = ENTRIES;
  #nextDescriptor = 0;
  #seen = [0, 0, 0, 0];

  constructor(memory: FlatMemory) {
    this.memory = memory;
  }

  /** Addresses of a queue's parts; the legacy layout serves both. */
  desc(queue = 0): number {
    return FLAT_BASE + queue * QUEUE_BYTES;
  }
  avail(queue = 0): number {
    return this.desc(queue) + 16 * this.entries;
  }
  used(queue = 0): number {
    return this.desc(queue) + Math.ceil((18 * this.entries + 6) / 4096) * 4096;
  }

  put16(address: number, value: number): void {
    this.memory.view.setUint16(address - FLAT_BASE, value, true);
  }
  get16(address: number): number {
    return this.memory.view.getUint16(address - FLAT_BASE, true);
  }

  putDescriptor(at: number, { address, length, writable = false }: Buffer, flags = 0, next = 0): void {
    const { view } = this.memory;
    view.setBigUint64(at - FLAT_BASE, BigInt(address), true);
    view.setUint32(at - FLAT_BASE + 8, length, true);
    view.setUint16(at - FLAT_BASE + 12, flags | (writable ? DESC.write : 0), true);
    view.setUint16(at - FLAT_BASE + 14, next, true);
  }

  /** Makes a chain of the buffers available, without a notification. @returns its head. */
  add(buffers: readonly Buffer[], queue = 0): number {
    const indices = buffers.map(() => this.#nextDescriptor++ % this.entries);
    for (const [i, buffer] of buffers.entries()) {
      const next = indices[i + 1];
      const flags = next === undefined ? 0 : DESC.next;
      this.putDescriptor(this.desc(queue) + 16 * (indices[i] as number), buffer, flags, next ?? 0);
    }
    this.offer(indices[0] as number, queue);
    return indices[0] as number;
  }

  /** Makes a descriptor available as it stands. */
  offer(head: number, queue = 0): void {
    const index = this.get16(this.avail(queue) + 2);
    this.put16(this.avail(queue) + 4 + 2 * (index % this.entries), head);
    this.put16(this.avail(queue) + 2, index + 1);
  }

  /** What was given back since the last look: heads and bytes written. */
  collect(queue = 0): [head: number, written: number][] {
    const index = this.get16(this.used(queue) + 2);
    const found: [number, number][] = [];
    for (let at = this.#seen[queue] as number; at !== index; at = (at + 1) & 0xffff) {
      const element = this.used(queue) + 4 + 8 * (at % this.entries) - FLAT_BASE;
      found.push([this.memory.view.getUint32(element, true), this.memory.view.getUint32(element + 4, true)]);
    }
    this.#seen[queue] = index;
    return found;
  }
}

/** Over MMIO. */
export class VirtioDriver extends Rings {
  readonly handler: MmioHandler;

  constructor(device: Device, memory: FlatMemory) {
    super(memory);
    const [region] = device.regions;
    if (region === undefined) throw new Error('a transport without registers');
    this.handler = region.handler;
  }

  read(register: number): number {
    return this.handler.read(register, 4);
  }

  write(register: number, value: number): void {
    this.handler.write(register, 4, value);
  }

  /** All that the device offers. */
  offered(): bigint {
    this.write(REG.featuresSel, 1);
    const high = BigInt(this.read(REG.features));
    this.write(REG.featuresSel, 0);
    return (high << 32n) | BigInt(this.read(REG.features));
  }

  /** §3.1.1, with `features` of what is offered, and `queues` queues. */
  start(features = this.offered(), queues = 1): void {
    const legacy = this.read(REG.version) === 1;
    this.write(REG.status, 0);
    this.write(REG.status, 3);
    for (const half of [1, 0]) {
      this.write(REG.driverFeaturesSel, half);
      this.write(REG.driverFeatures, Number((features >> BigInt(32 * half)) & 0xffff_ffffn));
    }
    if (!legacy) this.write(REG.status, 3 | 8);
    if (legacy) this.write(REG.guestPageSize, 4096);
    for (let queue = 0; queue < queues; queue++) {
      this.write(REG.queueSel, queue);
      this.write(REG.queueNum, ENTRIES);
      if (legacy) {
        this.write(REG.queueAlign, 4096);
        this.write(REG.queuePfn, this.desc(queue) / 4096);
      } else {
        for (const [register, address] of [
          [REG.queueDesc, this.desc(queue)],
          [REG.queueDriver, this.avail(queue)],
          [REG.queueDevice, this.used(queue)],
        ] as const) {
          this.write(register, address);
          this.write(register + 4, 0);
        }
        this.write(REG.queueReady, 1);
      }
    }
    this.write(REG.queueSel, 0);
    this.write(REG.status, legacy ? 7 : 15);
  }

  notify(queue = 0): void {
    this.write(REG.queueNotify, queue);
  }
}
