/**
 * A `-kernel` or `-bios` file: an ELF image, a Linux `Image`, or raw bytes, as QEMU's `virt` machine takes them. Linux's
 * header: Linux, Documentation/arch/riscv/boot-image-header.rst.
 */
import { GodwitError } from '../error.ts';
import { type BootFile, bytesOf, partOf } from './boot-file.ts';
import { type ElfSymbol, isElf, type LoadRange, parseElf, type Segment } from './elf.ts';

/** A kernel, ready to be put into memory. */
export interface KernelImage {
  readonly format: 'elf' | 'linux' | 'raw';
  /** Physical address of its first instruction. */
  readonly entry: number;
  /** The lowest physical address it fills. */
  readonly lowAddress: number;
  readonly segments: readonly Segment[];
  /** Its symbols; a raw image has none. See ElfImage for errors. */
  symbols(): readonly ElfSymbol[];
}

/** "RSC\x05", Linux's magic2, which an EFI-stubbed image has as well. */
const LINUX_MAGIC = { at: 56, value: 0x0543_5352 } as const;
const LINUX_IMAGE_SIZE = 16;
const LINUX_FLAGS = 24;
const LINUX_BIG_ENDIAN = 1n;
const LINUX_HEADER_BYTES = 64;

/**
 * Parses a kernel.
 * @param ram where an ELF file's segments may lie.
 * @param at where an image without addresses of its own goes.
 * @throws GodwitError kind "file" if it is empty, malformed or does not fit.
 */
export function parseKernel(file: BootFile, ram: LoadRange, at = ram.base): KernelImage {
  if (file.size === 0) throw GodwitError.unexpected('file', file.file, 'a kernel', 'an empty file');
  if (isElf(file)) return { format: 'elf', ...parseElf(file, [ram]) };
  const linux = linuxMemorySize(file);
  const memorySize = Math.max(file.size, linux ?? 0);
  const room = ram.base + ram.size - at;
  if (memorySize > room) {
    throw GodwitError.unexpected(
      'file',
      file.file,
      `at most ${room} bytes (the RAM from 0x${at.toString(16)} on)`,
      `${memorySize}`,
    );
  }
  return {
    format: linux === undefined ? 'raw' : 'linux',
    entry: at,
    lowAddress: at,
    segments: [{ physicalAddress: at, contents: partOf(file), memorySize }],
    symbols: () => [],
  };
}

/** Bytes that a Linux image needs in memory; undefined if it is none. */
function linuxMemorySize(image: BootFile): number | undefined {
  if (image.size < LINUX_HEADER_BYTES) return undefined;
  const { file } = image;
  const header = new DataView(bytesOf(image, 0, LINUX_HEADER_BYTES).buffer);
  if (header.getUint32(LINUX_MAGIC.at, true) !== LINUX_MAGIC.value) return undefined;
  const flags = header.getBigUint64(LINUX_FLAGS, true);
  if ((flags & LINUX_BIG_ENDIAN) !== 0n) {
    throw GodwitError.unexpected('file', file, 'a little-endian kernel', 'a big-endian one', LINUX_FLAGS);
  }
  const size = header.getBigUint64(LINUX_IMAGE_SIZE, true);
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw GodwitError.unexpected('file', file, 'an image size', `0x${size.toString(16)}`, LINUX_IMAGE_SIZE);
  }
  return Number(size);
}
