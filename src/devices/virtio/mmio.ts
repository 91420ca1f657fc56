/**
 * virtio over MMIO: the registers by which a driver finds, sets up and notifies a device. Virtual I/O Device 1.2, §4.2;
 * the legacy interface (version 1) is §4.2.4. As in QEMU a transport speaks one of the two, and one without a device
 * answers with device ID 0.
 */
import type { MmioHandler, MmioRegion } from '../../memory/mmio.ts';
import { descriptor } from '../../vmstate/descriptor.ts';
import { type DescribedMigratable, migratable } from '../../vmstate/section.ts';
import type { Device, InterruptLine } from '../device.ts';
import type { DmaMemory } from '../dma.ts';
import { type FdtNode, type FdtValue, text, u64 } from '../fdt.ts';
import type { PropertyValue } from '../model.ts';
import {
  port,
  type RegisterBank,
  type RegisterState,
  register,
  registerFields,
  registerHandler,
  resetRegisters,
} from '../registers.ts';
import { halfOf, isQueueSize, VirtioCore, type VirtioFunction, withHalf } from './virtio.ts';
import { virtioState } from './virtio-state.ts';
import { MAX_QUEUE_SIZE, placeLegacy, type Virtqueue } from './virtqueue.ts';

const LEGACY = 0;
const MODERN = 1;

/** §4.2.2, table 4.1, and for the legacy interface §4.2.4, table 4.2. */
const REGISTERS = {
  magicValue: port({ offset: 0x00, width: 4, access: 'r' }),
  version: port({ offset: 0x04, width: 4, access: 'r' }),
  deviceId: port({ offset: 0x08, width: 4, access: 'r' }),
  vendorId: port({ offset: 0x0c, width: 4, access: 'r' }),
  deviceFeatures: port({ offset: 0x10, width: 4, access: 'r' }),
  deviceFeaturesSel: register({ offset: 0x14, width: 4, access: 'w' }),
  driverFeatures: port({ offset: 0x20, width: 4, access: 'w' }),
  driverFeaturesSel: register({ offset: 0x24, width: 4, access: 'w' }),
  guestPageSize: register({ offset: 0x28, width: 4, access: 'w', page: LEGACY }),
  queueSel: register({ offset: 0x30, width: 4, access: 'w' }),
  queueNumMax: port({ offset: 0x34, width: 4, access: 'r' }),
  queueNum: port({ offset: 0x38, width: 4, access: 'w' }),
  queueAlign: port({ offset: 0x3c, width: 4, access: 'w', page: LEGACY }),
  queuePfn: port({ offset: 0x40, width: 4, page: LEGACY }),
  queueReady: port({ offset: 0x44, width: 4, page: MODERN }),
  queueNotify: port({ offset: 0x50, width: 4, access: 'w' }),
  interruptStatus: register({ offset: 0x60, width: 4, access: 'r' }),
  interruptAck: port({ offset: 0x64, width: 4, access: 'w' }),
  status: port({ offset: 0x70, width: 4 }),
  /** Low and high half. */
  queueDesc: port({ offset: 0x80, width: 4, count: 2, access: 'w', page: MODERN }),
  queueDriver: port({ offset: 0x90, width: 4, count: 2, access: 'w', page: MODERN }),
  queueDevice: port({ offset: 0xa0, width: 4, count: 2, access: 'w', page: MODERN }),
  /** There is no shared memory region: its length reads as -1, §4.2.2. */
  shmLen: port({ offset: 0xb0, width: 4, count: 2, access: 'r', page: MODERN }),
  configGeneration: port({ offset: 0xfc, width: 4, access: 'r', page: MODERN }),
} satisfies RegisterBank;

const MAGIC = 0x74726976; // "virt"
const VENDOR = 0x554d4551; // "QEMU", for drivers that look
const INTERRUPT_QUEUE = 1;
const INTERRUPT_CONFIG = 2;
const CONFIG_OFFSET = 0x100;
/** What answers, and what the device tree says; both as in QEMU. */
const REGION_BYTES = 0x200;
const FDT_BYTES = 0x1000;

