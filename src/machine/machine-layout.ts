/** Which blocks of memory a machine has. */
import { createLayout, type Layout } from '../memory/layout.ts';
import type { MachinePlan } from './configuration.ts';

/** The offsets of a machine's memory. Both ends of a migration, and all threads, derive them from the configuration. */
export function machineLayout(configuration: MachinePlan): Layout {
  return createLayout(configuration.harts, [
    { name: 'rom', size: configuration.rom.size },
    { name: 'boot', size: configuration.boot.size },
    { name: 'ram', size: configuration.ram },
  ]);
}

/** What translations depend on beside the code: the instructions that there are, and where things stand in memory. */
export function translationKey(configuration: MachinePlan): string {
  return JSON.stringify([configuration.isa, machineLayout(configuration)]);
}
