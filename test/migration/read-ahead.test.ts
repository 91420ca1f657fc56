/** A guest that asks for one page after the other gets more each time; one that asks here and there gets few. */
import { expect, test } from 'vitest';
import { ReadAhead } from '../../src/migration/read-ahead.ts';

const length = ({ from, to }: ReadAhead): number => to - from;

test('grows while the guest goes on, to a limit', () => {
  const ahead = new ReadAhead();
  ahead.asked(1000);
  const first = length(ahead);
  expect(ahead.from).toBe(1000);
  const lengths: number[] = [];
  for (let i = 0; i < 8; i++) {
    ahead.asked(ahead.to);
    lengths.push(length(ahead));
  }
  expect(lengths.slice(0, 3)).toEqual([first * 2, first * 4, first * 8]);
  expect(lengths.at(-1)).toBe(lengths.at(-2));
});

test('begins anew elsewhere, and behind where it was', () => {
  const ahead = new ReadAhead();
  ahead.asked(1000);
  const first = length(ahead);
  for (let i = 0; i < 4; i++) ahead.asked(ahead.to);
  for (const page of [ahead.to + 1, 5, ahead.from - 1]) {
    ahead.asked(page);
    expect(length(ahead)).toBe(first);
  }
});
