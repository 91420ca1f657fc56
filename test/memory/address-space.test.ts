import { expect, describe as suite, test } from 'vitest';
import { AddressSpace, type RamRegion } from '../../src/memory/address-space.ts';
import type { MmioHandler, MmioRegion } from '../../src/memory/mmio.ts';

const RAM: RamRegion = { name: 'ram', base: 0x8000_0000, size: 0x1000, hostOffset: 0, readonly: false };

function device(name: string, base: number, size: number, extra: Partial<MmioHandler> = {}) {
  const log: unknown[] = [];
  const handler: MmioHandler = {
    read: (offset, width) => {
      log.push(['read', offset, width]);
      return 0x89ab_cdef;
    },
    write: (offset, width, value) => {
      log.push(['write', offset, width, value]);
    },
    ...extra,
  };
  const region: MmioRegion = { name, base, size, handler };
  return { region, log };
}

suite('regions', () => {
  test.each([
    ['the same range', 0x1000, 0x100],
    ['the last byte', 0x10ff, 1],
    ['the first byte', 0xfff, 2],
    ['a range around it', 0x800, 0x2000],
    ['a range inside it', 0x1040, 4],
  ])('that overlap are refused, both named: %s', (_, base, size) => {
    const space = new AddressSpace();
    space.add(device('uart', 0x1000, 0x100).region);
    expect(() => space.add(device('rtc', base, size).region)).toThrow(
      expect.objectContaining({
        kind: 'machine',
        message: `rtc at 0x${base.toString(16)}-0x${(base + size - 1).toString(16)} overlaps uart at 0x1000-0x10ff`,
      }),
    );
    expect(space.list()).toHaveLength(1);
  });

  test('of devices and RAM may not overlap either', () => {
    const space = new AddressSpace();
    space.add(RAM);
    expect(() => space.add(device('x', 0x8000_0fff, 1).region)).toThrow(/overlaps ram/);
  });

  test('that touch are two', () => {
    const space = new AddressSpace();
    space.add(device('b', 0x1100, 0x100).region);
    space.add(device('a', 0x1000, 0x100).region);
    space.add(RAM);
    expect(space.list().map(({ kind, region }) => [kind, region.name])).toEqual([
      ['mmio', 'a'],
      ['mmio', 'b'],
      ['ram', 'ram'],
    ]);
    expect(space.lookup(0x10ff)?.region.name).toBe('a');
    expect(space.lookup(0x1100)?.region.name).toBe('b');
  });

  test.each([
    ['no size', 0, 0],
    ['a negative base', -1, 4],
    ['half a byte', 0, 0.5],
    ['an end beyond what can be addressed', Number.MAX_SAFE_INTEGER - 1, 4],
  ])('that can not be are refused: %s', (_, base, size) => {
    expect(() => new AddressSpace().add(device('x', base, size).region)).toThrow(
      expect.objectContaining({ kind: 'machine' }),
    );
  });

  test('of one name are refused', () => {
    const space = new AddressSpace();
    space.add(device('x', 0, 4).region);
    expect(() => space.add(device('x', 8, 4).region)).toThrow(/two regions are named x/);
  });

  test('that are removed answer no more, even right after they did', () => {
    const space = new AddressSpace();
    space.add(device('x', 0x100, 4).region);
    expect(space.read(0x100, 4)).toBeDefined();
    expect(space.remove('x')).toBe(true);
    expect(space.read(0x100, 4)).toBeUndefined();
    expect(space.remove('x')).toBe(false);
  });

  test('are found at every address among many, and nothing between them', () => {
    const space = new AddressSpace();
    for (const i of [5, 1, 9, 3, 7, 0, 8, 2, 6, 4]) space.add(device(`d${i}`, i * 0x20, 0x10).region);
    for (let address = 0; address < 10 * 0x20; address++) {
      const expected = address % 0x20 < 0x10 ? `d${Math.floor(address / 0x20)}` : undefined;
      expect(space.lookup(address)?.region.name).toBe(expected);
    }
  });
});

suite('an access', () => {
  test('reaches the device with the offset, the size and the value', () => {
    const space = new AddressSpace();
    const { region, log } = device('x', 0x1000, 0x10);
    space.add(region);
    expect(space.read(0x1004, 2)).toBe(0x89ab_cdef);
    expect(space.write(0x100f, 1, 7)).toBe(true);
    expect(log).toEqual([
      ['read', 4, 2],
      ['write', 15, 1, 7],
    ]);
  });

  test('to nothing, to RAM, or over the end of a region has no answer and no effect', () => {
    const space = new AddressSpace();
    const first = device('x', 0x1000, 0x10);
    const next = device('y', 0x1010, 0x10);
    space.add(first.region);
    space.add(next.region);
    space.add(RAM);
    for (const address of [0xfff, 0x100d, 0x1020, RAM.base, -1, 2 ** 53]) {
      expect(space.read(address, 4)).toBeUndefined();
      expect(space.write(address, 4, 1)).toBe(false);
    }
    expect(space.read64(0x1009)).toBeUndefined();
    expect(space.write64(0x1009, 1n)).toBe(false);
    expect([...first.log, ...next.log]).toEqual([]);
  });

  test('of 8 bytes is one where the device takes one, and else two, the low half first', () => {
    const space = new AddressSpace();
    const split = device('split', 0, 0x10);
    const written: bigint[] = [];
    const whole = device('whole', 0x10, 0x10, {
      read64: () => 0xfedc_ba98_7654_3210n,
      write64: (_, value) => written.push(value),
    });
    space.add(split.region);
    space.add(whole.region);
    expect(space.read64(8)).toBe(0x89ab_cdef_89ab_cdefn);
    space.write64(0, 0xfedc_ba98_7654_3210n);
    expect(split.log).toEqual([
      ['read', 8, 4],
      ['read', 12, 4],
      ['write', 0, 4, 0x7654_3210],
      ['write', 4, 4, 0xfedc_ba98],
    ]);
    expect(space.read64(0x10)).toBe(0xfedc_ba98_7654_3210n);
    space.write64(0x18, 2n ** 64n - 1n);
    expect(written).toEqual([2n ** 64n - 1n]);
    expect(whole.log).toEqual([]);
  });
});
