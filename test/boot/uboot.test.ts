/** U-Boot as Debian packages it (u-boot-qemu), unmodified: as firmware, and in supervisor mode on ours. */
import { existsSync, writeFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { type Bench, test, type VmProcess } from '../support/vm-process.ts';

const UBOOT = '/usr/lib/u-boot';
const missing = !existsSync(UBOOT);
if (missing) console.log('skipped: test/boot/uboot.test.ts (no u-boot-qemu)');

const PROMPT = /^=> $/m;

/** Runs a command at U-Boot's prompt. Returns what it prints. */
async function command(vm: VmProcess, line: string): Promise<string> {
  const from = vm.stdout.text.length;
  vm.child.stdin.write(`${line}\n`);
  const rest = await vm.stdout.until(
    () => {
      const text = vm.stdout.text.slice(from);
      return PROMPT.test(text) ? text : undefined;
    },
    `prompt after "${line}"`,
    () => `; it said: ${vm.stdout.text.slice(from)}`,
  );
  return rest.replaceAll('\r', '');
}

/** A disk whose first sector begins with `text`, and a network card, under U-Boot, at its prompt. */
async function atPrompt(bench: Bench, firmware: readonly string[], text: string): Promise<VmProcess> {
  const disk = bench.path('disk.img');
  writeFileSync(disk, Buffer.concat([Buffer.from(text), Buffer.alloc(65_536 - text.length)]));
  const vm = bench.spawn(
    [
      ...['-M', 'virt', '-m', '128M', ...firmware],
      ...['-drive', `file=${disk},if=none,format=raw,id=d0`, '-device', 'virtio-blk-device,drive=d0'],
      ...['-netdev', `stream,id=n0,server=on,addr.type=unix,addr.path=${bench.path('net')}`],
      ...['-device', 'e1000,netdev=n0,mac=52:54:00:01:02:03'],
    ],
    { qmp: false },
  );
  await vm.stdout.until(
    () => (/stop autoboot/.test(vm.stdout.text) ? true : undefined),
    'countdown',
    () => `; it said: ${vm.stdout.text}`,
  );
  vm.child.stdin.write('\x03');
  await vm.stdout.until(
    () => (PROMPT.test(vm.stdout.text) ? true : undefined),
    'prompt',
    () => `; it said: ${vm.stdout.text}`,
  );
  return vm;
}

describe.skipIf(missing)('U-Boot', () => {
  test.for([
    ['as firmware', ['-bios', `${UBOOT}/qemu-riscv64/u-boot.bin`]],
    ['in supervisor mode', ['-kernel', `${UBOOT}/qemu-riscv64_smode/u-boot.bin`]],
  ] as const)('%s: finds the network card, reads the disk, powers off', async ([, firmware], { bench }) => {
    const vm = await atPrompt(bench, firmware, 'godwit was here');
    expect(vm.stdout.text).toMatch(/e1000: 52:54:00:01:02:03\s+eth0: e1000#0/);
    expect(await command(vm, 'virtio info')).toMatch(/Capacity: 0\.0 MB = 0\.0 GB \(128 x 512\)/);
    expect(await command(vm, 'virtio read 0x84000000 0 1')).toMatch(/1 blocks read: OK/);
    expect(await command(vm, 'md.b 0x84000000 10')).toMatch(/godwit was here/);
    vm.child.stdin.write('poweroff\n');
    expect(await vm.exited()).toEqual({ code: 0, signal: null });
  });
});
