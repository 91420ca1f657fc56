import { beforeAll, describe, expect, test } from 'vitest';
import { failingSource } from './failing-source.ts';
import { FakeDestination } from './fake-vm.ts';
import { again, checkSafe, done, migrate, type Outcome } from './harness.ts';
import { KIND_NAMES, KINDS, type Kind } from './kinds.ts';
import type { Faults } from './memory-transport.ts';
import { flipAt, type Place, places } from './places.ts';

const streams = {} as Record<Kind, { forward: Place[]; back: Place[] }>;

beforeAll(async () => {
  for (const kind of KIND_NAMES) {
    const clean = await migrate(KINDS[kind]);
    expect(clean.sent).toBeUndefined();
    const whole = (pieces: Uint8Array[]): Place[] => places(new Uint8Array(Buffer.concat(pieces)));
    const all = { forward: whole(clean.link.forward.log), back: whole(clean.link.back.log) };
    expect(all.forward.length).toBeGreaterThan(30);
    expect(all.back.length).toBeGreaterThan(10);
    // What the kinds have in common is tried once.
    const own = (list: Place[]): Place[] =>
      kind === 'plain' ? list : list.filter(({ what }) => /ram|after everything/.test(what));
    streams[kind] = { forward: own(all.forward), back: own(all.back) };
    const { passes = [] } = clean.sender.info();
    const deltas = passes.filter(({ deltaPages }) => deltaPages > 0);
    if (kind === 'xbzrle') expect(deltas.length, 'passes with deltas').toBeGreaterThan(1);
    else expect(deltas).toEqual([]);
    done(clean);
  }
});

const DIRECTIONS = ['forward', 'back'] as const;
const CASES = [
  ...DIRECTIONS.map((direction) => ['plain', direction] as const),
  ['xbzrle', 'forward'] as const,
];

describe.each(CASES)('%s, the %s direction', (kind, direction) => {
  const run = (faults: Faults): Promise<Outcome> =>
    migrate({ ...KINDS[kind], link: { [direction]: faults } });

  test.each(['end', 'reset'] as const)(
    'cut at and inside every frame (%s): exactly one side runs',
    async (cutAs) => {
      for (const { offset, what } of streams[kind][direction]) {
        const outcome = await run({ cutAt: offset, cutAs });
        try {
          checkSafe(outcome);
          if (what === 'after everything') {
            expect(outcome.destination.running).toBe(true);
          } else if (direction === 'forward') {
            // Without a whole "go" the destination never runs; the source only knows until it has begun to say it.
            expect(outcome.destination.started).toBeUndefined();
            const saying = /in the header of go/.test(what) || what === 'before go';
            if (!saying) expect(outcome.source.running, 'the source runs').toBe(true);
          } else {
            // "before running" is also right after "ready": the source hears of the cut before it says "go".
            const told = what === 'in the header of running';
            expect(outcome.destination.running, 'the destination runs').toBe(told);
            expect(outcome.source.running, 'the source runs').toBe(!told);
          }
          if (outcome.destination.started === undefined) await again(outcome, KINDS[kind]);
          else done(outcome);
        } catch (error) {
          throw new Error(`cut ${what} (byte ${offset}): ${(error as Error).message}`, { cause: error });
        }
      }
    },
  );

  test('stalled at and inside every frame: given up after the time that was set', async () => {
    for (const { offset, what } of streams[kind][direction].slice(0, -1)) {
      const outcome = await run({ stallAt: offset });
      try {
        checkSafe(outcome);
        const told = direction === 'back' && /running/.test(what);
        expect(outcome.sent?.message).toMatch(
          /the other side did not .* within 5000 ms|the destination f?.*failed|closed the connection|the end of the stream/,
        );
        expect(outcome.destination.running).toBe(told);
        expect(outcome.time.nowNs()).toBeLessThan(12_000e6);
        if (!told && outcome.source.running) await again(outcome, KINDS[kind]);
        else done(outcome);
      } catch (error) {
        throw new Error(`stalled ${what} (byte ${offset}): ${(error as Error).message}`, { cause: error });
      }
    }
  });

  test('a frame that comes twice is found, and the guest stays where it is', async () => {
    for (const { offset, what, end } of streams[kind][direction]) {
      if (end === undefined) continue;
      const outcome = await run({ repeat: [offset, end] });
      try {
        checkSafe(outcome);
        // Behind the last frame, nobody listens.
        const late = what === 'before go' || what === 'before running';
        if (!late) expect(outcome.source.running, 'the source runs').toBe(true);
        done(outcome);
      } catch (error) {
        throw new Error(`twice, ${what} (byte ${offset}): ${(error as Error).message}`, { cause: error });
      }
    }
  });

  test('a flipped bit in every frame is found, and the guest stays where it is', async () => {
    for (const { offset, what } of streams[kind][direction].slice(0, -1)) {
      const outcome = await run({ alter: flipAt(offset) });
      try {
        checkSafe(outcome);
        expect(outcome.sent, 'the source fails').toBeDefined();
        if (direction === 'forward') {
          expect(outcome.received?.message).toMatch(/expected .*, got .* \(at byte \d+\)/);
          expect(outcome.destination.started).toBeUndefined();
          // The destination has said that it failed, so even a damaged "go" leaves no doubt.
          expect(outcome.source.running).toBe(true);
        }
        done(outcome);
      } catch (error) {
        throw new Error(`flipped ${what} (byte ${offset}): ${(error as Error).message}`, { cause: error });
      }
    }
  });
});

