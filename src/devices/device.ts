/**
 * What the machine knows of a device: its regions on the bus, its reset, its node in the device tree, and its state.
 */
import type { MmioRegion } from '../memory/mmio.ts';
import type { Migratable } from '../vmstate/migratable.ts';
import type { FdtNode } from './fdt.ts';

/** An interrupt line from a device to whatever collects it; level-triggered, idempotent. */
export type InterruptLine = (level: boolean) => void;

/** Takes a message-signalled interrupt: a 32-bit store to a guest-physical address. */
export type MsiSink = (address: number, data: number) => void;

/** A device of the guest's machine. */
export interface Device {
  /** Unique instance name, also its section name in a saved state, e.g. "uart16550". */
  readonly name: string;
  readonly regions: readonly MmioRegion[];
  /** Back to the state at power-on. */
  reset(): void;
  /** The nodes it contributes below /soc, or none. */
  fdt(): readonly FdtNode[];
  /** Its state as it is saved and restored. */
  readonly state: Migratable;
  /** The machine starts to run, or has stopped: what the host has for the device waits meanwhile. */
  setRunning?(running: boolean): void;
  /** Resolves when nothing that the host does for it is under way any more; the machine stands still. */
  drain?(): Promise<void>;
  /** Whether the host does something for it now and will interrupt: a guest that waits, waits for that. */
  readonly busy?: boolean;
}
