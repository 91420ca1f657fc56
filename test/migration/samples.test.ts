import { expect, test } from 'vitest';
import { MAX_SAMPLES, type MigrationSample, Samples } from '../../src/migration/samples.ts';
import { done, migrate } from './harness.ts';
import { VirtualTime } from './virtual-time.ts';

const NOTHING = {
  passes: 0,
  remaining: 0,
  diskRemaining: 0,
  transferred: 0,
  dirtyPagesPerSecond: 0,
  throttle: 0,
  instructions: 0,
};

test('however long a migration takes, samples are bounded, equally far apart, and reach from its start to its end', async () => {
  const time = new VirtualTime();
  const samples = new Samples(time, () => ({ ...NOTHING, ms: time.nowNs() / 1e6 }));
  samples.start();
  await time.run(new Promise<void>((resolve) => time.after(100_000, resolve)));
  samples.stop();
  expect(time.timers).toBe(0);
  const at = samples.list.map(({ ms }) => ms);
  expect(at.length).toBeLessThanOrEqual(MAX_SAMPLES);
  expect(at.length).toBeGreaterThan(MAX_SAMPLES / 4);
  expect(at[0]).toBe(0);
  expect(at.at(-1)).toBe(100_000);
  const distances = new Set(at.slice(1, -1).map((ms, i) => ms - (at[i] ?? 0)));
  expect(distances.size, [...distances].join(' ')).toBeLessThanOrEqual(2);
});

test('a migration is sampled from its first moment to its last', async () => {
  const outcome = await migrate({ parameters: { maxBandwidth: 2_000_000 } });
  const samples = outcome.sender.samples();
  const last = samples.at(-1) as MigrationSample;
  expect(samples.length).toBeGreaterThan(5);
  expect(samples[0]).toMatchObject({ ms: 0, passes: 0, transferred: 0 });
  expect(last).toMatchObject({
    passes: outcome.sender.info().passes?.length,
    transferred: outcome.link.forward.written,
    remaining: 0,
  });
  for (const key of ['ms', 'passes', 'transferred', 'instructions'] as const) {
    const values = samples.map((sample) => sample[key]);
    expect(
      values.every((value, i) => value >= (values[i - 1] ?? 0)),
      key,
    ).toBe(true);
  }
  expect(last.instructions).toBeGreaterThan(0);
  done(outcome);
});
