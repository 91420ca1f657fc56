/**
 * Reads ELF images: System V ABI, "ELF-64 Object File Format" version 1.5, with the RISC-V ELF psABI 1.0, §8. Only
 * what a bare machine can run is taken: 64-bit little-endian RISC-V, executable or position-independent but without an
 * interpreter. The file is not trusted: every offset and length is checked.
 */
import { GodwitError } from '../error.ts';
import { type BootFile, bytesOf, type Contents, FileNumbers, partOf } from './boot-file.ts';

/** Bytes to put into guest memory. */
export interface Segment {
  readonly physicalAddress: number;
  /** From the file. */
  readonly contents: Contents;
  /** Size in memory, in bytes; what the file does not give is zero. */
  readonly memorySize: number;
}

/** A name for an address. */
export interface ElfSymbol {
  readonly name: string;
  /** Virtual, 64 bits. */
  readonly address: bigint;
  /** In bytes; 0 if the file does not say. */
  readonly size: number;
}

/** A parsed image. */
export interface ElfImage {
  /** Physical address of the first instruction. */
  readonly entry: number;
  /** The lowest physical address of all segments. */
  readonly lowAddress: number;
  readonly segments: readonly Segment[];
  /**
   * The symbol table, empty if the file has none; parsed when first asked for.
   * @throws GodwitError kind "file" if it is malformed.
   */
  symbols(): readonly ElfSymbol[];
}

/** A range of physical addresses that an image may fill. */
export interface LoadRange {
  readonly base: number;
  /** In bytes. */
  readonly size: number;
}

const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const SECTION_HEADER_BYTES = 64;
const SYMBOL_BYTES = 24;
const ELFCLASS64 = 2;
const ELFDATA2LSB = 1;
const EV_CURRENT = 1;
const ET_EXEC = 2;
const ET_DYN = 3;
const EM_RISCV = 243;
const PT_LOAD = 1;
const PT_INTERP = 3;
const SHT_SYMTAB = 2;
/** Symbol types that name guest addresses: NOTYPE, OBJECT, FUNC. */
const LAST_ADDRESS_TYPE = 2;

