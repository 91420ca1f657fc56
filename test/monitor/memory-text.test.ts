/** Dumps of memory; every expected line is what QEMU 7.2 printed for the same bytes. */
import { expect, test } from 'vitest';
import type { DumpFormat } from '../../src/monitor/expression.ts';
import { memoryLines, valueText } from '../../src/monitor/memory-text.ts';

const ONES = 0x8000_0000n;
const TEXT = 0x8000_1000n;
const MEMORY = new Map([
  [ONES, new Uint8Array(64).fill(0xff)],
  [TEXT, Uint8Array.of(0, 1, 2, 97, 98, 99, 10, 13, 92, 39, 34, 127, 128, 10, 255)],
  [0x87ff_fff8n, new Uint8Array(8)],
]);

async function lines(address: bigint, count: number, letter: DumpFormat['letter'], size: DumpFormat['size']) {
  const all: string[] = [];
  const read = async (at: bigint, length: number) => {
    for (const [start, bytes] of MEMORY) {
      const offset = Number(at - start);
      if (offset >= 0 && offset < bytes.length) return bytes.subarray(offset, offset + length);
    }
    return new Uint8Array();
  };
  for await (const line of memoryLines({ count, letter, size }, address, read)) all.push(line);
  return all;
}

test.each([
  [
    5,
    'd',
    4,
    ['0000000080000000: 4294967295 4294967295 4294967295 4294967295', '0000000080000010: 4294967295'],
  ],
  [2, 'd', 8, ['0000000080000000:                   -1                   -1']],
  [2, 'u', 8, ['0000000080000000: 18446744073709551615 18446744073709551615']],
  [3, 'd', 1, ['0000000080000000: 255 255 255']],
  [3, 'd', 2, ['0000000080000000: 65535 65535 65535']],
  [2, 'o', 2, ['0000000080000000: 0177777 0177777']],
  [2, 'o', 4, ['0000000080000000: 037777777777 037777777777']],
  [1, 'x', 8, ['0000000080000000: 0xffffffffffffffff']],
  [0, 'x', 4, []],
] as const)('%i units in format %s of %i bytes', async (count, letter, size, expected) => {
  expect(await lines(ONES, count, letter, size)).toEqual(expected);
});

test('characters are bytes, whatever the size', async () => {
  const expected = [
    "0000000080001000: '\\x00' '\\x01' '\\x02' 'a' 'b' 'c' '\\n' '\\r'",
    `0000000080001008: '\\\\' '\\'' '"' '\\x7f' '\\x80' '\\n' '\\xff'`,
  ];
  expect(await lines(TEXT, 15, 'c', 1)).toEqual(expected);
  expect(await lines(TEXT, 2, 'c', 4)).toEqual([
    "0000000080001000: '\\x00' '\\x01' '\\x02' 'a' 'b' 'c' '\\n' '\\r'",
  ]);
});

test('a line begins where it was asked for', async () => {
  expect(await lines(TEXT + 1n, 9, 'x', 1)).toEqual([
    '0000000080001001: 0x01 0x02 0x61 0x62 0x63 0x0a 0x0d 0x5c',
    '0000000080001009: 0x27',
  ]);
});

test('a line that is not all memory is not shown, and is the last', async () => {
  expect(await lines(0x87ff_fff8n, 4, 'x', 4)).toEqual(['0000000087fffff8: Cannot access memory']);
  expect(await lines(0x87ff_fff8n, 20, 'x', 1)).toEqual([
    '0000000087fffff8: 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00',
    '0000000088000000: Cannot access memory',
  ]);
  expect(await lines(-8n, 1, 'x', 4)).toEqual(['fffffffffffffff8: Cannot access memory']);
});

test.each([
  [5n, 'x', '0x5'],
  [65n, 'c', "'A'"],
  [-1n, 'd', '-1'],
  [8n, 'o', '010'],
  [-1n, 'o', '01777777777777777777777'],
  [-1n, 'u', '18446744073709551615'],
  [5n, 'i', '5'],
] as const)('print %i as %s', (value, letter, text) => {
  expect(valueText(value, letter)).toBe(text);
});