export interface VirtioMmioOptions {
  /** Its number, and that of its bus: "virtio-mmio-bus.0". */
  readonly index: number;
  /** First physical address. */
  readonly base: number;
  readonly legacy: boolean;
  readonly interrupt: InterruptLine;
  /** How its node names the interrupt. */
  readonly interruptProperties: Readonly<Record<string, FdtValue>>;
  readonly dma: DmaMemory;
  /** What is plugged in, and what the configuration says of it. */
  readonly plugged?: {
    readonly function: VirtioFunction;
    readonly properties: Readonly<Record<string, PropertyValue>>;
  };
  /** What the guest did wrong, for a log. */
  guestError(text: string): void;
}

/** A transport, empty or with a device. */
export function virtioMmio(options: VirtioMmioOptions): Device {
  const { plugged } = options;
  return plugged === undefined ? new EmptyTransport(options) : new MmioTransport(options, plugged);
}

function node({ base, interruptProperties }: VirtioMmioOptions): FdtNode {
  return {
    name: `virtio_mmio@${base.toString(16)}`,
    properties: { ...interruptProperties, reg: u64(base, FDT_BYTES), compatible: text('virtio,mmio') },
  };
}

function region({ base, index }: VirtioMmioOptions, handler: MmioHandler): MmioRegion {
  return { name: `virtio-mmio.${index}`, base, size: REGION_BYTES, handler };
}

/** §4.2.3.1.1: a driver finds device ID 0 and leaves it alone. It has no state. */
class EmptyTransport implements Device {
  readonly name: string;
  readonly regions: readonly MmioRegion[];
  readonly state: DescribedMigratable;
  readonly #options: VirtioMmioOptions;

  constructor(options: VirtioMmioOptions) {
    this.#options = options;
    this.name = `virtio-mmio-bus.${options.index}`;
    const empty = descriptor({ name: this.name, version: 1, minimumVersion: 1, fields: {} });
    this.state = migratable(empty, { get: () => ({}), set() {} });
    const registers = { state: () => resetRegisters(REGISTERS), hooks: identity(options.legacy, 0) };
    const answers = registerHandler(REGISTERS, registers);
    this.regions = [
      region(options, {
        read: (offset, size) => (offset < REGISTERS.vendorId.offset + 4 ? answers.read(offset, size) : 0),
        write() {},
      }),
    ];
  }

  reset(): void {
    // It has no state.
  }

