/** A running guest moves from one process to another, in all the ways that its user can ask for. */
import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { destination, move } from '../support/destination.ts';
import { expectNumbered, guest, joinedConsole } from '../support/guests.ts';
import { abViolations, readSavedGuest } from '../support/saved-guest.ts';
import { freePort, poll, Terminal, test, type VmProcess } from '../support/vm-process.ts';

const MiB = 1024 * 1024;
const START = 0x8040_0000;

async function parameters(vm: VmProcess, values: Record<string, number>): Promise<void> {
  await vm.execute('migrate-set-parameters', values);
}

/** A page a second: a migration stays in its first pass for longer than all that a test does meanwhile. */
const HELD = { 'max-bandwidth': 4096 };
const RELEASED = { 'max-bandwidth': 0 };

describe('a guest that writes all the time', () => {
  test('dirty goes on at the destination without an error and without a gap', async ({ bench }) => {
    const source = await bench.start(guest('dirty', 'rate=20000 size=32M report=20', '64M'));
    const { vm: target, uri } = await destination(bench);
    await source.waitForLine(/^dirty 5 /);
    await move(source, target, uri);
    await target.waitForLine(/passes [1-9]/);
    await target.waitForNewLine(/^dirty \d+ .*/);
    expect(await source.status()).toBe('postmigrate');
    expect(await target.status()).toBe('running');
    await source.quit();
    await target.quit();
    expect(expectNumbered(joinedConsole(source, target), 'dirty')).toBeGreaterThan(6);
    expect(target.stderr.text).toBe('');
  });

  test.for(['unix', 'tcp'] as const)('ab keeps its rule over %s', async (kind, { bench }) => {
    const uri = kind === 'unix' ? `unix:${bench.path('migration')}` : `tcp:127.0.0.1:${await freePort()}`;
    const size = 16 * MiB;
    const source = await bench.start(guest('ab', 'size=16M report=20', '32M'));
    const target = await bench.start(['-incoming', uri]);
    await source.waitForLine(/^ab sweep 20$/);
    await move(source, target, uri);
    await target.waitForNewLine(/^ab sweep \d+$/);
    await target.execute('stop');
    const file = bench.path('saved');
    const from = target.events.length;
    await target.execute('migrate', { uri: `file:${file}` });
    expect(await target.migrationEnd(from)).toBe('completed');
    const saved = await readSavedGuest(file);
    expect(saved.configuration.ram).toBe(32 * MiB);
    expect(abViolations(saved, START, START + size)).toEqual([]);
    // The tester's page behind the range, and the whole of the rest, were never written.
    expect(saved.ram.subarray(size + 4 * MiB, size + 4 * MiB + 4096).every((byte) => byte === 0)).toBe(true);
    // At the last sweep that was printed every first byte was its number.
    const sweeps = joinedConsole(source, target).match(/^ab sweep \d+$/gm) ?? [];
    expect(sweeps.map((line) => Number(line.split(' ')[2]))).toEqual(sweeps.map((_, i) => 20 * (i + 1)));
    const printed = 20 * sweeps.length;
    const sweepsAhead = ((saved.ram[4 * MiB] as number) - printed) & 0xff;
    expect(sweepsAhead).toBeLessThanOrEqual(21);
  });

  test('several harts move as one', async ({ bench }) => {
    const source = await bench.start(guest('smp', 'rate=2000 size=4M report=20', '32M', '-smp', '4'));
    const { vm: target, uri } = await destination(bench);
    await source.waitForLine(/^smp 3 /);
    await move(source, target, uri);
    const from = target.stdout.text.length;
    await target.waitForLine(/^smp \d+ /, from);
    const moved = joinedConsole(source, target).replace(/[^\n]*$/, '');
    expect(expectNumbered(moved, 'smp')).toBeGreaterThan(3);
    // The token still goes round.
    const tokens = [...moved.matchAll(/tokens (\d+)/g)].map(([, number]) => Number(number));
    expect(tokens).toEqual([...tokens].sort((a, b) => a - b));
    expect(tokens.at(-1)).toBeGreaterThan(tokens[0] ?? 0);
    // After a reset the boot images print what the machine is.
    await target.execute('system_reset');
    await target.waitForLine(/^smp 1 /, from);
    expect(joinedConsole(source, target)).not.toMatch(/ERROR|trap/);
  });

  test('a guest moves on and on: a to b to c to d', async ({ bench }) => {
    const vms = [await bench.start(guest('ticks', 'interval=20'))];
    for (let hop = 0; hop < 3; hop++) {
      const { vm: target, uri } = await destination(bench);
      const source = vms.at(-1) as VmProcess;
      await source.waitForLine(/^tick \d+ /);
      await move(source, target, uri);
      vms.push(target);
    }
    await vms[3]?.waitForLine(/^tick \d+ .*/);
    await vms[3]?.waitForNewLine(/^tick \d+ .*/);
    for (const vm of vms) await vm.quit();
    expect(expectNumbered(joinedConsole(...vms), 'tick')).toBeGreaterThan(4);
  });
});

