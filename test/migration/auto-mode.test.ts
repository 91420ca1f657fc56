import { expect, test } from 'vitest';
import { type Ahead, AutoMode, type Observation } from '../../src/migration/auto-mode.ts';
import { FakeSourceVm } from './fake-vm.ts';
import { checkSafe, done, migrate } from './harness.ts';
import { VirtualTime } from './virtual-time.ts';

const MiB = 1024 * 1024;
const start = { xbzrle: false, xbzrleCacheSize: 64 * MiB, autoConverge: false };

/** After a pass over a guest of 256 MiB that keeps 64 MiB of it dirty, at 128 MiB/s. */
const seen: Observation = {
  pass: 1,
  pendingPages: 16_384,
  totalPages: 65_536,
  expectedDowntimeMs: 500,
  downtimeLimitMs: 300,
  converged: false,
  throughput: 128 * MiB,
  capacity: 200 * MiB,
  shown: true,
  probed: undefined,
  found: { pages: 0, bytes: 0, pageNs: 2000 },
  missed: 0,
  throttle: 0,
  maxThrottle: 99,
  postcopy: false,
};

const ahead: Ahead = { pass: 2, pages: 16_384, expectedDowntimeMs: 500, downtimeLimitMs: 300 };

test('deltas are switched on when they will be small, off when they are not, and the reason is said', () => {
  const auto = new AutoMode(start);
  expect(auto.observe({ ...seen, probed: { pages: 100, bytes: 405_000, pageNs: 2000 } })).toBe(
    'pass 1: delta ratio 1.0:1 at 128 MiB/s, no deltas',
  );
  expect(auto.choice).toMatchObject({ xbzrle: false, autoConverge: false });
  // Nothing new is known: what was, holds.
  expect(auto.observe({ ...seen, pass: 2 })).toBeUndefined();
  expect(auto.observe({ ...seen, pass: 3, probed: { pages: 100, bytes: 6_715, pageNs: 2000 } })).toBe(
    'pass 3: 64 MiB pending, delta ratio 61:1, xbzrle on, cache 64 MiB',
  );
  expect(auto.choice).toMatchObject({ xbzrle: true, xbzrleCacheSize: 64 * MiB });
  expect(auto.observe({ ...seen, pass: 4, missed: 16_384 }), 'the cache is being filled').toBeUndefined();
  const poor = { pages: 10_000, bytes: 10_000 * 4000, pageNs: 2000 };
  expect(auto.observe({ ...seen, pass: 5, found: poor })).toBe(
    'pass 5: delta ratio 1.0:1 at 128 MiB/s, xbzrle off',
  );
  expect(auto.choice.xbzrle).toBe(false);
});

test('what fits the pause as it is needs no deltas that take longer to make', () => {
  const probed = { pages: 100, bytes: 150_000, pageNs: 6000 };
  const fits = { ...seen, capacity: 600 * MiB, expectedDowntimeMs: 320 };
  expect(new AutoMode(start).observe({ ...fits, probed })).toBe(
    'pass 1: delta ratio 2.7:1 at 600 MiB/s, no deltas',
  );
  const auto = new AutoMode(start);
  expect(auto.observe({ ...seen, probed })).toContain('xbzrle on');
  expect(auto.observe({ ...fits, pass: 2, missed: 16_384 })).toBe(
    'pass 2: delta ratio 2.7:1 at 600 MiB/s, xbzrle off',
  );
  expect(
    new AutoMode(start).observe({ ...fits, probed: { ...probed, pageNs: 9000, bytes: 2000 } }),
  ).toContain('no deltas');
  expect(
    new AutoMode(start).observe({ ...fits, probed: { pages: 100, bytes: 2000, pageNs: 2000 } }),
  ).toContain('xbzrle on');
});

test('what may fit the pause gets no deltas before it is known what the connection carries', () => {
  const probed = { pages: 100, bytes: 2000, pageNs: 2000 };
  const auto = new AutoMode(start);
  expect(auto.observe({ ...seen, shown: false, probed })).toBeUndefined();
  expect(auto.learn({ throughput: 128 * MiB, capacity: 150 * MiB })).toBe(
    'pass 2: 64 MiB pending, delta ratio 205:1, xbzrle on, cache 64 MiB',
  );
  expect(auto.learn({ throughput: 128 * MiB, capacity: 150 * MiB }), 'once').toBeUndefined();

  const swift = new AutoMode(start);
  swift.observe({ ...seen, shown: false, probed });
  expect(swift.learn({ throughput: 128 * MiB, capacity: 600 * MiB })).toBeUndefined();
  expect(swift.choice.xbzrle).toBe(false);

  const large = { ...seen, pendingPages: 131_072, totalPages: 262_144, shown: false, probed };
  expect(new AutoMode(start).observe(large), 'too much for any').toContain('xbzrle on');
});

test('as long as nothing is known, deltas are tried', () => {
  const auto = new AutoMode(start);
  const why = 'pass 1: 64 MiB pending, deltas not known yet, xbzrle on, cache 64 MiB';
  expect(auto.observe({ ...seen, probed: { pages: 3, bytes: 9000, pageNs: 2000 } })).toBe(why);
});

test('deltas that take longer to make than to send whole pages are left', () => {
  const auto = new AutoMode(start);
  const probed = { pages: 100, bytes: 1000, pageNs: 2000 };
  expect(auto.observe({ ...seen, probed, throughput: 3000 * MiB })).toContain('no deltas');
  expect(auto.choice.xbzrle).toBe(false);
  expect(auto.observe({ ...seen, probed, throughput: 1000 * MiB })).toContain('xbzrle on');
});