  fdt(): readonly FdtNode[] {
    return [node(this.#options)];
  }
}

function identity(legacy: boolean, deviceId: number) {
  return {
    magicValue: { read: () => MAGIC },
    version: { read: () => (legacy ? 1 : 2) },
    deviceId: { read: () => deviceId },
    vendorId: { read: () => VENDOR },
  };
}

class MmioTransport implements Device {
  readonly name: string;
  readonly regions: readonly MmioRegion[];
  readonly state: DescribedMigratable;
  readonly #options: VirtioMmioOptions;
  readonly #core: VirtioCore;
  #registers: RegisterState<typeof REGISTERS> = resetRegisters(REGISTERS);

  constructor(options: VirtioMmioOptions, plugged: NonNullable<VirtioMmioOptions['plugged']>) {
    const { legacy, dma } = options;
    this.#options = options;
    this.#core = new VirtioCore({
      ...plugged,
      ...{ dma, legacy, modern: !legacy },
      guestError: (text) => options.guestError(text),
      queueInterrupt: () => this.#raise(INTERRUPT_QUEUE),
      configInterrupt: () => this.#raise(INTERRUPT_CONFIG),
    });
    const { function: device } = this.#core;
    this.name = `virtio-mmio-bus.${options.index}/${device.name}`;
    this.state = virtioState(this.name, this.#core, {
      fields: registerFields(REGISTERS),
      save: () => this.#registers,
      load: (state) => {
        this.#registers = state;
        this.#updateLine();
      },
    });
    const registers = this.#makeHandler();
    // §4.2.2.2: the configuration may be reached in any size.
    const split = (high: (offset: number) => boolean): MmioHandler => ({
      read: (offset, size) =>
        high(offset) ? device.readConfig(offset - CONFIG_OFFSET, size) : registers.read(offset, size),
      write(offset, size, value) {
        if (high(offset)) device.writeConfig(offset - CONFIG_OFFSET, size, value);
        else registers.write(offset, size, value);
      },
    });
    this.regions = [
      region(
        options,
        split((offset) => offset >= CONFIG_OFFSET),
      ),
    ];
  }

  reset(): void {
    this.#registers = resetRegisters(REGISTERS);
    this.#core.reset();
    this.#updateLine();
  }

  fdt(): readonly FdtNode[] {
    return [node(this.#options)];
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

  #raise(reason: number): void {
    this.#registers.interruptStatus |= reason;
    this.#updateLine();
  }

  #updateLine(): void {
    this.#options.interrupt(this.#registers.interruptStatus !== 0);
  }

  /** The queue that queueSel says. */
  get #queue(): Virtqueue | undefined {
    return this.#core.queues[this.#registers.queueSel];
  }

  #makeHandler(): MmioHandler {
    const core = this.#core;
    const { legacy } = this.#options;
    const address = (name: 'desc' | 'avail' | 'used') => ({
      write: ({ value, index }: { value: number; index: number }) => {
        const queue = this.#queue;
        if (queue !== undefined) queue.state[name] = withHalf(queue.state[name], index, value);
      },
    });
    return registerHandler(REGISTERS, {
      state: () => this.#registers,
      page: () => (legacy ? LEGACY : MODERN),
      hooks: {
        ...identity(legacy, core.function.deviceId),
        deviceFeatures: {
          read: () => {
            const index = this.#registers.deviceFeaturesSel;
            return index > 1 ? 0 : halfOf(core.features, index);
          },
        },
        driverFeatures: {
          write: ({ value }) => {
            const index = this.#registers.driverFeaturesSel;
            if (index <= 1) core.setDriverFeatures(withHalf(core.driverFeatures, index, value));
          },
        },
        queueNumMax: { read: () => (this.#queue === undefined ? 0 : MAX_QUEUE_SIZE) },
        queueNum: {
          write: ({ value }) => {
            if (this.#queue !== undefined && isQueueSize(value)) this.#queue.state.num = value;
            if (legacy && this.#queue !== undefined) placeLegacy(this.#queue.state);
          },
        },
        queueAlign: {
          write: ({ value }) => {
            // Anything but a power of 2 can't be meant.
            if (this.#queue === undefined || (value & (value - 1)) !== 0 || value === 0) return;
            this.#queue.state.align = value;
            placeLegacy(this.#queue.state);
          },
        },
        queuePfn: { read: () => this.#readPfn(), write: ({ value }) => this.#writePfn(value) },
        queueReady: {
          read: () => (this.#queue?.state.ready ? 1 : 0),
          write: ({ value }) => {
            if (this.#queue !== undefined) this.#queue.state.ready = (value & 1) !== 0;
          },
        },
        queueNotify: { write: ({ value }) => core.notify(value & 0xffff) },
        interruptAck: {
          write: ({ value }) => {
            this.#registers.interruptStatus &= ~value;
            this.#updateLine();
          },
        },
        status: {
          read: () => core.status,
          write: ({ value }) => {
            if ((value & 0xff) === 0) this.#softReset();
            else core.setStatus(value & 0xff);
          },
        },
        queueDesc: address('desc'),
        queueDriver: address('avail'),
        queueDevice: address('used'),
        shmLen: { read: () => 0xffff_ffff },
      },
    });
  }

  /** §2.4: the driver resets the device; the transport's selectors stay as they are. */
  #softReset(): void {
    this.#core.reset();
    this.#registers.interruptStatus = 0;
    this.#updateLine();
  }

  #readPfn(): number {
    const { state } = this.#queue ?? {};
    const pageSize = BigInt(this.#registers.guestPageSize);
    return state === undefined || !state.ready || pageSize === 0n ? 0 : Number(state.desc / pageSize);
  }

  /** §4.2.4: where the queue begins, in pages of the driver's size; 0 resets the device. */
  #writePfn(pfn: number): void {
    if (pfn === 0) {
      this.#softReset();
      return;
    }
    const queue = this.#queue;
    if (queue === undefined) return;
    queue.state.desc = BigInt(pfn) * BigInt(this.#registers.guestPageSize);
    queue.state.ready = true;
    placeLegacy(queue.state);
  }
}
