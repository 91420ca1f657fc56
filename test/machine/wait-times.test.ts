import { expect, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import { WaitTimes } from '../../src/machine/wait-times.ts';

test('blocked time counts while all harts wait; each wait is in its bucket', () => {
  const clock = new ManualClock();
  const times = new WaitTimes(clock, 2);
  times.began(0);
  clock.advance(300_000);
  times.began(1);
  times.began(0); // again and again, while it waits
  clock.advance(100_000);
  times.ended(0);
  clock.advance(50_000);
  times.ended(1);
  times.ended(1);
  const figures = times.figures();
  expect(figures.blocked).toBe(100_000);
  expect(figures.harts).toEqual([
    { blocked: 400_000, waits: 1 },
    { blocked: 150_000, waits: 1 },
  ]);
  // 150 µs and 400 µs.
  expect(figures.distribution).toEqual([0, 0, 0, 0, 0, 0, 0, 1, 1]);
  expect(figures.median).toBeGreaterThanOrEqual(150_000);
  expect(figures.median).toBeLessThan(150_000 * 1.1);
  expect([figures.p99, figures.longest]).toEqual([400_000, 400_000]);
});

test('without a wait, all is zero', () => {
  expect(new WaitTimes(new ManualClock(), 1).figures()).toEqual({
    blocked: 0,
    harts: [{ blocked: 0, waits: 0 }],
    distribution: [],
    median: 0,
    p99: 0,
    longest: 0,
  });
});
