/**
 * virtio over PCI: a function whose capabilities say where in its memory a driver finds the registers. Virtual I/O
 * Device 1.2, §4.1; laid out as in QEMU (BAR 4, MSI-X in BAR 1). Transitional unless `disable-legacy` is set: then it has
 * no ports for the legacy interface, and the identity of a modern device.
 */
import type { AccessSize, MmioHandler, MmioRegion } from '../../memory/mmio.ts';
import { arrayOf, struct, u16 } from '../../vmstate/fields.ts';
import type { DescribedMigratable } from '../../vmstate/section.ts';
import type { Device } from '../device.ts';
import type { FdtNode } from '../fdt.ts';
import type { PropertyValue } from '../model.ts';
import type { PciCapability } from '../pci/config-space.ts';
import { DEFAULT_SUBSYSTEM, PCI_FIELDS, type PciBar, PciFunction } from '../pci/function.ts';
import { Msix, msixFields } from '../pci/msix.ts';
import {
  port,
  type RegisterBank,
  type RegisterState,
  register,
  registerFields,
  registerHandler,
  resetRegisters,
} from '../registers.ts';
import { readBytes } from './config-space.ts';
import { legacyPortBytes, legacyPorts } from './pci-legacy.ts';
import { halfOf, isQueueSize, VirtioCore, type VirtioFunction, withHalf } from './virtio.ts';
import { virtioState } from './virtio-state.ts';
import type { Virtqueue } from './virtqueue.ts';

/** §4.1.4.3: the common configuration. 64-bit fields are two registers of 32 bits. */
const COMMON = {
  deviceFeatureSelect: register({ offset: 0x00, width: 4 }),
  deviceFeature: port({ offset: 0x04, width: 4, access: 'r' }),
  driverFeatureSelect: register({ offset: 0x08, width: 4 }),
  driverFeature: port({ offset: 0x0c, width: 4 }),
  configMsixVector: register({ offset: 0x10, width: 2, reset: 0xffff }),
  numQueues: port({ offset: 0x12, width: 2, access: 'r' }),
  deviceStatus: port({ offset: 0x14, width: 1 }),
  configGeneration: port({ offset: 0x15, width: 1, access: 'r' }),
  queueSelect: register({ offset: 0x16, width: 2 }),
  queueSize: port({ offset: 0x18, width: 2 }),
  queueMsixVector: port({ offset: 0x1a, width: 2 }),
  queueEnable: port({ offset: 0x1c, width: 2 }),
  queueNotifyOff: port({ offset: 0x1e, width: 2, access: 'r' }),
  queueDesc: port({ offset: 0x20, width: 4, count: 2 }),
  queueDriver: port({ offset: 0x28, width: 4, count: 2 }),
  queueDevice: port({ offset: 0x30, width: 4, count: 2 }),
} satisfies RegisterBank;

/** §4.1.4.5: read and cleared. */
const ISR = { isr: register({ offset: 0, width: 1, access: 'r' }) } satisfies RegisterBank;
const ISR_QUEUE = 1;
const ISR_CONFIG = 2;

/** §4.1.4.9: a window onto the BAR, for software that can reach nothing but configuration space. */
const WINDOW = {
  bar: register({ offset: 4, width: 1 }),
  offset: register({ offset: 8, width: 4 }),
  length: register({ offset: 12, width: 4 }),
} satisfies RegisterBank;
const WINDOW_DATA = 16;

const NO_VECTOR = 0xffff;
const VENDOR = 0x1af4;
/** §4.1.2: PCI device IDs are the devices' IDs and this; transitional devices have others. */
const FIRST_DEVICE = 0x1040;
const TRANSITIONAL: Readonly<Record<number, number>> = { 2: 0x1001, 3: 0x1003, 4: 0x1005 };

/** Capabilities, §4.1.4: where in the BAR each structure is. */
const VENDOR_SPECIFIC = 0x09;
const CFG_TYPE = { common: 1, notify: 2, isr: 3, device: 4, pci: 5 };
const BAR = 4;
const STRUCTURE_BYTES = 0x1000;
const AT = { common: 0, isr: 0x1000, device: 0x2000, notify: 0x3000 };
const NOTIFY_MULTIPLIER = 4;

const LEGACY_BAR = 0;
const MSIX_BAR = 1;
const MSIX_BYTES = 0x1000;
const MSIX_PENDING = 0x800;