describe('the hand-over', () => {
  test('events come in order, and query-migrate is complete', async ({ bench }) => {
    const source = await bench.start(guest('dirty', 'rate=500 size=1M report=20'));
    const { vm: target, uri } = await destination(bench);
    await source.waitForLine(/^dirty 2 /);
    const from = source.events.length;
    await move(source, target, uri);
    const events = source.eventNames(from);
    // How many passes there are, and whether one more is worth its time, is the machine's.
    expect(events.filter((name) => !/^MIGRATION_(PASS|DECISION)/.test(name))).toEqual([
      'MIGRATION setup',
      'MIGRATION active',
      'STOP',
      'MIGRATION device',
      'MIGRATION completed',
    ]);
    const passes = events.filter((name) => name.startsWith('MIGRATION_PASS'));
    expect(passes).toEqual(passes.map((_, i) => `MIGRATION_PASS ${i + 1}`));
    expect(passes.length).toBeGreaterThanOrEqual(2);
    expect(target.eventNames().filter((name) => !name.startsWith('MIGRATION_PASS'))).toEqual([
      'MIGRATION setup',
      'MIGRATION active',
      'MIGRATION device',
      'RESUME',
      'MIGRATION completed',
    ]);

    const info = await source.migration();
    expect(info).toMatchObject({
      status: 'completed',
      'total-time': expect.any(Number),
      'setup-time': expect.any(Number),
      downtime: expect.any(Number),
    });
    expect(info).not.toHaveProperty('error-desc');
    expect(info).not.toHaveProperty('expected-downtime');
    const { ram, passes: history = [], pause = {} } = info;
    if (ram === undefined) throw new Error('no ram statistics');
    expect(ram['page-size']).toBe(4096);
    expect(ram.remaining).toBe(0);
    expect(ram['normal-bytes']).toBe(ram.normal * 4096);
    expect(ram.total).toBeGreaterThanOrEqual(16 * MiB);
    expect((ram.duplicate + ram.normal) * 4096).toBeGreaterThanOrEqual(ram.total);
    expect(ram.transferred).toBeGreaterThan(ram['normal-bytes']);
    expect(ram['precopy-bytes'] ?? 0).toBeGreaterThan(0);
    expect((ram['precopy-bytes'] ?? 0) + (ram['downtime-bytes'] ?? 0)).toBe(ram.transferred);
    expect(history.map(({ pass }) => pass)).toEqual(passes.map((_, i) => i + 1));
    expect(history.reduce((sum, pass) => sum + pass.pages, 0)).toBe(ram.normal + ram.duplicate);
    expect(history.reduce((sum, pass) => sum + pass.bytes, 0)).toBeLessThanOrEqual(ram.transferred);
    const parts = Object.values(pause as Record<string, number>).reduce((sum, ms) => sum + ms, 0);
    expect(Math.abs(parts - (info.downtime ?? 0))).toBeLessThan(2);
    expect(info.downtime ?? 0).toBeLessThanOrEqual(info['total-time'] ?? 0);
    expect((await target.migration()).status).toBe('completed');
  });

  test('the source does not go on with a guest that it has handed over', async ({ bench }) => {
    const source = await bench.start(guest('ticks', 'interval=20'));
    const { vm: target, uri } = await destination(bench);
    await source.waitForLine(/^tick 2 /);
    // At once, when it is told of the end.
    const refused = source
      .waitForEvent('MIGRATION', 'completed')
      .then(() => source.execute('cont'))
      .then(
        () => 'went on',
        (error: Error) => error.message,
      );
    await move(source, target, uri);
    expect(await refused).toMatch(/handed over|not finalized/);
    await expect(source.execute('cont')).rejects.toThrow(/handed over/);
    await expect(source.execute('migrate', { uri: 'unix:/x' })).rejects.toThrow(/handed over/);
    const length = source.stdout.text.length;
    await target.waitForNewLine(/^tick \d+ .*/);
    expect(source.stdout.text.length).toBe(length);
    expect(await source.status()).toBe('postmigrate');
  });

  test('the destination can be used as soon as it says that it is done', async ({ bench }) => {
    const source = await bench.start(guest('ticks', 'interval=20'));
    const first = await destination(bench);
    const second = await destination(bench);
    await source.execute('migrate', { uri: first.uri });
    await first.vm.waitForEvent('MIGRATION', 'completed');
    // Away again, and back by a cancel, and away.
    await parameters(first.vm, HELD);
    const from = first.vm.events.length;
    await first.vm.execute('migrate', { uri: second.uri });
    await first.vm.waitForEvent('MIGRATION', 'active', from);
    await first.vm.execute('migrate_cancel');
    expect(await first.vm.migrationEnd(from)).toBe('cancelled');
    expect(await first.vm.status()).toBe('running');
    const third = await destination(bench);
    await parameters(first.vm, RELEASED);
    await move(first.vm, third.vm, third.uri);
    expect(await first.vm.status()).toBe('postmigrate');
    await third.vm.waitForNewLine(/^tick \d+ .*/);
    for (const vm of [source, first.vm, third.vm]) await vm.quit();
    expectNumbered(joinedConsole(source, first.vm, third.vm), 'tick');
  });

  test('a paused guest arrives paused, and goes on where it stood', async ({ bench }) => {
    const source = await bench.start(guest('ticks', 'interval=20'));
    const { vm: target, uri } = await destination(bench);
    await source.waitForLine(/^tick 3 /);
    await source.execute('stop');
    await move(source, target, uri);
    expect(await target.status()).toBe('paused');
    expect(target.stdout.text).toBe('');
    await target.execute('cont');
    await target.waitForLine(/^tick \d+ .*/);
    expectNumbered(joinedConsole(source, target), 'tick');
  });

  test('-S at the destination waits for cont; cont before the arrival takes it back', async ({ bench }) => {
    for (const early of [false, true]) {
      const source = await bench.start(guest('ticks', 'interval=20'));
      const { vm: target, uri } = await destination(bench, '-S');
      expect(await target.status()).toBe('inmigrate');
      await source.waitForLine(/^tick 2 /);
      if (early) await target.execute('cont');
      await move(source, target, uri);
      if (!early) {
        expect(await target.status()).not.toBe('running');
        expect(target.stdout.text).toBe('');
        await target.execute('cont');
      }
      await target.waitForLine(/^tick \d+ .*/);
      expectNumbered(joinedConsole(source, target), 'tick');
    }
  });

  test('system_reset at the destination boots the guest again, though it has no -kernel', async ({
    bench,
  }) => {
    const source = await bench.start(guest('ticks', 'interval=20'));
    const { vm: target, uri } = await destination(bench);
    await source.waitForLine(/^tick 3 /);
    await move(source, target, uri);
    await target.waitForLine(/^tick \d+ /);
    await target.execute('system_reset');
    await target.waitForLine(/^tick 1 0\./);
    await target.waitForLine(/^tick 2 /);
  });

  test('a reset after a migration that was cancelled, and memory written since, leave nothing stale', async ({
    bench,
  }) => {
    const source = await bench.start(guest('dirty', 'rate=500 size=1M report=20'));
    const first = await destination(bench);
    await parameters(source, HELD);
    await source.execute('migrate', { uri: first.uri });
    await source.waitForEvent('MIGRATION', 'active');
    const from = source.stdout.text.length;
    await source.execute('system_reset');
    // Wherever: memory that the reset has cleared is sent in a moment.
    const said = () => source.stdout.text.slice(from) + first.vm.stdout.text;
    await poll(async () => (/^dirty 1 /m.test(said()) ? true : undefined));
    await parameters(source, RELEASED);
    expect(await source.migrationEnd()).toBe('completed');
    await first.vm.waitForNewLine(/^dirty \d+ .*passes [1-9]/);
    expect(joinedConsole(source, first.vm)).not.toMatch(/ERROR|trap/);
  });
});

