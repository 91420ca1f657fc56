/** The ISA table: every extension that the engine implements, and look-ups over all of it. */
import { zicbom, zicboz } from './cache-block.ts';
import type { CompressedInstruction, Extension, Hint, Instruction } from './instruction.ts';
import { rv64a } from './rv64a.ts';
import { zba, zbb, zbs } from './rv64b.ts';
import { rv64c } from './rv64c.ts';
import { rv64d, rv64f } from './rv64fd.ts';
import { rv64i } from './rv64i.ts';
import { rv64m } from './rv64m.ts';
import { privileged, svinval, zicsr, zifencei, zihintpause } from './system.ts';

export const EXTENSIONS: readonly Extension[] = [
  rv64i,
  rv64m,
  rv64a,
  rv64f,
  rv64d,
  rv64c,
  zicbom,
  zicboz,
  zicsr,
  zifencei,
  zihintpause,
  zba,
  zbb,
  zbs,
  privileged,
  svinval,
];

/** Every instruction with a meaning of its own. */
export const INSTRUCTIONS: readonly Instruction[] = EXTENSIONS.flatMap((extension) => extension.instructions);

/** Every 16-bit form. */
export const COMPRESSED: readonly CompressedInstruction[] = EXTENSIONS.flatMap(
  (extension) => extension.compressed ?? [],
);

/** Every HINT with a name. */
export const HINTS: readonly Hint[] = EXTENSIONS.flatMap((extension) => extension.hints ?? []);

const byName = new Map(INSTRUCTIONS.map((instruction) => [instruction.name, instruction]));
if (byName.size !== INSTRUCTIONS.length) throw new Error('two instructions have one name');

/** @throws Error if the table has no such instruction. */
export function instructionNamed(name: string): Instruction {
  const instruction = byName.get(name);
  if (instruction === undefined) throw new Error(`no instruction ${name}`);
  return instruction;
}
