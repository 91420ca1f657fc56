/** Turns what a user asks for into a machine's configuration and what it starts from. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { errorMessage, GodwitError } from '../error.ts';
import { type BootContents, type BootRequest, bootContents } from '../machine/boot-contents.ts';
import type { MachineConfiguration, RomDescription } from '../machine/configuration.ts';
import { cpuModel } from '../machine/cpu-models.ts';
import { parseKernel } from '../machine/kernel.ts';
import { MEMORY_MAP } from '../machine/memory-map.ts';

/** Of a machine that was given none, as in QEMU. */
export const NO_UUID = '00000000-0000-0000-0000-000000000000';

/** Behind a firmware, a raw kernel goes here: the next 2 MiB boundary, as in QEMU. */
const KERNEL_BEHIND_FIRMWARE = MEMORY_MAP.ram.base + 2 * 1024 * 1024;

export interface MachineRequest {
  readonly harts: number;
  /** Bytes. */
  readonly ram: number;
  readonly cpu: string;
  readonly uuid?: string;
  /** A firmware file, ELF or raw, for the start of RAM; it runs first. */
  readonly bios?: string;
  /** A file: ELF or raw. */
  readonly kernel?: string;
  readonly append?: string;
}

export interface NewMachine {
  readonly configuration: MachineConfiguration;
  readonly boot: BootContents;
}

/** @throws GodwitError kind "file" for firmware and kernel, "machine" for what can't be built. */
export function newMachine(request: MachineRequest): NewMachine {
  const { harts, ram, cpu, bios, kernel, append } = request;
  const { isa } = cpuModel(cpu);
  const boot = bootContents({
    harts,
    isa,
    ram,
    ...(append === undefined ? {} : { append }),
    ...(bios === undefined && kernel === undefined ? {} : { kernel: startImages(bios, kernel, ram) }),
  });
  const configuration: MachineConfiguration = {
    machine: 'virt-1.0',
    harts,
    cpu,
    isa,
    ram,
    uuid: request.uuid ?? NO_UUID,
    rom: describe(boot.rom),
    boot: describe(boot.boot),
  };
  return { configuration, boot };
}

/** The firmware, or else the kernel, is where the machine starts. */
function startImages(bios: string | undefined, kernel: string | undefined, ram: number): Start {
  const firmware = bios === undefined ? undefined : readImage(bios, MEMORY_MAP.ram.base, ram);
  if (kernel === undefined) return firmware as Start;
  const program = readImage(
    kernel,
    firmware === undefined ? MEMORY_MAP.ram.base : KERNEL_BEHIND_FIRMWARE,
    ram,
  );
  if (firmware === undefined) return program;
  return { entry: firmware.entry, images: [...firmware.images, ...program.images] };
}

type Start = NonNullable<BootRequest['kernel']>;

/** @param rawAt where a raw image goes. */
function readImage(file: string, rawAt: number, ram: number): Start {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    throw new GodwitError('file', `${file}: can't be read: ${errorMessage(error)}`, { where: file }, error);
  }
  const end = MEMORY_MAP.ram.base + ram;
  const { entry, segments } = parseKernel(bytes, file, { base: rawAt, size: end - rawAt });
  return {
    entry,
    images: segments.map(({ physicalAddress, bytes: content, memorySize }) => ({
      address: physicalAddress,
      bytes: content,
      memorySize,
    })),
  };
}

function describe(contents: Uint8Array): RomDescription {
  return { size: contents.length, hash: createHash('sha256').update(contents).digest('hex') };
}
