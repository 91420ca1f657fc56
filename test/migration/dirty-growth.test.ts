import { expect, test } from 'vitest';
import { DirtyGrowth } from '../../src/migration/dirty-growth.ts';

const TOTAL = 65_536;

/** Looks every 10 ms at a guest that writes 1000 pages per ms until it has written `most`, then the same again. */
function pass(growth: DirtyGrowth, ms: number, most: number): void {
  for (let now = 10; now <= ms; now += 10) growth.look(now, Math.min(1000 * now, most));
}

test('nothing is foreseen before anything was seen', () => {
  const growth = new DirtyGrowth(TOTAL);
  expect(growth.pagesAfter(500)).toBeUndefined();
  growth.look(1, 1000);
  expect(growth.pagesAfter(500), 'a moment says nothing').toBeUndefined();
});

test('a guest that goes round in what it has written will not write more', () => {
  const growth = new DirtyGrowth(TOTAL);
  pass(growth, 100, 16_384);
  expect(growth.pagesAfter(500)).toBe(16_384);
  growth.synced();
  expect(growth.pagesAfter(500), 'the pass before').toBe(16_384);
  pass(growth, 20, 16_384);
  expect(growth.pagesAfter(500), 'still the longer one').toBe(16_384);
  growth.synced();
  expect(growth.pagesAfter(500), 'a short pass is not remembered instead').toBe(16_384);
});

test('one that is not through goes on as it did, up to all that it has', () => {
  const growth = new DirtyGrowth(TOTAL);
  pass(growth, 20, 50_000);
  expect(growth.pagesAfter(30)).toBe(30_000);
  expect(growth.pagesAfter(500)).toBe(TOTAL);
});

test('a single look does not show whether the guest is through', () => {
  const growth = new DirtyGrowth(TOTAL);
  growth.look(200, 16_384);
  expect(growth.pagesAfter(500)).toBe(16_384);
});

test('what counts is the slope of late', () => {
  const growth = new DirtyGrowth(TOTAL);
  for (let now = 5; now <= 400; now += 5) growth.look(now, now <= 50 ? 100 * now : 5000 + (now - 50));
  expect(growth.pagesAfter(1000)).toBeCloseTo(5350 + 600, -1);
});
