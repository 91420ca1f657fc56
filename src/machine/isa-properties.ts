/**
 * What a hart's device-tree node says about its ISA. Linux, Documentation/devicetree/bindings/riscv: cpus.yaml and
 * extensions.yaml. `riscv,isa` is what QEMU 7.2, older kernels and firmware have; Linux 6.12 reads
 * `riscv,isa-extensions` first and takes nothing for granted there, so that list also has what the string leaves out.
 */
import { type FdtValue, text, u32 } from '../devices/fdt.ts';
import { CACHE_BLOCK_SIZE } from '../isa/cache-block.ts';
import { extensionsOf } from '../isa/isa-string.ts';

/** Counters belong to what the string "rv64i" meant when it was defined; every model has them. */
const IMPLIED = ['Zicntr', 'Zihpm'];

/** @param isa an ISA string, "rv64imac_zicsr". */
export function isaProperties(isa: string): Record<string, FdtValue> {
  const extensions = new Set([...extensionsOf(isa), ...IMPLIED]);
  return {
    'riscv,isa': text(isa),
    'riscv,isa-base': text('rv64i'),
    'riscv,isa-extensions': text(...[...extensions].map((name) => name.toLowerCase())),
    ...(extensions.has('Zicbom') ? { 'riscv,cbom-block-size': u32(CACHE_BLOCK_SIZE) } : {}),
    ...(extensions.has('Zicboz') ? { 'riscv,cboz-block-size': u32(CACHE_BLOCK_SIZE) } : {}),
  };
}
