/** What a device tree says about a hart's ISA. Linux, Documentation/devicetree/bindings/riscv/extensions.yaml. */
import { expect, test } from 'vitest';
import { text, u32 } from '../../src/devices/fdt.ts';
import { cpuModel } from '../../src/machine/cpu-models.ts';
import { isaProperties } from '../../src/machine/isa-properties.ts';

test('the ISA as one string, and as a base with a list of extensions', () => {
  expect(isaProperties('rv64imac_zicsr_zifencei')).toEqual({
    'riscv,isa': text('rv64imac_zicsr_zifencei'),
    'riscv,isa-base': text('rv64i'),
    'riscv,isa-extensions': text('i', 'm', 'a', 'c', 'zicsr', 'zifencei', 'zicntr', 'zihpm'),
  });
});

test('a model with cache-block instructions says how large a block is', () => {
  const max = isaProperties(cpuModel('max').isa);
  expect(max['riscv,cbom-block-size']).toEqual(u32(64));
  expect(max['riscv,cboz-block-size']).toEqual(u32(64));
  expect(isaProperties(cpuModel('rv64').isa)).not.toHaveProperty('riscv,cbom-block-size');
});

test('Svadu is named without Svade, which means that A and D bits are set by hardware from the start', () => {
  const { 'riscv,isa-extensions': list } = isaProperties(cpuModel('max').isa);
  const names = list?.kind === 'strings' ? list.strings : [];
  expect(names).toContain('svadu');
  expect(names).not.toContain('svade');
});
