/** A destination of another shape, or none at all: the migration fails with a reason, and the guest runs on. */
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { destination, move } from '../support/destination.ts';
import { expectNumbered, guest, guestImage } from '../support/guests.ts';
import { readSavedGuest } from '../support/saved-guest.ts';
import { type Bench, freePort, poll, test } from '../support/vm-process.ts';

const MiB = 1024 * 1024;

describe('destinations of another shape', () => {
  const uuid = '550e8400-e29b-41d4-a716-446655440000';

  test('all differences are named at once, before memory moves, and the source runs on', async ({
    bench,
  }) => {
    const source = await bench.start(guest('ticks', 'interval=20'));
    const other = [...guest('hello', '', '32M'), '-smp', '2', '-cpu', 'rv64', '-uuid', uuid];
    const { vm: target, uri } = await destination(bench, ...other);
    await source.execute('migrate', { uri });
    expect(await source.migrationEnd()).toBe('failed');
    expect((await target.exited()).code).toBe(1);
    expect(target.errors()).toHaveLength(1);
    const desc = (await source.migration())['error-desc'] ?? '';
    for (const message of [desc, target.stderr.text]) {
      expect(message).toMatch(/-m\b/);
      expect(message).toMatch(/-smp/);
      expect(message).toMatch(/-uuid/);
      expect(message).toMatch(/-kernel/);
      expect(message).toContain(uuid);
    }
    expect((await source.migration()).ram?.normal).toBe(0);
    expect(await source.status()).toBe('running');
    await source.waitForNewLine(/^tick \d+ .*/);
    expectNumbered(source.stdout.text, 'tick');
  });

  test.for<[what: string, options: string[], names: RegExp]>([
    ['-m', ['-m', '32M'], /RAM \(-m\).*33554432.*16777216/],
    ['-smp', ['-smp', '2'], /harts \(-smp\).*2.*1/],
    ['-M aia', ['-M', 'virt,aia=aplic'], /interrupt controller \(-M aia\): here aplic, at the source none/],
    ['-uuid', ['-uuid', uuid], /UUID \(-uuid\)/],
    ['-kernel', ['-M', 'virt', '-bios', 'none', '-m', '16M', '-kernel', guestImage('hello')], /-kernel/],
    ['-append', guest('ticks', 'interval=30'), /-append/],
  ])('another %s', async ([, options, names], { bench }) => {
    const source = await bench.start(guest('ticks', 'interval=20'));
    const { vm: target, uri } = await destination(bench, ...options);
    await source.execute('migrate', { uri });
    expect(await source.migrationEnd()).toBe('failed');
    expect((await target.exited()).code).toBe(1);
    expect(target.errors()).toHaveLength(1);
    expect(target.stderr.text).toMatch(names);
    expect((await source.migration())['error-desc']).toMatch(names);
    await source.waitForNewLine(/^tick \d+ .*/);
    expect(await source.status()).toBe('running');
  });

  test('the same options as the source’s are accepted', async ({ bench }) => {
    const args = [...guest('ticks', 'interval=20', '32M'), '-smp', '2', '-uuid', uuid, '-cpu', 'rv64'];
    const source = await bench.start(args);
    const { vm: target, uri } = await destination(bench, ...args);
    await source.waitForLine(/^tick 2 /);
    await move(source, target, uri);
    await target.waitForNewLine(/^tick \d+ .*/);
    expect(await target.execute('query-uuid')).toEqual({ UUID: uuid });
  });

  test('what was not said may differ: the machine that was expected gives way to the one that comes', async ({
    bench,
  }) => {
    const args = guest('ticks', 'interval=20', '32M');
    const source = await bench.start([...args, '-uuid', uuid, '-device', 'virtio-rng-device']);
    const { vm: target, uri } = await destination(bench, ...args);
    await source.waitForLine(/^tick 2 /);
    await move(source, target, uri);
    await target.waitForNewLine(/^tick \d+ .*/);
    expect(await target.execute('query-uuid')).toEqual({ UUID: uuid });
    const tree = await target.execute('human-monitor-command', { 'command-line': 'info qtree' });
    expect(tree).toContain('virtio-rng');
    await target.execute('system_reset');
    await target.waitForLine(/^tick 1 /, target.stdout.text.length);
  });

  test('a destination without options has the source’s UUID and machine', async ({ bench }) => {
    const source = await bench.start([...guest('ticks', 'interval=20', '32M'), '-smp', '2', '-uuid', uuid]);
    const { vm: target, uri } = await destination(bench);
    await source.waitForLine(/^tick 2 /);
    await move(source, target, uri);
    expect(await target.execute('query-uuid')).toEqual({ UUID: uuid });
    const file = bench.path('saved');
    const from = target.events.length;
    await target.execute('migrate', { uri: `file:${file}` });
    expect(await target.migrationEnd(from)).toBe('completed');
    expect((await readSavedGuest(file)).configuration).toMatchObject({ harts: 2, ram: 32 * MiB, uuid });
  });
});

