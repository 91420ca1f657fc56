/** What a new machine starts from: the contents of its "rom" and "boot" blocks, put together from files' contents. */
import { NO_MEMORY } from '../devices/dma.ts';
import { type FdtNode, writeFdt } from '../devices/fdt.ts';
import { readFdt } from '../devices/fdt-reader.ts';
import { TimerQueue } from '../devices/timers.ts';
import { GodwitError } from '../error.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import { createBoard, NO_BACKENDS } from './board.ts';
import { bootBlockSize, fdtAddress, type NewBootImage, resetVector, writeBootBlock } from './boot.ts';
import { type BootFile, bytesOf, contentsOf, partOf } from './boot-file.ts';
import { nodeOf, RNG_SEED, type StartInformation, withChosen } from './chosen.ts';
import type { AiaType } from './configuration.ts';
import { deviceTree } from './device-tree.ts';
import type { ElfSymbol } from './elf.ts';
import { type KernelImage, parseKernel } from './kernel.ts';
import { MEMORY_MAP } from './memory-map.ts';

export interface BootContents {
  readonly rom: Uint8Array;
  /** Bytes of the boot block. */
  readonly bootSize: number;
  /** Writes the boot block. @param into of that size, and all zero. @throws GodwitError kind "file". */
  writeBoot(into: Uint8Array): void;
  /** The flattened device tree as it stands in the boot block, its random seed zero. */
  readonly fdt: Uint8Array;
  /**
   * The symbols of firmware and kernel.
   * @throws GodwitError kind "file" if a symbol table is malformed.
   */
  readonly symbols: () => readonly ElfSymbol[];
}

export interface BootRequest {
  readonly aia: AiaType;
  readonly aclint?: boolean;
  readonly harts: number;
  readonly isa: string;
  /** Bytes. */
  readonly ram: number;
  /** What runs first, in machine mode. Without it the kernel does. */
  readonly firmware?: BootFile;
  readonly kernel?: BootFile;
  readonly initrd?: BootFile;
  /** A flattened device tree in place of the machine's own; /chosen is written all the same. */
  readonly dtb?: BootFile;
  /** The kernel's command line. */
  readonly append?: string;
}

/** Puts the boot ROM and the boot block in place, in memory that is all zero. @throws GodwitError kind "file". */
export function installBoot(
  { memory, layout }: Pick<GuestMemory, 'memory' | 'layout'>,
  { rom, bootSize, writeBoot }: BootContents,
): void {
  const place = (name: string, size: number): Uint8Array => {
    const block = layout.blocks.find((each) => each.name === name);
    if (block?.size !== size) throw new GodwitError('internal', `${name} has another size than configured`);
    return new Uint8Array(memory.buffer, block.offset, size);
  };
  place('rom', rom.length).set(rom);
  writeBoot(place('boot', bootSize));
}

/** Behind a firmware, a kernel without an address of its own goes to the next multiple of this, as in QEMU. */
const KERNEL_ALIGNMENT = 2 * 1024 * 1024;
/** An initrd stands so far behind the kernel's entry, for the kernel to unfold, as in QEMU; or half of a small RAM. */
const INITRD_DISTANCE = 128 * 1024 * 1024;
/** What is left free in the device tree: U-Boot, for one, adds to it in place (the initrd, a command line). */
const FDT_ROOM = 4096;

/** An image with what it is, for errors. */
type NamedImage = NewBootImage & { readonly what: string };

/**
 * @throws GodwitError kind "file" for a file that is malformed or does not fit, "machine" if what goes into RAM overlaps.
 */
export function bootContents(request: BootRequest): BootContents {
  const { ram, append } = request;
  const range = { base: MEMORY_MAP.ram.base, size: ram };
  const parse = (file: BootFile | undefined, at: number): KernelImage | undefined =>
    file && parseKernel(file, range, at);
  const firmware = parse(request.firmware, range.base);
  const kernel = parse(request.kernel, firmware === undefined ? range.base : behind(firmware));
  const initrd = request.initrd && placeInitrd(request.initrd, kernel?.entry ?? range.base, ram);
  const start: StartInformation = {
    ...(append === undefined ? {} : { append }),
    ...(initrd === undefined ? {} : { initrd: [initrd.address, initrd.address + initrd.memorySize] }),
  };
  const machine =
    request.dtb === undefined
      ? ownDeviceTree(request)
      : nodeOf(readFdt(bytesOf(request.dtb), request.dtb.file));
  const fdt = writeFdt(withChosen(machine, start), FDT_ROOM);
  const at = fdtAddress(ram, fdt.length);
  const images: NamedImage[] = [
    ...segmentImages(firmware, 'the firmware'),
    ...segmentImages(kernel, 'the kernel'),
    ...(initrd === undefined ? [] : [initrd]),
    { what: 'the device tree', address: at, contents: contentsOf(fdt), memorySize: fdt.length },
  ];
  checkOverlaps(images);
  const all = [...images, randomSeed(fdt, at)];
  return {
    rom: resetVector({
      start: (firmware ?? kernel)?.entry ?? range.base,
      fdt: at,
      next: firmware === undefined ? 0 : (kernel?.entry ?? 0),
    }),
    bootSize: bootBlockSize(all),
    writeBoot: (into) => writeBootBlock(all, into),
    fdt,
    symbols: () => [...(firmware?.symbols() ?? []), ...(kernel?.symbols() ?? [])],
  };
}

