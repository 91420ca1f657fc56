/** A virtio-blk over PCI with a fake disk and a driver that finds its registers by their capabilities, for tests. */
import { PciBus } from '../../src/devices/pci/bus.ts';
import { VirtioBlk } from '../../src/devices/virtio/blk.ts';
import { VirtioPci } from '../../src/devices/virtio/pci.ts';
import type { MmioHandler } from '../../src/memory/mmio.ts';
import { FakeDisk } from './fake-disk.ts';
import { FlatMemory } from './flat-memory.ts';
import { blkProperties, SECTORS } from './virtio-blk.ts';
import { ENTRIES, Rings } from './virtio-driver.ts';

/** Where its BARs are put. */
const BASE = 0x4000_0000;
const MSIX = 0x4001_0000;
const PORTS = 0x1000;

/** Offsets in the common configuration, Virtual I/O Device 1.2, §4.1.4.3. */
export const COMMON = {
  ...{ deviceFeatureSelect: 0x00, deviceFeature: 0x04, driverFeatureSelect: 0x08, driverFeature: 0x0c },
  ...{ configMsixVector: 0x10, numQueues: 0x12, deviceStatus: 0x14, queueSelect: 0x16, queueSize: 0x18 },
  ...{ queueMsixVector: 0x1a, queueEnable: 0x1c, queueNotifyOff: 0x1e, queueDesc: 0x20, queueDriver: 0x28 },
  queueDevice: 0x30,
};

/** What a capability says: where in BAR 4 a structure is. */
export interface Structure {
  readonly type: number;
  /** Offset of the capability itself. */
  readonly at: number;
  readonly bar: number;
  readonly offset: number;
  readonly length: number;
}

export class PciBench extends Rings {
  readonly disk = new FakeDisk(SECTORS);
  readonly device: VirtioPci;
  readonly messages: [address: number, data: number][] = [];
  readonly space: MmioHandler;
  readonly msix: MmioHandler;
  /** The ports of the legacy interface. */
  readonly ports: MmioHandler;
  level = false;

  constructor({ queues = 1, modern = false } = {}) {
    const memory = new FlatMemory(0x10_0000);
    super(memory);
    const properties = blkProperties(this.disk, { 'num-queues': queues, 'disable-legacy': modern });
    this.device = new VirtioPci({
      ...{ name: 'virtio-blk-pci@01.0', id: '', properties },
      function: new VirtioBlk({ backend: this.disk, properties }),
      guestError() {},
    });
    const bus = new PciBus({
      interrupts: [0, 1, 2, 3].map((line) => (level: boolean) => {
        if (line === 1) this.level = level;
      }),
      dma: memory,
      msi: (address, data) => void this.messages.push([address, data]),
    });
    bus.attach(this.device.pci, { slot: 1, function: 0 });
    const from = (base: number, window = bus.window('memory', 0)): MmioHandler => ({
      read: (offset, size) => window.read(base + offset, size),
      write: (offset, size, value) => window.write(base + offset, size, value),
    });
    this.space = from(BASE);
    this.msix = from(MSIX);
    this.ports = from(PORTS, bus.window('io', 0));
    this.device.setRunning(true);
  }

  get config(): MmioHandler {
    return this.device.pci.config;
  }

  /** Maps the BARs, and lets the function be a bus master. */
  enable(): void {
    this.config.write(0x10, 4, PORTS);
    this.config.write(0x14, 4, MSIX);
    this.config.write(0x20, 4, BASE);
    this.config.write(0x24, 4, 0);
    this.config.write(0x04, 2, 7);
  }

  /** Walks the list of capabilities, §4.1.4. */
  structures(): Structure[] {
    const found: Structure[] = [];
    for (let at = this.config.read(0x34, 1); at !== 0; at = this.config.read(at + 1, 1)) {
      if (this.config.read(at, 1) !== 0x09) continue;
      found.push({
        type: this.config.read(at + 3, 1),
        at,
        bar: this.config.read(at + 4, 1),
        offset: this.config.read(at + 8, 4),
        length: this.config.read(at + 12, 4),
      });
    }
    return found;
  }

  structure(type: number): Structure {
    const found = this.structures().find((one) => one.type === type);
    if (found === undefined) throw new Error(`no structure of type ${type}`);
    return found;
  }

  get(register: number, size: 1 | 2 | 4): number {
    return this.space.read(this.structure(1).offset + register, size);
  }

  set(register: number, size: 1 | 2 | 4, value: number): void {
    this.space.write(this.structure(1).offset + register, size, value);
  }

  /** §3.1.1, with all that is offered. */
  start(queues = 1): void {
    this.enable();
    this.set(COMMON.deviceStatus, 1, 0);
    this.set(COMMON.deviceStatus, 1, 3);
    for (const half of [0, 1]) {
      this.set(COMMON.deviceFeatureSelect, 4, half);
      this.set(COMMON.driverFeatureSelect, 4, half);
      this.set(COMMON.driverFeature, 4, this.get(COMMON.deviceFeature, 4));
    }
    this.set(COMMON.deviceStatus, 1, 11);
    for (let queue = 0; queue < queues; queue++) {
      this.set(COMMON.queueSelect, 2, queue);
      this.set(COMMON.queueSize, 2, ENTRIES);
      this.set(COMMON.queueDesc, 4, this.desc(queue));
      this.set(COMMON.queueDriver, 4, this.avail(queue));
      this.set(COMMON.queueDevice, 4, this.used(queue));
      this.set(COMMON.queueEnable, 2, 1);
    }
    this.set(COMMON.deviceStatus, 1, 15);
  }

  /** One vector for changes of configuration, and one for each queue; message `n` is the data 100 + n. */
  useMessages(queues = 1): void {
    this.config.write(this.msixCapability() + 2, 2, 0x8000);
    for (let vector = 0; vector <= queues; vector++) {
      this.msix.write(16 * vector, 4, 0x2800_0000);
      this.msix.write(16 * vector + 8, 4, 100 + vector);
      this.msix.write(16 * vector + 12, 4, 0);
    }
    this.set(COMMON.configMsixVector, 2, 0);
    for (let queue = 0; queue < queues; queue++) {
      this.set(COMMON.queueSelect, 2, queue);
      this.set(COMMON.queueMsixVector, 2, queue + 1);
    }
  }

  msixCapability(): number {
    let at = this.config.read(0x34, 1);
    while (at !== 0 && this.config.read(at, 1) !== 0x11) at = this.config.read(at + 1, 1);
    return at;
  }

  notify(queue = 0): void {
    const { at, offset } = this.structure(2);
    this.set(COMMON.queueSelect, 2, queue);
    const multiplier = this.config.read(at + 16, 4);
    this.space.write(offset + multiplier * this.get(COMMON.queueNotifyOff, 2), 2, queue);
  }

  readIsr(): number {
    return this.space.read(this.structure(3).offset, 1);
  }
}
