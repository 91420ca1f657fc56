/** Page tables as a debugger sees them. Privileged ISA (20240411), §12.3 to §12.5. */
import { describe, expect, test } from 'vitest';
import { allMappings, findMapping, type ReadEntry } from '../../src/cpu/page-tables.ts';
import { PTE, pte, RWX } from '../support/paged-machine.ts';

const SV39 = 8n << 60n;
const SV48 = 9n << 60n;

/** Tables at physical pages 1, 2, …: `tables[i]` has the entries of page i + 1 by index. */
function read(...tables: Readonly<Record<number, bigint>>[]): ReadEntry {
  return (physical) => {
    const table = tables[Number(physical >> 12n) - 1];
    return table === undefined ? undefined : (table[Number(physical & 0xfffn) / 8] ?? 0n);
  };
}
const table = (page: number): bigint => pte(page * 4096, PTE.v);

describe('Sv39 (§12.4)', () => {
  const entries = read(
    { 0: table(2), 2: pte(0x8000_0000, RWX), 511: table(2) },
    { 1: pte(0x20_0000, PTE.v | PTE.r), 2: table(3) },
    { 0: pte(0x5000, PTE.v | PTE.x | PTE.u) },
  );

  test.each([
    ['a gigapage', 0x8123_4567n, 0x8000_0000n, 0x8000_0000n, 1n << 30n, RWX],
    ['a megapage', 0x20_0000n, 0x20_0000n, 0x20_0000n, 1n << 21n, PTE.v | PTE.r],
    ['a page', 0x40_0fffn, 0x40_0000n, 0x5000n, 4096n, PTE.v | PTE.x | PTE.u],
    [
      ...(['the same page in the upper half', 0xffff_ffff_c040_0000n, 0xffff_ffff_c040_0000n] as const),
      ...([0x5000n, 4096n, PTE.v | PTE.x | PTE.u] as const),
    ],
  ])('%s', (_what, address, virtual, physical, size, flags) => {
    expect(findMapping(SV39 | 1n, address, entries)).toEqual({ virtual, physical, size, flags });
  });

  test.each([
    ['an entry that is not valid', 0x60_0000n],
    ['an address whose upper bits are not its sign', 0x40_8000_0000n],
    ['a level-0 entry without permissions', 0x40_1000n],
  ])('nothing for %s', (_what, address) => {
    expect(findMapping(SV39 | 1n, address, entries)).toBeUndefined();
  });

  test('nothing where a table is no memory', () => {
    expect(findMapping(SV39 | 9n, 0n, entries)).toBeUndefined();
    expect([...allMappings(SV39 | 9n, entries)]).toEqual([]);
  });

  test('all mappings by rising address, the upper half last', () => {
    expect([...allMappings(SV39 | 1n, entries)].map(({ virtual }) => virtual)).toEqual([
      ...[0x20_0000n, 0x40_0000n, 0x8000_0000n, 0xffff_ffff_c020_0000n, 0xffff_ffff_c040_0000n],
    ]);
  });
});

test('Sv48 (§12.5) has one level more', () => {
  const entries = read({ 256: table(2) }, { 1: pte(0x4000_0000, RWX) });
  const mapping = {
    ...{ virtual: 0xffff_8000_4000_0000n, physical: 0x4000_0000n, size: 1n << 30n, flags: RWX },
  };
  expect(findMapping(SV48 | 1n, 0xffff_8000_4000_1234n, entries)).toEqual(mapping);
  expect([...allMappings(SV48 | 1n, entries)]).toEqual([mapping]);
});

test('without paging nothing is mapped', () => {
  expect(findMapping(0n, 0x1000n, read())).toBeUndefined();
  expect([...allMappings(0n, read())]).toEqual([]);
});

test('tables that point to themselves are refused instead of walked for ever', () => {
  const all = Object.fromEntries(Array.from({ length: 512 }, (_, i) => [i, table(1)]));
  expect(() => [...allMappings(SV48 | 1n, read(all))]).toThrow(
    'page tables: expected at most 65536, got more',
  );
});
