/**
 * A `-kernel` file: an ELF image, or raw bytes for the start of RAM, as QEMU's `virt` machine takes them with
 * `-bios none`.
 */
import { GodwitError } from '../error.ts';
import { type ElfSymbol, isElf, type LoadRange, parseElf, type Segment } from './elf.ts';

/** A kernel, ready to be put into memory. */
export interface KernelImage {
  readonly format: 'elf' | 'raw';
  /** Physical address of its first instruction. */
  readonly entry: number;
  /** The lowest physical address it fills. */
  readonly lowAddress: number;
  readonly segments: readonly Segment[];
  /** Its symbols; a raw image has none. See ElfImage for errors. */
  symbols(): readonly ElfSymbol[];
}

/**
 * Parses a kernel for a machine with this RAM.
 * @param file names it in errors.
 * @throws GodwitError kind "file" if it is empty, malformed or does not fit.
 */
export function parseKernel(bytes: Uint8Array, file: string, ram: LoadRange): KernelImage {
  if (bytes.length === 0) throw GodwitError.unexpected('file', file, 'a kernel', 'an empty file');
  if (isElf(bytes)) return { format: 'elf', ...parseElf(bytes, file, [ram]) };
  if (bytes.length > ram.size) {
    throw GodwitError.unexpected('file', file, `at most ${ram.size} bytes (the RAM)`, `${bytes.length}`);
  }
  return {
    format: 'raw',
    entry: ram.base,
    lowAddress: ram.base,
    segments: [{ physicalAddress: ram.base, bytes, memorySize: bytes.length }],
    symbols: () => [],
  };
}
