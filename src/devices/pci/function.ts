/**
 * A PCI function as its bus and its device see it: configuration space with the type 0 header, base address registers,
 * capabilities, and its interrupt pin. PCI Local Bus Specification 3.0, chapter 6.
 */
import type { MmioHandler } from '../../memory/mmio.ts';
import type { StateOfFields } from '../../vmstate/fields.ts';
import type { MsiSink } from '../device.ts';
import { type DmaMemory, NO_MEMORY } from '../dma.ts';
import {
  port,
  type RegisterBank,
  type RegisterState,
  register,
  registerArray,
  registerFields,
  registerHandler,
  resetRegisters,
} from '../registers.ts';
import { ConfigSpace, type PciCapability } from './config-space.ts';

/** The type 0 header, §6.1, in dwords. Constants are ports: they are no state. */
const HEADER = {
  id: port({ offset: 0x00, width: 4 }),
  /** Command in the lower half, status in the upper, §6.2.2 and §6.2.3. */
  commandStatus: register({ offset: 0x04, width: 4, writable: 0x0507, clears: 0xf900_0000 }),
  classRevision: port({ offset: 0x08, width: 4 }),
  /** Cache line size, latency timer, header type, BIST. */
  cacheLine: register({ offset: 0x0c, width: 4, writable: 0xff }),
  bars: registerArray({ offset: 0x10, width: 4, count: 6 }),
  subsystem: port({ offset: 0x2c, width: 4 }),
  capabilities: port({ offset: 0x34, width: 4 }),
  /** Interrupt line in the lowest byte, which only software uses, and interrupt pin. */
  interrupt: register({ offset: 0x3c, width: 4, writable: 0xff }),
} satisfies RegisterBank;

const COMMAND_IO = 1 << 0;
const COMMAND_MEMORY = 1 << 1;
const COMMAND_MASTER = 1 << 2;
const COMMAND_INTX_DISABLE = 1 << 10;
const STATUS_INTERRUPT = 1 << 19;
const STATUS_CAPABILITIES = 1 << 20;
const MULTIFUNCTION = 1 << 23;

/** §6.2.5.1: the bits of a base address register that say what it maps. */
const BAR_IO = 0x1;
const BAR_64BIT = 0x4;
const BAR_PREFETCHABLE = 0x8;

/** The saved state of a function's header. */
export const PCI_FIELDS = registerFields(HEADER);
export type PciState = StateOfFields<typeof PCI_FIELDS>;

/** What a base address register maps. */
export interface PciBar {
  /** 0 to 5; a 64-bit one takes the next, too. */
  readonly index: number;
  readonly space: 'memory' | 'io';
  readonly wide?: boolean;
  readonly prefetchable?: boolean;
  /** Bytes; a power of two. */
  readonly size: number;
  readonly handler: MmioHandler;
}

/** Who a function is, §6.2.1 and §6.2.4. */
export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly revision: number;
  /** Base class, subclass and programming interface: 24 bits. */
  readonly classCode: number;
  readonly subsystemVendor: number;
  readonly subsystem: number;
}

/** Of everything that is no one else's: Red Hat's, as QEMU has it. */
export const DEFAULT_SUBSYSTEM = { subsystemVendor: 0x1af4, subsystem: 0x1100 } as const;

export interface PciFunctionOptions {
  /** Names it for the monitor and in errors: "e1000". */
  readonly name: string;
  /** Its -device id, or empty. */
  readonly id?: string;
  readonly identity: PciIdentity;
  /** 1 for INTA#; 0, the default, for none. */
  readonly interruptPin?: number;
  readonly bars?: readonly PciBar[];
  readonly capabilities?: readonly PciCapability[];
}

/** What a bus offers to a function in one of its slots. */
export interface PciSlot {
  /** Where its memory and I/O are mapped may have changed. */
  remap(): void;
  interrupt(level: boolean): void;
  readonly dma: DmaMemory;
  readonly msi: MsiSink;
}

/** A base address register as it maps now. */
export interface MappedBar extends PciBar {
  /** Bus address of its first byte; undefined while it is disabled. */
  readonly base: number | undefined;
}

/** One function. A device has one, and reaches bus and guest memory through it. */
export class PciFunction {
  readonly name: string;
  readonly id: string;
  readonly identity: PciIdentity;
  readonly interruptPin: number;
  /** Configuration space, 256 bytes. */
  readonly config: MmioHandler;
  /** The guest's memory, as far as software lets the function be a bus master. */
  readonly dma: DmaMemory;
  /** More than one function is in its slot; set by the bus. */
  multifunction = false;
  readonly #bars: readonly PciBar[];
  #state: RegisterState<typeof HEADER> = resetRegisters(HEADER);
  #slot: PciSlot | undefined;
  #level = false;
  #messages = false;

