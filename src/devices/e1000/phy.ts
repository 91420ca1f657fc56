/**
 * The transceiver: a Marvell 88E1011 at address 1 of the management interface, always at 1000 Mb/s full duplex once it
 * has negotiated. IEEE 802.3 clause 22 (registers 0 to 15), 8254x manual, §8.6 and §13.4.8 (MDIC).
 */
import { bool, type StateOfFields } from '../../vmstate/fields.ts';
import {
  port,
  type RegisterBank,
  type RegisterState,
  register,
  registerFields,
  registerHandler,
  resetRegisters,
} from '../registers.ts';
import { type Timer, type Timers, timerField } from '../timers.ts';

/** Registers by number: 16 bits each. */
const BYTES = 2;
const stored = (number: number, reset: number, writable = 0xffff) =>
  register({ offset: BYTES * number, width: BYTES, reset, writable });
const computed = (number: number) => port({ offset: BYTES * number, width: BYTES, access: 'r' });

const REGISTERS = {
  control: stored(0, 0x1140, 0x7dc0),
  status: computed(1),
  identifier1: computed(2),
  identifier2: computed(3),
  advertisement: stored(4, 0x0de1),
  partnerAbility: computed(5),
  control1000: stored(9, 0x0e00),
  status1000: computed(10),
  extendedStatus: computed(15),
  specificControl: stored(16, 0x0360),
  specificStatus: computed(17),
  interruptEnable: stored(18, 0),
  extendedControl: stored(20, 0x0d60),
  ledControl: stored(24, 0x4100),
} satisfies RegisterBank;

const CONTROL_RESET = 0x8000;
const CONTROL_LOOPBACK = 0x4000;
const CONTROL_NEGOTIATE = 0x1000;
const CONTROL_RESTART = 0x0200;

/** As long as QEMU's; a real pair takes a few seconds. */
const NEGOTIATION_NS = 500e6;

/** MDIC, §13.4.8. */
const ADDRESS = 1;
const MDIC_WRITE = 1;
const MDIC_READ = 2;
const MDIC_READY = 1 << 28;
const MDIC_ERROR = 1 << 30;

export const PHY_FIELDS = {
  ...registerFields(REGISTERS),
  link: bool(),
  /** What is left of a negotiation that is under way. */
  negotiation: timerField(),
};
export type PhyState = StateOfFields<typeof PHY_FIELDS>;

export interface PhyOptions {
  readonly timers: Timers;
  /** Whether the cable is plugged in. */
  carrier(): boolean;
  /** The link went up or down. */
  linkChanged(): void;
}

export class Phy {
  readonly #options: PhyOptions;
  readonly #negotiation: Timer;
  readonly #handler;
  #registers: RegisterState<typeof REGISTERS> = resetRegisters(REGISTERS);
  #link = false;

  constructor(options: PhyOptions) {
    this.#options = options;
    this.#negotiation = options.timers.create(() => this.#setLink(options.carrier()));
    this.#handler = registerHandler(REGISTERS, {
      state: () => this.#registers,
      hooks: {
        control: { write: ({ written }) => this.#control(written) },
        // Link and completion of the negotiation come together here.
        status: { read: () => 0x7949 | (this.#link ? 0x24 : 0) },
        identifier1: { read: () => 0x0141 },
        identifier2: { read: () => 0x0c20 },
        // The partner can do everything, and acknowledges when it has been heard.
        partnerAbility: { read: () => 0x01e0 | (this.#link ? 0x4000 : 0) },
        status1000: { read: () => 0x3c00 },
        extendedStatus: { read: () => 0x3000 },
        // 1000 Mb/s, full duplex, resolved; real-time link.
        specificStatus: { read: () => 0xa800 | (this.#link ? 0x0400 : 0) },
      },
    });
  }

  get link(): boolean {
    return this.#link;
  }

  /** Whether there is a cable: with one, the link is up or is being negotiated. */
  get carrier(): boolean {
    return this.#link || this.#negotiation.armed;
  }

  get loopback(): boolean {
    return (this.#registers.control & CONTROL_LOOPBACK) !== 0;
  }

  /** Power-on: with a cable, the link is up at once. */
  reset(): void {
    this.#negotiation.cancel();
    this.#registers = resetRegisters(REGISTERS);
    this.#link = this.#options.carrier();
  }

  /** The cable has been pulled or plugged in. */
  carrierChanged(): void {
    const carrier = this.#options.carrier();
    if (carrier && this.#registers.control & CONTROL_NEGOTIATE) this.#negotiate();
    else {
      this.#negotiation.cancel();
      this.#setLink(carrier);
    }
  }

  /** Does what is written to MDIC, and returns the register's new value: ready, with the data, or an error. */
  access(mdic: number): number {
    const asked = mdic & ~MDIC_ERROR;
    const operation = (mdic >>> 26) & 3;
    const at = BYTES * ((mdic >>> 16) & 0x1f);
    if (((mdic >>> 21) & 0x1f) !== ADDRESS || (operation !== MDIC_READ && operation !== MDIC_WRITE)) {
      return (asked | MDIC_READY | MDIC_ERROR) >>> 0;
    }
    if (operation === MDIC_WRITE) {
      this.#handler.write(at, BYTES, mdic & 0xffff);
      return (asked | MDIC_READY) >>> 0;
    }
    return ((asked & ~0xffff) | MDIC_READY | this.#handler.read(at, BYTES)) >>> 0;
  }

  save(): PhyState {
    return { ...this.#registers, link: this.#link, negotiation: this.#negotiation.save() };
  }

  load({ link, negotiation, ...registers }: PhyState): void {
    this.#registers = registers;
    this.#link = link;
    this.#negotiation.load(negotiation);
  }

  /** Reset and restart clear themselves. A reset takes no time, and the link with it none. */
  #control(written: number): void {
    if (written & CONTROL_RESET) this.#registers.control = resetRegisters(REGISTERS).control;
    else if (written & CONTROL_NEGOTIATE && written & CONTROL_RESTART) this.#negotiate();
  }

  #negotiate(): void {
    this.#setLink(false);
    if (this.#options.carrier()) this.#negotiation.arm(NEGOTIATION_NS);
  }

  #setLink(link: boolean): void {
    if (link === this.#link) return;
    this.#link = link;
    this.#options.linkChanged();
  }
}