describe('nobody there', () => {
  test.for<[what: string, uri: (bench: Bench) => string | Promise<string>, names: RegExp]>([
    [
      'no such socket',
      (bench) => `unix:${bench.path('nowhere')}`,
      /nowhere: can't connect: no such file or directory/,
    ],
    ['a folder', (bench) => `unix:${bench.dir}`, /nobody listens there|is no socket|no such/],
    [
      'a closed port',
      async () => `tcp:127.0.0.1:${await freePort()}`,
      /tcp:127\.0\.0\.1:\d+: can't connect: connection refused: nobody listens/,
    ],
    ['no such host', () => 'tcp:no-such-host.invalid:4444', /no-such-host\.invalid/],
    ['a file in no folder', () => 'file:/no/such/dir/file', /\/no\/such\/dir\/file/],
  ])('%s: the migration fails, the guest runs on', async ([, uri, names], { bench }) => {
    const vm = await bench.start(guest('ticks', 'interval=20'));
    await vm.execute('migrate', { uri: await uri(bench) });
    expect(await vm.migrationEnd()).toBe('failed');
    const info = await vm.migration();
    expect(info.status).toBe('failed');
    expect(info['error-desc']).toMatch(names);
    expect(await vm.status()).toBe('running');
    await vm.waitForNewLine(/^tick \d+ .*/);
    expectNumbered(vm.stdout.text, 'tick');
  });

  test('a disk that is full: the migration fails, nothing is left behind, the guest runs on', async ({
    bench,
  }) => {
    const file = bench.path('saved');
    // Whoever opens this writes to a full disk, and removes no more than the link.
    symlinkSync('/dev/full', `${file}.partial`);
    const vm = await bench.start(guest('ticks', 'interval=20'));
    await vm.execute('migrate', { uri: `file:${file}` });
    expect(await vm.migrationEnd()).toBe('failed');
    expect((await vm.migration())['error-desc']).toMatch(/ENOSPC|no space/);
    // The partial file goes right after the failure has been told.
    await poll(async () => !readdirSync(bench.dir).some((name) => name.includes('saved')) || undefined);
    expect(await vm.status()).toBe('running');
    await vm.waitForNewLine(/^tick \d+ .*/);
  });

  test('what is no file is not replaced by one', async ({ bench }) => {
    const vm = await bench.start(guest('ticks', 'interval=20'));
    const [folder, pipe] = [bench.path('folder'), bench.path('pipe')];
    mkdirSync(folder);
    execFileSync('mkfifo', [pipe]);
    for (const path of [folder, pipe]) {
      const from = vm.events.length;
      await vm.execute('migrate', { uri: `file:${path}` });
      expect(await vm.migrationEnd(from), path).toBe('failed');
      expect((await vm.migration())['error-desc']).toContain(path);
      expect(existsSync(`${path}.partial`)).toBe(false);
    }
    expect(lstatSync(folder).isDirectory()).toBe(true);
    expect(lstatSync(pipe).isFIFO()).toBe(true);
    expect(await vm.status()).toBe('running');
  });

  test('an address that cannot be read is refused at once', async ({ bench }) => {
    const vm = await bench.start(guest('ticks', 'interval=20'));
    for (const uri of [
      'nonsense',
      'unix:',
      'tcp:localhost',
      'tcp:localhost:99999',
      `unix:/${'x'.repeat(120)}`,
    ]) {
      await expect(vm.execute('migrate', { uri }), uri).rejects.toThrow(/migration address/);
    }
    expect(await vm.status()).toBe('running');
  });
});
