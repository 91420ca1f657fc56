/** The real-time clock as Linux' rtc-goldfish driver uses it. */
import { beforeEach, expect, describe as suite, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import { GoldfishRtc } from '../../src/devices/goldfish-rtc.ts';
import { TimerQueue } from '../../src/devices/timers.ts';

const [TIME_LOW, TIME_HIGH, ALARM_LOW, ALARM_HIGH] = [0x00, 0x04, 0x08, 0x0c] as const;
const [IRQ_ENABLED, CLEAR_ALARM, ALARM_STATUS, CLEAR_INTERRUPT] = [0x10, 0x14, 0x18, 0x1c] as const;
const START = 1_150_560_081_000_000_000n;
const SECOND = 1_000_000_000n;

let line: boolean;

/** A machine's clock and the host's, which goes on while the machine stands still. */
function makeRtc(shared: boolean, hostNow = START) {
  const machine = new ManualClock();
  const host = { now: hostNow };
  const timers = new TimerQueue(machine, () => {});
  const device = new GoldfishRtc({
    base: 0x10_1000,
    follows: { now: () => (shared ? host.now : BigInt(machine.nowNs())), shared },
    start: shared ? hostNow : START,
    timers,
    interrupt: (level) => {
      line = level;
    },
    interruptProperties: {},
  });
  const handler = (device.regions[0] as (typeof device.regions)[0]).handler;
  const read = (offset: number) => handler.read(offset, 4);
  const write = (offset: number, value: bigint) => handler.write(offset, 4, Number(value & 0xffff_ffffn));
  return {
    device,
    host,
    read,
    write,
    time: () => BigInt(read(TIME_LOW)) | (BigInt(read(TIME_HIGH)) << 32n),
    setTime(ns: bigint) {
      write(TIME_HIGH, ns >> 32n);
      write(TIME_LOW, ns);
    },
    setAlarm(ns: bigint) {
      write(ALARM_HIGH, ns >> 32n);
      write(ALARM_LOW, ns);
      write(IRQ_ENABLED, 1n);
    },
    /** Time passes, in steps as short as a slice of the machine may be. */
    pass(ns: bigint) {
      for (let left = ns; left > 0n; left -= SECOND / 4n) {
        machine.advance(Number(SECOND / 4n));
        host.now += SECOND / 4n;
        timers.run();
      }
    },
  };
}

beforeEach(() => {
  line = false;
});

suite.each([
  ['the host’s clock', true],
  ['the machine’s time', false],
])('following %s', (_, shared) => {
  test('it starts at its base and goes on', () => {
    const rtc = makeRtc(shared);
    expect(rtc.time()).toBe(START);
    rtc.pass(5n * SECOND);
    expect(rtc.time()).toBe(START + 5n * SECOND);
  });

  test('the low half latches the high one', () => {
    const rtc = makeRtc(shared);
    rtc.setTime((7n << 32n) | 0xffff_ffffn);
    expect(rtc.read(TIME_LOW)).toBe(0xffff_ffff);
    rtc.pass(SECOND);
    expect(rtc.read(TIME_HIGH)).toBe(7);
    rtc.read(TIME_LOW);
    expect(rtc.read(TIME_HIGH)).toBe(8);
  });

  test('an alarm interrupts when its time has come, until the interrupt is cleared', () => {
    const rtc = makeRtc(shared);
    rtc.setAlarm(START + 3n * SECOND);
    expect([rtc.read(ALARM_STATUS), line]).toEqual([1, false]);
    rtc.pass(2n * SECOND);
    expect(line).toBe(false);
    rtc.pass(SECOND);
    expect([rtc.read(ALARM_STATUS), line]).toEqual([0, true]);
    rtc.write(CLEAR_INTERRUPT, 1n);
    expect(line).toBe(false);
    rtc.pass(5n * SECOND);
    expect(line).toBe(false);
  });

  test('an alarm in the past rings at once; without irq_enabled it waits for that', () => {
    const rtc = makeRtc(shared);
    rtc.setAlarm(START - 1n);
    expect(line).toBe(true);
    rtc.write(IRQ_ENABLED, 0n);
    expect(line).toBe(false);
    rtc.write(IRQ_ENABLED, 1n);
    expect(line).toBe(true);
  });

  test('a cleared alarm does not ring', () => {
    const rtc = makeRtc(shared);
    rtc.setAlarm(START + SECOND);
    rtc.write(CLEAR_ALARM, 1n);
    expect(rtc.read(ALARM_STATUS)).toBe(0);
    rtc.pass(3n * SECOND);
    expect(line).toBe(false);
  });

  test('a reset ends the alarm and leaves the time that the guest set', () => {
    const rtc = makeRtc(shared);
    rtc.setTime(123n * SECOND);
    rtc.setAlarm(124n * SECOND);
    rtc.device.reset();
    rtc.pass(2n * SECOND);
    expect([rtc.time(), line]).toEqual([125n * SECOND, false]);
  });

  test('an alarm rings at the destination', () => {
    const source = makeRtc(shared);
    source.setAlarm(START + 3n * SECOND);
    source.pass(SECOND);
    const target = makeRtc(shared, START + SECOND);
    target.device.state.prepare(source.device.state.save())();
    expect(target.time()).toBe(START + SECOND);
    target.pass(2n * SECOND);
    expect(line).toBe(true);
  });
});

test('an alarm that came due on the way rings when the machine runs, and not while its state is loaded', () => {
  const source = makeRtc(true);
  source.setAlarm(START + SECOND);
  const target = makeRtc(true, START + 60n * SECOND);
  target.device.state.prepare(source.device.state.save())();
  expect(line).toBe(false);
  target.pass(SECOND / 4n);
  expect(line).toBe(true);
});

test('after a migration a clock that follows the host’s is as far ahead as before, however long it took', () => {
  const source = makeRtc(true);
  source.setTime(START + 3600n * SECOND);
  const target = makeRtc(true, START + 60n * SECOND);
  target.device.state.prepare(source.device.state.save())();
  expect(target.time()).toBe(START + 3660n * SECOND);
});

test('an alarm whose time came while the machine stood still rings within a second', () => {
  const rtc = makeRtc(true);
  rtc.setAlarm(START + 100n * SECOND);
  rtc.host.now += 200n * SECOND;
  rtc.pass(SECOND);
  expect(line).toBe(true);
});
