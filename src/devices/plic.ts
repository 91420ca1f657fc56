/**
 * The platform-level interrupt controller: RISC-V PLIC Specification 1.0.0. Each hart has two contexts, machine mode's
 * and then supervisor mode's.
 */
import type { MmioRegion } from '../memory/mmio.ts';
import { descriptor, type StateOf } from '../vmstate/descriptor.ts';
import { arrayOf, u32 as u32Field } from '../vmstate/fields.ts';
import { type DescribedMigratable, migratable } from '../vmstate/section.ts';
import type { InterruptLine } from './device.ts';
import { type FdtNode, hartIntcLabel, phandle, present, text, u32, u64 } from './fdt.ts';
import {
  type InterruptController,
  type InterruptDevice,
  INTERRUPT_SOURCES as SOURCES,
} from './interrupt-controller.ts';
import {
  dumpRegisters,
  port,
  type RegisterBank,
  type RegisterDump,
  registerArray,
  registerFields,
  registerHandler,
  resetRegisters,
} from './registers.ts';
import {
  forEachSource,
  hasSource,
  noSources,
  putSource,
  sourceBits,
  sourcesOf,
  wordsOf,
} from './source-set.ts';

const WORDS = wordsOf(SOURCES);
/** Priorities 0 (never interrupts) to 7, and thresholds likewise. */
const PRIORITY_BITS = 7;

/** Chapter 3, memory map. */
const registers = (contexts: number) =>
  ({
    /** Of source 1 and up (chapter 4). */
    priority: registerArray({ offset: 4, width: 4, count: SOURCES, writable: PRIORITY_BITS }),
    /** Chapter 5. */
    pending: registerArray({ offset: 0x1000, width: 4, count: WORDS, writable: 0 }),
    /** Chapter 6: a row per context. */
    enable: registerArray({ offset: 0x2000, width: 4, count: WORDS, rows: contexts, rowStride: 0x80 }),
    /** Chapter 7. */
    threshold: registerArray({
      offset: 0x20_0000,
      width: 4,
      count: contexts,
      stride: 0x1000,
      writable: PRIORITY_BITS,
    }),
    /** Chapters 8 and 9: reading claims, writing completes. */
    claim: port({ offset: 0x20_0004, width: 4, count: contexts, stride: 0x1000 }),
  }) satisfies RegisterBank;

const plicState = (contexts: number) =>
  descriptor({
    name: 'plic',
    version: 1,
    minimumVersion: 1,
    fields: {
      ...registerFields(registers(contexts)),
      /** The lines that are raised. */
      raised: arrayOf(u32Field(), WORDS),
      /** Sources that were claimed and not completed yet: their gateways are closed. */
      claimed: arrayOf(u32Field(), WORDS),
    },
    afterLoad(state, refuse) {
      for (const field of ['pending', 'enable', 'raised', 'claimed'] as const) {
        for (const [index, bits] of state[field].entries()) {
          const valid = sourceBits(index % WORDS, SOURCES);
          if ((bits & ~valid) !== 0)
            throw refuse(field, `sources 1 to ${SOURCES}`, `others in word ${index}`);
        }
      }
      for (const field of ['priority', 'threshold'] as const) {
        const worst = Math.max(...state[field]);
        if (worst > PRIORITY_BITS) throw refuse(field, `0 to ${PRIORITY_BITS}`, `${worst}`);
      }
    },
  });

type PlicState = StateOf<ReturnType<typeof plicState>>;

/** A hart's two external interrupts. */
export interface ExternalLines {
  readonly meip: InterruptLine;
  readonly seip: InterruptLine;
}

/** What the PLIC needs of its machine. */
export interface PlicOptions {
  /** First physical address. */
  readonly base: number;
  /** One entry per hart, by hart id. */
  readonly lines: readonly ExternalLines[];
}

/** Room for the contexts of 512 harts, as QEMU has it; those that there are not read as zero. */
const REGION_BYTES = 0x60_0000;

/** Numbers of the lines in a hart's local interrupt controller: the cause codes, Privileged Architecture §3.1.9. */
const MEI_CAUSE = 11;
const SEI_CAUSE = 9;

/** The platform-level interrupt controller. */
export class Plic implements InterruptDevice, InterruptController {
  readonly name = 'plic';
  readonly label = 'plic';
  readonly imsics = undefined;
  readonly devices: readonly InterruptDevice[] = [this];
  readonly regions: readonly MmioRegion[];
  readonly state: DescribedMigratable;
  readonly #options: PlicOptions;
  /** By context. */
  readonly #outputs: readonly InterruptLine[];
  readonly #bank: ReturnType<typeof registers>;
  #state: PlicState;