test.each([
  ['build', 'the destination refuses: build says no'],
  ['checkState', 'the destination refuses: checkState says no'],
  ['loadState', 'the destination failed: loadState says no'],
])('a destination that fails in %s tells why, and the source runs on', async (call, message) => {
  const destination = new FakeDestination();
  destination.failAt = call;
  const outcome = await migrate({ destination });
  checkSafe(outcome);
  expect(outcome.sent?.message).toBe(message);
  expect(outcome.received?.message).toBe(`${call} says no`);
  expect(outcome.statuses.at(-1)).toBe('failed');
  expect(outcome.sender.info()['error-desc']).toBe(message);
  expect(outcome.source.running).toBe(true);
  if (call !== 'loadState') {
    expect(outcome.source.calls, 'refused before RAM moves').not.toContain('startDirtyLog');
    expect(outcome.link.forward.written).toBeLessThan(2000);
  }
  await again(outcome);
});

test('a destination whose guest does not start after "go" says so; the source is not told to run', async () => {
  const destination = new FakeDestination();
  destination.failAt = 'start';
  const outcome = await migrate({ destination });
  expect(outcome.received?.message).toContain('the guest is here and complete, but could not be started');
  expect(outcome.source.running).toBe(false);
  expect(outcome.sent).toBeUndefined();
  done(outcome);
});

test.each(['startDirtyLog', 'syncDirtyLog', 'stop', 'saveState'] as const)(
  'a source whose %s fails takes everything back',
  async (call) => {
    for (let skip = 0; skip < (call === 'syncDirtyLog' ? 4 : call === 'saveState' ? 2 : 1); skip++) {
      let left = skip;
      const outcome = await migrate({
        ...failingSource(call, () => left-- === 0),
      });
      checkSafe(outcome);
      expect(outcome.sent?.message).toBe(`${call} fails`);
      expect(outcome.received?.message).toContain(`${call} fails`);
      expect(outcome.source.running).toBe(true);
      outcome.source.onCall = () => {};
      await again(outcome);
    }
  },
);

test('garbage from the other side is an error with its place, not a hang', async () => {
  for (const garbage of ['HTTP/1.1 400 Bad Request\r\n\r\n', '\0'.repeat(100), 'x']) {
    const outcome = await migrate({
      prepare: ({ link }) => {
        void link.back.write(new TextEncoder().encode(garbage));
        if (garbage.length < 16) link.back.end();
      },
    });
    checkSafe(outcome);
    expect(outcome.sent?.message).toMatch(/stream opening: expected .*, got /);
    expect(outcome.source.running).toBe(true);
    done(outcome);
  }
});
