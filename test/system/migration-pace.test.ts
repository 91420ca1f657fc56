/** A guest that writes too fast for its migration is slowed down, and is as fast as before whatever becomes of it. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect } from 'vitest';
import { pagesPerSecond, untilPace } from '../support/dirty-guest.ts';
import { expectNumbered, guest, joinedConsole } from '../support/guests.ts';
import { type Bench, poll, test, type VmProcess } from '../support/vm-process.ts';

const GODWIT = fileURLToPath(new URL('../../bin/godwit', import.meta.url));
const MiB = 1024 * 1024;

/** Rewrites 32 MiB, whole pages, as fast as it can. */
const FAST = guest('dirty', 'size=32M words=512 report=50', '64M');
/** So little that this guest needs a throttle near the maximum, and a while. */
const NARROW = { 'max-bandwidth': 4 * MiB, 'downtime-limit': 1 };

async function capability(vm: VmProcess, name: string): Promise<void> {
  await vm.execute('migrate-set-capabilities', { capabilities: [{ capability: name, state: true }] });
}

/** A source that has been throttled hard, in a migration to `target` that will take long. */
async function throttled(bench: Bench): Promise<{ source: VmProcess; target: VmProcess; free: number }> {
  const uri = `unix:${bench.path('migration')}`;
  const source = await bench.start(FAST);
  const target = await bench.start(['-incoming', uri]);
  await source.waitForLine(/passes [1-9]/);
  const free = await pagesPerSecond(source);
  await capability(source, 'auto-converge');
  await source.execute('migrate-set-parameters', { ...NARROW, 'max-cpu-throttle': 95 });
  await source.execute('migrate', { uri });
  await poll(async () => ((await source.migration())['cpu-throttle-percentage'] ?? 0) >= 90 || undefined);
  return { source, target, free };
}

describe('the throttle of auto-converge', () => {
  test('gets a guest through that would not end, says so, and is gone at the destination', async ({
    bench,
  }) => {
    const uri = `unix:${bench.path('migration')}`;
    const source = await bench.start([...FAST, '-d', 'migration', '-D', bench.path('log')]);
    const target = await bench.start(['-incoming', uri]);
    await source.waitForLine(/passes [1-9]/);
    const free = await pagesPerSecond(source);
    await capability(source, 'auto-converge');
    // Less than it dirties on any host, more than it does with a throttle of 99 %.
    await source.execute('migrate-set-parameters', {
      'max-bandwidth': 40 * MiB,
      'avail-switchover-bandwidth': 40 * MiB,
    });
    await source.execute('migrate', { uri });
    expect(await source.migrationEnd(), JSON.stringify(await source.migration())).toBe('completed');
    const { decisions = [], ...info } = await source.migration();
    expect(decisions[0]?.text).toMatch(
      /^pass \d+: throttle \d+ %: the guest dirties \d+ MB\/s, \d+ MB\/s are sent$/,
    );
    expect(info).not.toHaveProperty('cpu-throttle-percentage');
    const shown = String(await source.execute('human-monitor-command', { 'command-line': 'info migrate' }));
    expect(shown).toContain(`at ${decisions[0]?.time} ms, ${decisions[0]?.text}`);
    await untilPace(target, (pace) => pace > free / 3);
    await source.quit();
    await target.quit();
    expectNumbered(joinedConsole(source, target), 'dirty');
  });

  test('is lifted when the migration is cancelled', async ({ bench }) => {
    const { source, free } = await throttled(bench);
    await untilPace(source, (pace) => pace < free / 3);
    await source.execute('migrate_cancel');
    expect(await source.migrationEnd()).toBe('cancelled');
    await untilPace(source, (pace) => pace > free / 3);
    expect(await source.migration()).not.toHaveProperty('cpu-throttle-percentage');
    await source.quit();
    expect(source.stdout.text).not.toContain('ERROR');
  });

  test('is lifted when the destination dies', async ({ bench }) => {
    const { source, target, free } = await throttled(bench);
    await target.kill();
    expect(await source.migrationEnd()).toBe('failed');
    await untilPace(source, (pace) => pace > free / 3);
    await source.quit();
    expect(source.stdout.text).not.toContain('ERROR');
  });

  test('and dirty-limit exclude each other', async ({ bench }) => {
    const vm = await bench.start(guest('ticks', ''));
    await capability(vm, 'auto-converge');
    await expect(capability(vm, 'dirty-limit')).rejects.toThrow('dirty-limit conflicts with auto-converge');
  });
});

