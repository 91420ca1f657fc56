/**
 * The hashes of what a machine starts from. Both ends of a migration compare them before RAM moves; a machine that only runs
 * needs none, and they take a millisecond for each MB.
 */
import { createHash } from 'node:crypto';
import type { BootContents } from '../machine/boot-contents.ts';
import type { MachineConfiguration, MachinePlan, RomDescription, RomPlan } from '../machine/configuration.ts';
import type { Layout } from '../memory/layout.ts';

function describe(contents: Uint8Array): RomDescription {
  return { size: contents.length, hash: createHash('sha256').update(contents).digest('hex') };
}

/** What of a machine's configuration names what it starts from. @throws GodwitError kind "file". */
export function describeBoot({
  rom,
  bootSize,
  writeBoot,
}: BootContents): Pick<MachineConfiguration, 'rom' | 'boot'> {
  const boot = new Uint8Array(bootSize);
  writeBoot(boot);
  return { rom: describe(rom), boot: describe(boot) };
}

/** The configuration of a machine that stands in this memory. */
export function describeMachine(
  plan: MachinePlan,
  memory: WebAssembly.Memory,
  { blocks }: Layout,
): MachineConfiguration {
  const described = (name: 'rom' | 'boot', { size, hash }: RomPlan): RomDescription => {
    const offset = blocks.find((block) => block.name === name)?.offset;
    // Nothing can write there.
    return hash === undefined ? describe(new Uint8Array(memory.buffer, offset, size)) : { size, hash };
  };
  return { ...plan, rom: described('rom', plan.rom), boot: described('boot', plan.boot) };
}
