/** Disks that go with the guest: migrate -b and its kin, between real processes that share no image. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect } from 'vitest';
import { CuttingProxy, type Fault } from '../support/cutting-proxy.ts';
import { DISK_DEVICE, diskContents, diskDrive, passesOf, sha } from '../support/disk-guest.ts';
import { guest } from '../support/guests.ts';
import { hasTool } from '../support/tool.ts';
import { type Bench, SYSTEM, test, type VmProcess } from '../support/vm-process.ts';

const MiB = 1024 * 1024;
const SIZE = 2 * MiB;
/** What the guest uses of its disk, block by block. */
const USED = { size: 512 * 1024, block: 8192, depth: 8 };
const SETTINGS = `size=${USED.size} block=${USED.block} depth=${USED.depth} report=20`;

/** An image of zeros. */
function image(bench: Bench, size = SIZE): string {
  const file = bench.path('image');
  writeFileSync(file, '');
  truncateSync(file, size);
  return file;
}

function source(bench: Bench, file: string, ...more: string[]): Promise<VmProcess> {
  return bench.start(guest('disk', SETTINGS, '16M', ...diskDrive(file), ...DISK_DEVICE, ...more));
}

/** What its guest has left on it: one pass up to where it is, and behind that the one before. */
function expectWhole(file: string): void {
  const passes = passesOf(readFileSync(file).subarray(0, USED.size), USED.block);
  const [newest] = passes as [number];
  const at = passes.indexOf(newest - 1);
  expect(passes.every((pass) => pass === newest || pass === newest - 1)).toBe(true);
  if (at >= 0) expect(passes.slice(at + USED.depth)).not.toContain(newest);
}

/** That the guests' reports go on without a gap, and that they found nothing wrong. */
function expectConsole(vms: readonly VmProcess[]): void {
  expect(vms.map(({ stderr }) => stderr.text).join('')).toBe('');
  const lines = vms.flatMap((each) => each.lines());
  expect(lines.filter((line) => /ERROR/.test(line))).toEqual([]);
  const numbers = lines.filter((line) => /^disk \d+ /.test(line)).map((line) => Number(line.split(' ')[1]));
  expect(numbers).toEqual(numbers.map((_, i) => i + 1));
}

