/**
 * The network adapter 82540EM (8086:100e), as QEMU's `-device e1000`: its registers, and how its parts are joined.
 * 8254x manual (see registers.ts). Sending takes no time, and what is received is in memory at once.
 */
import type { AccessSize, MmioHandler } from '../../memory/mmio.ts';
import { descriptor, type StateOf } from '../../vmstate/descriptor.ts';
import { struct, u32 } from '../../vmstate/fields.ts';
import { type DescribedMigratable, migratable } from '../../vmstate/section.ts';
import type { Device } from '../device.ts';
import { MAC_BYTES, type NetworkCable, type NetworkCard } from '../network.ts';
import { DEFAULT_SUBSYSTEM, PCI_FIELDS, PciFunction } from '../pci/function.ts';
import { dumpRegisters, type RegisterDump, registerFields, registerHandler } from '../registers.ts';
import type { Timers } from '../timers.ts';
import { EEPROM_FIELDS, Eeprom } from './eeprom.ts';
import { INTERRUPT_FIELDS, Interrupts } from './interrupts.ts';
import { PHY_FIELDS, Phy } from './phy.ts';
import { freeDescriptors, Receiver } from './receive.ts';
import {
  CAUSE,
  CTRL,
  type E1000Registers,
  newRegisters,
  RCTL,
  REGISTER_BYTES,
  REGISTERS,
  STATISTICS,
  STATUS,
} from './registers.ts';
import { TRANSMIT_FIELDS, Transmitter } from './transmit.ts';

/** Where the rings are and how far they have got: what else they held could never have been written. */
const RING_REGISTERS = ['rdlen', 'rdh', 'rdt', 'tdlen', 'tdh', 'tdt'] as const;

const STATE = descriptor({
  name: 'e1000',
  version: 1,
  minimumVersion: 1,
  fields: {
    registers: struct(registerFields(REGISTERS)),
    pci: struct(PCI_FIELDS),
    eeprom: struct(EEPROM_FIELDS),
    phy: struct(PHY_FIELDS),
    interrupts: struct(INTERRUPT_FIELDS),
    transmit: struct(TRANSMIT_FIELDS),
    /** IOADDR, §13.2.2.1. */
    ioAddress: u32(),
  },
  afterLoad({ registers }, refuse) {
    for (const name of RING_REGISTERS) {
      const bits = REGISTERS[name].writable as number;
      if (registers[name] & ~bits) {
        throw refuse('registers', `${name} within ${hex(bits)}`, hex(registers[name]));
      }
    }
  },
});
type E1000State = StateOf<typeof STATE>;

const IDENTITY = { vendor: 0x8086, device: 0x100e, revision: 3, classCode: 0x02_00_00, ...DEFAULT_SUBSYSTEM };

/** The I/O BAR: an address register and a window onto the register it names. §13.2.2. */
const IO_BYTES = 64;
const IO_ADDRESS = 0;
const IO_DATA = 4;

const RDTR_FLUSH = 0x8000_0000;
const ADDRESS_VALID = 0x8000_0000;

export interface E1000Options {
  /** Unique among the machine's devices; also its section's name: "e1000.0". */
  readonly name: string;
  /** Its -device id, or empty. */
  readonly id?: string;
  /** Six bytes, for the EEPROM. */
  readonly mac: Uint8Array;
  readonly timers: Timers;
  readonly cable: NetworkCable;
}

export class E1000 implements Device, NetworkCard {
  readonly name: string;
  readonly label: string;
  readonly model = 'e1000';
  /** Reached through the bus only. */
  readonly regions = [];
  readonly state: DescribedMigratable;
  readonly pci: PciFunction;
  readonly #cable: NetworkCable;
  readonly #eeprom: Eeprom;
  readonly #phy: Phy;
  readonly #interrupts: Interrupts;
  readonly #transmitter: Transmitter;
  readonly #receiver: Receiver;
  #registers: E1000Registers = newRegisters();
  #ioAddress = 0;

