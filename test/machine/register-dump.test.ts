/** `info registers` shows what the hart holds, by the names and in the widths that QEMU uses. */
import { expect, test } from 'vitest';
import { registerLines } from '../../src/machine/register-dump.ts';
import { BareMachine } from '../support/bare-machine.ts';

test('every register appears with its value', () => {
  const { hart } = new BareMachine();
  hart.setX(10, 0xdead_beefn);
  hart.setF(31, -1n);
  hart.setCsr('mcause', (1n << 63n) | 7n);
  const text = registerLines(hart).join('\n');
  expect(text).toContain(' pc            0000000080000000\n mode          machine\n');
  expect(text).toContain(' mcause        8000000000000007\n');
  expect(text).toContain(' x10/a0   00000000deadbeef ');
  expect(text).toMatch(/ f31\/ft11 f{16}$/);
  expect(text.match(/ x\d+\/| f\d+\//g)).toHaveLength(64);
});