  constructor(options: PciFunctionOptions) {
    const { name, id = '', identity, interruptPin = 0, bars = [], capabilities = [] } = options;
    this.name = name;
    this.id = id;
    this.identity = identity;
    this.interruptPin = interruptPin;
    this.#bars = bars;
    this.config = new ConfigSpace(this.#header(capabilities), capabilities);
    const master = (): DmaMemory | undefined =>
      this.#state.commandStatus & COMMAND_MASTER ? this.#slot?.dma : undefined;
    this.dma = {
      read: (address, length) => master()?.read(address, length),
      readInto: (address, target) => master()?.readInto(address, target) ?? false,
      write: (address, bytes) => master()?.write(address, bytes) ?? false,
      holds: (address, length, writable) => master()?.holds(address, length, writable) ?? false,
      attempt: (owner, step) => (this.#slot?.dma ?? NO_MEMORY).attempt(owner, step),
      require: (address, length) => master()?.require(address, length),
    };
  }

  /** Puts it into a slot of a bus. */
  connect(slot: PciSlot): void {
    this.#slot = slot;
  }

  reset(): void {
    this.load(resetRegisters(HEADER));
  }

  /** Its interrupt pin; not signalled while messages are in use, or software has disabled it. */
  setInterrupt(level: boolean): void {
    if (level === this.#level) return;
    this.#level = level;
    this.#driveInterrupt();
  }

  /** MSI-X was enabled or disabled: its pin is not used while it is. §6.8.2.3. */
  useMessages(messages: boolean): void {
    this.#messages = messages;
    this.#driveInterrupt();
  }

  /** Sends a message, as a bus master. */
  sendMessage(address: number, data: number): void {
    if (this.#state.commandStatus & COMMAND_MASTER) this.#slot?.msi(address, data);
  }

  /** The live state; a device saves it in its own. */
  save(): PciState {
    return this.#state;
  }

  /** Takes a state, and maps and signals as it says. */
  load(state: PciState): void {
    this.#state = state;
    this.#slot?.remap();
    this.#driveInterrupt();
  }

  /** Its base address registers, by index. */
  mapped(): readonly MappedBar[] {
    return this.#bars.map((bar) => ({ ...bar, base: this.#baseOf(bar) }));
  }

  /** The number that software has noted for its interrupt. */
  get interruptLine(): number {
    return this.#state.interrupt & 0xff;
  }

  #header(capabilities: readonly PciCapability[]): Required<MmioHandler> {
    const { vendor, device, classCode, revision, subsystem, subsystemVendor } = this.identity;
    const remap = { write: () => this.#slot?.remap() };
    return registerHandler(HEADER, {
      state: () => this.#state,
      hooks: {
        id: { read: () => ((device << 16) | vendor) >>> 0 },
        commandStatus: {
          read: (value) =>
            (value |
              (this.#level ? STATUS_INTERRUPT : 0) |
              (capabilities.length > 0 ? STATUS_CAPABILITIES : 0)) >>>
            0,
          write: () => {
            this.#slot?.remap();
            this.#driveInterrupt();
          },
        },
        classRevision: { read: () => ((classCode << 8) | revision) >>> 0 },
        cacheLine: { read: (value) => value | (this.multifunction ? MULTIFUNCTION : 0) },
        bars: { read: (value, index) => this.#readBar(value, index), ...remap },
        subsystem: { read: () => ((subsystem << 16) | subsystemVendor) >>> 0 },
        capabilities: { read: () => (capabilities.length > 0 ? ConfigSpace.FIRST_CAPABILITY : 0) },
        interrupt: { read: (value) => value | (this.interruptPin << 8) },
      },
    });
  }

  /** §6.2.5.1: the address bits below the size read as zero, by which software learns the size. */
  #readBar(value: number, index: number): number {
    for (const bar of this.#bars) {
      if (bar.index === index) {
        const { space, wide = false, prefetchable = false } = bar;
        const type = space === 'io' ? BAR_IO : (wide ? BAR_64BIT : 0) | (prefetchable ? BAR_PREFETCHABLE : 0);
        return ((value & -bar.size) | type) >>> 0;
      }
      if (bar.wide && bar.index + 1 === index) return value;
    }
    return 0;
  }

  #baseOf({ index, space, size, wide = false }: PciBar): number | undefined {
    const { commandStatus, bars } = this.#state;
    if (!(commandStatus & (space === 'io' ? COMMAND_IO : COMMAND_MEMORY))) return undefined;
    const low = ((bars[index] as number) & -size) >>> 0;
    const base = low + (wide ? (bars[index + 1] as number) * 2 ** 32 : 0);
    // Address 0 means "nowhere", as for QEMU.
    return base === 0 ? undefined : base;
  }

  #driveInterrupt(): void {
    const quiet = this.#messages || (this.#state.commandStatus & COMMAND_INTX_DISABLE) !== 0;
    this.#slot?.interrupt(this.#level && !quiet);
  }
}
