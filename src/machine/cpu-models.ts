/** The CPU models that `-cpu` knows. A guest may only move to a host whose model is the same. */
import { GodwitError } from '../error.ts';
import type { AiaType } from './configuration.ts';

export interface CpuModel {
  readonly name: string;
  /** As in the device tree's "riscv,isa"; what the hart decodes is derived from it. */
  readonly isa: string;
}

const MODELS: readonly CpuModel[] = [
  // QEMU 7.2's, without H and Zbc.
  { name: 'rv64', isa: 'rv64imafdc_zicsr_zifencei_zihintpause_zba_zbb_zbs_sstc' },
  { name: 'rv64imac', isa: 'rv64imac_zicsr_zifencei' },
  {
    name: 'max',
    isa: 'rv64imafdc_zicbom_zicboz_zicntr_zicsr_zifencei_zihintpause_zihpm_zba_zbb_zbs_sstc_svadu_svinval',
  },
];

/** @throws GodwitError kind "machine" naming the models that there are. */
export function cpuModel(name: string): CpuModel {
  const model = MODELS.find((candidate) => candidate.name === name);
  if (model === undefined) {
    throw GodwitError.unexpected('machine', '-cpu', MODELS.map((m) => m.name).join(' or '), name);
  }
  return model;
}

/**
 * The ISA string of a model's harts on a machine: those with IMSICs have the CSRs of Smaia and Ssaia.
 * @throws GodwitError as cpuModel.
 */
export function isaOf(model: string, aia: AiaType): string {
  const { isa } = cpuModel(model);
  if (aia !== 'aplic-imsic') return isa;
  // By the alphabet, before the other extensions of the privileged architecture.
  const names = isa.split('_');
  const at = names.findIndex((name, i) => i > 0 && name.startsWith('s'));
  names.splice(at < 0 ? names.length : at, 0, 'smaia', 'ssaia');
  return names.join('_');
}
