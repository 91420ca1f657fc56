/** What a new machine starts from: the contents of its "rom" and "boot" blocks. */

import { NO_MEMORY } from '../devices/dma.ts';
import { GodwitError } from '../error.ts';
import { createBoard } from './board.ts';
import { type BootImage, encodeBootImages, fdtAddress, resetVector } from './boot.ts';
import { deviceTree } from './device-tree.ts';
import { MEMORY_MAP } from './memory-map.ts';

export interface BootContents {
  readonly rom: Uint8Array;
  readonly boot: Uint8Array;
}

export interface BootRequest {
  readonly harts: number;
  readonly isa: string;
  /** Bytes. */
  readonly ram: number;
  readonly kernel?: { readonly entry: number; readonly images: readonly BootImage[] };
  /** The kernel's command line. */
  readonly append?: string;
}

/** @throws GodwitError kind "machine" if kernel and device tree overlap. */
export function bootContents(request: BootRequest): BootContents {
  const { harts, kernel, ram } = request;
  // A board that is wired to nothing, for its nodes.
  const nothing = (): void => {};
  const board = createBoard({
    timebase: { now: () => 0n, set: nothing },
    lines: Array.from({ length: harts }, () => ({
      msip: nothing,
      mtip: nothing,
      meip: nothing,
      seip: nothing,
    })),
    dma: NO_MEMORY,
    transmit: nothing,
    powerOff: nothing,
    reset: nothing,
  });
  const fdt = deviceTree({ ...request, devices: board.devices, rootNodes: board.finisher.rootFdt() });
  const at = fdtAddress(ram, fdt.length);
  for (const image of kernel?.images ?? []) {
    if (image.address < at + fdt.length && at < image.address + image.memorySize) {
      throw new GodwitError(
        'machine',
        `the kernel overlaps the device tree at 0x${at.toString(16)}: it needs more RAM (-m)`,
      );
    }
  }
  return {
    rom: resetVector(kernel?.entry ?? MEMORY_MAP.ram.base, at),
    boot: encodeBootImages([...(kernel?.images ?? []), { address: at, bytes: fdt, memorySize: fdt.length }]),
  };
}
