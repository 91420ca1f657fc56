/** Rescue between processes: the destination dies in post-copy, and the guest goes on at the source, from a checkpoint. */
import { truncateSync, writeFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import type { JsonObject } from '../../src/monitor/json-text.ts';
import { guest } from '../support/guests.ts';
import { abViolations, readSavedGuest } from '../support/saved-guest.ts';
import { type Bench, poll, test, type VmProcess } from '../support/vm-process.ts';

const MiB = 1024 * 1024;
const START = 0x8040_0000;

const set = (vm: VmProcess, state: boolean, ...names: string[]) =>
  vm.execute('migrate-set-capabilities', {
    capabilities: names.map((capability) => ({ capability, state })),
  });

/** A guest that has been sent on its way in post-copy, and of which there are some checkpoints. */
async function onItsWay(bench: Bench, args: readonly string[], line: RegExp, more: JsonObject = {}) {
  const path = bench.path('link');
  const source = await bench.start(args);
  const target = await bench.start(['-incoming', `unix:${path}`]);
  await set(source, true, 'postcopy-ram', 'postcopy-rescue');
  await set(target, true, 'postcopy-ram');
  await source.execute('migrate-set-parameters', {
    'max-postcopy-bandwidth': MiB / 16,
    'postcopy-rescue-interval': 100,
    ...more,
  });
  await source.waitForLine(line);
  await source.execute('migrate', { uri: `unix:${path}` });
  await source.execute('migrate-start-postcopy');
  await target.waitForEvent('MIGRATION', 'postcopy-active');
  return { source, target };
}

/** Waits until the source has so many checkpoints. */
const checkpoints = (source: VmProcess, count: number) =>
  poll(async () => (((await source.migration()).rescue?.checkpoints ?? 0) >= count ? true : undefined));

/** The destination's process dies, and the user takes the guest back. */
async function rescue(source: VmProcess, target: VmProcess): Promise<string> {
  const from = source.events.length;
  await target.kill('SIGKILL');
  await source.waitForEvent('MIGRATION', 'postcopy-paused', from);
  await expect(source.execute('cont')).rejects.toThrow('Migration is not finalized yet');
  await source.execute('migrate-rescue');
  await source.waitForEvent('RESUME', undefined, from);
  expect(await source.migrationEnd(from)).toBe('failed');
  expect(await source.status()).toBe('running');
  return String((await source.migration())['error-desc']);
}

describe('the destination is killed', () => {
  const guests = [
    ['dirty', guest('dirty', 'size=4M words=512 report=20', '64M')],
    ['smp', guest('smp', 'size=2M rate=20000 report=20', '64M', '-smp', '4')],
  ] as const;
  for (const [name, args] of guests) {
    test(`${name} goes on at the source from the last checkpoint, and can migrate again`, async ({
      bench,
    }) => {
      const line = new RegExp(`^${name} (\\d+) `);
      const { source, target } = await onItsWay(bench, args, line);
      await target.waitForNewLine(line);
      await checkpoints(source, 3);
      await target.waitForNewLine(line);
      const { rescue: there } = await target.migration();
      expect(there?.['pause-mean']).toBeGreaterThan(0);
      expect(there?.pages).toBeGreaterThan(0);
      const before = Number(line.exec(source.lines().at(-1) ?? '')?.[1]);
      const at = source.stdout.text.length;
      expect(await rescue(source, target)).toMatch(
        /^the destination was lost: the guest goes on here from checkpoint \d+, \d+(\.\d+)? s ago$/,
      );
      const last = Number(line.exec(target.lines().findLast((each) => line.test(each)) ?? '')?.[1]);
      await source.waitForLine(line, at);
      await source.waitForNewLine(line);
      // The first of them may be the end of a line that the destination began.
      const numbers = source
        .lines(at)
        .slice(1)
        .map((each) => Number(line.exec(each)?.[1]));
      const [first = 0] = numbers;
      expect(numbers).toEqual(numbers.map((_, i) => first + i));
      // Nothing is left out; what the destination said since the checkpoint is said again.
      expect(first).toBeGreaterThan(before);
      expect(first).toBeLessThanOrEqual(last + 2);
      // It has its memory and its life: it can go where it wants.
      const link = `unix:${bench.path('again')}`;
      const other = await bench.start(['-incoming', link]);
      await set(source, false, 'postcopy-ram', 'postcopy-rescue');
      const from = source.events.length;
      await source.execute('migrate', { uri: link });
      expect(await source.migrationEnd(from)).toBe('completed');
      expect((await other.waitForNewLine(line))[0]).not.toContain('ERROR');
    });
  }

  test('ab: what stands in memory is of one instant', async ({ bench }) => {
    const args = guest('ab', 'size=4M report=10', '64M');
    const { source, target } = await onItsWay(bench, args, /^ab sweep 10$/);
    await checkpoints(source, 5);
    await rescue(source, target);
    await source.execute('stop');
    await set(source, false, 'postcopy-ram', 'postcopy-rescue');
    const file = bench.path('saved');
    const from = source.events.length;
    await source.execute('migrate', { uri: `file:${file}` });
    expect(await source.migrationEnd(from)).toBe('completed');
    expect(abViolations(await readSavedGuest(file), START, START + 4 * MiB)).toEqual([]);
  });

  test('before the first checkpoint: it goes on as it was handed over', async ({ bench }) => {
    const never = { 'postcopy-rescue-interval': 1_000_000 };
    const { source, target } = await onItsWay(
      bench,
      guest('dirty', 'size=4M words=512 report=20', '64M'),
      /^dirty 3 /,
      never,
    );
    const at = source.stdout.text.length;
    expect(await rescue(source, target)).toMatch(/goes on here from the hand-over, /);
    await source.waitForLine(/^dirty \d+ /, at);
    const numbers = [...source.stdout.text.matchAll(/^dirty (\d+) .*\n/gm)].map(([, n]) => Number(n));
    expect(numbers).toEqual(numbers.map((_, i) => i + 1));
  });
});

describe('refused', () => {
  test('where nothing is to be taken up', async ({ bench }) => {
    const { source, target } = await onItsWay(
      bench,
      guest('ab', 'size=4M report=10', '64M'),
      /^ab sweep 10$/,
    );
    const needs =
      'migrate-rescue needs a paused post-copy that was begun with the capability postcopy-rescue';
    await expect(source.execute('migrate-rescue')).rejects.toThrow(needs);
    await expect(target.execute('migrate-rescue')).rejects.toThrow(needs);
    const { source: other } = { source: await bench.start(guest('ticks', 'interval=20')) };
    await expect(other.execute('migrate-rescue')).rejects.toThrow(needs);
  });

  test('where a checkpoint would not be all of the guest: a disk that it writes', async ({ bench }) => {
    const disk = bench.path('disk');
    writeFileSync(disk, '');
    truncateSync(disk, MiB);
    const vm = await bench.start([
      ...guest('disk', 'size=1M report=20'),
      ...['-drive', `file=${disk},format=raw,if=none,id=d`, '-device', 'virtio-blk-device,drive=d'],
    ]);
    const uri = `unix:${bench.path('nobody')}`;
    await set(vm, true, 'postcopy-rescue');
    await expect(vm.execute('migrate', { uri })).rejects.toThrow("'postcopy-rescue' needs 'postcopy-ram'");
    await set(vm, true, 'postcopy-ram');
    await expect(vm.execute('migrate', { uri })).rejects.toThrow(
      "postcopy-rescue can't be with a disk that can be written ('d')",
    );
  });
});
