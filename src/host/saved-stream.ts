/** Reads a migration stream from a file into memory, without running anything: for checks and inspection. */
import { checkConfiguration, type MachineConfiguration } from '../machine/configuration.ts';
import { machineLayout } from '../machine/machine-layout.ts';
import { MEMORY_MAP } from '../machine/memory-map.ts';
import { type WritableDisk, writableDisks } from '../machine/writable-disks.ts';
import { createSharedMemory, type Layout } from '../memory/layout.ts';
import type { DestinationDisk } from '../migration/migratable-vm.ts';
import { Receiver } from '../migration/receiver.ts';
import { hostClock } from './clock.ts';
import { listenTransport } from './transport-open.ts';
import { hostTimers } from './transport-timers.ts';

export interface SavedGuest {
  readonly configuration: MachineConfiguration;
  readonly layout: Layout;
  /** RAM from guest address 0x8000_0000 on. */
  readonly ram: DataView;
}

/** @throws GodwitError if the file is no whole, intact stream. */
export async function readSavedGuest(path: string): Promise<SavedGuest> {
  let saved: SavedGuest | undefined;
  const receiver = new Receiver({
    transport: await (await listenTransport(`file:${path}`)).accept(),
    clock: hostClock,
    timers: hostTimers,
    builder: {
      async build(given) {
        const configuration = checkConfiguration(given);
        const layout = machineLayout(configuration);
        const memory = createSharedMemory(layout);
        const ram = layout.blocks.find((block) => block.name === 'ram');
        saved = { configuration, layout, ram: new DataView(memory.buffer, ram?.offset, ram?.size) };
        const disks = writableDisks(configuration.devices).map(dropped);
        return {
          memory,
          layout,
          disks,
          async checkState() {},
          async loadState() {},
          async nameDisks() {},
          async start() {},
        };
      },
    },
  });
  await receiver.run();
  return saved as SavedGuest;
}

/** A disk that is checked, and kept nowhere. */
function dropped(disk: WritableDisk): DestinationDisk {
  const nothing = async (): Promise<void> => {};
  const none = async (): Promise<Uint8Array> => new Uint8Array(0);
  return { ...disk, baseDigests: none, copyBase: nothing, write: nothing, zero: nothing, flush: nothing };
}

/** The doubleword at a guest-physical address. */
export function doublewordAt({ ram }: SavedGuest, address: number): bigint {
  return ram.getBigUint64(address - MEMORY_MAP.ram.base, true);
}
