/** RISC-V ACLINT 1.0-rc4, §4. */
import { expect, test } from 'vitest';
import { Sswi } from '../../src/devices/sswi.ts';

test('writing 1 to a hart’s setssip is an edge for it; 0 is nothing, and all read as zero (§4.3)', () => {
  const edges: number[] = [];
  const lines = [0, 1].map((hart) => ({ ssip: () => void edges.push(hart) }));
  const handler = new Sswi({ base: 0x2f0_0000, lines }).regions[0]?.handler;
  handler?.write(4, 4, 1);
  handler?.write(0, 4, 0);
  handler?.write(4, 4, 0xffff_fffe);
  handler?.write(0, 4, 0xffff_ffff);
  handler?.write(8, 4, 1);
  expect(edges).toEqual([1, 0]);
  expect([0, 4, 8].map((offset) => handler?.read(offset, 4))).toEqual([0, 0, 0]);
});