  constructor(options: PlicOptions) {
    this.#options = options;
    this.#outputs = options.lines.flatMap(({ meip, seip }) => [meip, seip]);
    this.#bank = registers(this.#outputs.length);
    this.#state = this.#resetState();
    const handler = registerHandler(this.#bank, {
      state: () => this.#state,
      hooks: {
        priority: { write: () => this.#update() },
        enable: {
          write: ({ value, index }) => {
            this.#state.enable[index] = (value & sourceBits(index % WORDS, SOURCES)) >>> 0;
            this.#update();
          },
        },
        threshold: { write: () => this.#update() },
        claim: {
          read: (_, context) => this.#claim(context),
          write: ({ value, index }) => this.#complete(index, value),
        },
      },
    });
    this.regions = [{ name: this.name, base: options.base, size: REGION_BYTES, handler }];
    this.state = migratable(plicState(this.#outputs.length), {
      get: () => this.#state,
      set: (state) => {
        this.#state = state;
        this.#update();
      },
    });
  }

  /** The gateways are level-triggered (chapter 1, Interrupt Gateways). */
  line(source: number): InterruptLine {
    return (level) => {
      if (level === hasSource(this.#state.raised, source)) return;
      putSource(this.#state.raised, source, level);
      // A request that was forwarded stays pending, even if the device takes it back.
      if (level) this.#forward(source);
    };
  }

  specifier(source: number): readonly number[] {
    return [source];
  }

  /** The devices' own resets lower their lines. */
  reset(): void {
    this.#state = this.#resetState();
    this.#update();
  }

  /** Registers for the monitor. */
  dump(): RegisterDump[] {
    return dumpRegisters(this.#bank, this.#state);
  }

  describe(): string[] {
    const { raised, pending, claimed, enable, priority, threshold } = this.#state;
    const contexts = [...this.#outputs.keys()];
    const contextName = (context: number): string =>
      `hart ${context >> 1} ${context % 2 === 0 ? 'machine' : 'supervisor'}`;
    const all = noSources(SOURCES).map((_, word) => {
      const enabled = contexts.reduce(
        (bits, context) => bits | (enable[context * WORDS + word] as number),
        0,
      );
      return enabled | (raised[word] as number) | (pending[word] as number) | (claimed[word] as number);
    });
    return [
      this.name,
      ...sourcesOf(all).map((source) => {
        const is = Object.entries({ raised, pending, claimed }).filter(([, set]) => hasSource(set, source));
        const takers = contexts.filter((context) => hasSource(this.#enabled(context), source));
        const state = [`priority ${priority[source - 1]}`, ...is.map(([name]) => name)].join(', ');
        return `  source ${source}: ${state}; enabled: ${takers.map(contextName).join(', ') || 'nowhere'}`;
      }),
      ...contexts.map(
        (context) =>
          `  ${contextName(context)}: threshold ${threshold[context]}, first ${this.#first(context, 0) || 'none'}`,
      ),
    ];
  }

  fdt(): readonly FdtNode[] {
    const { base, lines } = this.#options;
    const contexts = lines.flatMap((_, hart) => {
      const intc = phandle(hartIntcLabel(hart));
      return [intc, MEI_CAUSE, intc, SEI_CAUSE];
    });
    return [
      {
        name: `plic@${base.toString(16)}`,
        label: this.label,
        properties: {
          'riscv,ndev': u32(SOURCES),
          reg: u64(base, REGION_BYTES),
          'interrupts-extended': u32(...contexts),
          'interrupt-controller': present,
          compatible: text('sifive,plic-1.0.0', 'riscv,plic0'),
          '#address-cells': u32(0),
          '#interrupt-cells': u32(1),
        },
      },
    ];
  }

  #resetState(): PlicState {
    return { ...resetRegisters(this.#bank), raised: noSources(SOURCES), claimed: noSources(SOURCES) };
  }

  /** A request passes the gateway of a source unless the one before it was claimed and not completed yet. */
  #forward(source: number): void {
    if (hasSource(this.#state.claimed, source) || hasSource(this.#state.pending, source)) return;
    putSource(this.#state.pending, source, true);
    this.#update();
  }

  /** Chapter 8. The threshold plays no part in it. */
  #claim(context: number): number {
    const source = this.#first(context, 0);
    if (source === 0) return 0;
    putSource(this.#state.pending, source, false);
    putSource(this.#state.claimed, source, true);
    this.#update();
    return source;
  }

  /** Chapter 9: ignored unless the source is enabled for the context. */
  #complete(context: number, source: number): void {
    if (source === 0 || source > SOURCES) return;
    if (!hasSource(this.#enabled(context), source)) return;
    putSource(this.#state.claimed, source, false);
    if (hasSource(this.#state.raised, source)) this.#forward(source);
  }

  #enabled(context: number): number[] {
    return this.#state.enable.slice(context * WORDS, (context + 1) * WORDS);
  }

  /**
   * The source that a context takes first: of those that are pending, enabled and above the threshold, the one of the
   * highest priority, and of these the one with the lowest number. 0 if there is none.
   */
  #first(context: number, threshold: number): number {
    const { pending, enable, priority } = this.#state;
    let first = 0;
    let highest = threshold;
    for (let word = 0; word < WORDS; word++) {
      const bits = (pending[word] as number) & (enable[context * WORDS + word] as number);
      forEachSource(word, bits, (source) => {
        const its = priority[source - 1] as number;
        if (its <= highest) return;
        highest = its;
        first = source;
      });
    }
    return first;
  }

  #update(): void {
    for (const [context, output] of this.#outputs.entries()) {
      output(this.#first(context, this.#state.threshold[context] as number) !== 0);
    }
  }
}
