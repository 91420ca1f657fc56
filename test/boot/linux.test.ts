/**
 * Debian's own kernel, unmodified, from firmware to a shell (issue: real software). Needs what guests/linux/debian.mjs
 * makes, in the folder that GODWIT_LINUX names: `npm run test:linux`. A boot takes 5 to 30 s on a machine that does nothing else.
 */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename } from 'node:path';
import { describe, expect } from 'vitest';
import { BOOT_MS, linux, linuxFiles, linuxMissing, PATIENT, TROUBLE } from '../support/linux.ts';
import { hasTool } from '../support/tool.ts';
import { type Bench, Terminal, test, type VmProcess } from '../support/vm-process.ts';

/** From Debian's packages opensbi and u-boot-qemu. */
const OPENSBI = '/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin';
const OPENSBI_JUMP = '/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_jump.bin';
const UBOOT = '/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin';
const TEST_MS = 2 * BOOT_MS;

/** A disk with one partition, its file system holding the kernel and U-Boot's menu. */
function writeBootDisk(bench: Bench, disk: string): void {
  const root = bench.path('root');
  mkdirSync(`${root}/extlinux`, { recursive: true });
  for (const file of linuxFiles) copyFileSync(file, `${root}/${basename(file)}`);
  writeFileSync(
    `${root}/extlinux/extlinux.conf`,
    `DEFAULT debian\nLABEL debian\n  KERNEL /vmlinux\n  INITRD /initrd.gz\n  APPEND console=ttyS0 autooff ${PATIENT}\n`,
  );
  const [start, sectors] = [2048, 128 * 2048];
  const table = Buffer.alloc(512);
  // A bootable partition of type 83, by sectors alone.
  table.set([0x80, 0, 0, 0, 0x83], 446);
  table.writeUInt32LE(start, 446 + 8);
  table.writeUInt32LE(sectors, 446 + 12);
  table.set([0x55, 0xaa], 510);
  writeFileSync(disk, table);
  truncateSync(disk, (start + sectors) * 512);
  execFileSync('mkfs.ext4', ['-q', '-E', `offset=${start * 512}`, '-d', root, disk, `${sectors / 2}k`]);
}

async function boots(bench: Bench, args: string[]): Promise<VmProcess> {
  const vm = bench.spawn(args, { qmp: false });
  await vm.waitForLine(/^READY /, 0, BOOT_MS);
  return vm;
}

describe.skipIf(linuxMissing)('Debian', () => {
  test.for([
    [1, 'none', 'default'],
    [4, 'none', 'default'],
    [1, 'aplic', 'default'],
    [1, 'aplic-imsic', 'default'],
    [4, 'aplic-imsic', 'default'],
    [1, 'none', OPENSBI],
    [4, 'none', OPENSBI],
    [1, 'aplic-imsic', OPENSBI],
    [1, 'none', OPENSBI_JUMP],
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

  test.skipIf(!existsSync(UBOOT) || !hasTool('mkfs.ext4', '-V'))(
    'U-Boot starts it from a disk',
    { timeout: TEST_MS },
    async ({ bench }) => {
      const disk = bench.path('disk.img');
      writeBootDisk(bench, disk);
      const vm = await boots(bench, [
        ...['-M', 'virt', '-m', '512M', '-kernel', UBOOT],
        ...['-drive', `file=${disk},if=none,format=raw,id=d0`, '-device', 'virtio-blk-device,drive=d0'],
      ]);
      expect(await vm.exited(BOOT_MS)).toEqual({ code: 0, signal: null });
      expect(vm.stdout.text).toMatch(/^U-Boot /m);
      expect(vm.stdout.text).not.toMatch(TROUBLE);
    },
  );

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