describe('a guest and its disk', () => {
  test.for([1, 2, 4])(
    'go from process to process, %i harts',
    { timeout: 240_000 },
    async (harts, { bench }) => {
      const files = [image(bench), image(bench), image(bench)];
      let vm = await source(bench, files[0] as string, '-smp', String(harts));
      await vm.waitForLine(/^disk 3 /);
      const vms = [vm];
      for (let leg = 1; leg <= 8; leg++) {
        // By turns: images that are empty, and those that the guest was on before.
        const file = files[leg % 3] as string;
        const uri = `unix:${bench.path('migration')}`;
        const target = await bench.start(['-incoming', uri, ...diskDrive(file)]);
        await vm.execute('migrate', { uri, blk: true, ...(leg % 2 === 0 ? { inc: true } : {}) });
        expect(await vm.migrationEnd(), JSON.stringify(await vm.migration())).toBe('completed');
        await target.waitForEvent('MIGRATION', 'completed');
        // What is left at the source is of nobody's concern: it stays as it was.
        const left = sha(readFileSync(files[(leg - 1) % 3] as string));
        await target.waitForNewLine(/^disk \d+ /);
        await vm.quit();
        expect(sha(readFileSync(files[(leg - 1) % 3] as string))).toBe(left);
        expect(existsSync(`${file}.partial`)).toBe(false);
        vms.push(target);
        vm = target;
      }
      await vm.execute('stop');
      expectWhole(files[8 % 3] as string);
      await vm.quit();
      expectConsole(vms);
    },
  );

  test('by the human monitor and by the capability, with figures', { timeout: 240_000 }, async ({
    bench,
  }) => {
    const first = await source(bench, image(bench));
    await first.waitForLine(/^disk 2 /);
    const uri = `unix:${bench.path('migration')}`;
    const second = await bench.start(['-incoming', uri, ...diskDrive(image(bench))]);
    const said = await first.execute('human-monitor-command', { 'command-line': `migrate -b ${uri}` });
    expect(await first.migrationEnd()).toBe('completed');
    expect(String(said)).toMatch(/disks [\d.]+ MiB of 2\.0 MiB|^$/);
    const { disk } = await first.migration();
    expect(disk).toMatchObject({ total: SIZE, remaining: 0 });
    expect(disk?.transferred).toBeGreaterThanOrEqual(USED.size);
    const lines = await first.execute('human-monitor-command', { 'command-line': 'info migrate' });
    expect(String(lines)).toMatch(
      /transferred disk: \d+ kbytes\r?\nremaining disk: 0 kbytes\r?\ntotal disk: 2048 kbytes/,
    );
    await second.waitForNewLine(/^disk \d+ /);
    // Both count the same, but for the frames' own headers.
    const arrived = (await second.migration()).disk;
    expect(arrived).toMatchObject({ total: SIZE, remaining: 0 });
    expect(arrived?.transferred).toBeGreaterThanOrEqual(USED.size);
    expect(arrived?.transferred).toBeLessThanOrEqual(disk?.transferred ?? 0);
    await first.quit();

    const last = image(bench);
    const third = await bench.start(['-incoming', uri, ...diskDrive(last)]);
    await second.execute('migrate-set-capabilities', {
      capabilities: [{ capability: 'block', state: true }],
    });
    await expect(second.execute('migrate', { uri, blk: true })).rejects.toThrow(
      'Command options are incompatible with current migration capabilities',
    );
    await second.execute('migrate', { uri });
    expect(await second.migrationEnd()).toBe('completed');
    await third.waitForNewLine(/^disk \d+ /);
    await second.quit();
    await third.execute('stop');
    expectWhole(last);
    await third.quit();
    expectConsole([first, second, third]);
  });

  test('through a file', async ({ bench }) => {
    const first = await source(bench, image(bench));
    await first.waitForLine(/^disk 2 /);
    const uri = `file:${bench.path('saved')}`;
    await first.execute('migrate', { uri, blk: true });
    expect(await first.migrationEnd()).toBe('completed');
    await expect(
      first.execute('migrate', { uri, blk: true, inc: true }).then(async () => {
        await first.migrationEnd(first.events.length);
      }),
    ).resolves.toBeUndefined();
    expect((await first.migration())['error-desc']).toMatch(/incremental/);
    await first.quit();
    const there = image(bench);
    const second = await bench.start(['-incoming', uri, ...diskDrive(there)]);
    await second.waitForNewLine(/^disk \d+ /);
    await second.execute('stop');
    expectWhole(there);
    await second.quit();
    expectConsole([first, second]);
  });

  test('with -b between two processes that name one file: nobody writes to what the other has', async ({
    bench,
  }) => {
    const file = image(bench);
    const first = await source(bench, file);
    await first.waitForLine(/^disk 2 /);
    const uri = `unix:${bench.path('migration')}`;
    const second = await bench.start(['-incoming', uri, ...diskDrive(file)]);
    await first.execute('migrate', { uri, blk: true });
    expect(await first.migrationEnd()).toBe('completed');
    await second.waitForNewLine(/^disk \d+ /);
    await second.execute('stop');
    await first.quit();
    expectWhole(file);
    await second.quit();
    expectConsole([first, second]);
  });
});

