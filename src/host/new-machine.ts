/** Turns what a user asks for into a machine's configuration and what it starts from. */
import { fileURLToPath } from 'node:url';
import type { DeviceConfiguration } from '../devices/model.ts';
import { type BootContents, bootContents } from '../machine/boot-contents.ts';
import type { AiaType, MachinePlan } from '../machine/configuration.ts';
import { isaOf } from '../machine/cpu-models.ts';
import { openBootFile, unpacked } from './boot-file.ts';

/** Of a machine that was given none, as in QEMU. */
export const NO_UUID = '00000000-0000-0000-0000-000000000000';

/** Our own firmware, relative to this module's place in the package. */
const OWN_FIRMWARE = fileURLToPath(new URL('../../roms/sbi/sbi.elf', import.meta.url));

/** What `-bios` says. */
export type Bios = { kind: 'none' } | { kind: 'default' } | { kind: 'file'; path: string };

export interface MachineRequest {
  readonly harts: number;
  /** Bytes. */
  readonly ram: number;
  readonly cpu: string;
  readonly aia?: AiaType;
  readonly aclint?: boolean;
  readonly uuid?: string;
  /** What runs first: our own firmware, or a file (ELF or raw, for the start of RAM), or the kernel. */
  readonly bios: Bios;
  /** A file: ELF, Linux Image or raw, or one of them compressed with gzip. */
  readonly kernel?: string;
  /** A file. */
  readonly initrd?: string;
  /** A file: a device tree in place of the machine's own. */
  readonly dtb?: string;
  readonly append?: string;
  /** As in QEMU, true by default. */
  readonly virtioMmioLegacy?: boolean;
  readonly devices?: readonly DeviceConfiguration[];
}

export interface NewMachine {
  readonly configuration: MachinePlan;
  readonly boot: BootContents;
}

/** @throws GodwitError kind "file" for firmware and kernel, "machine" for what can't be built. */
export function newMachine(request: MachineRequest): NewMachine {
  const { harts, ram, cpu, bios, append } = request;
  const { aia = 'none', aclint = false } = request;
  const isa = isaOf(cpu, aia);
  const firmware = bios.kind === 'default' ? OWN_FIRMWARE : bios.kind === 'file' ? bios.path : undefined;
  const { kernel, initrd, dtb } = request;
  const boot = bootContents({
    harts,
    isa,
    aia,
    aclint,
    ram,
    ...(append === undefined ? {} : { append }),
    ...(firmware === undefined ? {} : { firmware: openBootFile(firmware) }),
    ...(kernel === undefined ? {} : { kernel: unpacked(openBootFile(kernel), ram) }),
    ...(initrd === undefined ? {} : { initrd: openBootFile(initrd) }),
    ...(dtb === undefined ? {} : { dtb: openBootFile(dtb) }),
  });
  const configuration: MachinePlan = {
    machine: 'virt-1.0',
    harts,
    cpu,
    isa,
    aia,
    aclint,
    ram,
    uuid: request.uuid ?? NO_UUID,
    rom: { size: boot.rom.length },
    boot: { size: boot.bootSize },
    virtioMmioLegacy: request.virtioMmioLegacy ?? true,
    devices: request.devices ?? [],
  };
  return { configuration, boot };
}
