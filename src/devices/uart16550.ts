/**
 * The serial port: a 16550A as National Semiconductor's PC16550D data sheet (June 1995) describes it, §8. Transmission
 * takes no time; reception waits in a queue, so that nothing typed is lost while the guest is busy or being moved.
 */
import type { MmioRegion } from '../memory/mmio.ts';
import { descriptor, type StateOf } from '../vmstate/descriptor.ts';
import { bool, bytesUpTo } from '../vmstate/fields.ts';
import { type DescribedMigratable, migratable } from '../vmstate/section.ts';
import { ByteQueue } from './byte-queue.ts';
import type { Device, InterruptLine } from './device.ts';
import { type FdtNode, type FdtValue, text, u32, u64 } from './fdt.ts';
import {
  dumpRegisters,
  port,
  type RegisterBank,
  type RegisterDump,
  type RegisterState,
  register,
  registerFields,
  registerHandler,
  resetRegisters,
} from './registers.ts';

/** With LCR's divisor latch access bit set, page 1 stands in for page 0. §8, table II. */
const REGISTERS = {
  rbr: port({ offset: 0, width: 1, page: 0, access: 'r' }),
  thr: port({ offset: 0, width: 1, page: 0, access: 'w' }),
  dll: register({ offset: 0, width: 1, page: 1, reset: 0x0c }),
  ier: register({ offset: 1, width: 1, page: 0, writable: 0x0f }),
  dlm: register({ offset: 1, width: 1, page: 1 }),
  iir: port({ offset: 2, width: 1, access: 'r' }),
  fcr: register({ offset: 2, width: 1, access: 'w', writable: 0xc9 }),
  lcr: register({ offset: 3, width: 1 }),
  mcr: register({ offset: 4, width: 1, writable: 0x1f, reset: 0x08 }),
  lsr: port({ offset: 5, width: 1 }),
  msr: port({ offset: 6, width: 1 }),
  scr: register({ offset: 7, width: 1 }),
} satisfies RegisterBank;

const LCR_DLAB_SHIFT = 7; // §8.1
const LSR_DATA_READY = 0x01; // §8.4
const LSR_OVERRUN = 0x02;
const LSR_TRANSMITTER_EMPTY = 0x60; // holding register and shift register
const FCR_ENABLE = 0x01; // §8.5
const FCR_CLEAR_RECEIVER = 0x02;
const FCR_CLEAR_TRANSMITTER = 0x04;
const FCR_TRIGGERS = [1, 4, 8, 14];
const IIR_FIFOS = 0xc0; // §8.6, table IV: identifications by falling priority
const IIR_LINE_STATUS = 0x06;
const IIR_DATA_AVAILABLE = 0x04;
const IIR_TIMEOUT = 0x0c;
const IIR_TRANSMITTER_EMPTY = 0x02;
const IIR_NONE = 0x01;
const IER_DATA_AVAILABLE = 0x01; // §8.7
const IER_TRANSMITTER_EMPTY = 0x02;
const IER_LINE_STATUS = 0x04;
const MCR_LOOPBACK = 0x10; // §8.8
/** §8.9: a modem that is always there: carrier, data set ready, clear to send. */
const MSR_CONNECTED = 0xb0;

const FIFO_BYTES = 16;
/** The most input that waits for the guest, in bytes beside the FIFO. */
export const MAX_PENDING_BYTES = 64 * 1024;

const STATE = descriptor({
  name: 'uart16550',
  version: 1,
  minimumVersion: 1,
  fields: {
    ...registerFields(REGISTERS),
    /** LSR's overrun error, until read. */
    overrun: bool(),
    /** The transmitter-empty interrupt is pending: until IIR or LSR is read or a byte is written. */
    transmitterEmptyPending: bool(),
    fifo: bytesUpTo(FIFO_BYTES),
    /** Input that waits for room in the FIFO. */
    pending: bytesUpTo(MAX_PENDING_BYTES),
  },
  afterLoad(state, refuse) {
    const depth = fifoDepth(state.fcr);
    if (state.fifo.length > depth) {
      throw refuse('fifo', `at most ${depth} bytes, as fcr says`, `${state.fifo.length} bytes`);
    }
  },
});

