import { expect, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import { GodwitError } from '../../src/error.ts';
import { Bandwidth } from '../../src/migration/bandwidth.ts';
import { decide, isWorthSprinting, mixOf, timeLeft, WHOLE_PAGES } from '../../src/migration/convergence.ts';
import { Interrupt } from '../../src/migration/interrupt.ts';
import { noPages } from '../../src/migration/page-counts.ts';
import { changedParameters, DEFAULT_PARAMETERS } from '../../src/migration/parameters.ts';
import { RateLimiter } from '../../src/migration/rate-limiter.ts';
import { VirtualTime } from './virtual-time.ts';

const MiB = 1024 * 1024;

/** Sends frames of `size` bytes for `ms` of virtual time; returns the bytes sent. */
async function send(time: VirtualTime, limiter: RateLimiter, size: number, ms: number): Promise<number> {
  const interrupt = new Interrupt(time);
  const end = time.nowNs() + ms * 1e6;
  let sent = 0;
  for (;;) {
    await limiter.ready(interrupt);
    if (time.nowNs() >= end) return sent;
    limiter.charge(size);
    sent += size;
    time.spend(1000);
  }
}

test.each([
  [1_000_000, 4096],
  [3_000_000, 262_144],
  [100_000, 262_144],
])('a cap of %i bytes/s holds with frames of %i bytes', async (rate, size) => {
  const time = new VirtualTime();
  const sent = await time.run(send(time, new RateLimiter(time, rate), size, 20_000));
  expect(sent).toBeGreaterThan(rate * 20 * 0.98 - size);
  expect(sent).toBeLessThan(rate * 20 * 1.02 + size + rate / 10);
});

test('an idle time is not saved up: after a minute of silence a window carries no more than ever', async () => {
  const time = new VirtualTime();
  const limiter = new RateLimiter(time, 1_000_000);
  time.spend(60e9);
  expect(await time.run(send(time, limiter, 10_000, 99))).toBe(100_000);
});

test('a changed cap wakes who waits, at once; an interruption too', async () => {
  const time = new VirtualTime();
  const limiter = new RateLimiter(time, 1000);
  const interrupt = new Interrupt(time);
  limiter.charge(1_000_000);
  const start = time.nowNs();
  const waiting = limiter.ready(interrupt);
  limiter.setRate(0);
  expect(await waiting).toBe(0);
  expect(time.nowNs()).toBe(start);
  limiter.setRate(1000);
  limiter.charge(1_000_000);
  const stopped = limiter.ready(interrupt);
  interrupt.fire(new GodwitError('cancelled', 'enough'));
  await expect(stopped).rejects.toThrow('enough');
  expect(time.timers).toBe(0);
});

test('no cap, no wait', async () => {
  const clock = new ManualClock();
  const limiter = new RateLimiter(clock, 0);
  limiter.charge(1e12);
  expect(await limiter.ready(new Interrupt(new VirtualTime()))).toBe(0);
  expect(limiter.budget).toBe(Infinity);
});

test('what takes time and sends nothing, as zero pages do, says nothing of the connection', () => {
  const bandwidth = new Bandwidth();
  expect(bandwidth.forPause).toBeUndefined();
  bandwidth.add(0, 0, 30e6, 0);
  bandwidth.add(0, 0, 150e6, 0);
  expect(bandwidth.forPause).toBeUndefined();
  bandwidth.add(4e6, 1000, 40e6, 0);
  expect(bandwidth.forPause).toBe(100e6);
});

test('bandwidth for the pause leaves out waits for the cap, once 100 ms of sending are gathered', () => {
  const bandwidth = new Bandwidth();
  expect(bandwidth.forPause).toBeUndefined();
  // 1 MB in 1 ms, then a wait of 99 ms: 10 MB/s as time passes, 1 GB/s while sending.
  for (let i = 0; i < 99; i++) bandwidth.add(1e6, 250, 1e6, 99e6);
  expect(bandwidth.throughput).toBeCloseTo(10e6, -3);
  expect(bandwidth.forPause).toBeCloseTo(10e6, -3);
  expect(bandwidth.pagesPerSecond).toBeCloseTo(2500, 0);
  bandwidth.add(1e6, 250, 1e6, 99e6);
  expect(bandwidth.forPause).toBeCloseTo(1e9, -5);
  expect(bandwidth.throughput).toBeCloseTo(10e6, -3);
});

test('what the buffers on the way can not have swallowed shows the capacity sooner', () => {
  const bandwidth = new Bandwidth();
  const burst = (waitedNs: number): void => {
    bandwidth.add(MiB, 256, 2e6, waitedNs);
    for (let i = 1; i < 12; i++) bandwidth.add(MiB, 256, 2e6, 1000);
  };
  for (let i = 0; i < 7; i++) bandwidth.add(MiB, 256, 2e6, 0);
  expect(bandwidth.shown).toBeUndefined();
  bandwidth.add(MiB, 256, 2e6, 0);
  expect(bandwidth.shown).toBeCloseTo((4 * MiB) / 0.016, 0);
  for (let i = 8; i < 12; i++) bandwidth.add(MiB, 256, 2e6, 0);
  burst(76e6);
  expect(bandwidth.shown).toBeCloseTo((16 * MiB) / 0.048, 0);
  expect(bandwidth.forPause).toBe(bandwidth.shown);
  expect(bandwidth.known).toBeUndefined();
  burst(76e6);
  burst(76e6);
  burst(76e6);
  expect(bandwidth.known).toBeCloseTo(MiB / 0.002, 0);
  expect(bandwidth.shown).toBe(bandwidth.known);

  const held = new Bandwidth();
  for (let i = 0; i < 90; i++) held.add(MiB, 256, 1e6, 99e6);
  expect(held.shown, 'a cap that the buffers swallow').toBeUndefined();
});

test('zero pages say nothing about the link', () => {
  const bandwidth = new Bandwidth();
  bandwidth.add(100e6, 25_000, 100e6, 0);
  for (let i = 0; i < 10; i++) bandwidth.add(100, 8192, 50e6, 0);
  expect(bandwidth.forPause).toBeCloseTo(1e9, -5);
  expect(bandwidth.throughput).toBeLessThan(1e6);
});

test('a wait for the other side is counted with the bytes that come next, not as a connection that stands still', () => {
  const bandwidth = new Bandwidth();
  bandwidth.add(100e6, 25_000, 100e6, 0);
  bandwidth.add(58, 0, 150e6, 0);
  expect(bandwidth.forPause).toBeCloseTo(1e9, -5);
  bandwidth.add(50e6, 12_500, 50e6, 0);
  expect(bandwidth.forPause).toBeCloseTo(250e6, -4);
  // One that does is slow all the same.
  bandwidth.add(4096, 1, 1000e6, 0);
  expect(bandwidth.forPause).toBeCloseTo(4096, 0);
});

const outlook = {
  pendingPages: 10_000,
  mix: WHOLE_PAGES,
  compactPageNs: 1000,
  diskBytes: 0,
  stateBytes: 40_000,
  syncMs: 1,
  bandwidth: 100e6,
  downtimeLimitMs: 300,
};

test('the guest is stopped when what would really be sent fits the limit', () => {
  expect(decide(outlook)).toEqual({ remainingBytes: 41_000_000, expectedDowntimeMs: 411, converged: false });
  expect(decide({ ...outlook, downtimeLimitMs: 411 }).converged).toBe(true);
  expect(decide({ ...outlook, pendingPages: 0, bandwidth: 1, downtimeLimitMs: 0 }).converged).toBe(true);
});

test('pages that are hardly sent take the time to find that out', () => {
  // The same pages, small deltas: 0.9 ms to send with the state, 10 ms to encode, 1 ms to stop.
  const deltas = { ...outlook, mix: mixOf({ ...noPages(), delta: 100, deltaBytes: 500 }, WHOLE_PAGES) };
  expect(decide(deltas)).toEqual({ remainingBytes: 90_000, expectedDowntimeMs: 11.9, converged: true });
  expect(decide({ ...deltas, compactPageNs: 40_000 }).converged).toBe(false);
});

test('what pages take is told by kind: nothing if equal or zero, a delta, or all of a page', () => {
  const mix = mixOf(
    { ...noPages(), zero: 10, equal: 20, delta: 30, deltaBytes: 3000, whole: 40 },
    WHOLE_PAGES,
  );
  expect(mix.bytesPerPage).toBeCloseTo(30 + 0.4 * 4096);
  expect(mix.compactShare).toBeCloseTo(0.6);
  expect(mixOf(noPages(), mix)).toBe(mix);
});

test('the time left counts passes until the rest fits, and knows when none will do', () => {
  const progress = {
    pendingPages: 25_000,
    diskBytes: 0,
    dirtyPages: 0,
    dirtyPagesPerSecond: 12_500,
    totalPages: 100_000,
    throughput: 102_400_000, // 25,000 pages/s
    compactPageNs: 0,
    passMix: WHOLE_PAGES,
    mix: WHOLE_PAGES,
  };
  const pause = (pages: number) => ({ expectedDowntimeMs: pages / 25, converged: pages / 25 <= 130 });
  // 1 s, 0.5 s and 0.25 s leave 3,125 pages: 125 ms.
  expect(timeLeft(progress, pause)).toBeCloseTo(1875);
  expect(timeLeft({ ...progress, dirtyPagesPerSecond: 25_000 }, pause)).toBeUndefined();
  expect(timeLeft({ ...progress, throughput: 0 }, pause)).toBeUndefined();
  // In deltas, the same guest is caught after this pass.
  const mix = mixOf({ ...noPages(), delta: 100, deltaBytes: 500 }, WHOLE_PAGES);
  const fast = (pages: number) => ({ expectedDowntimeMs: pages / 1000, converged: true });
  expect(timeLeft({ ...progress, dirtyPagesPerSecond: 25_000, mix }, fast)).toBeCloseTo(1025);
});

test('parameters out of range change nothing', () => {
  expect(changedParameters(DEFAULT_PARAMETERS, { maxBandwidth: 0 })).toEqual({
    ...DEFAULT_PARAMETERS,
    maxBandwidth: 0,
  });
  expect(() => changedParameters(DEFAULT_PARAMETERS, { downtimeLimitMs: -1 })).toThrow(
    'downtimeLimitMs: expected 0 to 2000000, got -1',
  );
  expect(() => changedParameters(DEFAULT_PARAMETERS, { maxBandwidth: Number.NaN })).toThrow(GodwitError);
});

test('what a window has left may be sent at once; without a cap, all', () => {
  const clock = new ManualClock();
  const limiter = new RateLimiter(clock, 1_000_000);
  expect(limiter.room).toBe(100_000);
  limiter.charge(70_000);
  expect(limiter.room).toBe(30_000);
  limiter.charge(70_000);
  expect(limiter.room).toBe(0);
  clock.advance(100e6);
  expect(limiter.room).toBe(60_000);
  expect(new RateLimiter(clock, 0).room).toBe(Infinity);
});

test.each([
  { what: 'is worth its time', worth: true },
  { what: 'is none for a short pause', pauseMs: 10, worth: false },
  { what: 'is none without a cap, which is another pass', room: Infinity, worth: false },
  { what: 'is none for a small part of the rest', room: 2 * MiB, worth: false },
  { what: 'is none for a guest that writes as fast', dirty: 150 * MiB, worth: false },
])('what may be sent before a wait, while the guest could be stopped, $what', (setting) => {
  const { pauseMs = 40, room = 4 * MiB, dirty = 50 * MiB, worth } = setting;
  const decision = { remainingBytes: 10 * MiB, expectedDowntimeMs: pauseMs, converged: true };
  expect(isWorthSprinting(decision, room, dirty)).toBe(worth);
});
