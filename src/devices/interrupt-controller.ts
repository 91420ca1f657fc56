/**
 * What devices know of the machine's interrupt controller, whichever it is: its inputs, and how a node of the device
 * tree refers to one of them.
 */
import type { Device, InterruptLine } from './device.ts';
import { type FdtCell, type FdtValue, phandle, u32 } from './fdt.ts';
import type { Imsic, ImsicLevel } from './imsic.ts';

/** How many wired interrupts there are: sources 1 to 96, as on QEMU's `virt` ("riscv,ndev"). */
export const INTERRUPT_SOURCES = 96;

/** A device of which an interrupt controller is made. */
export interface InterruptDevice extends Device {
  /** What is configured, raised and pending, for the monitor: its name, then lines that are indented. */
  describe(): string[];
}

/** The IMSICs of all harts, by privilege level. */
export type Imsics = Readonly<Record<ImsicLevel, Imsic>>;

export interface InterruptController {
  /** The input of a source, 1 to INTERRUPT_SOURCES. */
  line(source: number): InterruptLine;
  /** Label of the node that collects wired interrupts. */
  readonly label: string;
  /** The cells that name the source in a node's "interrupts", or in an "interrupt-map". */
  specifier(source: number): readonly FdtCell[];
  /** What takes messages; undefined where there are none. */
  readonly imsics: Imsics | undefined;
  /** What it is made of. */
  readonly devices: readonly InterruptDevice[];
}

/** The properties by which a device's node names its interrupt. Devicetree Specification v0.4, §2.4.1. */
export function interruptProperties(
  interrupts: Pick<InterruptController, 'label' | 'specifier'>,
  source: number,
): Readonly<Record<string, FdtValue>> {
  return {
    interrupts: u32(...interrupts.specifier(source)),
    'interrupt-parent': u32(phandle(interrupts.label)),
  };
}
