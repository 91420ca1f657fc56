/** The target description that gdb reads (GDB manual, "Target Descriptions", "RISC-V Features"). */
import type { RegisterFeature } from './target.ts';

/** A register that can be looked at as a single or as a double. */
const UNION = [
  '<union id="riscv_double">',
  '<field name="float" type="ieee_single"/>',
  '<field name="double" type="ieee_double"/>',
  '</union>',
];

export function targetDescription(features: readonly RegisterFeature[]): string {
  return [
    '<?xml version="1.0"?>',
    '<!DOCTYPE target SYSTEM "gdb-target.dtd">',
    '<target version="1.0">',
    '<architecture>riscv:rv64</architecture>',
    ...features.flatMap(({ name, registers }) => [
      `<feature name="${name}">`,
      ...(registers.some(({ type }) => type === 'riscv_double') ? UNION : []),
      ...registers.map(
        (register) =>
          `<reg name="${register.name}" bitsize="${register.bits}" type="${register.type}" regnum="${register.number}"/>`,
      ),
      '</feature>',
    ]),
    '</target>',
    '',
  ].join('\n');
}
