/**
 * The machine's timer and software interrupts: RISC-V ACLINT 1.0-rc4, §2 (MTIMER) and §3 (MSWI), laid out as SiFive's
 * CLINT, which is how the device tree presents it.
 */
import type { MmioRegion } from '../memory/mmio.ts';
import { descriptor, type StateOf } from '../vmstate/descriptor.ts';
import { u64 as u64Field } from '../vmstate/fields.ts';
import { type DescribedMigratable, migratable } from '../vmstate/section.ts';
import type { Device, InterruptLine } from './device.ts';
import { type FdtNode, hartIntcLabel, phandle, present, text, u32, u64 } from './fdt.ts';
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
import type { Timebase } from './timebase.ts';

/** A comparator at this value never fires. The specification leaves its reset value open. */
const NEVER = 0xffff_ffff_ffff_ffffn;

/** §3.2: one bit per hart. */
const mswiRegisters = (harts: number) =>
  ({ msip: registerArray({ offset: 0, width: 4, count: harts, writable: 1 }) }) satisfies RegisterBank;

const MTIME = 0x7ff8;

/** §2.2 and §2.3, mtime last as in a CLINT. */
const mtimerRegisters = (harts: number) =>
  ({
    mtimecmp: registerArray({ offset: 0, width: 8, count: harts, reset: NEVER }),
    mtime: port({ offset: MTIME, width: 8 }),
  }) satisfies RegisterBank;

const aclintState = (harts: number) =>
  descriptor({
    name: 'aclint',
    version: 1,
    minimumVersion: 1,
    fields: {
      ...registerFields(mswiRegisters(harts)),
      ...registerFields(mtimerRegisters(harts)),
      /** In ticks; it lives in the timebase. */
      mtime: u64Field(),
    },
  });

type AclintState = StateOf<ReturnType<typeof aclintState>>;

const MSWI_BYTES = 0x4000;
const MTIMER_BYTES = 0x8000;
/** What the device tree gives a CLINT; the last 16 KiB answer nothing. */
const CLINT_BYTES = 0x10000;

/** Numbers of the lines in a hart's local interrupt controller: the cause codes, Privileged Architecture §3.1.9. */
const MSI_CAUSE = 3;
const MTI_CAUSE = 7;

/** A hart's two lines from the ACLINT. */
export interface AclintLines {
  readonly msip: InterruptLine;
  readonly mtip: InterruptLine;
}

/** What the ACLINT needs of its machine. */
export interface AclintOptions {
  /** First physical address. */
  readonly base: number;
  /** One entry per hart, by hart id. */
  readonly lines: readonly AclintLines[];
  readonly timebase: Timebase;
  /** Whether the device tree presents it as what it is, and not as a CLINT; not by default. */
  readonly split?: boolean;
}

/** Timer and software interrupts of all harts. */
export class Aclint implements Device {
  readonly name = 'aclint';
  readonly regions: readonly MmioRegion[];
  readonly state: DescribedMigratable;
  readonly #options: AclintOptions;
  readonly #mswi: ReturnType<typeof mswiRegisters>;
  readonly #mtimer: ReturnType<typeof mtimerRegisters>;
  #state: Omit<AclintState, 'mtime'>;

  constructor(options: AclintOptions) {
    const { base, lines, timebase } = options;
    this.#options = options;
    this.#mswi = mswiRegisters(lines.length);
    this.#mtimer = mtimerRegisters(lines.length);
    this.#state = this.#resetState();
    const state = () => this.#state;
    const mswi = registerHandler(this.#mswi, {
      state,
      hooks: { msip: { write: ({ value, index }) => lines[index]?.msip(value !== 0) } },
    });
    const mtimer = registerHandler(this.#mtimer, {
      state,
      hooks: {
        mtimecmp: { write: () => this.update() },
        mtime: {
          read: () => timebase.now(),
          write: ({ value }) => {
            timebase.set(value);
            this.update();
          },
        },
      },
    });
    this.regions = [
      { name: 'aclint-mswi', base, size: MSWI_BYTES, handler: mswi },
      { name: 'aclint-mtimer', base: base + MSWI_BYTES, size: MTIMER_BYTES, handler: mtimer },
    ];
    this.state = migratable(aclintState(lines.length), {
      get: () => ({ ...this.#state, mtime: timebase.now() }),
      set: ({ mtime, ...registers }) => {
        this.#state = registers;
        timebase.set(mtime);
        this.#driveLines();
      },
    });
  }

  /** Also sets mtime back to 0, as QEMU does. */
  reset(): void {
    this.#state = this.#resetState();
    this.#options.timebase.set(0n);
    this.#driveLines();
  }

  /** Sets the mtip lines to what they are at the present time; to be called as time passes. */
  update(): void {
    const now = this.#options.timebase.now();
    for (const [hart, line] of this.#options.lines.entries()) {
      line.mtip(now >= (this.#state.mtimecmp[hart] ?? NEVER));
    }
  }

  /** The earliest mtimecmp after the present time, in ticks; undefined if no timer is set. */
  nextDeadline(): bigint | undefined {
    const now = this.#options.timebase.now();
    let earliest = NEVER;
    for (const deadline of this.#state.mtimecmp) {
      if (deadline > now && deadline < earliest) earliest = deadline;
    }
    return earliest === NEVER ? undefined : earliest;
  }

  /** Registers for the monitor. */
  dump(): RegisterDump[] {
    const mtimer = dumpRegisters(this.#mtimer, this.#state);
    return [
      ...dumpRegisters(this.#mswi, this.#state),
      ...mtimer.map((line) => ({ ...line, offset: line.offset + MSWI_BYTES })),
    ];
  }

  fdt(): readonly FdtNode[] {
    const { base, lines, split } = this.#options;
    const perHart = (...causes: number[]) =>
      u32(...lines.flatMap((_, hart) => causes.flatMap((cause) => [phandle(hartIntcLabel(hart)), cause])));
    if (split === true) {
      const mtimer = base + MSWI_BYTES;
      return [
        {
          name: `mtimer@${mtimer.toString(16)}`,
          properties: {
            'interrupts-extended': perHart(MTI_CAUSE),
            reg: u64(mtimer + MTIME, CLINT_BYTES - MSWI_BYTES - MTIME, mtimer, MTIME),
            compatible: text('riscv,aclint-mtimer'),
          },
        },
        {
          name: `mswi@${base.toString(16)}`,
          properties: {
            '#interrupt-cells': u32(0),
            'interrupt-controller': present,
            'interrupts-extended': perHart(MSI_CAUSE),
            reg: u64(base, MSWI_BYTES),
            compatible: text('riscv,aclint-mswi'),
          },
        },
      ];
    }
    return [
      {
        name: `clint@${base.toString(16)}`,
        properties: {
          'interrupts-extended': perHart(MSI_CAUSE, MTI_CAUSE),
          reg: u64(base, CLINT_BYTES),
          compatible: text('sifive,clint0', 'riscv,clint0'),
        },
      },
    ];
  }

  #resetState(): Omit<AclintState, 'mtime'> {
    return { ...resetRegisters(this.#mswi), ...resetRegisters(this.#mtimer) };
  }

  #driveLines(): void {
    for (const [hart, line] of this.#options.lines.entries()) line.msip((this.#state.msip[hart] ?? 0) !== 0);
    this.update();
  }
}
