/**
 * The incoming MSI controllers of all harts, at one privilege level: an interrupt file for each. RISC-V Advanced
 * Interrupt Architecture 1.0, chapter 3. A message is a 32-bit store to the file's page; the hart reaches the file
 * through CSRs.
 */
import type { MmioRegion } from '../memory/mmio.ts';
import { descriptor, type StateOf } from '../vmstate/descriptor.ts';
import { arrayOf, u32 as u32Field } from '../vmstate/fields.ts';
import { type DescribedMigratable, migratable } from '../vmstate/section.ts';
import type { InterruptLine } from './device.ts';
import { type FdtNode, hartIntcLabel, phandle, present, text, u32, u64 } from './fdt.ts';
import type { InterruptDevice } from './interrupt-controller.ts';
import { alignedWords, port, type RegisterBank, type RegisterDump, registerHandler } from './registers.ts';
import { hasSource, noSources, putSource, ranges, sourceBits, sourcesOf, wordsOf } from './source-set.ts';

/** Interrupt identities of a file: 1 to 255, as on QEMU's `virt`. */
export const IMSIC_IDENTITIES = 255;

const WORDS = wordsOf(IMSIC_IDENTITIES);
/** A file's memory region (§3.5). */
export const IMSIC_PAGE_BYTES = 0x1000;

/** §3.5. The big-endian port may be left out. */
const pageRegisters = (harts: number) =>
  ({
    seteipnum_le: port({ offset: 0, width: 4, access: 'w', count: harts, stride: IMSIC_PAGE_BYTES }),
  }) satisfies RegisterBank;

/** Numbers of the registers behind *ireg (§3.7). */
const EIDELIVERY = 0x70;
const EITHRESHOLD = 0x72;
const EIP0 = 0x80;
const EIE0 = 0xc0;

/** §3.8.1: the delivery from a PLIC or APLIC instead is not supported. */
const DELIVERS = 1;

export type ImsicLevel = 'machine' | 'supervisor';

const LEVELS = {
  machine: { name: 'imsic.m', label: 'imsic_m', cause: 11 },
  supervisor: { name: 'imsic.s', label: 'imsic_s', cause: 9 },
} as const;

/** §3.8: per hart. */
const imsicState = (level: ImsicLevel, harts: number) => {
  const sets = arrayOf(arrayOf(u32Field(), WORDS), harts);
  return descriptor({
    name: LEVELS[level].name,
    version: 1,
    minimumVersion: 1,
    fields: {
      eidelivery: arrayOf(u32Field(), harts),
      eithreshold: arrayOf(u32Field(), harts),
      eip: sets,
      eie: sets,
    },
    afterLoad(state, refuse) {
      for (const [hart, value] of state.eidelivery.entries()) {
        if (value > DELIVERS) throw refuse('eidelivery', '0 or 1', `${value} of hart ${hart}`);
      }
      for (const [hart, value] of state.eithreshold.entries()) {
        if (value > IMSIC_IDENTITIES) {
          throw refuse('eithreshold', `0 to ${IMSIC_IDENTITIES}`, `${value} of hart ${hart}`);
        }
      }
      for (const field of ['eip', 'eie'] as const) {
        for (const [hart, set] of state[field].entries()) {
          if (hasSource(set, 0)) throw refuse(field, 'no identity 0', `it, of hart ${hart}`);
        }
      }
    },
  });
};

type ImsicState = StateOf<ReturnType<typeof imsicState>>;

/** What the IMSICs of a level need of their machine. */
export interface ImsicOptions {
  readonly level: ImsicLevel;
  /** First physical address: the page of hart 0. */
  readonly base: number;
  /** External interrupts of the level, by hart id. */
  readonly lines: readonly InterruptLine[];
}

export class Imsic implements InterruptDevice {
  readonly name: string;
  readonly label: string;
  readonly regions: readonly MmioRegion[];
  readonly state: DescribedMigratable;
  readonly #options: ImsicOptions;
  #state: ImsicState;

