/**
 * What a machine starts from: the boot ROM with the reset vector, and the images that every reset copies into RAM.
 * Both stand in RAM blocks of their own ("rom", "boot"), so they travel with the guest and a reset works at the
 * destination, too.
 *
 * The boot block is a sequence of records, little endian: u64 guest address, u64 bytes in memory, u64 bytes that follow,
 * u64 what fills the rest (a FILL), then the bytes, padded to 8. A record of no bytes in memory ends it.
 */

import { GodwitError } from '../error.ts';
import { encode, type Operands } from '../isa/encoding.ts';
import { rv64i } from '../isa/rv64i.ts';
import { zicsr } from '../isa/system.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import type { Contents } from './boot-file.ts';
import { FDT_ALIGNMENT, FDT_LIMIT, MEMORY_MAP } from './memory-map.ts';

/** A piece of memory as a reset leaves it. */
interface Placed {
  /** Guest-physical address. */
  readonly address: number;
  /** Bytes in memory. */
  readonly memorySize: number;
  /** What is beyond the contents: zeros (the default), or random bytes, new ones at each reset. */
  readonly fill?: 'zero' | 'random';
}

export interface BootImage extends Placed {
  readonly bytes: Uint8Array;
}

/** The same, before it is in the boot block. */
export interface NewBootImage extends Placed {
  readonly contents: Contents;
}

const RECORD_HEADER = 32;
/** How a record says what fills the rest of its memory; the index is the number. */
const FILL = ['zero', 'random'] as const;

/** What the boot ROM is written in: the thread that puts it together has no need of the whole ISA table. */
const ROM_INSTRUCTIONS = new Map(
  [...rv64i.instructions, ...zicsr.instructions].map(({ name, encoding }) => [name, encoding]),
);

/** OpenSBI's `struct fw_dynamic_info` (docs/firmware/fw_dynamic.md): where a firmware goes on, and how. */
const FW_DYNAMIC = { magic: 0x4942534fn, version: 2n, supervisor: 1n } as const;

export interface ResetVector {
  /** Where the harts go first: the firmware, or the kernel if there is none. */
  readonly start: number;
  /** The device tree. */
  readonly fdt: number;
  /** Where the firmware goes next, in supervisor mode; 0 if there is nothing. */
  readonly next: number;
}

/**
 * The boot ROM, as QEMU's `virt` has it: jump to `start` with a0 = hart id, a1 = address of the device tree,
 * a2 = address of the fw_dynamic information. The addresses stand as doublewords behind the code, then the information.
 */
export function resetVector({ start, fdt, next }: ResetVector): Uint8Array {
  const [t0, a0, a1, a2] = [5, 10, 11, 12];
  const code: [string, Operands][] = [
    ['auipc', { rd: t0, imm: 0 }],
    ['addi', { rd: a2, rs1: t0, imm: 40 }],
    ['csrrs', { rd: a0, rs1: 0, imm: 0xf14 }], // mhartid
    ['ld', { rd: a1, rs1: t0, imm: 32 }],
    ['ld', { rd: t0, rs1: t0, imm: 24 }],
    ['jalr', { rd: 0, rs1: t0, imm: 0 }],
  ];
  const bootHart = 0n;
  const options = 0n;
  const data = [
    ...[BigInt(start), BigInt(fdt)],
    ...[FW_DYNAMIC.magic, FW_DYNAMIC.version, BigInt(next), FW_DYNAMIC.supervisor, options, bootHart],
  ];
  const rom = new DataView(new ArrayBuffer(4 * code.length + 8 * data.length));
  for (const [i, [name, operands]] of code.entries()) {
    const encoding = ROM_INSTRUCTIONS.get(name);
    if (encoding === undefined) throw new GodwitError('internal', `no instruction ${name}`);
    rom.setUint32(4 * i, encode(encoding, operands), true);
  }
  for (const [i, value] of data.entries()) rom.setBigUint64(4 * code.length + 8 * i, value, true);
  return padded(new Uint8Array(rom.buffer));
}

/** Where the device tree goes: at the end of RAM, or of what 32-bit code can reach of it. */
export function fdtAddress(ramSize: number, fdtSize: number): number {
  const end = Math.min(MEMORY_MAP.ram.base + ramSize, FDT_LIMIT);
  return Math.floor((end - fdtSize) / FDT_ALIGNMENT) * FDT_ALIGNMENT;
}

/** Bytes of the boot block: whole pages. */
export function bootBlockSize(images: readonly NewBootImage[]): number {
  const size = images.reduce(
    (sum, { contents }) => sum + RECORD_HEADER + align8(contents.length),
    RECORD_HEADER,
  );
  return alignPage(size);
}

/** Writes the boot block. @param into of its size, and all zero. */
export function writeBootBlock(images: readonly NewBootImage[], into: Uint8Array): void {
  const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
  let at = 0;
  for (const { address, memorySize, contents, fill = 'zero' } of images) {
    if (memorySize === 0) continue;
    view.setBigUint64(at, BigInt(address), true);
    view.setBigUint64(at + 8, BigInt(memorySize), true);
    view.setBigUint64(at + 16, BigInt(contents.length), true);
    view.setBigUint64(at + 24, BigInt(FILL.indexOf(fill)), true);
    contents.copyTo(into.subarray(at + RECORD_HEADER, at + RECORD_HEADER + contents.length));
    at += RECORD_HEADER + align8(contents.length);
  }
}

/**
 * The images in a boot block. It may have come from another process, so it is checked, each number as it is read.
 * @throws GodwitError kind "format".
 */
export function decodeBootImages(block: Uint8Array, ramSize: number): BootImage[] {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  const images: BootImage[] = [];
  const ramEnd = BigInt(MEMORY_MAP.ram.base + ramSize);
  for (let at = 0; ; ) {
    const bad = (expected: string, got: bigint): GodwitError =>
      GodwitError.unexpected(
        'format',
        `boot images: image ${images.length}`,
        expected,
        `0x${got.toString(16)}`,
        at,
      );
    if (at + RECORD_HEADER > block.length) throw bad('a record', BigInt(block.length - at));
    const address = view.getBigUint64(at, true);
    const memorySize = view.getBigUint64(at + 8, true);
    const length = view.getBigUint64(at + 16, true);
    if (memorySize === 0n) return images;
    if (address < BigInt(MEMORY_MAP.ram.base) || address + memorySize > ramEnd)
      throw bad('an address in RAM', address);
    if (length > memorySize || BigInt(at + RECORD_HEADER) + length > BigInt(block.length))
      throw bad('its bytes', length);
    const fill = FILL[Number(view.getBigUint64(at + 24, true))];
    if (fill === undefined) throw bad(`a fill below ${FILL.length}`, view.getBigUint64(at + 24, true));
    const from = at + RECORD_HEADER;
    images.push({
      address: Number(address),
      memorySize: Number(memorySize),
      bytes: block.subarray(from, from + Number(length)),
      fill,
    });
    at = from + align8(Number(length));
  }
}

function align8(value: number): number {
  return Math.ceil(value / 8) * 8;
}

function alignPage(value: number): number {
  return Math.ceil(value / PAGE_SIZE) * PAGE_SIZE;
}

function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(alignPage(bytes.length));
  whole.set(bytes);
  return whole;
}