type UartState = StateOf<typeof STATE>;

/** Without FIFOs there is one receiver buffer register. */
function fifoDepth(fcr: number): number {
  return fcr & FCR_ENABLE ? FIFO_BYTES : 1;
}

/** Size of the node's `reg`, as QEMU gives it; only the registers answer. */
const FDT_BYTES = 0x100;
const REGION_BYTES = 8;
const CLOCK_HZ = 3_686_400;

/** What the serial port needs of its machine. */
export interface UartOptions {
  /** First physical address. */
  readonly base: number;
  /** Takes each byte that the guest sends. */
  transmit(byte: number): void;
  readonly interrupt: InterruptLine;
  /** How its node names the interrupt. */
  readonly interruptProperties: Readonly<Record<string, FdtValue>>;
}

/** A 16550A serial port. */
export class Uart16550 implements Device {
  readonly name = STATE.name;
  readonly regions: readonly MmioRegion[];
  readonly state: DescribedMigratable;
  readonly #options: UartOptions;
  readonly #fifo = new ByteQueue(FIFO_BYTES);
  readonly #pending = new ByteQueue(MAX_PENDING_BYTES);
  #registers: RegisterState<typeof REGISTERS> = resetRegisters(REGISTERS);
  #overrun = false;
  #transmitterEmptyPending = false;

