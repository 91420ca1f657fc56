/** Post-copy between processes: the guest runs at once, its memory comes as it needs it, and nothing that breaks loses it. */
import { existsSync } from 'node:fs';
import { describe, expect } from 'vitest';
import type { JsonObject } from '../../src/monitor/json-text.ts';
import { CuttingProxy, type Fault } from '../support/cutting-proxy.ts';
import { expectNumbered, guest, joinedConsole } from '../support/guests.ts';
import { abViolations, readSavedGuest } from '../support/saved-guest.ts';
import { type Bench, poll, test, type VmProcess } from '../support/vm-process.ts';

const MiB = 1024 * 1024;
/** Where the guests' own memory begins. */
const START = 0x8040_0000;

const capabilities = (vm: VmProcess, ...names: string[]) =>
  vm.execute('migrate-set-capabilities', {
    capabilities: names.map((capability) => ({ capability, state: true })),
  });

const hmp = (vm: VmProcess, line: string) =>
  vm.execute('human-monitor-command', { 'command-line': line }) as Promise<string>;

/** A source that is ready for post-copy, and a destination that listens at `uri`. */
async function pair(
  bench: Bench,
  args: readonly string[],
  parameters: JsonObject = {},
  more: readonly string[] = [],
): Promise<{ source: VmProcess; target: VmProcess; path: string }> {
  const path = bench.path('link');
  const source = await bench.start(args);
  const target = await bench.start(['-incoming', 'defer']);
  await capabilities(source, 'postcopy-ram', ...more);
  await capabilities(target, 'postcopy-ram', 'postcopy-blocktime', ...more);
  await target.execute('migrate-incoming', { uri: `unix:${path}` });
  await source.execute('migrate-set-parameters', parameters);
  return { source, target, path };
}

/** Migrates, in post-copy from the first instant. */
async function moveAtOnce(source: VmProcess, uri: string): Promise<void> {
  await source.execute('migrate', { uri });
  await source.execute('migrate-start-postcopy');
}

/** The slow sweep leaves the guest to ask for what it needs. */
const SLOW = { 'max-postcopy-bandwidth': 2 * MiB };

/** What a guest that has arrived has in its memory. */
async function saved(bench: Bench, vm: VmProcess) {
  const file = bench.path('saved');
  // The source may know before that all is here; what ends the next migration is what comes after that.
  expect(await vm.migrationEnd()).toBe('completed');
  const from = vm.events.length;
  await capabilities(vm, 'events');
  await vm.execute('migrate-set-capabilities', {
    capabilities: [{ capability: 'postcopy-ram', state: false }],
  });
  await vm.execute('migrate', { uri: `file:${file}` });
  expect(await vm.migrationEnd(from)).toBe('completed');
  return await readSavedGuest(file);
}

