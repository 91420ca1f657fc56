/**
 * The adapter's EEPROM: 64 words of 16 bits, read by command (EERD) or bit by bit over its Microwire lines (EECD).
 * 8254x manual, chapter 5 (contents), §13.4.3 and §13.4.4; Microchip 93C46 (the serial protocol). Read only: write
 * commands are not executed, as on a part whose writing was never enabled.
 */
import { arrayOf, type StateOfFields, u8, u16 } from '../../vmstate/fields.ts';

const WORDS = 64;
const ADDRESS_BITS = 6;
/** Sum of all words, §5.6.35. */
const CHECKSUM = 0xbaba;
/** Word numbers, §5.6. */
const WORD = { mac: 0, initControl1: 0x0a, subsystem: 0x0b, initControl2: 0x0f, checksum: 0x3f } as const;

/** Lines and flags of EECD. */
const EECD_CLOCK = 1 << 0;
const EECD_SELECT = 1 << 1;
const EECD_IN = 1 << 2;
const EECD_OUT = 1 << 3;
const EECD_REQUEST = 1 << 6;
const EECD_GRANT = 1 << 7;
const EECD_PRESENT = 1 << 8;
/** What software sets: lines, flash write enable, request. */
const EECD_WRITABLE = 0x77;

const EERD_START = 1 << 0;
const EERD_DONE = 1 << 4;

/** Start bit, operation code and address. */
const COMMAND_BITS = 3 + ADDRESS_BITS;
/** Start bit and the operation code of READ. */
const READ = 0b110;

export const EEPROM_FIELDS = {
  words: arrayOf(u16(), WORDS),
  eecd: u8(),
  /** Bits that have been clocked in since it was selected, as far as they count, and how many. */
  shiftedIn: u16(),
  clocks: u16(),
  /** Address in the upper half, as it was written to EERD. */
  eerdAddress: u8(),
  eerdDone: u8(),
};
export type EepromState = StateOfFields<typeof EEPROM_FIELDS>;

export interface EepromContents {
  readonly mac: Uint8Array;
  readonly vendor: number;
  readonly device: number;
  readonly subsystemVendor: number;
  readonly subsystem: number;
}

/** The words, with their checksum. */
export function eepromWords(contents: EepromContents): number[] {
  const { mac, vendor, device, subsystemVendor, subsystem } = contents;
  const words = new Array<number>(WORDS).fill(0);
  for (let i = 0; i < 3; i++)
    words[WORD.mac + i] = (mac[2 * i] as number) | ((mac[2 * i + 1] as number) << 8);
  // Take the identities from here.
  words[WORD.initControl1] = 0x0003;
  for (const [i, id] of [subsystem, subsystemVendor, device, vendor].entries())
    words[WORD.subsystem + i] = id;
  // Pause in both directions is advertised.
  words[WORD.initControl2] = 0x3000;
  words[WORD.checksum] = (CHECKSUM - words.reduce((sum, word) => sum + word, 0)) & 0xffff;
  return words;
}

export class Eeprom {
  readonly #contents: readonly number[];
  #state: EepromState;

  constructor(contents: EepromContents) {
    this.#contents = eepromWords(contents);
    this.#state = this.#initial();
  }

  reset(): void {
    this.#state = this.#initial();
  }

  save(): EepromState {
    return this.#state;
  }

  load(state: EepromState): void {
    this.#state = state;
  }

  readEecd(): number {
    const { eecd } = this.#state;
    return eecd | EECD_PRESENT | (eecd & EECD_REQUEST ? EECD_GRANT : 0) | (this.#out() ? EECD_OUT : 0);
  }

  writeEecd(value: number): void {
    const state = this.#state;
    const before = state.eecd;
    state.eecd = value & EECD_WRITABLE;
    if (!(value & EECD_SELECT)) {
      state.shiftedIn = 0;
      state.clocks = 0;
      return;
    }
    if (!(value & EECD_CLOCK) || before & EECD_CLOCK) return;
    // Zeros before the start bit don't count.
    if (state.clocks === 0 && !(value & EECD_IN)) return;
    if (state.clocks < COMMAND_BITS) state.shiftedIn = (state.shiftedIn << 1) | (value & EECD_IN ? 1 : 0);
    state.clocks = Math.min(state.clocks + 1, 0xffff);
  }

  readEerd(): number {
    const { words, eerdAddress, eerdDone } = this.#state;
    const data = eerdDone ? (words[eerdAddress % WORDS] as number) : 0;
    return ((data << 16) | (eerdAddress << 8) | (eerdDone ? EERD_DONE : 0)) >>> 0;
  }

  /** A read takes no time. */
  writeEerd(value: number): void {
    this.#state.eerdAddress = (value >>> 8) & 0xff;
    this.#state.eerdDone = value & EERD_START ? 1 : 0;
  }

  /** The data line: ready, unless it reads: then a zero after the command, and words from their top bit on. */
  #out(): boolean {
    const { clocks, shiftedIn, words, eecd } = this.#state;
    if (!(eecd & EECD_SELECT) || clocks < COMMAND_BITS || shiftedIn >>> ADDRESS_BITS !== READ) return true;
    const bit = clocks - COMMAND_BITS - 1;
    if (bit < 0) return false;
    const address = (shiftedIn & (WORDS - 1)) + (bit >>> 4);
    return (((words[address % WORDS] as number) >>> (15 - (bit & 15))) & 1) === 1;
  }

  #initial(): EepromState {
    return { words: [...this.#contents], eecd: 0, shiftedIn: 0, clocks: 0, eerdAddress: 0, eerdDone: 0 };
  }
}
