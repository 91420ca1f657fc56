/** A throttled hart gets its share, in pieces so short that nobody outside sees it stand still. */
import { expect, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import { MAX_THROTTLE, Throttle } from '../../src/machine/throttle.ts';

const SLICE = 100_000;

interface Outcome {
  /** Of the time, each hart's. */
  readonly shares: readonly number[];
  /** The longest time for which a hart did not run, in ms. */
  readonly longestPauseMs: number;
}

/** Harts that take `nsPerInstruction` each, in rounds as the machine runs them. */
function simulate(
  fractions: readonly number[],
  options: { nsPerInstruction?: number; preempted?: (n: number) => number; ms?: number } = {},
): Outcome {
  const { nsPerInstruction = 3, preempted = () => 0, ms = 3000 } = options;
  const clock = new ManualClock();
  const throttle = new Throttle(fractions.length, clock, false);
  throttle.set('migration', fractions);
  const ran = fractions.map(() => 0);
  const last = fractions.map(() => 0);
  let longest = 0;
  for (let turns = 0; clock.nowNs() < ms * 1e6; ) {
    let round = 0;
    throttle.beginRound();
    for (const hart of fractions.keys()) {
      const piece = Math.min(SLICE, throttle.beginTurn(hart));
      if (piece > 0) longest = Math.max(longest, clock.nowNs() - (last[hart] as number));
      clock.advance(piece * nsPerInstruction + (piece > 0 ? preempted(turns++) : 0));
      throttle.endTurn(hart, piece);
      if (piece > 0) last[hart] = clock.nowNs();
      ran[hart] = (ran[hart] as number) + piece * nsPerInstruction;
      round += piece;
    }
    throttle.endRound();
    if (round === 0) {
      expect(throttle.pauseNs).toBeGreaterThan(0);
      clock.advance(throttle.pauseNs);
    }
  }
  return { shares: ran.map((ns) => ns / clock.nowNs()), longestPauseMs: longest / 1e6 };
}

test.each([0.2, 0.5, 0.9, 0.99])('a hart that is throttled by %f runs the rest of the time', (fraction) => {
  for (const nsPerInstruction of [0.5, 3, 40]) {
    const { shares, longestPauseMs } = simulate([fraction], { nsPerInstruction });
    expect(shares[0]).toBeGreaterThan((1 - fraction) * 0.97);
    expect(shares[0]).toBeLessThan((1 - fraction) * 1.03);
    expect(longestPauseMs).toBeLessThan(25);
  }
});

test.each([2, 4, 8])('%i harts that are throttled alike share what is left', (harts) => {
  const { shares, longestPauseMs } = simulate(Array.from({ length: harts }, () => 0.8));
  for (const share of shares) expect(share * harts).toBeCloseTo(0.2, 2);
  expect(longestPauseMs).toBeLessThan(25);
});

test('only the throttled hart is slowed down; what it leaves goes to the others', () => {
  const { shares, longestPauseMs } = simulate([0.9, 0]);
  expect(shares[0]).toBeGreaterThan(0.05 * 0.9);
  expect(shares[0]).toBeLessThan(0.05 * 1.1);
  expect(shares[1]).toBeGreaterThan(0.94);
  expect(longestPauseMs).toBeLessThan(45);
});

test('a host that preempts the thread does not make a pause long', () => {
  const { longestPauseMs } = simulate([MAX_THROTTLE], { preempted: (n) => (n % 10 === 0 ? 8e6 : 0) });
  expect(longestPauseMs).toBeLessThan(30);
});

test('a hart in WFI pays while it waits', () => {
  const clock = new ManualClock();
  const throttle = new Throttle(1, clock, false);
  throttle.set('migration', [0.5]);
  throttle.beginRound();
  clock.advance(0.1e6);
  throttle.beginTurn(0);
  clock.advance(1e6);
  throttle.endTurn(0, 1000);
  throttle.endRound();
  expect(throttle.waits(0)).toBe(true);
  expect(throttle.beginTurn(0)).toBe(0);
  expect(throttle.pauseNs).toBe(1e6);
  clock.advance(3e6);
  throttle.beginRound();
  expect(throttle.waits(0)).toBe(false);
  expect(throttle.beginTurn(0)).toBeGreaterThan(0);
});

test('lifted, nothing is owed any more; more than MAX_THROTTLE is not to be had', () => {
  const clock = new ManualClock();
  const throttle = new Throttle(2, clock, false);
  throttle.set('migration', [2, 0.5]);
  expect(throttle.fractions).toEqual([MAX_THROTTLE, 0.5]);
  for (const hart of [0, 1]) {
    throttle.beginTurn(hart);
    clock.advance(1e6);
    throttle.endTurn(hart, 1000);
  }
  expect(throttle.waits(0)).toBe(true);
  throttle.set('migration', []);
  expect(throttle.active).toBe(false);
  expect([0, 1].map((hart) => throttle.waits(hart))).toEqual([false, false]);
  expect(throttle.pauseNs).toBe(0);
});
