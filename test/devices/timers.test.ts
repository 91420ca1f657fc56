import { expect, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import { TIMER_OFF, TimerQueue } from '../../src/devices/timers.ts';

function queue() {
  const clock = new ManualClock(1e15);
  const log: string[] = [];
  const timers = new TimerQueue(clock, () => void log.push('sooner'));
  return { clock, log, timers, timer: (name: string) => timers.create(() => void log.push(name)) };
}

test('timers expire once, in order, and not before their time', () => {
  const { clock, log, timers, timer } = queue();
  const [a, b] = [timer('a'), timer('b')];
  expect(timers.nextInNs()).toBeUndefined();
  b.arm(2000);
  a.arm(1000);
  expect(log).toEqual(['sooner', 'sooner']);
  expect(timers.nextInNs()).toBe(1000);
  clock.advance(999);
  timers.run();
  expect(log.length).toBe(2);
  clock.advance(5000);
  expect(timers.nextInNs()).toBe(0);
  timers.run();
  timers.run();
  expect(log.slice(2)).toEqual(['a', 'b']);
  expect([a.armed, b.armed]).toEqual([false, false]);
});

test('a timer can be armed anew or cancelled, also by another one that is due with it', () => {
  const { clock, log, timers, timer } = queue();
  const late = timer('late');
  const canceller = timers.create(() => late.cancel());
  const again = timer('again');
  again.arm(10);
  again.arm(100);
  canceller.arm(10);
  late.arm(20);
  clock.advance(50);
  timers.run();
  expect(log.filter((name) => name !== 'sooner')).toEqual([]);
  clock.advance(50);
  timers.run();
  expect(log.at(-1)).toBe('again');
});

test('what is left of a timer goes on in another queue', () => {
  const from = queue();
  const timer = from.timer('x');
  expect(timer.save()).toBe(TIMER_OFF);
  timer.arm(1000);
  from.clock.advance(300);
  const to = queue();
  const copy = to.timer('x');
  copy.load(timer.save());
  expect(to.timers.nextInNs()).toBe(700);
  copy.load(TIMER_OFF);
  expect(to.timers.nextInNs()).toBeUndefined();
});
