import { expect, describe as suite, test } from 'vitest';
import { GodwitError } from '../../src/error.ts';
import { bootFile } from '../../src/machine/boot-file.ts';
import { type LoadRange, parseElf, type Segment } from '../../src/machine/elf.ts';
import { parseKernel } from '../../src/machine/kernel.ts';
import { makeElf, type TestElf } from './elf-image.ts';

const RAM = { base: 0x8000_0000, size: 0x10_0000 };
const SEGMENT = { address: 0x8000_0000, bytes: [1, 2, 3, 4] };

function refusal(bytes: Uint8Array): GodwitError {
  try {
    parsed(bytes, RAM).symbols();
  } catch (error) {
    expect(error).toBeInstanceOf(GodwitError);
    expect((error as GodwitError).kind).toBe('file');
    expect((error as GodwitError).message).toMatch(/^k\.elf: expected .+, got .+ \(at byte \d+\)$/);
    return error as GodwitError;
  }
  throw new Error('the image was taken');
}

/** Parses what is in no file. */
const parsed = (bytes: Uint8Array, ...allowed: LoadRange[]) => parseElf(bootFile('k.elf', bytes), allowed);
const kernel = (bytes: Uint8Array) => parseKernel(bootFile('k', bytes), RAM);

/** Segments with their bytes. */
const read = (segments: readonly Segment[]) =>
  segments.map(({ contents, ...rest }) => {
    const bytes = new Uint8Array(contents.length);
    contents.copyTo(bytes);
    return { ...rest, bytes };
  });

/** A good image with `value` at byte `at`, in `bytes` bytes. */
function changed(
  at: number,
  value: number | bigint,
  bytes: number,
  elf: TestElf = { segments: [SEGMENT] },
): Uint8Array {
  const file = makeElf(elf);
  for (let i = 0; i < bytes; i++) file[at + i] = Number((BigInt(value) >> BigInt(8 * i)) & 0xffn);
  return file;
}

suite('an image', () => {
  test('gives its segments at physical addresses, the zeros after them, and the entry', () => {
    const image = parsed(
      makeElf({
        entry: 0xffff_ffff_8000_2002n,
        segments: [
          {
            address: 0x8000_2000,
            bytes: [5, 6, 7, 8],
            virtualAddress: 0xffff_ffff_8000_2000n,
            memorySize: 100,
          },
          { address: 0x8000_1000, bytes: [], memorySize: 16 },
          { address: 0x8000_0000, bytes: [], memorySize: 0 },
          { address: 0, bytes: [9], type: 4 },
        ],
      }),
      RAM,
    );
    expect(image.entry).toBe(0x8000_2002);
    expect(image.lowAddress).toBe(0x8000_1000);
    expect(read(image.segments)).toEqual([
      { physicalAddress: 0x8000_2000, bytes: Uint8Array.of(5, 6, 7, 8), memorySize: 100 },
      { physicalAddress: 0x8000_1000, bytes: new Uint8Array(0), memorySize: 16 },
    ]);
    expect(image.symbols()).toEqual([]);
  });

  test('gives its symbols', () => {
    const symbols = [
      { name: '_start', address: 0x8000_0000n, size: 4 },
      { name: 'tohost', address: 0xffff_ffff_8000_1000n, size: 8 },
    ];
    expect(parsed(makeElf({ segments: [SEGMENT], symbols }), RAM).symbols()).toEqual(symbols);
  });

  test('may be position-independent', () => {
    expect(parsed(changed(16, 3, 2), RAM).entry).toBe(0x8000_0000);
  });

  test('may lie in any of the ranges, up to their last byte', () => {
    const rom = { base: 0x1000, size: 4 };
    const image = makeElf({ entry: 0x8000_0000n, segments: [SEGMENT, { ...SEGMENT, address: 0x1000 }] });
    expect(parsed(image, RAM, rom).segments).toHaveLength(2);
  });
});

