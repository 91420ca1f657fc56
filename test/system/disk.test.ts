/** Disks from the command line: what a guest writes is in the file, wherever it moves meanwhile. */
import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import type { JsonObject } from '../../src/monitor/json-text.ts';
import { diskContents as contents, DISK_DEVICE, diskDrive, passesOf, sha } from '../support/disk-guest.ts';
import { guest } from '../support/guests.ts';
import { hasTool } from '../support/tool.ts';
import { type Bench, SYSTEM, test, type VmProcess } from '../support/vm-process.ts';

const MiB = 1024 * 1024;
const QEMU = 'qemu-system-riscv64';
const TRANSPORTS = ['true', 'false'] as const;

/** An image of zeros. */
function image(bench: Bench, size = 2 * MiB): string {
  const file = bench.path('disk.img');
  writeFileSync(file, '');
  truncateSync(file, size);
  return file;
}

const drive = diskDrive;
const DEVICE = DISK_DEVICE;

/** A machine with the disk guest. */
function disk(settings: string, file: string, ...more: string[]): string[] {
  return guest('disk', settings, '16M', ...drive(file), ...DEVICE, ...more);
}

const shaOf = (file: string): string => sha(readFileSync(file));

/** Runs it to its end. */
async function run(bench: Bench, args: readonly string[], program?: string) {
  const vm = bench.spawn(args, { qmp: false, ...(program === undefined ? {} : { program }) });
  const { code } = await vm.exited(60_000);
  return { code, lines: vm.lines(), stderr: vm.stderr.text };
}

describe('a disk', () => {
  test.for(TRANSPORTS)('holds what its guest wrote, force-legacy=%s', async (legacy, { bench }) => {
    const file = image(bench);
    const global = ['-global', `virtio-mmio.force-legacy=${legacy}`];
    const { code, lines, stderr } = await run(bench, disk('passes=3', file, ...global));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(lines[0]).toBe(`disk virtio-mmio 7 version ${legacy === 'true' ? 1 : 2}: 4096 sectors`);
    expect(lines.at(-1)).toMatch(/^disk done \d+\.\d{3} s passes 3 size 2097152$/);
    expect(shaOf(file)).toBe(sha(contents(2 * MiB, 3)));
  });

  test.for(
    TRANSPORTS.flatMap((legacy) =>
      ['wait=poll', 'indirect=on depth=16 block=512 size=256K'].map(
        (settings) => [legacy, settings] as const,
      ),
    ),
  )('is the same under QEMU: force-legacy=%s %s', async ([legacy, settings], { bench, skip }) => {
    if (!hasTool(QEMU)) skip();
    const results = [];
    for (const program of [undefined, QEMU]) {
      const file = image(bench);
      const global = ['-global', `virtio-mmio.force-legacy=${legacy}`];
      const { code, lines } = await run(
        bench,
        disk(`passes=2 report=60000 ${settings}`, file, ...global),
        program,
      );
      const text = lines.map((line) => line.trim().replace(/\d+\.\d{3} s/, 'T s'));
      results.push({ code, text, sha: shaOf(file) });
    }
    expect(results[0]).toEqual(results[1]);
  });

  test('is at the transport that is asked for', async ({ bench }) => {
    const file = image(bench);
    const args = guest('disk', 'passes=1', '16M', ...drive(file));
    const { lines } = await run(bench, [
      ...args,
      '-device',
      'virtio-blk-device,drive=x0,bus=virtio-mmio-bus.0',
    ]);
    expect(lines[0]).toMatch(/^disk virtio-mmio 0 /);
  });

  test('that is written through is flushed with every write', async ({ bench }) => {
    const file = image(bench);
    const args = guest('disk', 'size=1M report=20', '16M', ...drive(file, ',cache=writethrough'), ...DEVICE);
    const vm = await bench.start(args);
    await vm.waitForLine(/passes [1-9]/);
    const [{ stats }] = (await vm.execute('query-blockstats')) as unknown as [
      { stats: Record<string, number> },
    ];
    expect(stats.wr_operations).toBeGreaterThan(16);
    expect(stats.flush_operations).toBeGreaterThanOrEqual((stats.wr_operations as number) - 4);
    await vm.quit();
  });

  test('that is read only gives its guest an error, and stays as it is', async ({ bench }) => {
    const file = image(bench);
    const before = shaOf(file);
    const args = guest('disk', 'passes=1', '16M', ...drive(file, ',readonly=on'), ...DEVICE);
    const { code, lines } = await run(bench, args);
    expect(code).toBe(2);
    expect(lines.at(-1)).toBe('disk ERROR status 1 request 1 sector 0');
    expect(shaOf(file)).toBe(before);
  });

  test('with snapshot=on reads back what was written, and stays as it is', async ({ bench }) => {
    const file = image(bench);
    writeFileSync(file, contents(2 * MiB, 7));
    const before = shaOf(file);
    const args = guest(
      'disk',
      'passes=2 block=1536 size=768K',
      '16M',
      ...drive(file, ',snapshot=on'),
      ...DEVICE,
    );
    const { code } = await run(bench, args);
    expect(code).toBe(0);
    expect(shaOf(file)).toBe(before);
  });

  test('with snapshot=on does not move: its contents would be lost', async ({ bench }) => {
    const vm = await bench.start(guest('disk', '', '16M', ...drive(image(bench)), ...DEVICE, '-snapshot'));
    await expect(vm.execute('migrate', { uri: `unix:${bench.path('nowhere')}` })).rejects.toThrow(
      "the drive 'x0' has snapshot=on",
    );
    await vm.quit();
  });

  test('is shown by the monitor', async ({ bench }) => {
    const file = image(bench);
    const vm = await bench.start([
      ...disk('', file),
      ...['-drive', `file=${file},if=none,id=spare,readonly=on`],
    ]);
    const [first, second] = (await vm.execute('query-block')) as unknown as [JsonObject, JsonObject];
    expect(first).toMatchObject({
      ...{ device: 'x0', qdev: 'virtio-mmio-bus.7/virtio-blk-device', 'io-status': 'ok' },
      inserted: { file, ro: false, image: { 'virtual-size': 2 * MiB } },
    });
    expect(second).toMatchObject({ device: 'spare', inserted: { ro: true } });
    expect(second).not.toHaveProperty('qdev');
    await vm.quit();
  });

  test('with if=virtio is on the PCI bus, with the identity that QEMU gives it', async ({ bench, skip }) => {
    const args = guest('ticks', '', '16M', '-drive', `file=${image(bench)},format=raw,if=virtio`);
    const show = async (program?: string) => {
      const vm = await bench.start(args, program === undefined ? {} : { program });
      const text = await vm.execute('human-monitor-command', { 'command-line': 'info pci' });
      await vm.kill();
      return String(text).replace(/\r/g, '');
    };
    const here = await show();
    expect(here).toContain('PCI device 1af4:1001');
    if (!hasTool(QEMU)) skip();
    expect(here).toBe((await show(QEMU)).replace(/at 0x[0-9a-f]+ /g, 'at 0xffffffffffffffff '));
  });
});

