/** Software interrupts of supervisor level: RISC-V ACLINT 1.0-rc4, §4 (SSWI). */
import type { MmioRegion } from '../memory/mmio.ts';
import { descriptor } from '../vmstate/descriptor.ts';
import { type DescribedMigratable, migratable } from '../vmstate/section.ts';
import type { Device } from './device.ts';
import { type FdtNode, hartIntcLabel, phandle, present, text, u32, u64 } from './fdt.ts';
import { port, type RegisterBank, registerFields, registerHandler } from './registers.ts';

/** §4.2: one register per hart; it reads as zero. */
const sswiRegisters = (harts: number) =>
  ({ setssip: port({ offset: 0, width: 4, access: 'w', count: harts }) }) satisfies RegisterBank;

const STATE = descriptor({ name: 'aclint-sswi', version: 1, minimumVersion: 1, fields: registerFields({}) });

const REGION_BYTES = 0x4000;
/** Number of the line in a hart's local interrupt controller: the cause code, Privileged Architecture §12.1.3. */
const SSI_CAUSE = 1;

/** A hart's line from the SSWI. */
export interface SswiLine {
  /** An edge: makes the interrupt pending, until the hart's software clears it. */
  ssip(): void;
}

/** What the SSWI needs of its machine. */
export interface SswiOptions {
  /** First physical address. */
  readonly base: number;
  /** By hart id. */
  readonly lines: readonly SswiLine[];
}

export class Sswi implements Device {
  readonly name = STATE.name;
  readonly regions: readonly MmioRegion[];
  readonly state: DescribedMigratable = migratable(STATE, { get: () => ({}), set: () => {} });
  readonly #options: SswiOptions;

  constructor(options: SswiOptions) {
    const { base, lines } = options;
    this.#options = options;
    const handler = registerHandler(sswiRegisters(lines.length), {
      state: () => ({}),
      hooks: {
        setssip: {
          write({ value, index }) {
            if ((value & 1) !== 0) lines[index]?.ssip();
          },
        },
      },
    });
    this.regions = [{ name: this.name, base, size: REGION_BYTES, handler }];
  }

  reset(): void {
    // It has no state.
  }

  fdt(): readonly FdtNode[] {
    const { base, lines } = this.#options;
    return [
      {
        name: `sswi@${base.toString(16)}`,
        properties: {
          '#interrupt-cells': u32(0),
          'interrupt-controller': present,
          'interrupts-extended': u32(
            ...lines.flatMap((_, hart) => [phandle(hartIntcLabel(hart)), SSI_CAUSE]),
          ),
          reg: u64(base, REGION_BYTES),
          compatible: text('riscv,aclint-sswi'),
        },
      },
    ];
  }
}