/** §5: the class codes that QEMU gives, by device ID. */
const CLASS_CODES: Readonly<Record<number, number>> = { 2: 0x01_00_00, 3: 0x07_80_00 };
const OTHER_CLASS = 0x00_ff_00;

export interface VirtioPciOptions {
  /** Unique: "virtio-blk-pci@01.0". */
  readonly name: string;
  /** Its -device id, or empty. */
  readonly id: string;
  readonly function: VirtioFunction;
  readonly properties: Readonly<Record<string, PropertyValue>>;
  guestError(text: string): void;
}

export class VirtioPci implements Device {
  readonly name: string;
  readonly regions: readonly MmioRegion[] = [];
  readonly state: DescribedMigratable;
  readonly pci: PciFunction;
  readonly #core: VirtioCore;
  readonly #msix: Msix;
  readonly #memory: MmioHandler;
  #common: RegisterState<typeof COMMON> = resetRegisters(COMMON);
  #isr: RegisterState<typeof ISR> = resetRegisters(ISR);
  #window: RegisterState<typeof WINDOW> = resetRegisters(WINDOW);
  #vectors: number[];

  constructor(options: VirtioPciOptions) {
    const { name, id, function: device, properties, guestError } = options;
    this.name = name;
    const queues = device.queueSizes.length;
    const vectors = queues + 1;
    const at = { bar: MSIX_BAR, tableOffset: 0, pendingOffset: MSIX_PENDING };
    this.#msix = new Msix({ vectors, ...at });
    this.#vectors = new Array<number>(queues).fill(NO_VECTOR);
    const msixBar = {
      index: MSIX_BAR,
      space: 'memory',
      size: MSIX_BYTES,
      handler: msixMemory(this.#msix),
    } as const;
    this.#memory = this.#makeMemory();
    const transitional = properties['disable-legacy'] === true ? undefined : TRANSITIONAL[device.deviceId];
    const legacy = transitional !== undefined;
    this.pci = new PciFunction({
      name,
      id,
      identity: {
        vendor: VENDOR,
        device: transitional ?? FIRST_DEVICE + device.deviceId,
        revision: legacy ? 0 : 1,
        classCode: CLASS_CODES[device.deviceId] ?? OTHER_CLASS,
        subsystemVendor: DEFAULT_SUBSYSTEM.subsystemVendor,
        subsystem: legacy ? device.deviceId : DEFAULT_SUBSYSTEM.subsystem,
      },
      interruptPin: 1,
      bars: [
        ...(legacy ? [this.#legacyBar(device)] : []),
        msixBar,
        {
          ...{ index: BAR, space: 'memory', wide: true, prefetchable: true },
          size: 4 * STRUCTURE_BYTES,
          handler: this.#memory,
        },
      ],
      capabilities: [this.#msix.capability, ...this.#capabilities(device)],
    });
    this.#msix.connect(this.pci);
    this.#core = new VirtioCore({
      ...{ function: device, properties, dma: this.pci.dma, legacy, modern: true },
      guestError,
      queueInterrupt: (queue) => this.#interrupt(ISR_QUEUE, this.#vectors[queue] ?? NO_VECTOR),
      configInterrupt: () => this.#interrupt(ISR_CONFIG, this.#common.configMsixVector),
    });
    this.state = virtioState(name, this.#core, {
      fields: {
        pci: struct(PCI_FIELDS),
        msix: struct(msixFields(vectors)),
        common: struct(registerFields(COMMON)),
        isr: struct(registerFields(ISR)),
        window: struct(registerFields(WINDOW)),
        vectors: arrayOf(u16(), queues),
      },
      save: () => ({
        pci: this.pci.save(),
        msix: this.#msix.save(),
        common: this.#common,
        isr: this.#isr,
        window: this.#window,
        vectors: this.#vectors,
      }),
      load: ({ pci, msix, common, isr, window, vectors: loaded }) => {
        this.#common = common;
        this.#isr = isr;
        this.#window = window;
        this.#vectors = loaded;
        this.#msix.load(msix);
        this.pci.load(pci);
        this.pci.setInterrupt(isr.isr !== 0);
      },
    });
  }

  reset(): void {
    this.#softReset();
    this.#window = resetRegisters(WINDOW);
    this.#msix.reset();
    this.pci.reset();
  }

  /** A guest finds it on its bus. */
  fdt(): readonly FdtNode[] {
    return [];
  }

  setRunning(running: boolean): void {
    this.#core.function.setRunning?.(running);
  }

  async drain(): Promise<void> {
    await this.#core.function.drain?.();
  }

  get busy(): boolean {
    return this.#core.function.busy === true;
  }

  /** §2.4: by the driver, which has to set up everything anew. */
  #softReset(): void {
    this.#core.reset();
    this.#common = resetRegisters(COMMON);
    this.#isr = resetRegisters(ISR);
    this.#vectors.fill(NO_VECTOR);
    this.pci.setInterrupt(false);
  }