describe('from the first instant', () => {
  test('a guest that checks every word before it rewrites it', async ({ bench }) => {
    const { source, target, path } = await pair(bench, guest('dirty', 'size=4M words=512 report=20'), SLOW);
    await source.waitForLine(/^dirty 5 /);
    await moveAtOnce(source, `unix:${path}`);
    expect(await source.migrationEnd()).toBe('completed');
    expect(source.eventNames()).toEqual([
      'MIGRATION setup',
      'MIGRATION active',
      'STOP',
      'MIGRATION device',
      'MIGRATION postcopy-active',
      'MIGRATION completed',
    ]);
    expect(await target.migrationEnd()).toBe('completed');
    await target.waitForNewLine(/^dirty \d+/);
    expectNumbered(joinedConsole(source, target), 'dirty');
    const { ram, downtime } = await source.migration();
    expect(ram?.['postcopy-requests']).toBeGreaterThan(10);
    expect(ram?.['postcopy-bytes']).toBeGreaterThan(4 * MiB);
    expect(downtime).toBeGreaterThanOrEqual(0);
    const waits = await target.migration();
    const counted = waits['postcopy-latency-dist']?.reduce((sum, count) => sum + count, 0) ?? 0;
    expect(counted).toBeGreaterThan(10);
    expect(waits['postcopy-latency-median']).toBeGreaterThan(0);
    expect(waits['postcopy-vcpu-blocktime']?.length).toBe(1);
    expect(await hmp(target, 'info migrate')).toMatch(/postcopy latency: mean \d+ us, median \d+ us/);
    expect(await source.status()).toBe('postmigrate');
    await expect(source.execute('cont')).rejects.toThrow('belongs to the migration destination');
  });

  const channels = [[], ['postcopy-preempt']] as const;
  for (const [harts, more] of [1, 2, 4].flatMap((harts) => channels.map((more) => [harts, more] as const))) {
    test(`${harts} harts that share memory and interrupt each other ${more}`, async ({ bench }) => {
      const smp = guest('smp', 'size=2M rate=20000 report=20', '32M', '-smp', String(harts));
      const { source, target, path } = await pair(bench, smp, SLOW, more);
      await source.waitForLine(/^smp 5 /);
      await moveAtOnce(source, `unix:${path}`);
      expect(await target.migrationEnd()).toBe('completed');
      await target.waitForNewLine(/^smp \d+/);
      expectNumbered(joinedConsole(source, target), 'smp');
      expect((await target.migration())['postcopy-vcpu-blocktime']?.length).toBe(harts);
    });
  }

  test('with a second connection for page requests, and over two others after a pause', async ({ bench }) => {
    const path = bench.path('link');
    const source = await bench.start(guest('dirty', 'size=8M words=512 report=20', '64M'));
    const target = await bench.start(['-incoming', 'defer']);
    for (const vm of [source, target]) {
      await expect(capabilities(vm, 'postcopy-preempt')).rejects.toThrow('requires postcopy-ram');
      await capabilities(vm, 'postcopy-ram', 'postcopy-preempt');
    }
    await capabilities(target, 'postcopy-blocktime');
    await target.execute('migrate-incoming', { uri: `unix:${path}` });
    await source.execute('migrate-set-parameters', { 'max-postcopy-bandwidth': MiB / 16 });
    await source.waitForLine(/^dirty 5 /);
    await expect(source.execute('migrate', { uri: 'exec:cat' })).rejects.toThrow(/Postcopy /);
    await moveAtOnce(source, `unix:${path}`);
    await target.waitForEvent('MIGRATION', 'postcopy-active');
    await target.execute('stop');
    await hmp(source, 'migrate_pause');
    await source.waitForEvent('MIGRATION', 'postcopy-paused');
    await target.waitForEvent('MIGRATION', 'postcopy-paused');
    await recover(bench, source, target);
    await target.execute('cont');
    await source.execute('migrate-set-parameters', { 'max-postcopy-bandwidth': 0 });
    expect(await source.migrationEnd()).toBe('completed');
    expect(await target.migrationEnd()).toBe('completed');
    await target.waitForNewLine(/^dirty \d+/);
    expectNumbered(joinedConsole(source, target), 'dirty');
    expect((await source.migration()).ram?.['postcopy-requests']).toBeGreaterThan(0);
  });

  test('the a-b rule holds, and the guest can move on', async ({ bench }) => {
    const { source, target, path } = await pair(bench, guest('ab', 'size=4M report=10'), SLOW);
    await source.waitForLine(/^ab sweep 10$/);
    await moveAtOnce(source, `unix:${path}`);
    expect(await target.migrationEnd()).toBe('completed');
    await target.waitForNewLine(/^ab sweep \d+$/);
    expect(abViolations(await saved(bench, target), START, START + 4 * MiB)).toEqual([]);
  });
});

test('after some passes, of a guest that never converges', async ({ bench }) => {
  const { source, target, path } = await pair(bench, guest('dirty', 'size=4M words=512 report=20'), {
    'max-bandwidth': 20 * MiB,
    'downtime-limit': 1,
  });
  await source.execute('migrate', { uri: `unix:${path}` });
  await source.waitForEvent('MIGRATION_PASS');
  await source.execute('migrate-start-postcopy');
  expect(await source.migrationEnd()).toBe('completed');
  await target.waitForNewLine(/^dirty \d+/);
  expectNumbered(joinedConsole(source, target), 'dirty');
});

test('what can not be is refused at once', async ({ bench }) => {
  const { source, path } = await pair(bench, guest('ticks', 'interval=20'));
  await expect(source.execute('migrate-start-postcopy')).rejects.toThrow('must be started after migration');
  await expect(source.execute('migrate-pause')).rejects.toThrow('only supported during postcopy-active');
  await expect(source.execute('migrate', { uri: `unix:${path}`, resume: true })).rejects.toThrow(
    'Cannot resume if there is no paused migration',
  );
  await expect(source.execute('migrate-recover', { uri: `unix:${path}` })).rejects.toThrow(
    'Migrate recover can only be run when postcopy is paused',
  );
  const file = bench.path('file');
  await expect(source.execute('migrate', { uri: `file:${file}` })).rejects.toThrow(/Postcopy needs/);
  expect(existsSync(file)).toBe(false);
  await source.execute('migrate-set-capabilities', {
    capabilities: [{ capability: 'postcopy-ram', state: false }],
  });
  await expect(source.execute('migrate-start-postcopy')).rejects.toThrow('Enable postcopy with');
});

