/** A virtio-blk over MMIO with a fake disk and a driver, for tests. */
import type { Device } from '../../src/devices/device.ts';
import type { PropertyValue } from '../../src/devices/model.ts';
import { VirtioBlk } from '../../src/devices/virtio/blk.ts';
import { VIRTIO_BLK_PROPERTIES } from '../../src/devices/virtio/blk-model.ts';
import { virtioMmio } from '../../src/devices/virtio/mmio.ts';
import { FakeDisk, settled } from './fake-disk.ts';
import { FLAT_BASE, FlatMemory } from './flat-memory.ts';
import { type Buffer, VirtioDriver } from './virtio-driver.ts';

export const SECTORS = 64;
export const REQUEST = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 };
export const STATUS_OK = 0;
export const STATUS_IO_ERROR = 1;
export const STATUS_UNSUPPORTED = 2;
/** What a status byte holds that nobody wrote. */
export const NO_STATUS = 0xee;

/** Where requests' parts are, behind the rings; one place per request. */
const REQUESTS = FLAT_BASE + 0x2_0000;
const REQUEST_BYTES = 0x1000;

export interface BlkOptions {
  readonly legacy?: boolean;
  readonly properties?: Readonly<Record<string, PropertyValue>>;
  readonly disk?: FakeDisk;
}

export class BlkBench {
  readonly memory = new FlatMemory(0x10_0000);
  readonly disk: FakeDisk;
  readonly device: Device;
  readonly driver: VirtioDriver;
  readonly guestErrors: string[] = [];
  level = false;
  #next = 0;

  constructor({ legacy = false, properties = {}, disk = new FakeDisk(SECTORS) }: BlkOptions = {}) {
    this.disk = disk;
    const defaults = Object.entries(VIRTIO_BLK_PROPERTIES).map(
      ([name, spec]) => [name, spec.default] as const,
    );
    const all: Record<string, PropertyValue> = {
      ...Object.fromEntries(defaults),
      size: disk.size,
      ...properties,
    };
    this.device = virtioMmio({
      index: 2,
      base: 0x1000,
      legacy,
      interrupt: (level) => {
        this.level = level;
      },
      interruptProperties: {},
      dma: this.memory,
      plugged: { function: new VirtioBlk({ backend: disk, properties: all }), properties: all },
      guestError: (text) => this.guestErrors.push(text),
    });
    this.driver = new VirtioDriver(this.device, this.memory);
    this.device.setRunning?.(true);
  }

  /** Makes a request available. @param data its bytes, or how many to read. @returns how to look at its outcome. */
  request(type: number, sector: number, data: Uint8Array | number = 0, queue = 0) {
    const at = REQUESTS + REQUEST_BYTES * this.#next++;
    const view = this.memory.view;
    const offset = at - FLAT_BASE;
    view.setUint32(offset, type, true);
    view.setBigUint64(offset + 8, BigInt(sector), true);
    const length = typeof data === 'number' ? data : data.length;
    const status = at + 16 + length;
    if (typeof data !== 'number') this.memory.write(at + 16, data);
    this.memory.bytes[status - FLAT_BASE] = NO_STATUS;
    const middle: Buffer[] =
      length === 0 ? [] : [{ address: at + 16, length, writable: typeof data === 'number' }];
    const head = this.driver.add(
      [{ address: at, length: 16 }, ...middle, { address: status, length: 1, writable: true }],
      queue,
    );
    return {
      head,
      status: () => this.memory.bytes[status - FLAT_BASE],
      data: () => this.memory.read(at + 16, length),
    };
  }

  /** Makes a request, notifies, and waits for what it brings. */
  async run(type: number, sector: number, data: Uint8Array | number = 0) {
    const request = this.request(type, sector, data);
    this.driver.notify();
    await settled();
    return request;
  }
}