describe('a moving guest', () => {
  test.for([
    ['true', 'pre-copy'],
    ['false', 'pre-copy'],
    ['true', 'post-copy'],
    ['false', 'post-copy'],
  ] as const)(
    'goes on with the image that both sides have, force-legacy=%s, %s',
    { timeout: 360_000 },
    async ([legacy, mode], { bench }) => {
      const file = image(bench);
      const [size, block, depth] = [256 * 1024, 8192, 8];
      const settings = `size=${size} block=${block} depth=${depth} report=20`;
      let vm = await bench.start(disk(settings, file, '-global', `virtio-mmio.force-legacy=${legacy}`));
      await vm.waitForLine(/^disk 3 /);
      const vms = [vm];
      for (let leg = 0; leg < 4; leg++) {
        const uri = `unix:${bench.path('migration')}`;
        const target = await bench.start(['-incoming', uri, ...drive(file)]);
        if (mode === 'post-copy') await vm.migrateAtOnce(uri);
        else await vm.execute('migrate', { uri });
        expect(await vm.migrationEnd(), JSON.stringify(await vm.migration())).toBe('completed');
        await target.waitForEvent('MIGRATION', 'completed');
        await target.waitForNewLine(/^disk \d+ /);
        await vm.quit();
        vms.push(target);
        vm = target;
      }
      await vm.execute('stop');
      // What was under way is done: the disk is of one pass up to where the guest was, and then of the one before.
      const passes = passesOf(readFileSync(file).subarray(0, size), block);
      const [newest] = passes as [number];
      const at = passes.indexOf(newest - 1);
      expect(newest).toBeGreaterThan(4);
      expect(passes.every((pass) => pass === newest || pass === newest - 1)).toBe(true);
      if (at >= 0) expect(passes.slice(at + depth)).not.toContain(newest);
      await vm.quit();
      expect(vms.map(({ stderr }) => stderr.text).join('')).toBe('');
      const lines = vms.flatMap((each) => each.lines());
      expect(lines.filter((line) => /ERROR/.test(line))).toEqual([]);
      const numbers = lines
        .filter((line) => /^disk \d+ /.test(line))
        .map((line) => Number(line.split(' ')[1]));
      expect(numbers).toEqual(numbers.map((_, i) => i + 1));
    },
  );

  test('is back where it was if the destination has no such drive', async ({ bench }) => {
    const file = image(bench);
    const source = await bench.start(disk('report=20', file));
    const other = image(bench, MiB);
    for (const [args, message] of [
      [
        [],
        "virtio-blk-device on virtio-mmio-bus.7 needs the drive 'x0', which is not here: give -drive id=x0,…",
      ],
      [drive(other), `drive 'x0': size: here ${MiB}, at the source ${2 * MiB}`],
      [drive(file, ',readonly=on'), "drive 'x0': readonly: here true, at the source false"],
      [
        [...drive(file), '-device', 'virtio-blk-device,drive=x0,serial=other'],
        'virtio-blk-device on virtio-mmio-bus.7: serial: here other, at the source ',
      ],
      [[...drive(file), '-device', 'virtio-rng-device'], 'virtio-blk-device on virtio-mmio-bus.7: not here'],
    ] as const) {
      const uri = `unix:${bench.path('migration')}`;
      const target = await bench.start(['-incoming', uri, ...args]);
      const from = source.events.length;
      await source.execute('migrate', { uri });
      expect(await source.migrationEnd(from)).toBe('failed');
      expect((await source.migration())['error-desc']).toContain(message);
      expect((await target.exited()).code).toBe(1);
      expect(target.stderr.text).toContain(message);
      await source.waitForNewLine(/^disk \d+ /);
    }
    await source.quit();
    expect(source.lines().filter((line) => /ERROR/.test(line))).toEqual([]);
  });
});