describe('an image', () => {
  /** Bytes of data here and there. */
  function sparse(bench: Bench, size: number, pieces: readonly number[]): string {
    const file = image(bench, size);
    const fd = openSync(file, 'r+');
    for (const at of pieces) writeSync(fd, diskContents(MiB, 1), 0, MiB, at);
    return file;
  }

  test('that is thin stays thin, and one that was full there becomes thin', { timeout: 240_000 }, async ({
    bench,
  }) => {
    const size = 1024 * MiB;
    const file = sparse(bench, size, [0, 100 * MiB + 4096, 700 * MiB, size - MiB]);
    const there = bench.path('b');
    writeFileSync(there, Buffer.alloc(64 * MiB, 0xa5));
    truncateSync(there, size);
    const first = await bench.start(guest('ticks', '', '16M', ...diskDrive(file), ...DISK_DEVICE));
    const uri = `unix:${bench.path('migration')}`;
    const second = await bench.start(['-incoming', uri, ...diskDrive(there)]);
    await first.execute('migrate', { uri, blk: true });
    expect(await first.migrationEnd()).toBe('completed');
    const { disk } = await first.migration();
    expect(disk?.transferred).toBeLessThan(4.2 * MiB);
    await second.waitForEvent('RESUME');
    await first.quit();
    await second.quit();
    expect(statSync(there).size).toBe(size);
    expect(statSync(there).blocks).toBeLessThanOrEqual(statSync(file).blocks);
    execFileSync('cmp', [file, there]);
  });

  test('that was there is not sent again with -i, and what differs is right', { timeout: 240_000 }, async ({
    bench,
  }) => {
    const size = 64 * MiB;
    const file = sparse(bench, size, [0, 10 * MiB, 20 * MiB, 30 * MiB]);
    const there = bench.path('b');
    copyFileSync(file, there);
    const fd = openSync(there, 'r+');
    writeSync(fd, 'something else', 10 * MiB + 100);
    writeSync(fd, 'where there is nothing', 40 * MiB);
    const first = await bench.start(guest('ticks', '', '16M', ...diskDrive(file), ...DISK_DEVICE));
    const uri = `unix:${bench.path('migration')}`;
    const second = await bench.start(['-incoming', uri, ...diskDrive(there)]);
    await first.execute('migrate', { uri, inc: true });
    expect(await first.migrationEnd()).toBe('completed');
    const { disk } = await first.migration();
    expect(disk?.transferred).toBeGreaterThan(200 * 1024);
    expect(disk?.transferred).toBeLessThan(300 * 1024);
    await second.waitForEvent('RESUME');
    await first.quit();
    await second.quit();
    execFileSync('cmp', [file, there]);
  });

  test('keeps its permissions, and is found through a link', async ({ bench }) => {
    const file = sparse(bench, 4 * MiB, [0]);
    const there = image(bench, 4 * MiB);
    chmodSync(there, 0o640);
    const link = bench.path('link');
    symlinkSync(basename(there), link);
    const first = await bench.start(guest('ticks', '', '16M', ...diskDrive(file), ...DISK_DEVICE));
    const uri = `unix:${bench.path('migration')}`;
    const second = await bench.start(['-incoming', uri, ...diskDrive(link)]);
    await first.execute('migrate', { uri, blk: true });
    expect(await first.migrationEnd()).toBe('completed');
    await second.waitForEvent('RESUME');
    await first.quit();
    await second.quit();
    expect(statSync(there).mode & 0o777).toBe(0o640);
    execFileSync('cmp', [file, there]);
  });
});

