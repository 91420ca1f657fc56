/**
 * What the machine knows of a device: its regions on the bus, its reset, its node in the device tree, and its state.
 */
import type { MmioRegion } from '../memory/mmio.ts';
import type { Migratable } from '../vmstate/migratable.ts';
import type { FdtNode } from './fdt.ts';

/** An interrupt line from a device to whatever collects it; level-triggered, idempotent. */
export type InterruptLine = (level: boolean) => void;

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
}
