/** Turns what a user asks for into a machine's configuration and what it starts from. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import type { DeviceConfiguration } from '../devices/model.ts';
import { errorMessage, GodwitError } from '../error.ts';
import { type BootContents, type BootFile, bootContents } from '../machine/boot-contents.ts';
import type { AiaType, MachineConfiguration, RomDescription } from '../machine/configuration.ts';
import { isaOf } from '../machine/cpu-models.ts';

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
  readonly configuration: MachineConfiguration;
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
    ...(firmware === undefined ? {} : { firmware: readBootFile(firmware) }),
    ...(kernel === undefined ? {} : { kernel: unpacked(readBootFile(kernel), ram) }),
    ...(initrd === undefined ? {} : { initrd: readBootFile(initrd) }),
    ...(dtb === undefined ? {} : { dtb: readBootFile(dtb) }),
  });
  const configuration: MachineConfiguration = {
    machine: 'virt-1.0',
    harts,
    cpu,
    isa,
    aia,
    aclint,
    ram,
    uuid: request.uuid ?? NO_UUID,
    rom: describe(boot.rom),
    boot: describe(boot.boot),
    virtioMmioLegacy: request.virtioMmioLegacy ?? true,
    devices: request.devices ?? [],
  };
  return { configuration, boot };
}

function readBootFile(file: string): BootFile {
  try {
    return { file, bytes: readFileSync(file) };
  } catch (error) {
    throw new GodwitError('file', `${file}: can't be read: ${errorMessage(error)}`, { where: file }, error);
  }
}

/** RFC 1952, §2.3.1: ID1, ID2 and CM = deflate. */
const GZIP = [0x1f, 0x8b, 8];

/** What a kernel compressed with gzip holds; any other is as it is. */
function unpacked({ file, bytes }: BootFile, ram: number): BootFile {
  if (GZIP.some((byte, i) => bytes[i] !== byte)) return { file, bytes };
  try {
    return { file, bytes: gunzipSync(bytes, { maxOutputLength: ram }) };
  } catch (error) {
    throw new GodwitError(
      'file',
      `${file}: can't be unpacked (gzip): ${errorMessage(error)}`,
      { where: file },
      error,
    );
  }
}

function describe(contents: Uint8Array): RomDescription {
  return { size: contents.length, hash: createHash('sha256').update(contents).digest('hex') };
}
