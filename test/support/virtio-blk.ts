/** A virtio-blk over MMIO with a fake disk and a driver, for tests. */
import type { Device } from '../../src/devices/device.ts';
import type { PropertyValue } from '../../src/devices/model.ts';
import { VirtioBlk } from '../../src/devices/virtio/blk.ts';
import { VIRTIO_BLK_PROPERTIES } from '../../src/devices/virtio/blk-model.ts';
import { virtioMmio } from '../../src/devices/virtio/mmio.ts';
import { FakeDisk, settled } from './fake-disk.ts';
import { FLAT_BASE, FlatMemory } from './flat-memory.ts';
import { LateDma } from './late-dma.ts';
import { type Buffer, type Rings, VirtioDriver } from './virtio-driver.ts';

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

/** Makes a request available in the `index`-th place. */
export function addRequest(
  rings: Rings,
  index: number,
  type: number,
  sector: number,
  data: Uint8Array | number = 0,
  queue = 0,
) {
  const { memory } = rings;
  const at = REQUESTS + REQUEST_BYTES * index;
  const offset = at - FLAT_BASE;
  memory.view.setUint32(offset, type, true);
  memory.view.setBigUint64(offset + 8, BigInt(sector), true);
  const length = typeof data === 'number' ? data : data.length;
  const status = at + 16 + length;
  if (typeof data !== 'number') memory.write(at + 16, data);
  memory.bytes[status - FLAT_BASE] = NO_STATUS;
  const middle: Buffer[] =
    length === 0 ? [] : [{ address: at + 16, length, writable: typeof data === 'number' }];
  const head = rings.add(
    [{ address: at, length: 16 }, ...middle, { address: status, length: 1, writable: true }],
    queue,
  );
  return {
    head,
    status: () => memory.bytes[status - FLAT_BASE],
    data: () => memory.read(at + 16, length),
  };
}

/** The properties of a disk: the defaults, and these. */
export function blkProperties(
  disk: FakeDisk,
  properties: Readonly<Record<string, PropertyValue>> = {},
): Readonly<Record<string, PropertyValue>> {
  const defaults = Object.entries(VIRTIO_BLK_PROPERTIES).map(([name, spec]) => [name, spec.default] as const);
  return { ...Object.fromEntries(defaults), size: disk.size, ...properties };
}

export interface BlkOptions {
  readonly legacy?: boolean;
  readonly properties?: Readonly<Record<string, PropertyValue>>;
  readonly disk?: FakeDisk;
  /** Its memory is not there at first, for the device. */
  readonly late?: boolean;
}

export class BlkBench {
  readonly memory = new FlatMemory(0x10_0000);
  readonly late = new LateDma(this.memory);
  readonly disk: FakeDisk;
  readonly device: Device;
  readonly driver: VirtioDriver;
  readonly guestErrors: string[] = [];
  level = false;
  #next = 0;

  constructor({
    legacy = false,
    properties = {},
    disk = new FakeDisk(SECTORS),
    late = false,
  }: BlkOptions = {}) {
    this.disk = disk;
    this.late.late = late;
    const all = blkProperties(disk, properties);
    this.device = virtioMmio({
      index: 2,
      base: 0x1000,
      legacy,
      interrupt: (level) => {
        this.level = level;
      },
      interruptProperties: {},
      dma: this.late,
      plugged: { function: new VirtioBlk({ backend: disk, properties: all }), properties: all },
      guestError: (text) => this.guestErrors.push(text),
    });
    this.driver = new VirtioDriver(this.device, this.memory);
    this.device.setRunning?.(true);
  }

  /** Makes a request available. @param data its bytes, or how many to read. @returns how to look at its outcome. */
  request(type: number, sector: number, data: Uint8Array | number = 0, queue = 0) {
    return addRequest(this.driver, this.#next++, type, sector, data, queue);
  }

  /** Makes a request, notifies, and waits for what it brings. */
  async run(type: number, sector: number, data: Uint8Array | number = 0) {
    const request = this.request(type, sector, data);
    this.driver.notify();
    await settled();
    return request;
  }
}