describe('ways to ask for it', () => {
  test('-incoming defer and migrate-incoming', async ({ bench }) => {
    const source = await bench.start(guest('ticks', 'interval=20'));
    const target = await bench.start(['-incoming', 'defer']);
    await expect(target.execute('migrate-incoming', { uri: 'unix:/no/such/dir/s' })).rejects.toThrow(
      /\/no\/such\/dir/,
    );
    await expect(target.execute('migrate', { uri: 'unix:/x' })).rejects.toThrow(/waiting for an incoming/);
    const uri = `unix:${bench.path('migration')}`;
    await target.execute('migrate-incoming', { uri });
    await expect(target.execute('migrate-incoming', { uri })).rejects.toThrow(/already/);
    await expect(source.execute('migrate-incoming', { uri })).rejects.toThrow(/-incoming/);
    await source.waitForLine(/^tick 2 /);
    await move(source, target, uri);
    await target.waitForNewLine(/^tick \d+ /);
  });

  test('the human monitor: migrate waits, migrate -d does not, info migrate tells', async ({ bench }) => {
    for (const detach of [false, true]) {
      const path = bench.path('monitor');
      const source = await bench.start([
        ...guest('ticks', 'interval=20'),
        '-monitor',
        `unix:${path},server=on,wait=off`,
      ]);
      const { vm: target, uri } = await destination(bench);
      const monitor = await Terminal.connect(`unix:${path}`, source);
      await monitor.expect(/\(qemu\) $/);
      await source.waitForLine(/^tick 2 /);
      const said = await monitor.command(`migrate ${detach ? '-d ' : ''}${uri}`);
      if (!detach) {
        expect(said).toMatch(/Migration status: completed, total time \d+ ms, pause \d+ ms/);
        expect(source.eventNames()).toContain('MIGRATION completed');
      }
      await source.waitForEvent('MIGRATION', 'completed');
      const info = await monitor.command('info migrate');
      expect(info).toMatch(/Migration status: completed\r\n/);
      expect(info).toMatch(/transferred ram: \d+ kbytes\r\n/);
      expect(info).toMatch(/downtime: \d+ ms\r\n/);
      expect(info).toMatch(/pass 1: [\d.]+ ms/);
      // For people: no more digits than anybody reads.
      expect(info).not.toMatch(/\d\.\d{4}/);
      await target.waitForNewLine(/^tick \d+ .*/);
    }
  });

  test('to a file and from a file, more than once', async ({ bench }) => {
    const file = bench.path('saved');
    const source = await bench.start(guest('dirty', 'rate=2000 size=4M report=20'));
    await source.waitForLine(/^dirty 3 /);
    await source.execute('migrate', { uri: `file:${file}` });
    expect(await source.migrationEnd()).toBe('completed');
    expect(await source.status()).toBe('postmigrate');
    expect(existsSync(`${file}.partial`)).toBe(false);
    for (let copy = 0; copy < 2; copy++) {
      const target = await bench.start(['-incoming', `file:${file}`]);
      await target.waitForLine(/^dirty \d+ .*passes [2-9]/);
      expectNumbered(joinedConsole(source, target), 'dirty');
    }
    // A saved guest is still here, too.
    const length = source.stdout.text.length;
    await source.execute('cont');
    await source.waitForLine(/^dirty \d+ .*/, length);
    expectNumbered(source.stdout.text, 'dirty');
  });

  test('a file that was cut or changed is refused, naming where', { timeout: 360_000 }, async ({ bench }) => {
    const file = bench.path('saved');
    const source = await bench.start(guest('ticks', 'interval=20'));
    await source.waitForLine(/^tick 2 /);
    await source.execute('migrate', { uri: `file:${file}` });
    expect(await source.migrationEnd()).toBe('completed');
    const size = statSync(file).size;
    const whole = readFileSync(file);
    for (const length of [15, 16, 17, 39, 40, 100, Math.floor(size / 2), size - 25, size - 24, size - 1]) {
      writeFileSync(file, whole);
      truncateSync(file, length);
      const vm = bench.spawn(['-incoming', `file:${file}`], { qmp: false });
      expect((await vm.exited()).code, `cut to ${length} of ${size} bytes`).toBe(1);
      expect(vm.errors(), `cut to ${length} of ${size} bytes`).toHaveLength(1);
      expect(vm.stderr.text).toMatch(/end of the stream/);
      expect(vm.stdout.text).toBe('');
    }
    for (const at of [3, 9, 16, 22, 26, 32, 60, Math.floor(size / 2), size - 20, size - 1]) {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      writeFileSync(file, changed);
      const vm = bench.spawn(['-incoming', `file:${file}`], { qmp: false });
      expect((await vm.exited()).code, `bit flipped at ${at} of ${size}`).toBe(1);
      expect(vm.errors(), `bit flipped at ${at} of ${size}`).toHaveLength(1);
      expect(vm.stderr.text).toMatch(/at byte \d+/);
      expect(vm.stdout.text).toBe('');
    }
  });
});