test('the cache holds what is pending, and grows when pages are not found in it', () => {
  const auto = new AutoMode({ ...start, xbzrleCacheSize: MiB });
  auto.observe(seen);
  expect(auto.choice.xbzrleCacheSize).toBe(64 * MiB);
  const missing = { ...seen, found: { pages: 6000, bytes: 30_000, pageNs: 2000 }, missed: 4000 };
  expect(auto.observe({ ...missing, pass: 2 })).toBeUndefined();
  expect(auto.observe({ ...missing, pass: 3 })).toBe(
    'pass 3: 40 % of the pages not in the cache, cache 128 MiB',
  );
  expect(auto.observe({ ...missing, pass: 4 })).toContain('cache 256 MiB');
  expect(auto.observe({ ...missing, pass: 5 }), 'as large as the guest').toBeUndefined();
  expect(auto.observe({ ...missing, pass: 6 })).toBe(
    'pass 6: 64 MiB are pending again: the guest may be throttled',
  );
});

test('a host without memory for the cache goes without deltas', () => {
  const auto = new AutoMode(start);
  auto.observe(seen);
  auto.withoutMemory();
  expect(auto.choice.xbzrle).toBe(false);
  expect(auto.observe({ ...seen, probed: { pages: 100, bytes: 1000, pageNs: 2000 } })).toBeUndefined();
  expect(auto.choice.xbzrle).toBe(false);
});

test('a guest is throttled only if the pass under way will leave more than fits the pause', () => {
  const auto = new AutoMode(start);
  expect(auto.foresee({ ...ahead, expectedDowntimeMs: 299 })).toBeUndefined();
  expect(auto.choice.autoConverge).toBe(false);
  expect(auto.foresee(ahead)).toBe('pass 2: 64 MiB would be left, expected pause 500 ms of 300 ms');
  expect(auto.choice.autoConverge).toBe(true);
  expect(auto.foresee(ahead), 'once').toBeUndefined();
});

test('passes that change nothing lead to the throttle, and that to post-copy if it is allowed', () => {
  const auto = new AutoMode(start);
  const whole = { ...seen, probed: { pages: 100, bytes: 405_000, pageNs: 2000 } };
  for (const pass of [1, 2, 3]) auto.observe({ ...whole, pass });
  expect(auto.observe({ ...whole, pass: 4, pendingPages: 12_000 }), 'it falls').toBeUndefined();
  expect(auto.observe({ ...whole, pass: 5, pendingPages: 12_000 })).toBe(
    'pass 5: 47 MiB are pending again: the guest may be throttled',
  );
  const slowed = { ...whole, pendingPages: 12_000, postcopy: true };
  expect(auto.observe({ ...slowed, pass: 6, throttle: 80 })).toBeUndefined();
  expect(auto.observe({ ...slowed, pass: 7, throttle: 99 })).toBeUndefined();
  expect(auto.postcopy).toBe(false);
  expect(auto.observe({ ...slowed, pass: 8, throttle: 99, postcopy: false }), 'not allowed').toBeUndefined();
  expect(auto.observe({ ...slowed, pass: 9, throttle: 99 })).toBe(
    'pass 9: 47 MiB are pending again at a throttle of 99 %: post-copy',
  );
  expect(auto.postcopy).toBe(true);
});

test('a migration in auto mode sends deltas, and tells of each decision', async () => {
  const outcome = await migrate({ parameters: { auto: true }, nsPerPage: 5000, passes: 5 });
  checkSafe(outcome);
  expect(outcome.sent).toBeUndefined();
  const { passes = [], ...info } = outcome.sender.info();
  const decisions = (info.decisions ?? []).map(({ text }) => text);
  expect(decisions[0]).toMatch(/^pass 1: \d+ KiB pending, .*, xbzrle on, cache 64 MiB$/);
  expect(decisions.at(-1)).toMatch(
    /^pass 5: \d+ KiB pending, expected pause \d+ ms of 1000 ms: the guest stops$/,
  );
  expect(outcome.events.flatMap((event) => (event.event === 'decision' ? [event.text] : []))).toEqual(
    decisions,
  );
  expect(passes.some(({ deltaPages }) => deltaPages > 0)).toBe(true);
  done(outcome);
});

test('a guest whose pages no delta makes smaller is throttled in the middle of a pass, and let go', async () => {
  const time = new VirtualTime();
  const source = new FakeSourceVm(time, { nsPerPage: 100_000 });
  source.guest.scrambles = true;
  const link = { rate: 4e6 };
  const outcome = await migrate({ time, source, link, parameters: { auto: true, downtimeLimitMs: 20 } });
  checkSafe(outcome);
  expect(outcome.sent).toBeUndefined();
  const decisions = (outcome.sender.info().decisions ?? []).map(({ text }) => text);
  expect(decisions).toContainEqual(
    expect.stringMatching(/^pass \d+: delta ratio 1\.0:1 at .*, (no deltas|xbzrle off)$/),
  );
  expect(decisions).toContainEqual(
    expect.stringMatching(
      /^pass \d+: \d+ KiB would be left, expected pause \d+ ms of 20 ms: throttle \d+ %$/,
    ),
  );
  expect(Math.max(...source.throttles)).toBeGreaterThan(20);
  expect(source.throttles.at(-1)).toBe(0);
  done(outcome);
});
