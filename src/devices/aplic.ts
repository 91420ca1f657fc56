/**
 * An interrupt domain of the advanced platform-level interrupt controller: RISC-V Advanced Interrupt Architecture 1.0,
 * chapter 4. Two of them make up the APLIC: the root, at machine level, and its child at supervisor level, to which
 * sources can be delegated. They interrupt the harts directly, or send messages to IMSICs.
 */
import type { MmioRegion } from '../memory/mmio.ts';
import { type DescribedMigratable, migratable } from '../vmstate/section.ts';
import {
  type AplicState,
  aplicRegisters,
  aplicState,
  DELEGATED,
  DOMAINCFG,
  type DomainKind,
  EIID_BITS,
  HART_INDEX_SHIFT,
  IPRIO_BITS,
  legalSourcecfg,
  legalTarget,
  MSIADDRCFG_LOCK,
  SOURCE_MODE,
  SOURCE_MODE_BITS,
  WORDS,
} from './aplic-registers.ts';
import type { InterruptLine, MsiSink } from './device.ts';
import { type FdtCell, type FdtNode, hartIntcLabel, phandle, present, text, u32, u64 } from './fdt.ts';
import { type InterruptDevice, INTERRUPT_SOURCES as SOURCES } from './interrupt-controller.ts';
import {
  alignedWords,
  dumpRegisters,
  type RegisterDump,
  type RegisterHooks,
  registerHandler,
  resetRegisters,
} from './registers.ts';
import { forEachSource, hasSource, noSources, putSource, ranges, sourceBits } from './source-set.ts';

const LEVELS = {
  machine: { name: 'aplic.m', label: 'aplic_m', cause: 11 },
  supervisor: { name: 'aplic.s', label: 'aplic_s', cause: 9 },
} as const;

/** By value of SM. */
const MODE_NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(SOURCE_MODE).map(([name, mode]) => [mode, name]),
);

/** As QEMU has it. */
const REGION_BYTES = 0x8000;

/** What a domain needs of its machine. */
export interface AplicOptions {
  readonly level: DomainKind['level'];
  readonly base: number;
  /** External interrupts of the level, by hart id; the hart's index is its id. */
  readonly lines: readonly InterruptLine[];
  /** Messages instead of lines: where they go, and the label of the IMSICs' node. */
  readonly msi?: { readonly send: MsiSink; readonly parent: string };
  /** The root, of the domain at supervisor level. */
  readonly parent?: AplicDomain;
}

export class AplicDomain implements InterruptDevice {
  readonly name: string;
  readonly label: string;
  readonly regions: readonly MmioRegion[];
  readonly state: DescribedMigratable;
  readonly #options: AplicOptions;
  readonly #kind: DomainKind;
  readonly #bank: ReturnType<typeof aplicRegisters>;
  #child: AplicDomain | undefined;
  #state: AplicState;