describe('while it is under way', () => {
  test('a migration is held open by a low cap and let go by a high one', async ({ bench }) => {
    const source = await bench.start(guest('dirty', 'rate=500 size=2M report=20'));
    const { vm: target, uri } = await destination(bench);
    await source.waitForLine(/^dirty 2 /);
    await parameters(source, HELD);
    await source.execute('migrate', { uri });
    await source.waitForEvent('MIGRATION', 'active');
    await source.waitForNewLine(/^dirty \d+ /);
    expect(await source.status()).toBe('running');
    const during = await source.migration();
    expect(during).toMatchObject({ status: 'active', 'expected-downtime': expect.any(Number) });
    expect(during.ram?.remaining ?? 0).toBeGreaterThan(0);
    await expect(source.execute('migrate', { uri })).rejects.toThrow(/migration process in progress/);
    await expect(
      source.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] }),
    ).rejects.toThrow(/in progress/);
    await parameters(source, RELEASED);
    expect(await source.migrationEnd()).toBe('completed');
    await target.waitForNewLine(/^dirty \d+ .*/);
    await source.quit();
    expectNumbered(joinedConsole(source, target), 'dirty');
  });

  test('a pause limit that cannot be met keeps the guest running until it is raised', async ({ bench }) => {
    const source = await bench.start(guest('dirty', 'size=8M report=20', '32M'));
    const { vm: target, uri } = await destination(bench);
    await source.waitForLine(/^dirty 2 /);
    // A pass takes long enough that the guest writes to something meanwhile, however busy the host is.
    await parameters(source, { 'downtime-limit': 0, 'max-bandwidth': 40 * MiB });
    await source.execute('migrate', { uri });
    for (let pass = 0; pass < 4; pass++) {
      await source.waitForEvent('MIGRATION_PASS', undefined, source.events.length);
    }
    expect(await source.status()).toBe('running');
    await parameters(source, { 'downtime-limit': 2000, 'max-bandwidth': 0 });
    expect(await source.migrationEnd()).toBe('completed');
    await target.waitForNewLine(/^dirty \d+ .*/);
    await source.quit();
    expectNumbered(joinedConsole(source, target), 'dirty');
  });

  test('a cancel gives everything back, and the next migration succeeds', async ({ bench }) => {
    const source = await bench.start(guest('dirty', 'rate=500 size=2M report=20'));
    const first = await destination(bench);
    await source.waitForLine(/^dirty 2 /);
    await parameters(source, HELD);
    await source.execute('migrate', { uri: first.uri });
    await source.waitForEvent('MIGRATION', 'active');
    await source.execute('migrate_cancel');
    expect(await source.migrationEnd()).toBe('cancelled');
    expect((await source.migration()).status).toBe('cancelled');
    expect(await source.status()).toBe('running');
    expect((await first.vm.exited()).code).toBe(1);
    expect(first.vm.errors()).toHaveLength(1);
    expect(first.vm.stderr.text).toMatch(/source gave up.*cancel/);
    expect(first.vm.stdout.text).toBe('');
    // Without one under way a cancel does nothing.
    await source.execute('migrate_cancel');
    await source.waitForNewLine(/^dirty \d+ .*/);
    const second = await destination(bench);
    await parameters(source, RELEASED);
    await move(source, second.vm, second.uri);
    await second.vm.waitForNewLine(/^dirty \d+ .*/);
    await source.quit();
    expectNumbered(joinedConsole(source, second.vm), 'dirty');
  });

  test('a guest that the user stops on the way arrives paused', async ({ bench }) => {
    const source = await bench.start(guest('ticks', 'interval=20'));
    const { vm: target, uri } = await destination(bench);
    await parameters(source, HELD);
    await source.waitForLine(/^tick 2 /);
    await source.execute('migrate', { uri });
    await source.waitForEvent('MIGRATION', 'active');
    await source.execute('stop');
    await parameters(source, RELEASED);
    expect(await source.migrationEnd()).toBe('completed');
    await target.waitForEvent('MIGRATION', 'completed');
    expect(await target.status()).toBe('paused');
  });

  test('a guest that powers off on the way ends the source cleanly and the destination with an error', async ({
    bench,
  }) => {
    const source = await bench.start([...guest('dirty', 'rate=1000 size=1M report=100 limit=1'), '-S']);
    const { vm: target, uri } = await destination(bench);
    await parameters(source, HELD);
    await source.execute('migrate', { uri });
    await target.waitForEvent('MIGRATION', 'active');
    await source.execute('cont');
    expect((await source.exited()).code).toBe(0);
    expect((await target.exited()).code).toBe(1);
    expect(target.errors()).toHaveLength(1);
    expect(target.stdout.text).toBe('');
  });

  test('a monitor client that goes away does no harm', async ({ bench }) => {
    const path = bench.path('second');
    const source = await bench.start([
      ...guest('ticks', 'interval=20'),
      '-qmp',
      `unix:${path},server=on,wait=off`,
    ]);
    const { vm: target, uri } = await destination(bench);
    await parameters(source, HELD);
    const client = await Terminal.connect(`unix:${path}`, source);
    await client.expect(/"QMP"/);
    client.send('{"execute":"qmp_capabilities"}\n');
    await client.expect(/"return"/);
    client.send(`{"execute":"migrate","arguments":{"uri":"${uri}"}}\n`);
    await source.waitForEvent('MIGRATION', 'active');
    client.send('{"execute":"query-migrate"}{"execute":"quer');
    client.close();
    await parameters(source, RELEASED);
    expect(await source.migrationEnd()).toBe('completed');
    await target.waitForNewLine(/^tick \d+ .*/);
    expectNumbered(joinedConsole(source, target), 'tick');
  });
});
