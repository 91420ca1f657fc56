/**
 * Debian's own kernel, unmodified, from firmware to a shell (issue: real software). Needs what guests/linux/debian.mjs
 * makes, in the folder that GODWIT_LINUX names: `npm run test:linux`. A boot takes 5 to 30 s on a machine that does nothing else.
 */
import { existsSync, openSync, readSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { type Bench, Terminal, test, type VmProcess } from '../support/vm-process.ts';

const folder = process.env.GODWIT_LINUX;
const files = ['vmlinux', 'initrd.gz'].map((name) => `${folder}/${name}`);
const missing = folder === undefined || files.some((file) => !existsSync(file));
if (missing) {
  console.log(
    folder === undefined
      ? 'skipped: test/boot/linux.test.ts (npm run test:linux runs it)'
      : `skipped: test/boot/linux.test.ts (no kernel in ${folder}: node guests/linux/debian.mjs ${folder})`,
  );
}

/** From OpenSBI's package in Debian. */
const OPENSBI = '/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin';
const BOOT_MS = 600_000;
const TEST_MS = 2 * BOOT_MS;

/** A host that is busy with other things is not the guest's fault. */
const PATIENT = 'nosoftlockup rcupdate.rcu_cpu_stall_suppress=1';

function linux(append: string, ...more: string[]): string[] {
  const [kernel = '', initrd = ''] = files;
  return [
    '-M',
    'virt',
    '-m',
    '512M',
    '-kernel',
    kernel,
    '-initrd',
    initrd,
    '-append',
    `${append} ${PATIENT}`,
    ...more,
  ];
}

/** What a kernel says when something is wrong. */
const TROUBLE = /Call Trace|BUG|WARNING|Oops|panic|FAILED/;

async function boots(bench: Bench, args: string[]): Promise<VmProcess> {
  const vm = bench.spawn(args, { qmp: false });
  await vm.waitForLine(/^READY /, 0, BOOT_MS);
  return vm;
}

describe.skipIf(missing)('Debian', () => {
  test.for([
    [1, 'none', 'default'],
    [4, 'none', 'default'],
    [1, 'aplic', 'default'],
    [1, 'aplic-imsic', 'default'],
    [4, 'aplic-imsic', 'default'],
    [1, 'none', OPENSBI],
    [4, 'none', OPENSBI],
  ] as const)(
    'boots with %i harts, aia=%s and -bios %s, and its power-off is exit status 0',
    { timeout: TEST_MS },
    async ([harts, aia, bios], { bench, skip }) => {
      if (bios !== 'default' && !existsSync(bios)) skip(`no ${bios}`);
      const machine = ['-M', `virt,aia=${aia}`, '-smp', String(harts), '-bios', bios];
      const vm = await boots(bench, linux('console=ttyS0 autooff', ...machine));
      expect(await vm.exited(BOOT_MS)).toEqual({ code: 0, signal: null });
      expect(vm.stdout.text).toMatch(new RegExp(`^READY uptime \\S+ harts ${harts} `, 'm'));
      expect(vm.stdout.text).not.toMatch(TROUBLE);
      expect(vm.stderr.text).toBe('');
    },
  );

  test('reboot boots it again', { timeout: TEST_MS }, async ({ bench }) => {
    const vm = await boots(bench, linux('console=ttyS0 autoreboot'));
    const first = vm.stdout.text.length;
    await vm.waitForLine(/^READY /, first, BOOT_MS);
    expect(vm.stdout.text.match(/Linux version/g)).toHaveLength(2);
    expect(vm.stdout.text).not.toMatch(TROUBLE);
    // Each boot has entropy of its own from /chosen.
    expect(vm.stdout.text.match(/crng init done/g)).toHaveLength(2);
  });

  test('what it writes to a disk, and flushes, is in the file', { timeout: TEST_MS }, async ({ bench }) => {
    const disk = bench.path('disk.img');
    writeFileSync(disk, '');
    truncateSync(disk, 64 * 1024 * 1024);
    const run = 'run="yes godwit | dd of=/dev/vda bs=64k count=64 iflag=fullblock conv=fsync"';
    const drive = [
      '-drive',
      `file=${disk},if=none,format=raw,id=d0`,
      '-device',
      'virtio-blk-device,drive=d0',
    ];
    const vm = await boots(bench, linux(`console=ttyS0 autooff ${run}`, ...drive));
    expect(await vm.exited(BOOT_MS)).toEqual({ code: 0, signal: null });
    expect(vm.stdout.text).toMatch(/^READY .* disks vda /m);
    const bytes = Buffer.alloc(64 * 65_536);
    readSync(openSync(disk, 'r'), bytes);
    expect(bytes.toString('latin1') === 'godwit\n'.repeat(bytes.length / 7 + 1).slice(0, bytes.length)).toBe(
      true,
    );
  });

  test('a running Linux moves, and its shell answers at the destination', { timeout: TEST_MS }, async ({
    bench,
  }) => {
    const serial = [0, 1].map(() => bench.path('serial'));
    const on = (path: string | undefined): string[] => ['-serial', `unix:${path},server=on,wait=off`];
    const quiet = { console: false };
    const shown = ['-display', 'none', '-monitor', 'none'];
    const uri = `unix:${bench.path('migration')}`;
    const source = await bench.start(
      [...shown, ...on(serial[0]), ...linux('console=ttyS0', '-smp', '2', '-S')],
      quiet,
    );
    const target = await bench.start([...shown, ...on(serial[1]), '-incoming', uri], quiet);
    const before = await Terminal.connect(`unix:${serial[0]}`, source);
    const after = await Terminal.connect(`unix:${serial[1]}`, target);
    await source.execute('cont');
    await before.expect(/READY [^\n]*\n/, 0, BOOT_MS);
    const shell = await before.expect(/# /, 0, BOOT_MS);
    before.send('x=moved; sleep 1; echo $x $((6 * 7))\n');
    // While it sleeps; what it prints then may come here or there.
    await before.expect(/echo \$x/, shell);
    await source.execute('migrate', { uri });
    expect(await source.migrationEnd(0, BOOT_MS)).toBe('completed');
    after.send('\necho $x again; dmesg | tail -n 1\n');
    await after.expect(/moved again/, 0, BOOT_MS);
    expect(before.log.text + after.log.text).not.toMatch(TROUBLE);
    expect(before.log.text + after.log.text).toMatch(/moved 42/);
    after.send('poweroff -f\n');
    expect(await target.exited(BOOT_MS)).toEqual({ code: 0, signal: null });
  });
});
