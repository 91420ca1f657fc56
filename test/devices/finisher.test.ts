import { expect, test } from 'vitest';
import { Finisher } from '../../src/devices/finisher.ts';
import type { AccessSize } from '../../src/memory/mmio.ts';

function afterWrite(offset: number, size: AccessSize, value: number): unknown[] {
  const asked: unknown[] = [];
  const device = new Finisher({
    base: 0x10_0000,
    powerOff: (code) => asked.push(['off', code]),
    reset: () => asked.push(['reset']),
  });
  const handler = device.regions[0]?.handler;
  handler?.write(offset, size, value);
  expect(handler?.read(offset, size)).toBe(0);
  return asked;
}

test.each<[string, number, AccessSize, number, unknown[]]>([
  ['a pass powers off with 0', 0, 4, 0x5555, [['off', 0]]],
  ['a pass ignores the upper half', 0, 4, 0xffff_5555, [['off', 0]]],
  ['a pass may be a halfword', 0, 2, 0x5555, [['off', 0]]],
  ['a failure powers off with its code', 0, 4, 0x002a_3333, [['off', 42]]],
  ['a failure has a code of 16 bits', 0, 4, 0xffff_3333, [['off', 0xffff]]],
  ['a reset resets', 0, 4, 0x7777, [['reset']]],
  ['anything else does nothing', 0, 4, 0x5554, []],
  ['anywhere else does nothing', 4, 4, 0x5555, []],
])('%s', (_, offset, size, value, asked) => {
  expect(afterWrite(offset, size, value)).toEqual(asked);
});