/** Whether a file claims to be ELF. */
export function isElf(file: BootFile): boolean {
  const bytes = bytesOf(file, 0, 4);
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/**
 * Parses and validates an image.
 * @param allowed where its segments may lie.
 * @throws GodwitError kind "file": "FILE: expected …, got … (at byte N)".
 */
export function parseElf(file: BootFile, allowed: readonly LoadRange[]): ElfImage {
  const elf = new ElfReader(file);
  elf.checkHeader();
  const loads = elf.programHeaders().filter((header) => header.memorySize > 0);
  if (loads.length === 0) throw elf.unexpected('a segment to load', 'none', 56);
  for (const [index, load] of loads.entries()) {
    const { physicalAddress, memorySize, at } = load;
    const end = physicalAddress + memorySize;
    if (!allowed.some(({ base, size }) => physicalAddress >= base && end <= base + size)) {
      const ranges = allowed.map(({ base, size }) => hexRange(base, size)).join(' or ');
      throw elf.unexpected(`a segment in ${ranges}`, hexRange(physicalAddress, memorySize), at + 24);
    }
    const other = loads
      .slice(0, index)
      .find((o) => physicalAddress < o.physicalAddress + o.memorySize && o.physicalAddress < end);
    if (other !== undefined) {
      const place = hexRange(other.physicalAddress, other.memorySize);
      throw elf.unexpected(`a segment outside ${place}`, hexRange(physicalAddress, memorySize), at + 24);
    }
  }
  let symbols: readonly ElfSymbol[] | undefined;
  return {
    entry: elf.entry(loads),
    lowAddress: Math.min(...loads.map((load) => load.physicalAddress)),
    segments: loads.map(({ physicalAddress, contents, memorySize }) => ({
      physicalAddress,
      contents,
      memorySize,
    })),
    symbols: () => {
      symbols ??= elf.symbols();
      return symbols;
    },
  };
}

interface Load extends Segment {
  readonly virtualAddress: bigint;
  /** Where its program header stands in the file. */
  readonly at: number;
}

class ElfReader {
  readonly #file: BootFile;
  readonly #numbers: FileNumbers;

  constructor(file: BootFile) {
    this.#file = file;
    this.#numbers = new FileNumbers(file);
  }

  checkHeader(): void {
    const length = this.#file.size;
    if (!isElf(this.#file)) throw this.unexpected('the magic number of ELF', 'another', 0);
    if (length < HEADER_BYTES)
      throw this.unexpected(`a header of ${HEADER_BYTES} bytes`, `${length}`, length);
    this.#expect('class 2 (64-bit)', this.#numbers.u8(4), [ELFCLASS64], 4);
    this.#expect('data encoding 1 (little-endian)', this.#numbers.u8(5), [ELFDATA2LSB], 5);
    this.#expect('ELF version 1', this.#numbers.u8(6), [EV_CURRENT], 6);
    this.#expect('type 2 (executable) or 3 (position-independent)', this.#u16(16), [ET_EXEC, ET_DYN], 16);
    this.#expect('machine 243 (RISC-V)', this.#u16(18), [EM_RISCV], 18);
    this.#expect('object version 1', this.#numbers.u32(20), [EV_CURRENT], 20);
  }

  /** The loadable segments, their bytes inside the file. */
  programHeaders(): Load[] {
    const loads: Load[] = [];
    const count = this.#u16(56);
    if (count === 0) return loads;
    this.#expect(
      `program headers of ${PROGRAM_HEADER_BYTES} bytes`,
      this.#u16(54),
      [PROGRAM_HEADER_BYTES],
      54,
    );
    const start = this.#number(32);
    this.#inside(start, count * PROGRAM_HEADER_BYTES, 'program headers', 32);
    for (let at = start; at < start + count * PROGRAM_HEADER_BYTES; at += PROGRAM_HEADER_BYTES) {
      const type = this.#numbers.u32(at);
      if (type === PT_INTERP) throw this.unexpected('a freestanding image', 'one with an interpreter', at);
      if (type !== PT_LOAD) continue;
      const offset = this.#number(at + 8);
      const fileSize = this.#number(at + 32);
      const memorySize = this.#number(at + 40);
      this.#inside(offset, fileSize, 'a segment', at + 8);
      if (fileSize > memorySize) {
        throw this.unexpected(`a segment of at most ${memorySize} bytes`, `${fileSize}`, at + 32);
      }
      loads.push({
        at,
        virtualAddress: this.#numbers.u64(at + 16),
        physicalAddress: this.#number(at + 24),
        contents: partOf(this.#file, offset, fileSize),
        memorySize,
      });
    }
    return loads;
  }

  /** The entry point is virtual: it is moved as its segment is. */
  entry(loads: readonly Load[]): number {
    const entry = this.#numbers.u64(24);
    for (const { virtualAddress, memorySize, physicalAddress } of loads) {
      const offset = entry - virtualAddress;
      if (offset >= 0n && offset < BigInt(memorySize)) return physicalAddress + Number(offset);
    }
    throw this.unexpected('an entry point inside a segment', `0x${entry.toString(16)}`, 24);
  }

  symbols(): ElfSymbol[] {
    const sections = this.#sections();
    return sections
      .filter((section) => section.type === SHT_SYMTAB)
      .flatMap((table) => {
        const names = sections[table.link];
        if (names === undefined) {
          throw this.unexpected(`a section below ${sections.length}`, `${table.link}`, table.at + 40);
        }
        this.#inside(table.offset, table.size, 'the symbol table', table.at + 24);
        this.#inside(names.offset, names.size, 'the symbol names', names.at + 24);
        const strings = bytesOf(this.#file, names.offset, names.size);
        const found: ElfSymbol[] = [];
        for (let at = table.offset; at + SYMBOL_BYTES <= table.offset + table.size; at += SYMBOL_BYTES) {
          const name = this.#name(strings, at);
          const type = this.#numbers.u8(at + 4) & 0x0f;
          if (name === '' || type > LAST_ADDRESS_TYPE || this.#u16(at + 6) === 0) continue;
          const address = this.#numbers.u64(at + 8);
          found.push({ name, address, size: this.#number(at + 16) });
        }
        return found;
      });
  }

  unexpected(expected: string, got: string, at: number): GodwitError {
    return GodwitError.unexpected('file', this.#file.file, expected, got, at);
  }

  #sections() {
    const start = this.#number(40);
    const count = this.#u16(60);
    if (start === 0 || count === 0) return [];
    this.#expect(
      `section headers of ${SECTION_HEADER_BYTES} bytes`,
      this.#u16(58),
      [SECTION_HEADER_BYTES],
      58,
    );
    this.#inside(start, count * SECTION_HEADER_BYTES, 'section headers', 40);
    return Array.from({ length: count }, (_, index) => {
      const at = start + index * SECTION_HEADER_BYTES;
      return {
        at,
        type: this.#numbers.u32(at + 4),
        offset: this.#number(at + 24),
        size: this.#number(at + 32),
        link: this.#numbers.u32(at + 40),
      };
    });
  }

  #name(strings: Uint8Array, symbolAt: number): string {
    const index = this.#numbers.u32(symbolAt);
    if (index === 0) return '';
    const end = strings.indexOf(0, index);
    if (index >= strings.length || end < 0) {
      throw this.unexpected(`a name within ${strings.length} bytes`, `one at ${index}`, symbolAt);
    }
    return new TextDecoder().decode(strings.subarray(index, end));
  }

  #expect(expected: string, got: number | undefined, allowed: readonly number[], at: number): void {
    if (got === undefined || !allowed.includes(got)) throw this.unexpected(expected, `${got}`, at);
  }

  /** Refuses a range of the file that goes beyond its end; `at` is where the file states it. */
  #inside(offset: number, size: number, what: string, at: number): void {
    if (offset + size > this.#file.size) {
      const got = `one from ${offset} to ${offset + size}`;
      throw this.unexpected(`${what} within ${this.#file.size} bytes`, got, at);
    }
  }

  #u16(at: number): number {
    return this.#numbers.u16(at);
  }

  /** A 64-bit number that can be meant: beyond 2^53 nothing has an offset, a size or a physical address here. */
  #number(at: number): number {
    const value = this.#numbers.u64(at);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw this.unexpected('a number below 2^53', `0x${value.toString(16)}`, at);
    }
    return Number(value);
  }
}

function hexRange(base: number, size: number): string {
  return `0x${base.toString(16)}-0x${(base + size - 1).toString(16)}`;
}