/** Over a bad line; both sides are paused then. */
async function broken(
  bench: Bench,
  fault: Fault,
  args: readonly string[],
  { more = [], parameters = {} }: { more?: readonly string[]; parameters?: JsonObject } = {},
) {
  const sides = await pair(bench, args, { 'max-postcopy-bandwidth': MiB, ...parameters }, more);
  const between = bench.path('between');
  const proxy = await CuttingProxy.start(between, sides.path, fault);
  bench.onEnd(() => proxy.cut());
  await sides.source.waitForLine(/ 5 /);
  await moveAtOnce(sides.source, `unix:${between}`);
  await proxy.struck;
  await sides.source.waitForEvent('MIGRATION', 'postcopy-paused');
  await sides.target.waitForEvent('MIGRATION', 'postcopy-paused');
  return sides;
}

/** Over a new connection, at a path that nobody has used. */
async function recover(bench: Bench, source: VmProcess, target: VmProcess): Promise<void> {
  const uri = `unix:${bench.path('again')}`;
  await target.execute('migrate-recover', { uri });
  await source.execute('migrate', { uri, resume: true });
}

describe('a connection that breaks', () => {
  const faults: readonly Fault[] = [
    { direction: 'forward', frame: 'pages', what: 'cut-middle' },
    { direction: 'return', frame: 'request', what: 'cut-before' },
    { direction: 'forward', frame: 'pages', what: 'flip-payload' },
    { direction: 'forward', frame: 'go', what: 'cut-before' },
    { direction: 'return', frame: 'running', what: 'cut-before' },
  ];
  for (const fault of faults) {
    test(`${fault.what} ${fault.frame}: both pause, and go on over another`, async ({ bench }) => {
      const { source, target } = await broken(bench, fault, guest('dirty', 'size=2M words=512 report=20'));
      await expect(source.execute('cont')).rejects.toThrow('Migration is not finalized yet');
      await expect(source.execute('migrate_cancel')).rejects.toThrow('cannot be cancelled');
      expect((await source.migration())['error-desc']).toBeTruthy();
      const from = source.events.length;
      await recover(bench, source, target);
      expect(await source.migrationEnd(from)).toBe('completed');
      expect(source.eventNames(from).slice(0, 3)).toEqual([
        'MIGRATION postcopy-recover-setup',
        'MIGRATION postcopy-recover',
        'MIGRATION postcopy-active',
      ]);
      await target.waitForNewLine(/^dirty \d+/);
      expectNumbered(joinedConsole(source, target), 'dirty');
    });
  }

  const urgent: readonly Fault[] = [
    { direction: 'return', frame: 'request', what: 'cut-before' },
    { direction: 'return', frame: 'request', what: 'cut-middle' },
    { direction: 'return', frame: 'request', what: 'flip-payload' },
    { direction: 'forward', frame: 'pages', what: 'cut-middle' },
    { direction: 'forward', frame: 'pages', what: 'flip-payload' },
  ];
  for (const fault of urgent) {
    test(`${fault.what} ${fault.frame}, of two connections: the guest goes on over two others`, async ({
      bench,
    }) => {
      const preempt = { more: ['postcopy-preempt'] };
      const args = guest('dirty', 'size=2M words=512 report=20');
      const { source, target } = await broken(bench, fault, args, preempt);
      const from = source.events.length;
      await recover(bench, source, target);
      expect(await source.migrationEnd(from)).toBe('completed');
      expect(await target.migrationEnd()).toBe('completed');
      await target.waitForNewLine(/^dirty \d+/);
      expectNumbered(joinedConsole(source, target), 'dirty');
    });
  }

  test('requests that nobody answers: given up after the time that was set', async ({ bench }) => {
    const stall: Fault = { direction: 'return', frame: 'request', what: 'stall' };
    const { source, target, path } = await pair(
      bench,
      guest('dirty', 'size=2M words=512 report=20'),
      { 'max-postcopy-bandwidth': 1024 },
      ['postcopy-preempt'],
    );
    await target.execute('migrate-set-parameters', { 'stall-timeout': 1500 });
    const between = bench.path('between');
    const proxy = await CuttingProxy.start(between, path, stall);
    bench.onEnd(() => proxy.cut());
    await source.waitForLine(/ 5 /);
    // Next to nothing comes of the sweep.
    await moveAtOnce(source, `unix:${between}`);
    await proxy.struck;
    await target.waitForEvent('MIGRATION', 'postcopy-paused');
    expect((await target.migration())['error-desc']).toMatch(
      /did not send what was asked for within 1500 ms/,
    );
    proxy.cut();
    await source.waitForEvent('MIGRATION', 'postcopy-paused');
    await source.execute('migrate-set-parameters', { 'max-postcopy-bandwidth': 0 });
    const from = source.events.length;
    await recover(bench, source, target);
    expect(await source.migrationEnd(from)).toBe('completed');
    await target.waitForNewLine(/^dirty \d+/);
    expectNumbered(joinedConsole(source, target), 'dirty');
  });

  test('paused by hand and recovered, again and again; a recovery that fails returns to paused', async ({
    bench,
  }) => {
    const args = guest('ab', 'size=4M report=10');
    const { source, target, path } = await pair(bench, args, { 'max-postcopy-bandwidth': MiB / 16 });
    await source.waitForLine(/^ab sweep 10$/);
    await moveAtOnce(source, `unix:${path}`);
    await target.waitForEvent('MIGRATION', 'postcopy-active');
    // Pages that it asks for are not held back: it would have all before it has been paused so often.
    await target.execute('stop');
    for (const side of [source, target, source]) {
      const [a, b] = [source.events.length, target.events.length];
      await poll(async () => ((await side.migration()).status === 'postcopy-active' ? true : undefined));
      await hmp(side, 'migrate_pause');
      await source.waitForEvent('MIGRATION', 'postcopy-paused', a);
      await target.waitForEvent('MIGRATION', 'postcopy-paused', b);
      // Nobody listens there.
      const again = source.events.length;
      await source.execute('migrate', { uri: `unix:${bench.path('nobody')}`, resume: true });
      await source.waitForEvent('MIGRATION', 'postcopy-paused', again);
      await recover(bench, source, target);
    }
    await target.execute('cont');
    await source.execute('migrate-set-parameters', { 'max-postcopy-bandwidth': 0 });
    expect(await source.migrationEnd()).toBe('completed');
    await target.waitForNewLine(/^ab sweep \d+$/);
    expect(abViolations(await saved(bench, target), START, START + 4 * MiB)).toEqual([]);
  });

  test('a source that dies leaves the destination alive, with what it has; looks at the rest say why', async ({
    bench,
  }) => {
    const args = guest('dirty', 'size=8M words=512 report=20');
    const { source, target, path } = await pair(bench, args, { 'max-postcopy-bandwidth': MiB });
    await source.waitForLine(/^dirty 5 /);
    await moveAtOnce(source, `unix:${path}`);
    await target.waitForEvent('MIGRATION', 'postcopy-active');
    await source.kill();
    await target.waitForEvent('MIGRATION', 'postcopy-paused');
    expect(await target.status()).toBe('running');
    expect(await hmp(target, 'info registers')).toMatch(/pc /);
    // Of the pages of the guest's memory, some last one has not come.
    const far = (START + 8 * MiB - 64).toString(16);
    expect(await hmp(target, `xp /1xw 0x${far}`)).toContain('has not arrived yet');
    await target.execute('stop');
    await target.quit();
  });
});

test('monitors see memory that has not come yet', async ({ bench }) => {
  const { source, target, path } = await pair(bench, guest('dirty', 'size=8M words=512 report=20'), {
    'max-postcopy-bandwidth': MiB / 2,
  });
  await source.waitForLine(/^dirty 30 /);
  await source.execute('stop');
  const look = `xp /8xw 0x${(START + 5 * MiB).toString(16)}`;
  const before = await hmp(source, look);
  await moveAtOnce(source, `unix:${path}`);
  await target.waitForEvent('MIGRATION', 'postcopy-active');
  expect(await hmp(target, look)).toBe(before);
  expect((await source.migration()).ram?.['postcopy-requests']).toBeGreaterThan(0);
});
