/** What a user may do to a migration while it is under way: hold it, let it go on, stop the guest, cancel, give up. */
import { truncateSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { describe, expect } from 'vitest';
import { CuttingProxy, type Fault } from '../support/cutting-proxy.ts';
import { destination } from '../support/destination.ts';
import { expectNumbered, guest, joinedConsole } from '../support/guests.ts';
import { type Bench, poll, Terminal, test, type VmProcess } from '../support/vm-process.ts';

const GUEST = guest('dirty', 'size=1M rate=300 report=20');
const NEW_LINE = /^dirty \d+ .*/;
/** So little that a migration stays in its first pass. */
const SLOW = { 'max-bandwidth': 64 * 1024 };
const HOLD = { capabilities: [{ capability: 'pause-before-switchover', state: true }] };

async function sourceVm(bench: Bench, ...more: string[]): Promise<VmProcess> {
  const source = await bench.start([...GUEST, ...more]);
  await source.waitForLine(NEW_LINE);
  return source;
}

/** A destination behind a line with a fault. */
async function behind(bench: Bench, fault: Fault) {
  const [at, to] = [bench.path('line'), bench.path('incoming')];
  const target = await bench.start(['-incoming', `unix:${to}`]);
  const proxy = await CuttingProxy.start(at, to, fault);
  bench.onEnd(() => proxy.close());
  return { target, proxy, uri: `unix:${at}` };
}

/** The guest is the source's and whole: it runs on, and moves elsewhere. */
async function movesElsewhere(bench: Bench, source: VmProcess): Promise<void> {
  await source.execute('migrate-set-parameters', { 'max-bandwidth': 0, 'stall-timeout': 30_000 });
  await source.execute('migrate-set-capabilities', {
    capabilities: [{ capability: 'pause-before-switchover', state: false }],
  });
  const { vm: target, uri } = await destination(bench);
  const from = source.events.length;
  await source.execute('migrate', { uri });
  expect(await source.migrationEnd(from)).toBe('completed');
  await target.waitForNewLine(NEW_LINE);
  await source.quit();
  expectNumbered(joinedConsole(source, target), 'dirty');
}

describe('pause-before-switchover', () => {
  test('holds the stopped guest until migrate-continue', async ({ bench }) => {
    const source = await sourceVm(bench);
    const { vm: target, uri } = await destination(bench);
    await source.execute('migrate-set-capabilities', HOLD);
    await expect(source.execute('migrate-continue', { state: 'active' })).rejects.toThrow(
      /Migration not in expected state: none/,
    );
    const from = source.events.length;
    await source.execute('migrate', { uri });
    await source.waitForEvent('MIGRATION', 'pre-switchover');
    expect(source.eventNames(from).filter((name) => !/PASS|DECISION/.test(name))).toEqual([
      'MIGRATION setup',
      'MIGRATION active',
      'STOP',
      'MIGRATION pre-switchover',
    ]);
    expect(await source.status()).toBe('finish-migrate');
    expect(await target.status()).toBe('inmigrate');
    expect(await source.migration()).toMatchObject({
      status: 'pre-switchover',
      'expected-downtime': expect.any(Number),
    });
    await expect(source.execute('cont')).rejects.toThrow(/Migration is not finalized yet/);
    await expect(source.execute('system_reset')).rejects.toThrow(/Migration is not finalized yet/);
    await expect(source.execute('migrate-set-capabilities', HOLD)).rejects.toThrow(/in progress/);
    await expect(source.execute('migrate-continue', { state: 'device' })).rejects.toThrow(
      /Migration not in expected state: pre-switchover/,
    );
    await expect(source.execute('migrate-continue', { state: 'soon' })).rejects.toThrow(
      /Parameter 'state' does not accept value 'soon'/,
    );
    await source.execute('human-monitor-command', { 'command-line': 'migrate_continue pre-switchover' });
    expect(await source.migrationEnd()).toBe('completed');
    await target.waitForNewLine(NEW_LINE);
    const { pause = {}, downtime = 0 } = await source.migration();
    const sum = Object.values(pause as Record<string, number>).reduce((all, ms) => all + ms, 0);
    expect(pause.held).toBeGreaterThan(0);
    expect(Math.abs(sum - downtime)).toBeLessThan(2);
    await source.quit();
    expectNumbered(joinedConsole(source, target), 'dirty');
  });

  test('a guest that is stopped there arrives paused', async ({ bench }) => {
    const source = await sourceVm(bench);
    const { vm: target, uri } = await destination(bench);
    await source.execute('migrate-set-capabilities', HOLD);
    await source.execute('migrate', { uri });
    await source.waitForEvent('MIGRATION', 'pre-switchover');
    await source.execute('stop');
    expect(await source.status()).toBe('finish-migrate');
    await source.execute('migrate-continue', { state: 'pre-switchover' });
    expect(await source.migrationEnd()).toBe('completed');
    await target.waitForEvent('MIGRATION', 'completed');
    expect(await target.status()).toBe('paused');
    await target.execute('cont');
    await target.waitForNewLine(NEW_LINE);
    await source.quit();
    expectNumbered(joinedConsole(source, target), 'dirty');
  });

  test('a guest that is stopped there and taken back stays paused', async ({ bench }) => {
    const source = await sourceVm(bench);
    const { uri } = await destination(bench);
    await source.execute('migrate-set-capabilities', HOLD);
    await source.execute('migrate', { uri });
    await source.waitForEvent('MIGRATION', 'pre-switchover');
    await source.execute('stop');
    await source.execute('migrate_cancel');
    expect(await source.migrationEnd()).toBe('cancelled');
    expect(await source.status()).toBe('paused');
    await source.execute('cont');
    await movesElsewhere(bench, source);
  });
});

describe('a cancel', () => {
  test('while the connection is made', async ({ bench }) => {
    const source = await sourceVm(bench);
    const path = bench.path('silent');
    const sockets: Socket[] = [];
    const server = createServer((socket) => void sockets.push(socket)).listen(path);
    bench.onEnd(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    await source.execute('migrate', { uri: `unix:${path}` });
    await source.waitForEvent('MIGRATION', 'setup');
    await source.execute('migrate_cancel');
    expect(await source.migrationEnd()).toBe('cancelled');
    await source.waitForNewLine(NEW_LINE);
    await movesElsewhere(bench, source);
  });

  test('while memory moves', async ({ bench }) => {
    const source = await sourceVm(bench);
    const { vm: target, uri } = await destination(bench);
    await source.execute('migrate-set-parameters', SLOW);
    await source.execute('migrate', { uri });
    await source.waitForEvent('MIGRATION', 'active');
    await source.execute('migrate_cancel');
    expect(await source.migrationEnd()).toBe('cancelled');
    expect((await target.exited()).code).toBe(1);
    expect(target.stderr.text).toMatch(/the source gave up: the migration was cancelled/);
    await source.waitForNewLine(NEW_LINE);
    await movesElsewhere(bench, source);
  });

  test('before the hand-over', async ({ bench }) => {
    const source = await sourceVm(bench);
    const { vm: target, uri } = await destination(bench);
    await source.execute('migrate-set-capabilities', HOLD);
    await source.execute('migrate', { uri });
    await source.waitForEvent('MIGRATION', 'pre-switchover');
    await source.execute('migrate_cancel');
    expect(await source.migrationEnd()).toBe('cancelled');
    expect((await target.exited()).code).toBe(1);
    await source.waitForNewLine(NEW_LINE);
    await movesElsewhere(bench, source);
  });

  test('while the destination has not said that it is ready', async ({ bench }) => {
    const source = await sourceVm(bench);
    const { proxy, uri } = await behind(bench, { direction: 'return', frame: 'ready', what: 'stall' });
    await source.execute('migrate', { uri });
    await proxy.struck;
    // The destination has been told that the guest is to run there: a stop can not promise anything now.
    await expect(source.execute('stop')).rejects.toThrow(/to run at the destination/);
    await source.execute('migrate_cancel');
    expect(await source.migrationEnd()).toBe('cancelled');
    // But what the user wants is not forgotten.
    expect(await source.status()).toBe('paused');
    proxy.close();
    await source.execute('cont');
    await source.waitForNewLine(NEW_LINE);
    await movesElsewhere(bench, source);
  });

  test('after "go" comes too late: the outcome counts', async ({ bench }) => {
    const source = await sourceVm(bench);
    const fault: Fault = { direction: 'return', frame: 'running', what: 'stall' };
    const { target, proxy, uri } = await behind(bench, fault);
    await source.execute('migrate', { uri });
    await proxy.struck;
    await source.execute('migrate_cancel');
    expect(await source.status()).toBe('finish-migrate');
    proxy.release();
    expect(await source.migrationEnd()).toBe('completed');
    await target.waitForNewLine(NEW_LINE);
    await source.quit();
    expectNumbered(joinedConsole(source, target), 'dirty');
  });

  test('by a monitor whose client goes away while it waits', async ({ bench }) => {
    const path = bench.path('hmp');
    const source = await sourceVm(bench, '-monitor', `unix:${path},server=on,wait=off`);
    const { vm: target, uri } = await destination(bench);
    await source.execute('migrate-set-parameters', SLOW);
    const human = await Terminal.connect(`unix:${path}`, source);
    await human.expect(/\(qemu\) $/);
    human.send(`migrate ${uri}\n`);
    await source.waitForEvent('MIGRATION', 'active');
    human.close();
    // The migration is the machine's, not the session's: it goes on, and another session ends it.
    expect((await source.migration()).status).toBe('active');
    const other = await Terminal.connect(`unix:${path}`, source);
    await other.expect(/\(qemu\) $/);
    await other.command('migrate_cancel');
    expect(await source.migrationEnd()).toBe('cancelled');
    expect((await target.exited()).code).toBe(1);
    await movesElsewhere(bench, source);
  });
});

describe('a destination that hangs', () => {
  test('is given up after the time that was set', async ({ bench }) => {
    const source = await sourceVm(bench);
    const { vm: target, uri } = await destination(bench);
    await source.execute('migrate-set-parameters', SLOW);
    await source.execute('migrate', { uri });
    await source.waitForEvent('MIGRATION', 'active');
    target.child.kill('SIGSTOP');
    // Not earlier: a busy host's destination may take longer until it has built its machine.
    await source.execute('migrate-set-parameters', { 'stall-timeout': 400, 'max-bandwidth': 0 });
    expect(await source.migrationEnd()).toBe('failed');
    expect((await source.migration())['error-desc']).toMatch(/the other side did not .* within 400 ms/);
    await source.waitForNewLine(NEW_LINE);
    target.child.kill('SIGKILL');
    await movesElsewhere(bench, source);
  });
});

test('the destination tells what has arrived', async ({ bench }) => {
  const source = await sourceVm(bench);
  const { vm: target, uri } = await destination(bench);
  await source.execute('migrate-set-parameters', SLOW);
  await source.execute('migrate', { uri });
  await target.waitForEvent('MIGRATION', 'active');
  // A monitor may connect at any time, and switch on what it wants to hear.
  await target.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
  const { ram } = await poll(async () => {
    const info = await target.migration();
    return (info.ram?.transferred ?? 0) > 20_000 ? info : undefined;
  });
  expect(ram?.remaining).toBeGreaterThan(0);
  expect(ram?.remaining).toBeLessThan(ram?.total ?? 0);
  await source.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
  expect(await source.migrationEnd()).toBe('completed');
  await target.waitForEvent('MIGRATION', 'completed');
  const [sent, arrived] = [await source.migration(), await target.migration()];
  expect(arrived.ram?.total).toBe(sent.ram?.total);
  expect(arrived.ram?.remaining).toBe(0);
  expect(arrived.ram?.normal).toBe(sent.ram?.normal);
  expect(arrived.downtime).toBeGreaterThanOrEqual(0);
});

describe('what keeps a guest from being moved', () => {
  const drive = (file: string): string[] => [
    ...['-drive', `file=${file},format=raw,if=none,id=d,snapshot=on`],
    ...['-device', 'virtio-blk-device,drive=d'],
  ];

  test('is told by query-migrate and info migrate before anybody tries', async ({ bench }) => {
    const file = bench.path('disk');
    writeFileSync(file, '');
    truncateSync(file, 1 << 20);
    const vm = await bench.start([...GUEST, ...drive(file)]);
    const { 'blocked-reasons': reasons } = await vm.migration();
    expect(reasons).toEqual([expect.stringContaining("'d' has snapshot=on")]);
    const text = await vm.execute('human-monitor-command', { 'command-line': 'info migrate' });
    expect(text).toContain(`Outgoing migration blocked:\r\n  ${reasons?.[0]}\r\n`);
    await expect(vm.execute('migrate', { uri: 'unix:/nowhere' })).rejects.toThrow(/snapshot=on/);
    expect((await vm.migration()).status).toBeUndefined();
    const refused = bench.spawn([...GUEST, ...drive(file), '-only-migratable'], { qmp: false });
    expect((await refused.exited()).code).toBe(2);
    expect(refused.errors()).toEqual([
      expect.stringMatching(/disallowing migration blocker \(--only-migratable\) for: the drive 'd'/),
    ]);
  });
});
