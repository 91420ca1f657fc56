/**
 * ISA strings ("rv64imac_zicsr"): which extensions of the table they name. Unprivileged ISA (20240411), chapter 36:
 * single letters, then the others, each behind an underscore.
 */
import type { Instruction } from './instruction.ts';
import { EXTENSIONS } from './table.ts';

/** The extensions' names, in capitals as the manual has them: "I", "Zicsr". */
export function extensionsOf(isa: string): ReadonlySet<string> {
  const [base = '', ...others] = isa.split('_');
  const letters = [...base.replace(/^rv64/, '')].map((letter) => letter.toUpperCase());
  return new Set([...letters, ...others.map((name) => `${name[0]?.toUpperCase()}${name.slice(1)}`)]);
}

/** The instructions that a hart with these extensions has; the privileged ones need no letter. */
export function instructionsOf(extensions: ReadonlySet<string>): ReadonlySet<Instruction> {
  const present = EXTENSIONS.filter(({ name }) => name === 'Privileged' || extensions.has(name));
  return new Set(present.flatMap(({ instructions }) => instructions));
}
