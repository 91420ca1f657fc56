import { expect, test } from 'vitest';
import { openBootFile } from '../../src/host/boot-file.ts';
import { dirtyTopLines, symbolizer } from '../../src/machine/dirty-top.ts';
import type { DirtyReport } from '../../src/machine/dirty-tracking.ts';
import { parseElf } from '../../src/machine/elf.ts';
import type { DirtySite } from '../../src/memory/dirty-log.ts';
import { PAGE_WALK_PC } from '../../src/memory/layout.ts';
import { guestImage } from '../support/guests.ts';

const site = (pc: bigint, page: number, hart = 0): DirtySite => ({ pc, page, hart });

const report = (sites: readonly DirtySite[], more: Partial<DirtyReport> = {}): DirtyReport => ({
  measured: true,
  sites,
  total: sites.length,
  durationNs: 2e9,
  ...more,
});

test('the instructions that dirty most come first, with symbols, rates and pages', () => {
  const symbols = [
    { name: 'main', address: 0x8000_0100n, size: 64 },
    { name: '$x', address: 0x8000_0110n, size: 0 },
    { name: 'label', address: 0x8000_0200n, size: 0 },
    { name: 'start', address: 0x8000_0000n, size: 16 },
  ];
  const sites = [
    ...Array.from({ length: 512 }, (_, i) => site(0x8000_0104n, i % 256, i % 2)),
    ...Array.from({ length: 256 }, () => site(0x8000_0230n, 300, 1)),
    ...Array.from({ length: 128 }, () => ({ ...site(0n, 301), hart: undefined })),
    ...Array.from({ length: 64 }, () => site(PAGE_WALK_PC, 302)),
    ...Array.from({ length: 64 }, () => site(0x8000_0080n, 303)),
  ];
  expect(dirtyTopLines(report(sites), symbols)).toEqual([
    '1024 pages dirtied in 2.0 s',
    ' share  pages/s  different  hart  pc                  symbol',
    '50.0 %      256    1.0 MiB  0,1   0x0000000080000104  main+0x4',
    '25.0 %      128    0.0 MiB  1     0x0000000080000230  label+0x30',
    '12.5 %       64    0.0 MiB        device',
    ' 6.3 %       32    0.0 MiB  0     page walk',
    ' 6.3 %       32    0.0 MiB  0     0x0000000080000080',
  ]);
});

test('what is left out is said', () => {
  const sites = Array.from({ length: 30 }, (_, i) => site(BigInt(0x8000_0000 + 4 * i), i));
  const lines = dirtyTopLines(report(sites, { total: 1000 }), []);
  expect(lines[0]).toBe('1000 pages dirtied in 2.0 s, of which the latest 30 are shown');
  expect(lines).toHaveLength(1 + 1 + 20 + 1);
  expect(lines.at(-1)).toBe('10 more');
  expect(dirtyTopLines(report([], { measured: false }), [])[0]).toContain('has not been on');
  expect(dirtyTopLines(report([], { durationNs: 0 }), [])[0]).toBe('0 pages dirtied in 0.0 s');
});

test("symbols of a guest's own image name the code of its functions", () => {
  const file = guestImage('dirty');
  const image = parseElf(openBootFile(file), [{ base: 0x8000_0000, size: 2 ** 30 }]);
  const guest = image.symbols().find(({ name }) => name === 'guest');
  if (guest === undefined) expect.fail('no symbol "guest"');
  const name = symbolizer(image.symbols());
  expect(name(guest.address + 8n)).toBe('guest+0x8');
  expect(name(0n)).toBeUndefined();
});