describe('a migration with disks that fails', () => {
  /** The source goes on, its disk is right, and it can still move. */
  async function goesOn(bench: Bench, vm: VmProcess, file: string, ...before: VmProcess[]): Promise<void> {
    await vm.waitForNewLine(/^disk \d+ /);
    expect(await vm.status()).toBe('running');
    await vm.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
    const uri = `unix:${bench.path('next')}`;
    const there = image(bench);
    const target = await bench.start(['-incoming', uri, ...diskDrive(there)]);
    const from = vm.events.length;
    await vm.execute('migrate', { uri, blk: true });
    expect(await vm.migrationEnd(from), JSON.stringify(await vm.migration())).toBe('completed');
    await target.waitForNewLine(/^disk \d+ /);
    await vm.quit();
    expectWhole(file);
    await target.execute('stop');
    expectWhole(there);
    await target.quit();
    expectConsole([...before, vm, target]);
  }

  const HELD = { 'max-bandwidth': 1_000_000 };

  /** A disk travels, slowly, to where another image was. */
  async function underWay(bench: Bench) {
    const file = image(bench);
    const vm = await source(bench, file);
    await vm.waitForLine(/^disk 2 /);
    const there = bench.path('b');
    writeFileSync(there, Buffer.alloc(SIZE, 7));
    const uri = `unix:${bench.path('migration')}`;
    const target = await bench.start(['-incoming', uri, ...diskDrive(there)]);
    await vm.execute('migrate-set-parameters', HELD);
    await vm.execute('migrate', { uri, blk: true });
    await vm.waitForEvent('MIGRATION_PASS');
    return { file, vm, there, uri, target };
  }

  test('a destination that is killed leaves the image from before, and no other of that name', async ({
    bench,
  }) => {
    const { vm, there, uri, target } = await underWay(bench);
    await target.kill('SIGKILL');
    expect(await vm.migrationEnd()).toBe('failed');
    expect(readFileSync(there).every((byte) => byte === 7)).toBe(true);
    // What was half written is known by its name, and no obstacle to another attempt.
    expect(existsSync(`${there}.partial`)).toBe(true);
    const again = await bench.start(['-incoming', uri, ...diskDrive(there)]);
    await vm.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
    const from = vm.events.length;
    await vm.execute('migrate', { uri, blk: true });
    expect(await vm.migrationEnd(from)).toBe('completed');
    expect(existsSync(`${there}.partial`)).toBe(false);
    await again.waitForNewLine(/^disk \d+ /);
    await goesOn(bench, again, there, vm);
  });

  test.for<[string, (target: VmProcess, vm: VmProcess) => Promise<unknown>]>([
    ['a source that is killed', (_, vm) => vm.kill('SIGKILL')],
    ['a source that cancels', (_, vm) => vm.execute('migrate_cancel')],
    ['a destination that is told to end', (target) => target.execute('quit')],
    ['a destination that is ended by a signal', (target) => target.kill('SIGTERM')],
  ])('%s leaves nothing but the image from before', async ([, end], { bench }) => {
    const { file, vm, there, target } = await underWay(bench);
    expect(existsSync(`${there}.partial`)).toBe(true);
    await end(target, vm);
    await target.exited();
    expect(existsSync(`${there}.partial`)).toBe(false);
    expect(readFileSync(there).every((byte) => byte === 7)).toBe(true);
    if (vm.child.exitCode === null && vm.child.signalCode === null) await goesOn(bench, vm, file);
  });

  test('a destination that is full says so', async ({ bench }) => {
    const file = image(bench);
    const vm = await source(bench, file);
    await vm.waitForLine(/^disk 2 /);
    const there = image(bench);
    // No more than the first 256 KiB of any file.
    const program = bench.path('limited');
    writeFileSync(program, `#!/bin/sh\nulimit -S -f 512\nexec "${process.execPath}" "${SYSTEM}" "$@"\n`);
    chmodSync(program, 0o755);
    const uri = `unix:${bench.path('migration')}`;
    const target = await bench.start(['-incoming', uri, ...diskDrive(there)], { program });
    await vm.execute('migrate', { uri, blk: true });
    expect(await vm.migrationEnd()).toBe('failed');
    expect((await vm.migration())['error-desc']).toMatch(/drive 'x0'.*(File too large|EFBIG|can't be)/);
    expect((await target.exited()).code).toBe(1);
    expect(existsSync(`${there}.partial`)).toBe(false);
    await goesOn(bench, vm, file);
  });

  test('on a file system that is full', { timeout: 240_000 }, async ({ bench, skip }) => {
    if (!hasTool('mount') || process.getuid?.() !== 0) skip();
    const folder = bench.path('small');
    mkdirSync(folder);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', folder], { stdio: 'ignore' });
    } catch {
      skip();
    }
    bench.onEnd(() => void execFileSync('umount', ['-l', folder]));
    const file = image(bench);
    const vm = await source(bench, file);
    await vm.waitForLine(/passes [1-9]/);
    const there = join(folder, 'image');
    writeFileSync(there, '');
    truncateSync(there, SIZE);
    const uri = `unix:${bench.path('migration')}`;
    const target = await bench.start(['-incoming', uri, ...diskDrive(there)]);
    await vm.execute('migrate', { uri, blk: true });
    expect(await vm.migrationEnd()).toBe('failed');
    expect((await vm.migration())['error-desc']).toMatch(
      /drive 'x0' can't be written: No space left on device/,
    );
    expect((await target.exited()).code).toBe(1);
    expect(existsSync(`${there}.partial`)).toBe(false);
    await goesOn(bench, vm, file);
  });

  test('an image that cannot get its name: the source takes the guest back', async ({ bench }) => {
    const { file, vm, there, target } = await underWay(bench);
    rmSync(`${there}.partial`);
    writeFileSync(`${there}.partial`, 'of somebody else');
    await vm.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
    expect(await vm.migrationEnd()).toBe('failed');
    expect((await vm.migration())['error-desc']).toMatch(/drive 'x0': .*somebody else has replaced it/);
    expect((await target.exited()).code).toBe(1);
    expect(readFileSync(there).every((byte) => byte === 7)).toBe(true);
    expect(readFileSync(`${there}.partial`, 'utf8')).toBe('of somebody else');
    await goesOn(bench, vm, file);
  });

  test('a folder in which nothing can be made is told before anything moves', async ({ bench }) => {
    const vm = await source(bench, image(bench));
    const there = image(bench);
    const uri = `unix:${bench.path('migration')}`;
    mkdirSync(`${there}.partial`);
    const target = await bench.start(['-incoming', uri, ...diskDrive(there)]);
    await vm.execute('migrate', { uri, blk: true });
    expect(await vm.migrationEnd()).toBe('failed');
    expect((await vm.migration())['error-desc']).toMatch(/refuses: drive 'x0': '.*\.partial' can't be made/);
    expect((await target.exited()).code).toBe(1);
    await vm.waitForNewLine(/^disk \d+ /);
    await vm.quit();
  });

  const FAULTS: Fault[] = (
    [
      ['forward', 'disks'],
      ['forward', 'disk'],
      ['forward', 'pass'],
      ['forward', 'end'],
      ['return', 'diskDigests'],
      ['return', 'passed'],
      ['return', 'ready'],
    ] as const
  ).flatMap(([direction, frame]) =>
    (['cut-before', 'cut-middle', 'flip-header', 'flip-payload', 'duplicate'] as const).flatMap((what) =>
      frame === 'ready' && what === 'flip-payload' ? [] : [{ direction, frame, what }],
    ),
  );

  test('at any frame leaves the guest and its disk at the source', { timeout: 300_000 }, async ({
    bench,
  }) => {
    const file = image(bench);
    const vm = await source(bench, file);
    await vm.waitForLine(/passes [1-9]/);
    const there = bench.path('b');
    writeFileSync(there, Buffer.alloc(SIZE, 7));
    for (const fault of FAULTS) {
      // After "ready", what comes twice comes too late to matter.
      if (fault.frame === 'ready' && fault.what === 'duplicate') continue;
      const [at, behind] = [bench.path('line'), bench.path('incoming')];
      const target = await bench.start(['-incoming', `unix:${behind}`, ...diskDrive(there)]);
      const proxy = await CuttingProxy.start(at, behind, fault);
      const from = vm.events.length;
      await vm.execute('migrate', { uri: `unix:${at}`, blk: true, inc: true });
      const note = JSON.stringify(fault);
      expect(await vm.migrationEnd(from), note).toBe('failed');
      expect((await target.exited()).code, note).toBe(1);
      proxy.close();
      expect(existsSync(`${there}.partial`), note).toBe(false);
      await vm.waitForNewLine(/^disk \d+ /);
    }
    expect(readFileSync(there).every((byte) => byte === 7)).toBe(true);
    await goesOn(bench, vm, file);
  });
});