  constructor(options: AplicOptions) {
    const { level, base, lines, msi, parent } = options;
    this.#options = options;
    this.name = LEVELS[level].name;
    this.label = LEVELS[level].label;
    this.#kind = { level, delivery: msi === undefined ? 'direct' : 'msi', harts: lines.length };
    this.#bank = aplicRegisters(this.#kind);
    this.#state = this.#resetState();
    if (parent !== undefined) parent.#child = this;
    const handler = registerHandler(this.#bank, { state: () => this.#state, hooks: this.#hooks() });
    this.regions = [{ name: this.name, base, size: REGION_BYTES, handler: alignedWords(handler) }];
    this.state = migratable(aplicState(this.#kind, this.name), {
      get: () => this.#state,
      // Messages were sent before the state was saved; lines are set anew.
      set: (state) => {
        this.#state = state;
        this.#driveLines();
      },
    });
  }

  /** §4.6 leaves most of the state open; here all is off. The devices' own resets lower their lines. */
  reset(): void {
    this.#state = this.#resetState();
    this.#driveLines();
  }

  /** The wire of a source has this level now. */
  input(source: number, level: boolean): void {
    if (hasSource(this.#state.wires, source) === level) return;
    const before = this.#rectified(source);
    putSource(this.#state.wires, source, level);
    if (this.#delegates(source)) this.#child?.input(source, level);
    const after = this.#rectified(source);
    if (before !== after) this.#inputChanged(source, after);
  }

  /** Registers for the monitor. */
  dump(): RegisterDump[] {
    return dumpRegisters(this.#bank, this.#state);
  }

  describe(): string[] {
    const { wires, pending, enabled, target } = this.#state;
    const sources = Array.from({ length: SOURCES }, (_, i) => i + 1);
    const configured = sources.filter((source) => this.#isActive(source) && !this.#delegates(source));
    const delegated = sources.filter((source) => this.#delegates(source));
    const destination = (source: number): string => {
      const to = target[source - 1] as number;
      const hart = `hart ${to >>> HART_INDEX_SHIFT}`;
      return this.#sendsMessages
        ? `${hart}, identity ${to & EIID_BITS}`
        : `${hart}, priority ${to & IPRIO_BITS}`;
    };
    return [
      `${this.name}: ${this.#kind.delivery} delivery ${this.#isOn ? 'on' : 'off'}`,
      ...configured.map((source) => {
        const is = Object.entries({ raised: wires, pending, enabled });
        const names = is.filter(([, set]) => hasSource(set, source)).map(([name]) => name);
        const mode = MODE_NAMES[this.#sourcecfg(source)];
        return `  source ${source}: ${[mode, ...names].join(', ')}; to ${destination(source)}`;
      }),
      ...(delegated.length === 0 ? [] : [`  delegated: ${ranges(delegated)}`]),
      ...(this.#sendsMessages ? [] : this.#options.lines.map((_, hart) => this.#describeHart(hart))),
    ];
  }

  #describeHart(hart: number): string {
    const { idelivery, iforce, ithreshold } = this.#state;
    const settings = `idelivery ${idelivery[hart]}, iforce ${iforce[hart]}, ithreshold ${ithreshold[hart]}`;
    return `  hart ${hart}: ${settings}, first ${this.#topi(hart) >>> 16 || 'none'}`;
  }

  fdt(): readonly FdtNode[] {
    const { base, level, lines, msi } = this.#options;
    const harts = lines.flatMap((_, hart) => [phandle(hartIntcLabel(hart)), LEVELS[level].cause]);
    const child = this.#child?.label;
    const delegation: FdtCell[] = child === undefined ? [] : [phandle(child), 1, SOURCES];
    return [
      {
        name: `aplic@${base.toString(16)}`,
        label: this.label,
        properties: {
          ...(child === undefined
            ? {}
            : {
                // Linux calls it by the second name; firmware before 2024 knows the first, QEMU 7.2's.
                'riscv,delegate': u32(...delegation),
                'riscv,delegation': u32(...delegation),
                'riscv,children': u32(phandle(child)),
              }),
          'riscv,num-sources': u32(SOURCES),
          reg: u64(base, REGION_BYTES),
          ...(msi === undefined
            ? { 'interrupts-extended': u32(...harts) }
            : { 'msi-parent': u32(phandle(msi.parent)) }),
          'interrupt-controller': present,
          '#interrupt-cells': u32(2),
          compatible: text('riscv,aplic'),
        },
      },
    ];
  }

  #hooks(): RegisterHooks<ReturnType<typeof aplicRegisters>> {
    const each = (change: (source: number) => void) => {
      return ({ value, index }: { value: number; index: number }): void => {
        forEachSource(index, value & sourceBits(index, SOURCES), change);
        this.#deliver();
      };
    };
    const one = (change: (source: number) => void) => {
      return ({ value }: { value: number }): void => {
        if (value === 0 || value > SOURCES) return;
        change(value);
        this.#deliver();
      };
    };
    const setPending = (source: number): void => this.#setPending(source);
    const clearPending = (source: number): void => this.#clearPending(source);
    const enable = (source: number): void => {
      if (this.#isActive(source)) putSource(this.#state.enabled, source, true);
    };
    const disable = (source: number): void => putSource(this.#state.enabled, source, false);
    const deliver = { write: (): void => this.#deliver() };
    const lockable = (name: 'mmsiaddrcfg' | 'mmsiaddrcfgh' | 'smsiaddrcfg' | 'smsiaddrcfgh') => ({
      write: ({ previous }: { previous: number }): void => {
        const lock = name === 'mmsiaddrcfgh' ? previous : this.#state.mmsiaddrcfgh;
        if ((lock & MSIADDRCFG_LOCK) !== 0) this.#state[name] = previous;
      },
    });
    return {
      domaincfg: deliver,
      sourcecfg: {
        write: ({ value, previous, index }) => this.#configure(index + 1, value, previous),
      },
      mmsiaddrcfg: lockable('mmsiaddrcfg'),
      mmsiaddrcfgh: lockable('mmsiaddrcfgh'),
      smsiaddrcfg: lockable('smsiaddrcfg'),
      smsiaddrcfgh: lockable('smsiaddrcfgh'),
      setip: { read: (_, word) => this.#state.pending[word] as number, write: each(setPending) },
      setipnum: { write: one(setPending) },
      setipnum_le: { write: one(setPending) },
      in_clrip: { read: (_, word) => this.#rectifiedWord(word), write: each(clearPending) },
      clripnum: { write: one(clearPending) },
      setie: { read: (_, word) => this.#state.enabled[word] as number, write: each(enable) },
      setienum: { write: one(enable) },
      clrie: { write: each(disable) },
      clrienum: { write: one(disable) },
      genmsi: { write: ({ value }) => this.#send(value) },
      target: {
        write: ({ value, index }) => {
          this.#state.target[index] = this.#isActive(index + 1) ? legalTarget(value, this.#kind) : 0;
          this.#deliver();
        },
      },
      idelivery: deliver,
      iforce: deliver,
      ithreshold: deliver,
      topi: { read: (_, hart) => this.#topi(hart) },
      claimi: { read: (_, hart) => this.#claim(hart) },
    };
  }

  #resetState(): AplicState {
    return {
      ...resetRegisters(this.#bank),
      wires: noSources(SOURCES),
      pending: noSources(SOURCES),
      enabled: noSources(SOURCES),
    };
  }

  get #sendsMessages(): boolean {
    return this.#kind.delivery === 'msi';
  }

  #sourcecfg(source: number): number {
    return this.#state.sourcecfg[source - 1] as number;
  }

  #delegates(source: number): boolean {
    return (this.#sourcecfg(source) & DELEGATED) !== 0;
  }

  #isActive(source: number): boolean {
    return (this.#sourcecfg(source) & SOURCE_MODE_BITS) !== SOURCE_MODE.inactive;
  }

  #isLevel(source: number): boolean {
    return this.#sourcecfg(source) >= SOURCE_MODE.level1 && !this.#delegates(source);
  }

  /** §4.5.2: the rectified input value. */
  #rectified(source: number): boolean {
    const mode = this.#sourcecfg(source) & SOURCE_MODE_BITS;
    if (mode < SOURCE_MODE.edge1) return false;
    const isInverted = mode === SOURCE_MODE.edge0 || mode === SOURCE_MODE.level0;
    return hasSource(this.#state.wires, source) !== isInverted;
  }

  #rectifiedWord(word: number): number {
    let bits = 0;
    forEachSource(word, sourceBits(word, SOURCES), (source) => {
      if (this.#rectified(source)) bits |= 1 << (source & 31);
    });
    return bits >>> 0;
  }

  /** §4.5.2. */
  #configure(source: number, written: number, previous: number): void {
    const { parent } = this.#options;
    const isImplemented = parent === undefined || parent.#delegates(source);
    const sourcecfg = isImplemented ? legalSourcecfg(written, this.#kind) : SOURCE_MODE.inactive;
    this.#state.sourcecfg[source - 1] = sourcecfg;
    if (!this.#isActive(source)) {
      putSource(this.#state.pending, source, false);
      putSource(this.#state.enabled, source, false);
      this.#state.target[source - 1] = 0;
    } else {
      if (this.#state.target[source - 1] === 0) this.#state.target[source - 1] = legalTarget(0, this.#kind);
      // A level that is asserted already is not lost; one that is not is not pending (§4.7).
      if (this.#isLevel(source)) putSource(this.#state.pending, source, this.#rectified(source));
    }
    const wasDelegated = (previous & DELEGATED) !== 0;
    const child = this.#child;
    if (wasDelegated !== this.#delegates(source) && child !== undefined) {
      child.#appoint(source, this.#delegates(source) && hasSource(this.#state.wires, source));
    }
    this.#deliver();
  }

  /** The wire of a source that was delegated to this domain, or no longer is: low then. It is inactive at first. */
  #appoint(source: number, level: boolean): void {
    this.#configure(source, SOURCE_MODE.inactive, 0);
    putSource(this.#state.wires, source, level);
  }

  /** §4.7. */
  #inputChanged(source: number, rectified: boolean): void {
    if (rectified) putSource(this.#state.pending, source, true);
    else if (this.#isLevel(source)) putSource(this.#state.pending, source, false);
    this.#deliver();
  }

  /** §4.7: by a write. */
  #setPending(source: number): void {
    if (!this.#isActive(source)) return;
    const isPossible = !this.#isLevel(source) || (this.#sendsMessages && this.#rectified(source));
    if (isPossible) putSource(this.#state.pending, source, true);
  }

  /** §4.7: by a write or a claim. */
  #clearPending(source: number): void {
    if (this.#isLevel(source) && !this.#sendsMessages) return;
    putSource(this.#state.pending, source, false);
  }

  #deliver(): void {
    if (this.#sendsMessages) this.#sendPending();
    else this.#driveLines();
  }

  get #isOn(): boolean {
    return (this.#state.domaincfg & DOMAINCFG.ie) !== 0;
  }

  /** §4.9. */
  #sendPending(): void {
    if (!this.#isOn) return;
    for (let word = 0; word < WORDS; word++) {
      const bits = (this.#state.pending[word] as number) & (this.#state.enabled[word] as number);
      forEachSource(word, bits, (source) => {
        putSource(this.#state.pending, source, false);
        this.#send(this.#state.target[source - 1] as number);
      });
    }
  }

  /** §4.9.1: a message as a target, or genmsi, describes it. */
  #send(target: number): void {
    this.#options.msi?.send(this.#address(target >>> HART_INDEX_SHIFT), target & EIID_BITS);
  }

  #address(hartIndex: number): number {
    const { level, parent } = this.#options;
    const root = (parent ?? this).#state;
    const shape = root.mmsiaddrcfgh;
    const [low, high] =
      level === 'machine' ? [root.mmsiaddrcfg, root.mmsiaddrcfgh] : [root.smsiaddrcfg, root.smsiaddrcfgh];
    const lhxw = BigInt((shape >>> 12) & 0xf);
    const hhxw = BigInt((shape >>> 16) & 7);
    const hhxs = BigInt((shape >>> 24) & 0x1f);
    const lhxs = BigInt((high >>> 20) & 7);
    const index = BigInt(hartIndex);
    const group = (index >> lhxw) & ((1n << hhxw) - 1n);
    const hart = index & ((1n << lhxw) - 1n);
    const base = (BigInt(high & 0xfff) << 32n) | BigInt(low);
    return Number((base | (group << (hhxs + 12n)) | (hart << lhxs)) << 12n);
  }

  /** §4.8.2. */
  #driveLines(): void {
    if (this.#sendsMessages) return;
    for (const [hart, line] of this.#options.lines.entries()) {
      const delivers = this.#isOn && this.#state.idelivery[hart] === 1;
      line(delivers && (this.#state.iforce[hart] === 1 || this.#topi(hart) !== 0));
    }
  }

  /** §4.8.1.4: source and priority of what comes first for a hart; 0 if nothing does. */
  #topi(hart: number): number {
    let first = 0;
    let highest = (this.#state.ithreshold[hart] as number) || IPRIO_BITS + 1;
    for (let word = 0; word < WORDS; word++) {
      const bits = (this.#state.pending[word] as number) & (this.#state.enabled[word] as number);
      forEachSource(word, bits, (source) => {
        const target = this.#state.target[source - 1] as number;
        const priority = target & IPRIO_BITS;
        if (target >>> HART_INDEX_SHIFT !== hart || priority >= highest) return;
        first = (source << 16) | priority;
        highest = priority;
      });
    }
    return first;
  }

  /** §4.8.1.5. */
  #claim(hart: number): number {
    const top = this.#topi(hart);
    if (top === 0) this.#state.iforce[hart] = 0;
    else this.#clearPending(top >>> 16);
    this.#driveLines();
    return top;
  }
}
