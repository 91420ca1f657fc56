/** Disks in post-copy, between processes that share no image: the guest runs at once, and its disk comes as it needs it. */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import type { JsonObject } from '../../src/monitor/json-text.ts';
import { CuttingProxy, type Fault } from '../support/cutting-proxy.ts';
import { DISK_DEVICE, diskContents, diskDrive, passesOf } from '../support/disk-guest.ts';
import { expectNumbered, guest, joinedConsole } from '../support/guests.ts';
import { hasTool } from '../support/tool.ts';
import { type Bench, poll, test, type VmProcess } from '../support/vm-process.ts';

const MiB = 1024 * 1024;
const SIZE = 16 * MiB;
const USED = { size: 2 * MiB, block: 16 * 1024 };
const GUEST = guest('disk', `size=${USED.size} block=${USED.block} report=20`, '16M');
/** The slow sweep leaves the guest to ask for what it needs. */
const SLOW = { 'max-postcopy-bandwidth': MiB };

/** An image with something behind what the guest uses. */
function image(bench: Bench): string {
  const file = bench.path('image');
  writeFileSync(file, '');
  truncateSync(file, SIZE);
  writeSync(openSync(file, 'r+'), diskContents(MiB, 3), 0, MiB, 8 * MiB);
  return file;
}

/** What was there before at the destination. */
function old(bench: Bench): string {
  const file = bench.path('old');
  writeFileSync(file, Buffer.alloc(SIZE, 7));
  return file;
}

interface Pair {
  readonly source: VmProcess;
  readonly target: VmProcess;
  readonly from: string;
  readonly to: string;
}

async function pair(
  bench: Bench,
  parameters: JsonObject = SLOW,
  { to = old(bench), fault }: { to?: string; fault?: Fault } = {},
): Promise<Pair & { uri: string; proxy: CuttingProxy | undefined }> {
  const [from, path] = [image(bench), bench.path('link')];
  const source = await bench.start([...GUEST, ...diskDrive(from), ...DISK_DEVICE]);
  const target = await bench.start(['-incoming', `unix:${path}`, ...diskDrive(to)]);
  for (const vm of [source, target]) {
    await vm.execute('migrate-set-capabilities', {
      capabilities: [{ capability: 'postcopy-ram', state: true }],
    });
  }
  await source.execute('migrate-set-parameters', parameters);
  // Every block has been written, and some again.
  await source.waitForLine(/passes [2-9]/);
  if (fault === undefined) return { source, target, from, to, uri: `unix:${path}`, proxy: undefined };
  const between = bench.path('between');
  const proxy = await CuttingProxy.start(between, path, fault);
  bench.onEnd(() => proxy.cut());
  return { source, target, from, to, uri: `unix:${between}`, proxy };
}

async function moveAtOnce(source: VmProcess, uri: string, more: JsonObject = {}): Promise<void> {
  await source.execute('migrate', { uri, blk: true, ...more });
  await source.execute('migrate-start-postcopy');
}

async function recover(bench: Bench, { source, target }: Pair): Promise<void> {
  const uri = `unix:${bench.path('again')}`;
  await target.execute('migrate-recover', { uri });
  await source.execute('migrate', { uri, resume: true });
}

async function paused({ source, target }: Pair, [a, b] = [0, 0]): Promise<void> {
  await source.waitForEvent('MIGRATION', 'postcopy-paused', a);
  await target.waitForEvent('MIGRATION', 'postcopy-paused', b);
}

/** The guest is at the destination with all it had, its image has its name, and it finds nothing wrong. */
async function arrived({ source, target, from, to }: Pair): Promise<void> {
  expect(await target.migrationEnd()).toBe('completed');
  expect(existsSync(`${to}.partial`)).toBe(false);
  // Reads every block back once more.
  const { length } = target.lines();
  const passes = (): number => Number(/passes (\d+)/.exec(target.lines().at(-1) ?? '')?.[1] ?? 0);
  const first = passes();
  await poll(async () => (passes() > first + 1 && target.lines().length > length ? true : undefined));
  await target.execute('stop');
  await source.quit();
  expectNumbered(joinedConsole(source, target), 'disk');
  const bytes = readFileSync(to);
  expect(new Set(passesOf(bytes.subarray(0, USED.size), USED.block)).size).toBeLessThan(3);
  // What the guest never touches.
  const there = readFileSync(from);
  expect(bytes.subarray(USED.size).equals(there.subarray(USED.size))).toBe(true);
  expect(statSync(to).blocks).toBeLessThanOrEqual(statSync(from).blocks);
  await target.quit();
}

