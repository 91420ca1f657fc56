/** Where the loops of a region are entered. */
import { expect, test } from 'vitest';
import type { Block, BlockEnd, RegionInstruction } from '../../../src/cpu/jit/block.ts';
import { loopEntries } from '../../../src/cpu/jit/loop-entries.ts';

/** Only where it leads matters. */
const instruction = {} as RegionInstruction;
const block = (at: number, end: BlockEnd): Block => ({ at, instructions: [], end });

test('a loop around an inner loop that has an entry gets another one', () => {
  // Control runs into the entry at 10 from the loop's end at 5, and jumps to it from 20.
  const blocks = [
    block(10, { kind: 'next', to: 20 }),
    block(20, { kind: 'branch', instruction, taken: 10, to: 30 }),
    block(30, { kind: 'jump', instruction, to: 5 }),
    block(5, { kind: 'next', to: 10 }),
  ];
  expect(loopEntries(blocks, new Set([10]))).toEqual([5]);
});

test('every loop of a nest has an entry that it jumps to', () => {
  const blocks = [
    block(0, { kind: 'next', to: 10 }),
    block(10, { kind: 'next', to: 20 }),
    block(20, { kind: 'branch', instruction, taken: 20, to: 30 }),
    block(30, { kind: 'branch', instruction, taken: 10, to: 40 }),
  ];
  expect(new Set(loopEntries(blocks, new Set([0])))).toEqual(new Set([10, 20]));
});
