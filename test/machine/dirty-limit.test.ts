/** A limit of the dirty rate slows down the harts that exceed it, and no other. */
import { expect, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import { DIRTY_LIMIT_PERIOD_MS, DirtyLimit } from '../../src/machine/dirty-limit.ts';
import { DirtyTracking } from '../../src/machine/dirty-tracking.ts';
import { Throttle } from '../../src/machine/throttle.ts';
import { DirtyLog } from '../../src/memory/dirty-log.ts';
import { createLayout, createSharedMemory, PAGE_SIZE } from '../../src/memory/layout.ts';
import { Tlbs } from '../../src/memory/tlb.ts';

const MB = 1024 * 1024;

/** Harts that sweep over 64 MiB each, at a rate in MiB/s when they run all the time. */
function machine(rates: readonly number[]) {
  const layout = createLayout(rates.length, [{ name: 'ram', size: rates.length * 64 * MB }]);
  const memory = createSharedMemory(layout);
  const clock = new ManualClock();
  const log = new DirtyLog(memory, layout);
  const tracking = new DirtyTracking(log, new Tlbs(memory, layout), clock);
  const throttle = new Throttle(rates.length, clock, false);
  const limit = new DirtyLimit(rates.length, log, tracking, throttle, clock);
  const positions = rates.map(() => 0);
  const owed = rates.map(() => 0);
  const pass = (ms: number): void => {
    clock.advance(ms * 1e6);
    for (const [id, rate] of rates.entries()) {
      const share = 1 - (throttle.fractions[id] as number);
      owed[id] = (owed[id] as number) + (rate * share * MB * (ms / 1000)) / PAGE_SIZE;
      for (; (owed[id] as number) >= 1; owed[id] = (owed[id] as number) - 1) {
        positions[id] = ((positions[id] as number) + 1) % 16384;
        if (log.on) log.mark(id * 16384 + (positions[id] as number), { id, pc: 0n });
      }
    }
  };
  const run = (seconds: number): void => {
    for (let ms = 0; ms < seconds * 1000; ms += DIRTY_LIMIT_PERIOD_MS) {
      pass(DIRTY_LIMIT_PERIOD_MS);
      limit.look();
    }
  };
  return { limit, throttle, log, tracking, run };
}

test('the hart that dirties too fast is held to the limit, the others run on', () => {
  const { limit, throttle, log, run } = machine([240, 8, 0]);
  expect(limit.active).toBe(false);
  limit.set('user', 20);
  expect(log.on).toBe(true);
  run(4);
  expect(limit.limits().map(({ hart, limit: most }) => [hart, most])).toEqual([
    [0, 20],
    [1, 20],
    [2, 20],
  ]);
  const rates = limit.limits().map(({ current }) => current);
  expect(rates[0]).toBeGreaterThan(17);
  expect(rates[0]).toBeLessThan(23);
  expect(rates[1]).toBeCloseTo(8, 0);
  expect(throttle.fractions[0]).toBeGreaterThan(0.88);
  expect(throttle.fractions.slice(1)).toEqual([0, 0]);
  limit.set('user', undefined, 0);
  expect(throttle.active).toBe(false);
  expect(limit.active).toBe(true);
  limit.set('user', undefined);
  expect([limit.active, log.on, limit.limits()]).toEqual([false, false, []]);
});

test("a migration's limit ends with it and leaves the user's", () => {
  const { limit, throttle, log, run } = machine([200, 200]);
  limit.set('user', 100, 1);
  limit.set('migration', 10);
  run(4);
  expect(limit.limits().map(({ limit: most }) => most)).toEqual([10, 10]);
  for (const fraction of throttle.fractions) expect(fraction).toBeGreaterThan(0.92);
  limit.set('migration', undefined);
  expect(limit.limits().map(({ hart, limit: most }) => [hart, most])).toEqual([[1, 100]]);
  run(4);
  expect(throttle.fractions[0]).toBe(0);
  expect(throttle.fractions[1]).toBeGreaterThan(0.4);
  expect(throttle.fractions[1]).toBeLessThan(0.6);
  expect(log.on).toBe(true);
});

test('of the throttle of a migration and that of a limit the larger one counts', () => {
  const { limit, throttle, run } = machine([200, 1]);
  limit.set('user', 100);
  run(4);
  throttle.set('migration', [0.9, 0.9]);
  expect(throttle.fractions).toEqual([0.9, 0.9]);
  throttle.set('migration', []);
  expect(throttle.fractions[0]).toBeGreaterThan(0.4);
  expect(throttle.fractions[1]).toBe(0);
});

test('during a migration no mark is lost to a limit or a measurement', () => {
  const { limit, log, tracking, run } = machine([50]);
  tracking.start('rate');
  log.mark(7);
  tracking.start('migration');
  limit.set('user', 100);
  log.mark(9000);
  run(1);
  tracking.stop('rate');
  limit.set('user', undefined);
  expect(log.on).toBe(true);
  const before = log.counts();
  log.mark(9000);
  expect(log.counts()).toEqual(before);
  tracking.collect();
  log.mark(9000);
  expect(log.counts()).not.toEqual(before);
  tracking.stop('migration');
  expect(log.on).toBe(false);
});