describe('a guest and its disk', () => {
  for (const more of [{}, { inc: true }]) {
    test(`from the first instant, ${JSON.stringify(more)}`, async ({ bench }) => {
      const sides = await pair(bench);
      const before = readFileSync(sides.to);
      await moveAtOnce(sides.source, sides.uri, more);
      await sides.target.waitForEvent('MIGRATION', 'postcopy-active');
      // Half an image does not look like a whole one.
      if (!sides.target.eventNames().includes('MIGRATION completed')) {
        const now = existsSync(`${sides.to}.partial`);
        if (now) expect(readFileSync(sides.to).equals(before)).toBe(true);
      }
      expect(await sides.source.migrationEnd()).toBe('completed');
      const { disk } = await sides.source.migration();
      expect(disk).toMatchObject({ total: SIZE, remaining: 0 });
      expect(disk?.['postcopy-requests']).toBeGreaterThan(0);
      const said = await sides.source.execute('human-monitor-command', { 'command-line': 'info migrate' });
      expect(String(said)).toMatch(/disk postcopy requests: \d+\r?\npostcopy disk: \d+ kbytes/);
      await arrived(sides);
    });
  }

  test('after a pass', async ({ bench }) => {
    const sides = await pair(bench, { 'max-bandwidth': 20 * MiB, 'downtime-limit': 1 });
    await sides.source.execute('migrate', { uri: sides.uri, blk: true });
    await sides.source.waitForEvent('MIGRATION_PASS');
    await sides.source.execute('migrate-start-postcopy').catch(() => {});
    expect(await sides.source.migrationEnd()).toBe('completed');
    await arrived(sides);
  });

  test('paused by hand, stopped and continued while its disk is away, and recovered', async ({ bench }) => {
    const sides = await pair(bench, { 'max-postcopy-bandwidth': MiB / 16 });
    const { source, target } = sides;
    await moveAtOnce(source, sides.uri);
    await target.waitForEvent('MIGRATION', 'postcopy-active');
    for (const side of [source, target]) {
      const from = [source.events.length, target.events.length] as [number, number];
      await poll(async () => ((await side.migration()).status === 'postcopy-active' ? true : undefined));
      await side.execute('migrate-pause');
      await paused(sides, from);
      // The guest waits for its disk: that keeps nobody from stopping it.
      await target.execute('stop');
      expect(await target.status()).toBe('paused');
      await target.execute('cont');
      await recover(bench, sides);
    }
    await source.execute('migrate-set-parameters', { 'max-postcopy-bandwidth': 0 });
    await arrived(sides);
  });
});

describe('what goes wrong', () => {
  const FAULTS: readonly Fault[] = [
    { direction: 'forward', frame: 'disk', behind: 'go', what: 'cut-middle' },
    { direction: 'forward', frame: 'disk', behind: 'go', what: 'flip-payload' },
    { direction: 'forward', frame: 'disk', behind: 'go', what: 'duplicate' },
    { direction: 'return', frame: 'diskPlaced', what: 'cut-before' },
    { direction: 'return', frame: 'diskRequest', what: 'flip-payload' },
    { direction: 'forward', frame: 'swept', what: 'cut-before' },
  ];
  for (const fault of FAULTS) {
    test(`${fault.what} ${fault.frame}, late: both pause, and go on over another line`, async ({ bench }) => {
      const sides = await pair(bench, SLOW, { fault });
      await moveAtOnce(sides.source, sides.uri);
      await sides.proxy?.struck;
      await paused(sides);
      await recover(bench, sides);
      await arrived(sides);
    });
  }

  test('a destination that is killed leaves the image from before, and what came under another name', async ({
    bench,
  }) => {
    const sides = await pair(bench, { 'max-postcopy-bandwidth': MiB / 16 });
    await moveAtOnce(sides.source, sides.uri);
    await sides.target.waitForEvent('MIGRATION', 'postcopy-active');
    const before = readFileSync(sides.from);
    await sides.target.kill('SIGKILL');
    await sides.source.waitForEvent('MIGRATION', 'postcopy-paused');
    expect(readFileSync(sides.to).every((byte) => byte === 7)).toBe(true);
    expect(existsSync(`${sides.to}.partial`)).toBe(true);
    // The source keeps what it has, and does not run it.
    expect(readFileSync(sides.from).equals(before)).toBe(true);
    await expect(sides.source.execute('cont')).rejects.toThrow('Migration is not finalized yet');
  });

  test('a source that is killed leaves the guest running, on an image that does not look whole', async ({
    bench,
  }) => {
    const sides = await pair(bench, { 'max-postcopy-bandwidth': MiB / 16 });
    await moveAtOnce(sides.source, sides.uri);
    await sides.target.waitForEvent('MIGRATION', 'postcopy-active');
    await sides.source.kill('SIGKILL');
    await sides.target.waitForEvent('MIGRATION', 'postcopy-paused');
    expect(await sides.target.status()).toBe('running');
    expect(readFileSync(sides.to).every((byte) => byte === 7)).toBe(true);
    await sides.target.execute('stop');
    await sides.target.quit();
    // The guest has written to it: it is not thrown away.
    expect(existsSync(`${sides.to}.partial`)).toBe(true);
  });

  test('a file system that is full: both pause, and go on when there is room', async ({ bench, skip }) => {
    if (!hasTool('mount') || process.getuid?.() !== 0) skip();
    const folder = bench.path('small');
    mkdirSync(folder);
    const mount = (options: string): void => {
      execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder], { stdio: 'ignore' });
    };
    try {
      mount('size=1m');
    } catch {
      skip();
    }
    bench.onEnd(() => void execFileSync('umount', ['-l', folder]));
    const to = join(folder, 'image');
    writeFileSync(to, '');
    truncateSync(to, SIZE);
    // Its own writes are to wait: a drive that has no room for them is another matter.
    const sides = await pair(bench, { 'max-bandwidth': 64 * 1024 }, { to });
    await sides.source.execute('stop');
    await moveAtOnce(sides.source, sides.uri);
    await paused(sides);
    expect((await sides.target.migration())['error-desc']).toMatch(/drive 'x0'.*No space left on device/);
    mount('remount,size=32m');
    await recover(bench, sides);
    expect(await sides.source.migrationEnd()).toBe('completed');
    await sides.target.execute('cont');
    await arrived(sides);
  });
});
