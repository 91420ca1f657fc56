import { expect, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import { ClockTimebase } from '../../src/devices/timebase.ts';

test('a tick is 100 ns', () => {
  const clock = new ManualClock(12345);
  const timebase = new ClockTimebase(clock);
  timebase.start();
  clock.advance(99);
  expect(timebase.now()).toBe(0n);
  clock.advance(1);
  expect(timebase.now()).toBe(1n);
  clock.advance(1e9);
  expect(timebase.now()).toBe(10_000_001n);
});

test('time stands still while stopped and goes on from the same value', () => {
  const clock = new ManualClock();
  const timebase = new ClockTimebase(clock);
  clock.advance(1e9);
  expect(timebase.now()).toBe(0n);
  timebase.start();
  clock.advance(1000);
  timebase.stop();
  clock.advance(1e9);
  expect(timebase.now()).toBe(10n);
  timebase.stop();
  timebase.start();
  clock.advance(200);
  timebase.start();
  clock.advance(300);
  expect(timebase.now()).toBe(15n);
});

test('time goes on from a value that was set, on a clock that started elsewhere', () => {
  const saved = 2n ** 60n + 3n;
  const clock = new ManualClock(7e15);
  const timebase = new ClockTimebase(clock);
  timebase.set(saved);
  timebase.start();
  clock.advance(200);
  expect(timebase.now()).toBe(saved + 2n);
  timebase.set(5n);
  clock.advance(100);
  expect(timebase.now()).toBe(6n);
});

test('time wraps at 64 bits', () => {
  const clock = new ManualClock();
  const timebase = new ClockTimebase(clock);
  timebase.set(2n ** 64n - 1n);
  timebase.start();
  clock.advance(200);
  expect(timebase.now()).toBe(1n);
});