  constructor(options: UartOptions) {
    this.#options = options;
    this.state = migratable(STATE, { get: () => this.#save(), set: (state) => this.#load(state) });
    this.regions = [
      { name: this.name, base: options.base, size: REGION_BYTES, handler: this.#makeHandler() },
    ];
  }

  reset(): void {
    this.#registers = resetRegisters(REGISTERS);
    this.#overrun = false;
    this.#transmitterEmptyPending = false;
    this.#fifo.clear();
    this.#pending.clear();
    this.#update();
  }

  /** Takes input for the guest; returns how many bytes of it, fewer than given when the queue is full. */
  receive(bytes: Uint8Array): number {
    const accepted = this.#pending.push(bytes);
    this.#update();
    return accepted;
  }

  /** How many bytes of input `receive` takes now. */
  get room(): number {
    return this.#pending.room;
  }

  /** Registers for the monitor. */
  dump(): RegisterDump[] {
    return dumpRegisters(REGISTERS, this.#registers);
  }

  fdt(): readonly FdtNode[] {
    const { base, interruptProperties } = this.#options;
    return [
      {
        name: `serial@${base.toString(16)}`,
        properties: {
          ...interruptProperties,
          'clock-frequency': u32(CLOCK_HZ),
          reg: u64(base, FDT_BYTES),
          compatible: text('ns16550a'),
        },
      },
    ];
  }

  #makeHandler() {
    return registerHandler(REGISTERS, {
      state: () => this.#registers,
      page: () => this.#registers.lcr >> LCR_DLAB_SHIFT,
      hooks: {
        rbr: { read: () => this.#readReceiver() },
        thr: { write: ({ value }) => this.#writeTransmitter(value) },
        ier: { write: ({ value, previous }) => this.#writeEnables(value, previous) },
        iir: { read: () => this.#readIdentification() },
        fcr: { write: ({ value, previous, written }) => this.#writeFifoControl(value, previous, written) },
        mcr: { write: () => this.#update() },
        lsr: { read: () => this.#readLineStatus() },
        msr: { read: () => this.#modemStatus() },
      },
    });
  }

  #readReceiver(): number {
    const byte = this.#fifo.shift() ?? 0;
    this.#update();
    return byte;
  }

  #writeTransmitter(byte: number): void {
    if (this.#loopback) {
      if (this.#fifo.length < fifoDepth(this.#registers.fcr)) this.#fifo.push([byte]);
      else this.#overrun = true;
    } else {
      this.#options.transmit(byte);
    }
    // It is empty again at once.
    this.#transmitterEmptyPending = true;
    this.#update();
  }

  /** Enabling the transmitter-empty interrupt makes it pending, for the transmitter is always empty. */
  #writeEnables(value: number, previous: number): void {
    if ((value ^ previous) & IER_TRANSMITTER_EMPTY) {
      this.#transmitterEmptyPending = (value & IER_TRANSMITTER_EMPTY) !== 0;
    }
    this.#update();
  }

  #readIdentification(): number {
    const identification = this.#identification();
    if (identification === IIR_TRANSMITTER_EMPTY) this.#transmitterEmptyPending = false;
    this.#update();
    return identification | (this.#registers.fcr & FCR_ENABLE ? IIR_FIFOS : 0);
  }

  /** A change of FIFO mode clears both FIFOs. */
  #writeFifoControl(value: number, previous: number, written: number): void {
    const modeChanged = ((value ^ previous) & FCR_ENABLE) !== 0;
    if (modeChanged || written & FCR_CLEAR_RECEIVER) this.#fifo.clear();
    if (modeChanged || written & FCR_CLEAR_TRANSMITTER) this.#transmitterEmptyPending = true;
    this.#update();
  }

  #readLineStatus(): number {
    const status = this.#lineStatus();
    this.#overrun = false;
    // Beyond §8.6: who has read that the transmitter is empty need not be interrupted for it. A driver that never reads
    // IIR (xv6 until 2025) would be, for ever, where the interrupt controller is level-triggered; QEMU's PLIC is not.
    this.#transmitterEmptyPending = false;
    this.#update();
    return status;
  }

  #lineStatus(): number {
    const ready = this.#fifo.length > 0 ? LSR_DATA_READY : 0;
    return LSR_TRANSMITTER_EMPTY | ready | (this.#overrun ? LSR_OVERRUN : 0);
  }

  /** §8.8: in loopback the modem's four inputs are its four outputs: RTS to CTS, DTR to DSR, OUT1 to RI, OUT2 to DCD. */
  #modemStatus(): number {
    if (!this.#loopback) return MSR_CONNECTED;
    const { mcr } = this.#registers;
    return ((mcr & 0x0c) << 4) | ((mcr & 0x02) << 3) | ((mcr & 0x01) << 5);
  }

  get #loopback(): boolean {
    return (this.#registers.mcr & MCR_LOOPBACK) !== 0;
  }

  /** The pending interrupt of the highest priority. */
  #identification(): number {
    const { ier, fcr } = this.#registers;
    if (ier & IER_LINE_STATUS && this.#overrun) return IIR_LINE_STATUS;
    if (ier & IER_DATA_AVAILABLE && this.#fifo.length > 0) {
      const trigger = fcr & FCR_ENABLE ? (FCR_TRIGGERS[fcr >> 6] as number) : 1;
      // Below the trigger level the line has gone quiet, for input that waits has filled the FIFO: the character
      // time-out has passed.
      return this.#fifo.length >= trigger ? IIR_DATA_AVAILABLE : IIR_TIMEOUT;
    }
    if (ier & IER_TRANSMITTER_EMPTY && this.#transmitterEmptyPending) return IIR_TRANSMITTER_EMPTY;
    return IIR_NONE;
  }

  /** Fills the FIFO from the input that waits, unless looped back, and sets the interrupt line. */
  #update(): void {
    if (!this.#loopback) {
      const depth = fifoDepth(this.#registers.fcr);
      while (this.#fifo.length < depth && this.#pending.length > 0) {
        this.#fifo.push([this.#pending.shift() as number]);
      }
    }
    this.#options.interrupt(this.#identification() !== IIR_NONE);
  }

  #save(): UartState {
    return {
      ...this.#registers,
      overrun: this.#overrun,
      transmitterEmptyPending: this.#transmitterEmptyPending,
      fifo: this.#fifo.bytes(),
      pending: this.#pending.bytes(),
    };
  }

  #load(state: UartState): void {
    const { overrun, transmitterEmptyPending, fifo, pending, ...registers } = state;
    this.#registers = registers;
    this.#overrun = overrun;
    this.#transmitterEmptyPending = transmitterEmptyPending;
    this.#fifo.replace(fifo);
    this.#pending.replace(pending);
    this.#update();
  }
}