  constructor({ name, id = '', mac, timers, cable }: E1000Options) {
    this.name = name;
    this.label = id === '' ? name : id;
    this.#cable = cable;
    this.#eeprom = new Eeprom({ mac, ...IDENTITY });
    this.#phy = new Phy({
      timers,
      carrier: () => cable.up,
      linkChanged: () => this.#interrupts.raise(CAUSE.linkChange),
    });
    const handler = this.#handler();
    this.pci = new PciFunction({
      name: this.model,
      id,
      identity: IDENTITY,
      interruptPin: 1,
      bars: [
        { index: 0, space: 'memory', size: REGISTER_BYTES, handler },
        { index: 1, space: 'io', size: IO_BYTES, handler: this.#ioHandler(handler) },
      ],
    });
    const registers = () => this.#registers;
    const { dma } = this.pci;
    const line = (level: boolean): void => this.pci.setInterrupt(level);
    this.#interrupts = new Interrupts({ timers, line, registers });
    const interrupts = this.#interrupts;
    this.#transmitter = new Transmitter({ dma, interrupts, registers, send: (frame) => this.#send(frame) });
    this.#receiver = new Receiver({ dma, interrupts, registers, ready: () => cable.ready() });
    this.state = migratable(STATE, { get: () => this.#save(), set: (state) => this.#load(state) }, name);
    this.#loadAddress();
    this.#phy.reset();
    cable.plugCard(this);
  }

  reset(): void {
    this.pci.reset();
    this.#ioAddress = 0;
    this.#phy.reset();
    this.#eeprom.reset();
    this.#resetAdapter();
  }

  fdt(): readonly [] {
    return [];
  }

  /** Registers for the monitor. */
  dump(): RegisterDump[] {
    return dumpRegisters(REGISTERS, this.#registers);
  }

  setRunning(running: boolean): void {
    this.#cable.hold(!running);
  }

  // --- the cable

  mac(): Uint8Array {
    const [low = 0] = this.#registers.ral;
    const [high = 0] = this.#registers.rah;
    return Uint8Array.from({ length: MAC_BYTES }, (_, i) =>
      i < 4 ? low >>> (8 * i) : high >>> (8 * (i - 4)),
    );
  }

  receive(frame: Uint8Array): boolean {
    return this.#phy.link ? this.#receiver.receive(frame) : true;
  }

  linkChanged(): void {
    this.#phy.carrierChanged();
  }

  /** In loopback, what is sent is received: by the adapter alone. */
  #send(frame: Uint8Array): void {
    if (this.#phy.loopback || this.#registers.rctl & RCTL.loopback) this.#receiver.receive(frame);
    else if (this.#phy.link) this.#cable.send(frame);
  }

  // --- registers

  #handler(): MmioHandler {
    const inner = registerHandler(REGISTERS, {
      state: () => this.#registers,
      hooks: {
        ctrl: { write: ({ written }) => this.#control(written) },
        status: { read: () => this.#status() },
        eecd: { read: () => this.#eeprom.readEecd(), write: ({ value }) => this.#eeprom.writeEecd(value) },
        eerd: { read: () => this.#eeprom.readEerd(), write: ({ value }) => this.#eeprom.writeEerd(value) },
        mdic: { write: ({ written }) => this.#mdio(written) },
        icr: { read: (value) => this.#acknowledge(value), write: () => this.#interrupts.update() },
        ics: { read: () => this.#registers.icr, write: ({ value }) => this.#interrupts.raise(value) },
        ims: { write: ({ written }) => this.#mask(this.#registers.ims | written) },
        imc: { write: ({ value }) => this.#mask(this.#registers.ims & ~value) },
        rctl: { write: () => this.#cable.ready() },
        rdt: { write: () => this.#receiveMore() },
        rdtr: {
          write: ({ written }) => {
            if (written & RDTR_FLUSH) this.#interrupts.flushReceived();
          },
        },
        tctl: { write: () => this.#transmitter.run() },
        tdt: { write: () => this.#transmitter.run() },
      },
    });
    const readStatistic = this.#statisticReader(inner);
    return {
      read: (offset, size) => readStatistic(offset, size) ?? inner.read(offset, size),
      write: (offset, size, value) => inner.write(offset, size, value),
    };
  }

  /** Statistics are cleared when they are read: those of 64 bits with their upper half. */
  #statisticReader(inner: MmioHandler) {
    const byOffset = new Map<number, keyof typeof STATISTICS>();
    for (const [name, { offset, width }] of Object.entries(STATISTICS)) {
      byOffset.set(offset + width - 4, name as keyof typeof STATISTICS);
    }
    return (offset: number, size: AccessSize): number | undefined => {
      const name = byOffset.get(offset);
      if (name === undefined) return undefined;
      const value = inner.read(offset, size);
      (this.#registers[name] as number | bigint) = STATISTICS[name].width === 8 ? 0n : 0;
      return value;
    };
  }

  #ioHandler(registers: MmioHandler): MmioHandler {
    return {
      read: (offset, size) => {
        if (offset === IO_ADDRESS) return this.#ioAddress;
        return offset === IO_DATA && this.#ioAddress < REGISTER_BYTES
          ? registers.read(this.#ioAddress, size)
          : 0;
      },
      write: (offset, size, value) => {
        if (offset === IO_ADDRESS) this.#ioAddress = value >>> 0;
        else if (offset === IO_DATA && this.#ioAddress < REGISTER_BYTES) {
          registers.write(this.#ioAddress, size, value);
        }
      },
    };
  }

  #control(written: number): void {
    if (written & CTRL.phyReset) this.#phy.reset();
    if (written & CTRL.reset) this.#resetAdapter();
  }

  /** A reset of all but the transceiver and the bus: the address comes from the EEPROM again. */
  #resetAdapter(): void {
    this.#registers = newRegisters();
    this.#loadAddress();
    this.#transmitter.reset();
    this.#interrupts.reset();
  }

  #loadAddress(): void {
    const [a = 0, b = 0, c = 0] = this.#eeprom.save().words;
    this.#registers.ral[0] = ((b << 16) | a) >>> 0;
    this.#registers.rah[0] = (ADDRESS_VALID | c) >>> 0;
  }

  #status(): number {
    const link = this.#phy.link ? STATUS.linkUp : 0;
    return STATUS.fullDuplex | STATUS.speed1000 | STATUS.detected1000 | link;
  }

  #mdio(written: number): void {
    this.#registers.mdic = this.#phy.access(written);
    if (written & MDIC_INTERRUPT) this.#interrupts.raise(CAUSE.mdioAccess);
  }

  /** §13.4.17: reading tells all causes, and clears them. */
  #acknowledge(causes: number): number {
    this.#registers.icr = 0;
    this.#interrupts.update();
    return causes;
  }

  #mask(mask: number): void {
    this.#registers.ims = mask >>> 0;
    this.#interrupts.update();
  }

  #receiveMore(): void {
    if (freeDescriptors(this.#registers) > 0) this.#cable.ready();
  }

  // --- state

  #save(): E1000State {
    return {
      registers: this.#registers,
      pci: this.pci.save(),
      eeprom: this.#eeprom.save(),
      phy: this.#phy.save(),
      interrupts: this.#interrupts.save(),
      transmit: this.#transmitter.save(),
      ioAddress: this.#ioAddress,
    };
  }

  #load(state: E1000State): void {
    this.#registers = state.registers;
    this.#eeprom.load(state.eeprom);
    this.#phy.load(state.phy);
    this.#transmitter.load(state.transmit);
    this.#ioAddress = state.ioAddress;
    this.#cable.restoreLink(this.#phy.carrier);
    this.pci.load(state.pci);
    this.#interrupts.load(state.interrupts);
  }
}

const MDIC_INTERRUPT = 1 << 29;

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