  /** §4.1.5.3: a message if there is a vector, and the pin while messages are not in use. */
  #interrupt(reason: number, vector: number): void {
    this.#isr.isr |= reason;
    if (this.#msix.enabled) this.#msix.notify(vector);
    this.pci.setInterrupt(true);
  }

  #readIsr(): number {
    const { isr } = this.#isr;
    this.#isr.isr = 0;
    this.pci.setInterrupt(false);
    return isr;
  }

  /** A vector as it is stored: one that there is not reads back as none, §4.1.5.1.2.1. */
  #vector(vector: number): number {
    return vector <= this.#vectors.length ? vector : NO_VECTOR;
  }

  #setQueueVector(vector: number): void {
    const { queueSelect } = this.#common;
    if (queueSelect < this.#vectors.length) this.#vectors[queueSelect] = this.#vector(vector);
  }

  #legacyBar({ configBytes }: VirtioFunction): PciBar {
    const device = this;
    const handler = legacyPorts({
      core: () => this.#core,
      msixEnabled: () => this.#msix.enabled,
      readIsr: () => this.#readIsr(),
      reset: () => this.#softReset(),
      get queueSelect() {
        return device.#common.queueSelect;
      },
      set queueSelect(queue) {
        device.#common.queueSelect = queue;
      },
      get configVector() {
        return device.#common.configMsixVector;
      },
      set configVector(vector) {
        device.#common.configMsixVector = device.#vector(vector);
      },
      get queueVector() {
        return device.#vectors[device.#common.queueSelect] ?? NO_VECTOR;
      },
      set queueVector(vector) {
        device.#setQueueVector(vector);
      },
    });
    return { index: LEGACY_BAR, space: 'io', size: legacyPortBytes(configBytes), handler };
  }

  get #queue(): Virtqueue | undefined {
    return this.#core.queues[this.#common.queueSelect];
  }

  #makeMemory(): MmioHandler {
    const common = this.#commonHandler();
    const isr = registerHandler(ISR, {
      state: () => this.#isr,
      hooks: {
        isr: { read: () => this.#readIsr() },
      },
    });
    return {
      read: (offset, size) => {
        const inside = offset % STRUCTURE_BYTES;
        switch (offset - inside) {
          case AT.common:
            return common.read(inside, size);
          case AT.isr:
            return isr.read(inside, size);
          case AT.device:
            return this.#core.function.readConfig(inside, size);
          default:
            return 0;
        }
      },
      write: (offset, size, value) => {
        const inside = offset % STRUCTURE_BYTES;
        switch (offset - inside) {
          case AT.common:
            common.write(inside, size, value);
            return;
          case AT.device:
            this.#core.function.writeConfig(inside, size, value);
            return;
          case AT.notify:
            this.#core.notify(Math.floor(inside / NOTIFY_MULTIPLIER));
        }
      },
    };
  }

  #commonHandler(): MmioHandler {
    const address = (name: 'desc' | 'avail' | 'used') => ({
      read: (_value: number, index: number) => halfOf(this.#queue?.state[name] ?? 0n, index),
      write: ({ value, index }: { value: number; index: number }) => {
        const queue = this.#queue;
        if (queue !== undefined) queue.state[name] = withHalf(queue.state[name], index, value);
      },
    });
    return registerHandler(COMMON, {
      state: () => this.#common,
      hooks: {
        deviceFeature: {
          read: () => {
            const index = this.#common.deviceFeatureSelect;
            return index > 1 ? 0 : halfOf(this.#core.features, index);
          },
        },
        driverFeature: {
          read: () => {
            const index = this.#common.driverFeatureSelect;
            return index > 1 ? 0 : halfOf(this.#core.driverFeatures, index);
          },
          write: ({ value }) => {
            const index = this.#common.driverFeatureSelect;
            if (index <= 1) this.#core.setDriverFeatures(withHalf(this.#core.driverFeatures, index, value));
          },
        },
        configMsixVector: {
          write: ({ value }) => {
            this.#common.configMsixVector = this.#vector(value);
          },
        },
        numQueues: { read: () => this.#core.queues.length },
        deviceStatus: {
          read: () => this.#core.status,
          write: ({ value }) => {
            if (value === 0) this.#softReset();
            else this.#core.setStatus(value);
          },
        },
        queueSize: {
          read: () => this.#queue?.state.num ?? 0,
          write: ({ value }) => {
            if (this.#queue !== undefined && isQueueSize(value)) this.#queue.state.num = value;
          },
        },
        queueMsixVector: {
          read: () => this.#vectors[this.#common.queueSelect] ?? NO_VECTOR,
          write: ({ value }) => this.#setQueueVector(value),
        },
        queueEnable: {
          read: () => (this.#queue?.state.ready ? 1 : 0),
          // §4.1.4.3.2: a driver never writes 0.
          write: ({ value }) => {
            if (this.#queue !== undefined && value === 1) this.#queue.state.ready = true;
          },
        },
        queueNotifyOff: { read: () => (this.#queue === undefined ? 0 : this.#common.queueSelect) },
        queueDesc: address('desc'),
        queueDriver: address('avail'),
        queueDevice: address('used'),
      },
    });
  }

  #capabilities(device: VirtioFunction): PciCapability[] {
    const structures = [
      structure(CFG_TYPE.common, AT.common),
      structure(CFG_TYPE.isr, AT.isr),
      ...(device.configBytes > 0 ? [structure(CFG_TYPE.device, AT.device)] : []),
      structure(CFG_TYPE.notify, AT.notify, [NOTIFY_MULTIPLIER, 0, 0, 0]),
    ];
    return [...structures.map(constantCapability), this.#windowCapability()];
  }

  #windowCapability(): PciCapability {
    const registers = registerHandler(WINDOW, { state: () => this.#window });
    const head = Uint8Array.of(0, 0, WINDOW_DATA + 4, CFG_TYPE.pci);
    /** What the data register stands for now, if it is a proper access. */
    const target = (): { offset: number; size: AccessSize } | undefined => {
      const { bar, offset, length } = this.#window;
      const size = ([1, 2, 4] as const).find((one) => one === length);
      const fits =
        bar === BAR && size !== undefined && offset % size === 0 && offset + size <= 4 * STRUCTURE_BYTES;
      return fits ? { offset, size } : undefined;
    };
    return {
      id: VENDOR_SPECIFIC,
      length: WINDOW_DATA + 4,
      handler: {
        read: (offset, size) => {
          if (offset < head.length) return readBytes(head, offset, size);
          if (offset < WINDOW_DATA) return registers.read(offset, size);
          const to = target();
          return to === undefined ? 0 : this.#memory.read(to.offset, to.size);
        },
        write: (offset, size, value) => {
          if (offset < WINDOW_DATA) registers.write(offset, size, value);
          else {
            const to = target();
            if (to !== undefined) this.#memory.write(to.offset, to.size, value);
          }
        },
      },
    };
  }
}

/** The bytes of a capability that says where a structure is, §4.1.4; `more` follows for some. */
function structure(type: number, offset: number, more: readonly number[] = []): Uint8Array {
  const bytes = new Uint8Array(16 + more.length);
  const view = new DataView(bytes.buffer);
  bytes[2] = bytes.length;
  bytes[3] = type;
  bytes[4] = BAR;
  view.setUint32(8, offset, true);
  view.setUint32(12, STRUCTURE_BYTES, true);
  bytes.set(more, 16);
  return bytes;
}

function constantCapability(bytes: Uint8Array): PciCapability {
  return {
    id: VENDOR_SPECIFIC,
    length: bytes.length,
    handler: { read: (offset, size) => readBytes(bytes, offset, size), write() {} },
  };
}

/** The BAR with MSI-X's table and pending bits. */
function msixMemory({ table, pendingBits }: Msix): MmioHandler {
  return {
    read: (offset, size) =>
      offset < MSIX_PENDING ? table.read(offset, size) : pendingBits.read(offset - MSIX_PENDING, size),
    write(offset, size, value) {
      if (offset < MSIX_PENDING) table.write(offset, size, value);
    },
  };
}