  constructor(options: ImsicOptions) {
    const { level, base, lines } = options;
    this.#options = options;
    this.name = LEVELS[level].name;
    this.label = LEVELS[level].label;
    this.#state = this.#resetState();
    const handler = registerHandler(pageRegisters(lines.length), {
      state: () => ({}),
      hooks: { seteipnum_le: { write: ({ value, index }) => this.#receive(index, value) } },
    });
    const size = lines.length * IMSIC_PAGE_BYTES;
    this.regions = [{ name: this.name, base, size, handler: alignedWords(handler) }];
    this.state = migratable(imsicState(level, lines.length), {
      get: () => this.#state,
      set: (state) => {
        this.#state = state;
        this.#updateAll();
      },
    });
  }

  /** §3.4 leaves the state open; here all is off. */
  reset(): void {
    this.#state = this.#resetState();
    this.#updateAll();
  }

  /** The interrupt file of a hart, for its CSRs (an InterruptFile of the CPU's). */
  file(hart: number) {
    const imsic = this;
    return {
      /** §3.9: the identity, and once more as its priority; 0 if there is none. */
      get topei(): number {
        const top = imsic.#top(hart);
        return (top << 16) | top;
      },
      claim(): void {
        const top = imsic.#top(hart);
        if (top === 0) return;
        putSource(imsic.#set('eip', hart), top, false);
        imsic.#update(hart);
      },
      read: (register: number): bigint => imsic.#read(hart, register),
      write(register: number, value: bigint): void {
        imsic.#write(hart, register, value);
        imsic.#update(hart);
      },
    };
  }

  /** Registers for the monitor; offsets are the numbers behind *ireg. */
  dump(): RegisterDump[] {
    return this.#options.lines.flatMap((_, hart) => {
      const line = (name: string, offset: number, digits: number): RegisterDump => ({
        name: `hart${hart}.${name}`,
        offset,
        value: `0x${this.#read(hart, offset).toString(16).padStart(digits, '0')}`,
      });
      const arrays = Array.from({ length: WORDS / 2 }, (__, i) => [
        line(`eip${2 * i}`, EIP0 + 2 * i, 16),
        line(`eie${2 * i}`, EIE0 + 2 * i, 16),
      ]);
      return [line('eidelivery', EIDELIVERY, 8), line('eithreshold', EITHRESHOLD, 8), ...arrays.flat()];
    });
  }

  describe(): string[] {
    const { eidelivery, eithreshold } = this.#state;
    const list = (set: number[]): string => ranges(sourcesOf(set)) || 'none';
    const lines = this.#options.lines.map((_, hart) => {
      const settings = `eidelivery ${eidelivery[hart]}, eithreshold ${eithreshold[hart]}`;
      const [eip, eie] = [this.#set('eip', hart), this.#set('eie', hart)];
      return `  hart ${hart}: ${settings}; enabled: ${list(eie)}; pending: ${list(eip)}`;
    });
    return [this.name, ...lines];
  }

  fdt(): readonly FdtNode[] {
    const { base, level, lines } = this.#options;
    const { cause } = LEVELS[level];
    return [
      {
        name: `imsics@${base.toString(16)}`,
        label: this.label,
        properties: {
          'riscv,ipi-id': u32(1),
          'riscv,num-ids': u32(IMSIC_IDENTITIES),
          reg: u64(base, lines.length * IMSIC_PAGE_BYTES),
          'interrupts-extended': u32(...lines.flatMap((_, hart) => [phandle(hartIntcLabel(hart)), cause])),
          'msi-controller': present,
          'interrupt-controller': present,
          '#interrupt-cells': u32(0),
          compatible: text('riscv,imsics'),
        },
      },
    ];
  }

  #resetState(): ImsicState {
    const perHart = <T>(value: () => T): T[] => this.#options.lines.map(value);
    return {
      eidelivery: perHart(() => 0),
      eithreshold: perHart(() => 0),
      eip: perHart(() => noSources(IMSIC_IDENTITIES)),
      eie: perHart(() => noSources(IMSIC_IDENTITIES)),
    };
  }

  #set(which: 'eip' | 'eie', hart: number): number[] {
    return this.#state[which][hart] as number[];
  }

  /** §3.5: a message; of no identity that there is, it is ignored. */
  #receive(hart: number, identity: number): void {
    if (identity === 0 || identity > IMSIC_IDENTITIES) return;
    putSource(this.#set('eip', hart), identity, true);
    this.#update(hart);
  }

  /** §3.3, §3.8.2: the lowest identity that is pending, enabled and below the threshold, if there is one; else 0. */
  #top(hart: number): number {
    const [eip, eie] = [this.#set('eip', hart), this.#set('eie', hart)];
    const threshold = this.#state.eithreshold[hart] as number;
    for (let word = 0; word < WORDS; word++) {
      const bits = (eip[word] as number) & (eie[word] as number);
      if (bits === 0) continue;
      const top = 32 * word + 31 - Math.clz32(bits & -bits);
      return threshold === 0 || top < threshold ? top : 0;
    }
    return 0;
  }

  #read(hart: number, register: number): bigint {
    if (register === EIDELIVERY) return BigInt(this.#state.eidelivery[hart] as number);
    if (register === EITHRESHOLD) return BigInt(this.#state.eithreshold[hart] as number);
    const place = this.#place(hart, register);
    if (place === undefined) return 0n;
    const [set, word] = place;
    return (BigInt(set[word + 1] as number) << 32n) | BigInt(set[word] as number);
  }

  #write(hart: number, register: number, value: bigint): void {
    if (register === EIDELIVERY) this.#state.eidelivery[hart] = Number(value & BigInt(DELIVERS));
    if (register === EITHRESHOLD) this.#state.eithreshold[hart] = Number(value & BigInt(IMSIC_IDENTITIES));
    const place = this.#place(hart, register);
    if (place === undefined) return;
    const [set, word] = place;
    set[word] = Number(BigInt.asUintN(32, value)) & sourceBits(word, IMSIC_IDENTITIES);
    set[word] >>>= 0;
    set[word + 1] = Number(BigInt.asUintN(64, value) >> 32n);
  }

  /** §3.8.3, §3.8.4: the two words of a set that an even-numbered register shows; undefined if there is none. */
  #place(hart: number, register: number): readonly [number[], number] | undefined {
    if (register < EIP0) return undefined;
    const which = register < EIE0 ? 'eip' : 'eie';
    const word = register - (which === 'eip' ? EIP0 : EIE0);
    return word < WORDS ? [this.#set(which, hart), word] : undefined;
  }

  /** §3.10. */
  #update(hart: number): void {
    const level = this.#state.eidelivery[hart] === DELIVERS && this.#top(hart) !== 0;
    this.#options.lines[hart]?.(level);
  }

  #updateAll(): void {
    for (const hart of this.#options.lines.keys()) this.#update(hart);
  }
}
