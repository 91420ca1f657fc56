/**
 * What a machine is: everything that must be equal at both ends of a migration, and nothing of the host's.
 * It is the first thing in a migration stream; a destination builds its machine from it.
 */
import type { DeviceConfiguration } from '../devices/model.ts';
import { GodwitError } from '../error.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import { isaOf } from './cpu-models.ts';
import { checkDevices, deviceDifferences } from './device-configuration.ts';
import { LIMITS } from './memory-map.ts';

/** Contents that travel as a RAM block and are named by their hash, so that both ends can compare before RAM moves. */
export interface RomDescription extends RomPlan {
  /** SHA-256 of the contents, in hexadecimal. */
  readonly hash: string;
}

/** The same where nobody has compared yet. */
export interface RomPlan {
  /** Bytes of the RAM block; a multiple of the page size. */
  readonly size: number;
  readonly hash?: string;
}

/** The interrupt controller: a PLIC, or RISC-V's Advanced Interrupt Architecture without or with IMSICs. */
export const AIA_TYPES = ['none', 'aplic', 'aplic-imsic'] as const;
export type AiaType = (typeof AIA_TYPES)[number];

export interface MachineConfiguration {
  /** Machine type with its version: what a guest sees of "virt-1.0" never changes. */
  readonly machine: 'virt-1.0';
  readonly harts: number;
  /** Name of the CPU model. */
  readonly cpu: string;
  /** Its ISA string. */
  readonly isa: string;
  readonly aia: AiaType;
  /** An ACLINT in the place of a CLINT, with software interrupts of supervisor level. */
  readonly aclint: boolean;
  /** Bytes. */
  readonly ram: number;
  readonly uuid: string;
  /** The boot ROM at the reset vector. */
  readonly rom: RomDescription;
  /** What a reset loads into RAM: kernel, device tree. */
  readonly boot: RomDescription;
  /** The virtio-mmio transports speak the legacy interface (-global virtio-mmio.force-legacy). */
  readonly virtioMmioLegacy: boolean;
  /** What -device added. */
  readonly devices: readonly DeviceConfiguration[];
}

/** All that a machine is built by. */
export type MachinePlan = Omit<MachineConfiguration, 'rom' | 'boot'> & {
  readonly rom: RomPlan;
  readonly boot: RomPlan;
};

/** Keys in the order in which differences are reported, with their names for users. */
const KEYS: Readonly<Record<keyof MachineConfiguration, string>> = {
  machine: 'machine type (-M)',
  harts: 'harts (-smp)',
  cpu: 'CPU model (-cpu)',
  isa: 'ISA',
  aia: 'interrupt controller (-M aia)',
  aclint: 'ACLINT (-M aclint)',
  ram: 'RAM (-m)',
  uuid: 'UUID (-uuid)',
  rom: 'boot ROM',
  boot: 'boot images (-bios, -kernel, -initrd, -append, -dtb)',
  virtioMmioLegacy: 'virtio-mmio.force-legacy (-global)',
  devices: 'devices (-device)',
};

/**
 * Checks a configuration that came from outside.
 * @throws GodwitError kind "format" naming the key.
 */
export function checkConfiguration(value: unknown): MachineConfiguration {
  const bad = (key: string, expected: string, got: unknown): GodwitError =>
    GodwitError.unexpected(
      'format',
      `machine configuration: ${key}`,
      expected,
      JSON.stringify(got) ?? 'nothing',
    );
  if (typeof value !== 'object' || value === null) throw bad('itself', 'an object', value);
  const given = value as Record<string, unknown>;
  for (const key of Object.keys(given)) {
    if (!(key in KEYS)) throw bad(key, 'no such key', given[key]);
  }
  if (given.machine !== 'virt-1.0') throw bad('machine', 'virt-1.0', given.machine);
  const integer = (key: string, min: number, max: number, of: number): number => {
    const number = given[key];
    if (
      typeof number !== 'number' ||
      !Number.isInteger(number) ||
      number < min ||
      number > max ||
      number % of
    ) {
      throw bad(key, `a multiple of ${of} from ${min} to ${max}`, number);
    }
    return number;
  };
  const text = (key: string): string => {
    const string = given[key];
    if (typeof string !== 'string' || string.length > 256) throw bad(key, 'a short text', string);
    return string;
  };
  const flag = (key: string): boolean => {
    const value = given[key];
    if (typeof value !== 'boolean') throw bad(key, 'true or false', value);
    return value;
  };
  const rom = (key: string): RomDescription => {
    const { size, hash, ...rest } = (given[key] ?? {}) as Record<string, unknown>;
    const sane = typeof size === 'number' && Number.isInteger(size) && size > 0 && size % PAGE_SIZE === 0;
    if (
      !sane ||
      size > LIMITS.maxRam ||
      typeof hash !== 'string' ||
      !/^[0-9a-f]{64}$/.test(hash) ||
      Object.keys(rest).length
    ) {
      throw bad(key, 'a size in whole pages and a SHA-256', given[key]);
    }
    return { size, hash };
  };
  const cpu = text('cpu');
  const isa = text('isa');
  const aia = AIA_TYPES.find((type) => type === given.aia);
  if (aia === undefined) throw bad('aia', AIA_TYPES.join(' or '), given.aia);
  const ours = isaOf(cpu, aia);
  if (ours !== isa) throw bad('isa', `${ours} (what ${cpu} is here)`, isa);
  return {
    machine: 'virt-1.0',
    harts: integer('harts', 1, LIMITS.maxHarts, 1),
    cpu,
    isa,
    aia,
    aclint: flag('aclint'),
    ram: integer('ram', LIMITS.minRam, LIMITS.maxRam, PAGE_SIZE),
    uuid: text('uuid'),
    rom: rom('rom'),
    boot: rom('boot'),
    virtioMmioLegacy: flag('virtioMmioLegacy'),
    devices: checkDevices(given.devices),
  };
}

/**
 * All differences between the machine a destination was asked for and the one that arrives.
 * @param wanted only what the user named: a destination without machine options takes any machine.
 */
export function differences(wanted: Partial<MachineConfiguration>, incoming: MachineConfiguration): string[] {
  const shown = (value: unknown): string =>
    typeof value === 'object' && value !== null
      ? `${(value as RomDescription).size} bytes, SHA-256 ${(value as RomDescription).hash.slice(0, 16)}…`
      : String(value);
  const { devices, ...plain } = wanted;
  return [
    ...(Object.keys(plain) as (keyof typeof plain)[])
      .filter((key) => shown(wanted[key]) !== shown(incoming[key]))
      .map((key) => `${KEYS[key]}: here ${shown(wanted[key])}, at the source ${shown(incoming[key])}`),
    ...(devices === undefined ? [] : deviceDifferences(devices, incoming.devices)),
  ];
}
