/** The CPU models that `-cpu` knows. A guest may only move to a host whose model is the same. */
import { GodwitError } from '../error.ts';

export interface CpuModel {
  readonly name: string;
  /** As in the device tree's "riscv,isa"; what the hart decodes is derived from it. */
  readonly isa: string;
}

const MODELS: readonly CpuModel[] = [
  { name: 'rv64', isa: 'rv64imafdc_zicsr_zifencei_zba_zbb_zbs_sstc' },
  { name: 'rv64imac', isa: 'rv64imac_zicsr_zifencei' },
  { name: 'max', isa: 'rv64imafdc_zicsr_zifencei_zba_zbb_zbs_sstc' },
];

/** @throws GodwitError kind "machine" naming the models that there are. */
export function cpuModel(name: string): CpuModel {
  const model = MODELS.find((candidate) => candidate.name === name);
  if (model === undefined) {
    throw GodwitError.unexpected('machine', '-cpu', MODELS.map((m) => m.name).join(' or '), name);
  }
  return model;
}