suite('a malformed image is refused with the file, the byte, expected and got', () => {
  test.each<[string, Uint8Array, number]>([
    ['another magic', changed(0, 0, 1), 0],
    ['32 bits', changed(4, 1, 1), 4],
    ['big-endian', changed(5, 2, 1), 5],
    ['another ELF version', changed(6, 0, 1), 6],
    ['a relocatable object', changed(16, 1, 2), 16],
    ['a core dump', changed(16, 4, 2), 16],
    ['another machine', changed(18, 62, 2), 18],
    ['another object version', changed(20, 2, 4), 20],
    ['an entry outside', changed(24, 0x8000_0004, 8), 24],
    ['program headers beyond the end', changed(32, 1000, 8), 32],
    ['program headers beyond 2^53', changed(32, 1n << 60n, 8), 32],
    ['program headers of another size', changed(54, 32, 2), 54],
    ['no program header', changed(56, 0, 2), 56],
    ['nothing to load', changed(64, 4, 4), 56],
    ['an interpreter', changed(64, 3, 4), 64],
    ['a segment beyond the file', changed(72, 1000, 8), 72],
    ['a segment below RAM', changed(88, 0x7fff_ffff, 8), 88],
    ['a segment across the end of RAM', changed(88, 0x800f_fffd, 8), 88],
    ['a segment beyond 2^53', changed(88, (1n << 64n) - 4n, 8), 88],
    ['more bytes in the file than in memory', changed(104, 3, 8), 96],
    ['a segment over another', makeElf({ segments: [SEGMENT, { ...SEGMENT, address: 0x8000_0003 }] }), 144],
  ])('%s', (_, bytes, offset) => {
    expect(refusal(bytes).details.offset).toBe(offset);
  });

  test('cut at any byte', () => {
    const whole = makeElf({ segments: [SEGMENT], symbols: [{ name: 'a', address: 0x8000_0000n, size: 4 }] });
    for (let length = 4; length < whole.length; length++) refusal(whole.subarray(0, length));
  });

  test('a symbol table that points outside', () => {
    const elf = { segments: [SEGMENT], symbols: [{ name: 'a', address: 0x8000_0000n, size: 4 }] };
    const good = makeElf(elf);
    const sections = Number(new DataView(good.buffer).getBigUint64(40, true));
    const table = Number(new DataView(good.buffer).getBigUint64(sections + 64 + 24, true));
    refusal(changed(sections + 64 + 24, good.length, 8, elf));
    refusal(changed(sections + 64 + 40, 3, 4, elf));
    refusal(changed(sections + 128 + 24, good.length, 8, elf));
    refusal(changed(table + 24, 100, 4, elf));
    refusal(changed(58, 40, 2, elf));
  });
});

suite('a kernel', () => {
  test('is ELF, or raw bytes for the start of RAM', () => {
    const elf = kernel(makeElf({ segments: [{ ...SEGMENT, address: 0x8000_4000 }] }));
    expect([elf.format, elf.entry, elf.lowAddress]).toEqual(['elf', 0x8000_4000, 0x8000_4000]);
    const raw = kernel(Uint8Array.of(0x13, 0, 0, 0));
    expect([raw.format, raw.entry, raw.lowAddress]).toEqual(['raw', RAM.base, RAM.base]);
    expect(read(raw.segments)).toEqual([
      { physicalAddress: RAM.base, bytes: Uint8Array.of(0x13, 0, 0, 0), memorySize: 4 },
    ]);
  });

  test.each([
    ['empty', new Uint8Array(0), 'k: expected a kernel, got an empty file'],
    [
      'larger than RAM',
      new Uint8Array(RAM.size + 1),
      'k: expected at most 1048576 bytes (the RAM from 0x80000000 on), got 1048577',
    ],
    [
      'a broken ELF',
      Uint8Array.of(0x7f, 0x45, 0x4c, 0x46),
      'k: expected a header of 64 bytes, got 4 (at byte 4)',
    ],
  ])('that is %s is refused', (_, bytes, message) => {
    expect(() => kernel(bytes)).toThrow(expect.objectContaining({ kind: 'file', message }));
  });
});