describe('what is wrong with a drive', () => {
  test.for([
    [
      '-drive file=/no/such,format=raw',
      "-drive file=/no/such,format=raw: Could not open '/no/such': No such file or directory",
    ],
    ['-drive file=/,if=none', "-drive file=/,if=none: Could not open '/': Is a directory"],
    ['-device virtio-blk-device', '-device virtio-blk-device: drive property not set'],
    [
      '-device virtio-blk-device,drive=x',
      "-device virtio-blk-device,drive=x: Property 'virtio-blk-device.drive' can't find value 'x'",
    ],
    [
      '-device virtio-rng-device,bus=virtio-mmio-bus.9',
      "-device virtio-rng-device,bus=virtio-mmio-bus.9: Bus 'virtio-mmio-bus.9' not found; did you mean virtio-mmio-bus.7?",
    ],
    [
      '-device virtio-rng-device,idd=3',
      "-device virtio-rng-device,idd=3: Property 'virtio-rng-device.idd' not found; did you mean id?",
    ],
  ] as const)('%s is told in one line', async ([line, message], { bench }) => {
    const { code, stderr } = await run(bench, guest('hello', '', '16M', ...line.split(' ')));
    expect(stderr.trim()).toBe(`godwit-system-riscv64: ${message}`);
    expect(code).toBeGreaterThan(0);
  });

  /** A program that may write no more than the first MiB of any file, as on a disk that is full. */
  function limited(bench: Bench): string {
    const script = bench.path('limited');
    writeFileSync(script, `#!/bin/sh\nulimit -S -f 2048\nexec "${process.execPath}" "${SYSTEM}" "$@"\n`);
    chmodSync(script, 0o755);
    return script;
  }

  test('an I/O error reaches guest and monitor', async ({ bench }) => {
    const file = image(bench);
    const vm = await bench.start(disk('passes=1', file, '-S'), { program: limited(bench) });
    await vm.execute('cont');
    const { data } = await vm.waitForEvent('BLOCK_IO_ERROR');
    expect(data).toMatchObject({ device: 'x0', operation: 'write', action: 'report', nospace: false });
    expect((await vm.exited()).code).toBe(2);
    expect(vm.lines().at(-1)).toBe('disk ERROR status 1 request 1 sector 2048');
  });

  test('with werror=stop the VM stops, and goes on where it was', async ({ bench, skip }) => {
    if (!hasTool('prlimit')) skip();
    const file = image(bench);
    const args = guest('disk', 'passes=2', '16M', ...drive(file, ',werror=stop'), ...DEVICE, '-S');
    const vm = await bench.start(args, { program: limited(bench) });
    await vm.execute('cont');
    await vm.waitForEvent('STOP');
    expect(await vm.status()).toBe('io-error');
    const [{ 'io-status': status }] = (await vm.execute('query-block')) as unknown as [JsonObject];
    expect(status).toBe('failed');
    raiseLimit(vm);
    await vm.execute('cont');
    expect((await vm.exited()).code).toBe(0);
    expect(shaOf(file)).toBe(sha(contents(2 * MiB, 2)));
    expect(statSync(file).size).toBe(2 * MiB);
  });

  function raiseLimit(vm: VmProcess): void {
    execFileSync('prlimit', ['--pid', String(vm.child.pid), '--fsize=unlimited']);
  }
});
