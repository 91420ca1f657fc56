/**
 * SiFive's test finisher: one register by which a guest ends the machine. As QEMU's hw/misc/sifive_test.c; in the
 * device tree also a syscon, for Linux' generic power-off and reboot drivers.
 */
import type { MmioRegion } from '../memory/mmio.ts';
import { descriptor } from '../vmstate/descriptor.ts';
import { type DescribedMigratable, migratable } from '../vmstate/section.ts';
import type { Device } from './device.ts';
import { type FdtNode, phandle, text, u32, u64 } from './fdt.ts';
import { port, type RegisterBank, registerFields, registerHandler } from './registers.ts';

/** What a guest can ask for: the low half of the word it writes. */
export const FINISHER_FAIL = 0x3333;
export const FINISHER_PASS = 0x5555;
export const FINISHER_RESET = 0x7777;

const REGISTERS = {
  /** The request; of FINISHER_FAIL the exit code stands in the upper half. */
  finisher: port({ offset: 0, width: 4, access: 'w' }),
} satisfies RegisterBank;

const STATE = descriptor({
  name: 'finisher',
  version: 1,
  minimumVersion: 1,
  fields: registerFields(REGISTERS),
});

const LABEL = 'test';

/** What the finisher needs of its machine. */
export interface FinisherOptions {
  /** First physical address. */
  readonly base: number;
  /** The guest wants the machine off; `code` is its exit status, 0 for success. */
  powerOff(code: number): void;
  /** The guest wants a reset. */
  reset(): void;
}

const REGION_BYTES = 0x1000;

/** The test finisher. */
export class Finisher implements Device {
  readonly name = STATE.name;
  readonly regions: readonly MmioRegion[];
  readonly state: DescribedMigratable = migratable(STATE, { get: () => ({}), set: () => {} });
  readonly #base: number;

  constructor(options: FinisherOptions) {
    this.#base = options.base;
    const handler = registerHandler(REGISTERS, {
      state: () => ({}),
      hooks: {
        finisher: {
          write({ value }) {
            const request = value & 0xffff;
            if (request === FINISHER_PASS) options.powerOff(0);
            else if (request === FINISHER_FAIL) options.powerOff(value >>> 16);
            else if (request === FINISHER_RESET) options.reset();
          },
        },
      },
    });
    this.regions = [{ name: this.name, base: options.base, size: REGION_BYTES, handler }];
  }

  reset(): void {
    // It has no state.
  }

  fdt(): readonly FdtNode[] {
    return [
      {
        name: `test@${this.#base.toString(16)}`,
        label: LABEL,
        properties: {
          reg: u64(this.#base, REGION_BYTES),
          compatible: text('sifive,test1', 'sifive,test0', 'syscon'),
        },
      },
    ];
  }

  /** The nodes beside /soc that tell a guest how to use it. */
  rootFdt(): readonly FdtNode[] {
    const syscon = (name: string, value: number): FdtNode => ({
      name,
      properties: {
        value: u32(value),
        offset: u32(REGISTERS.finisher.offset),
        regmap: u32(phandle(LABEL)),
        compatible: text(`syscon-${name}`),
      },
    });
    return [syscon('poweroff', FINISHER_PASS), syscon('reboot', FINISHER_RESET)];
  }
}