test('dirty-limit holds the harts to their limit, until the migration is cancelled', async ({ bench }) => {
  const uri = `unix:${bench.path('migration')}`;
  const source = await bench.start(FAST);
  await bench.start(['-incoming', uri]);
  await source.waitForLine(/passes [1-9]/);
  const free = await pagesPerSecond(source);
  await capability(source, 'dirty-limit');
  await source.execute('migrate-set-parameters', { ...NARROW, 'vcpu-dirty-limit': 20 });
  await source.execute('migrate', { uri });
  const limits = () => source.execute('query-vcpu-dirty-limit');
  await poll(async () => ((await limits()) as object[]).length > 0 || undefined);
  expect(await limits()).toMatchObject([{ 'cpu-index': 0, 'limit-rate': 20 }]);
  const { decisions = [] } = await source.migration();
  expect(decisions[0]?.text).toMatch(
    /^pass \d+: each hart is limited to 20 MB\/s: the guest dirties \d+ MB\/s/,
  );
  await untilPace(source, (pace) => pace < 40 * 256);
  await source.execute('migrate_cancel');
  expect(await source.migrationEnd()).toBe('cancelled');
  expect(await limits()).toEqual([]);
  await untilPace(source, (pace) => pace > free / 3);
  await source.quit();
  expect(source.stdout.text).not.toContain('ERROR');
});

describe('a deadline', () => {
  test('is met by a pause, however narrow the link is while the guest runs', async ({ bench }) => {
    const uri = `unix:${bench.path('migration')}`;
    const source = await bench.start(FAST);
    const target = await bench.start(['-incoming', uri]);
    await source.waitForLine(/passes [1-9]/);
    await source.execute('migrate-set-parameters', { 'max-bandwidth': 256 * 1024, deadline: 3000 });
    await source.execute('migrate', { uri });
    expect(await source.migrationEnd()).toBe('completed');
    const info = await source.migration();
    expect(info.decisions?.at(-1)?.text).toMatch(
      /^deadline: .* are left and the rest takes .*: the guest is paused now$/,
    );
    // Whatever a busy host adds: it is less than half of what the memory would take otherwise.
    expect(info['stopped-at']).toBeLessThan(60_000);
    await target.waitForNewLine(/^dirty \d+/);
    await source.quit();
    await target.quit();
    expectNumbered(joinedConsole(source, target), 'dirty');
  });

  test('with on-deadline=postcopy runs the guest there, and sends the rest then', async ({ bench }) => {
    const [from, to] = [bench.path('from'), bench.path('to')];
    const source = await bench.start([...FAST, '-qmp', `unix:${from},server=on,wait=off`]);
    const target = await bench.start(['-incoming', 'defer', '-qmp', `unix:${to},server=on,wait=off`]);
    await source.waitForLine(/passes [1-9]/);
    const free = await pagesPerSecond(source);
    const options = ['--max-bandwidth', '256k', '--deadline', '1.5s', '--on-deadline', 'postcopy'];
    const { stdout } = await promisify(execFile)(process.execPath, [GODWIT, 'migrate', from, to, ...options]);
    expect(stdout).toMatch(/deadline: .* post-copy/);
    expect(source.eventNames()).toContain('MIGRATION postcopy-active');
    const info = await source.migration();
    expect(info.status).toBe('completed');
    expect(info).not.toHaveProperty('cpu-throttle-percentage');
    expect(info['stopped-at']).toBeLessThan(60_000);
    await untilPace(target, (pace) => pace > free / 3);
    await source.quit();
    await target.quit();
    expectNumbered(joinedConsole(source, target), 'dirty');
  });

  test('with on-deadline=postcopy needs the capability', async ({ bench }) => {
    const vm = await bench.start(guest('ticks', ''));
    await vm.execute('migrate-set-parameters', { deadline: 5000, 'on-deadline': 'postcopy' });
    await expect(vm.execute('migrate', { uri: `unix:${bench.path('nobody')}` })).rejects.toThrow(
      "on-deadline=postcopy needs the capability 'postcopy-ram'",
    );
  });

  test('with on-deadline=cancel ends it, and godwit migrate says why', async ({ bench }) => {
    const [from, uri] = [bench.path('from'), `unix:${bench.path('migration')}`];
    const source = await bench.start([...FAST, '-qmp', `unix:${from},server=on,wait=off`]);
    const target = await bench.start(['-incoming', uri]);
    await source.waitForLine(/passes [1-9]/);
    const free = await pagesPerSecond(source);
    const options = ['--max-bandwidth', '256k', '--deadline', '1.5s', '--on-deadline', 'cancel'];
    const run = promisify(execFile)(process.execPath, [GODWIT, 'migrate', from, '--uri', uri, ...options]);
    await expect(run).rejects.toMatchObject({
      code: 1,
      stdout: expect.stringContaining('the deadline of 1.5 s has passed: the migration is given up'),
    });
    expect(await source.status()).toBe('running');
    await untilPace(source, (pace) => pace > free / 3);
    expect((await target.exited()).code).toBe(1);
    await source.quit();
  });
});