function segmentImages(program: KernelImage | undefined, what: string): NamedImage[] {
  return (program?.segments ?? []).map(({ physicalAddress, contents, memorySize }) => ({
    what,
    address: physicalAddress,
    contents,
    memorySize,
  }));
}

function behind({ segments }: KernelImage): number {
  const end = Math.max(...segments.map(({ physicalAddress, memorySize }) => physicalAddress + memorySize));
  return Math.ceil(end / KERNEL_ALIGNMENT) * KERNEL_ALIGNMENT;
}

function placeInitrd(initrd: BootFile, kernelEntry: number, ram: number): NamedImage {
  const { file, size } = initrd;
  if (size === 0) throw GodwitError.unexpected('file', file, 'an initrd', 'an empty file');
  const distance = Math.min(ram / 2, INITRD_DISTANCE);
  const address = Math.ceil((kernelEntry + distance) / PAGE_SIZE) * PAGE_SIZE;
  const room = MEMORY_MAP.ram.base + ram - address;
  if (size > room) {
    throw GodwitError.unexpected(
      'file',
      file,
      `at most ${Math.max(room, 0)} bytes (the RAM from 0x${address.toString(16)} on: -m)`,
      `${size}`,
    );
  }
  return { what: 'the initrd', address, contents: partOf(initrd), memorySize: size };
}

/** The tree of a board that is wired to nothing, for its nodes. */
function ownDeviceTree({ harts, isa, aia, aclint = false, ram }: BootRequest): FdtNode {
  const nothing = (): void => {};
  const board = createBoard({
    aia,
    aclint,
    msi: nothing,
    timebase: { now: () => 0n, set: nothing },
    realTime: { start: 0n, follows: { now: () => 0n, shared: false } },
    timers: new TimerQueue({ nowNs: () => 0 }, nothing),
    lines: Array.from({ length: harts }, () => ({
      msip: nothing,
      mtip: nothing,
      meip: nothing,
      seip: nothing,
      ssip: nothing,
    })),
    dma: NO_MEMORY,
    // None of them has a node: a guest finds them on their buses.
    added: [],
    virtioMmioLegacy: true,
    backends: NO_BACKENDS,
    random: () => new Uint8Array(0),
    guestError: nothing,
    transmit: nothing,
    powerOff: nothing,
    reset: nothing,
  });
  return deviceTree({ harts, isa, ram, devices: board.devices, rootNodes: board.finisher.rootFdt() });
}

/** The bytes of /chosen's rng-seed, which every reset draws anew. */
function randomSeed(fdt: Uint8Array, at: number): NewBootImage {
  const chosen = readFdt(fdt).children.find(({ name }) => name === RNG_SEED.node);
  const seed = chosen?.properties.get(RNG_SEED.property);
  if (seed === undefined) throw new GodwitError('internal', 'the device tree has no random seed');
  const offset = seed.byteOffset - fdt.byteOffset;
  const contents = contentsOf(new Uint8Array(0));
  return { address: at + offset, contents, memorySize: seed.length, fill: 'random' };
}

function checkOverlaps(images: readonly NamedImage[]): void {
  for (const [i, image] of images.entries()) {
    const end = image.address + image.memorySize;
    const other = images
      .slice(0, i)
      .find((o) => image.address < o.address + o.memorySize && o.address < end && o.memorySize > 0);
    if (other === undefined || image.memorySize === 0) continue;
    throw new GodwitError(
      'machine',
      `${other.what} overlaps ${image.what} at 0x${image.address.toString(16)}: more RAM (-m) or another address is needed`,
    );
  }
}
