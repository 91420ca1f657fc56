/**
 * Debian's own kernel, migrated to and fro while it works: one TCP connection and one mounted file system have to last.
 * Runs with test/boot/linux.test.ts by `npm run test:linux`.
 */
import { execFileSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { BOOT_MS, linux, linuxMissing, TROUBLE } from '../support/linux.ts';
import { startSwitch } from '../support/switch.ts';
import { hasTool } from '../support/tool.ts';
import { test, type VmProcess } from '../support/vm-process.ts';

const MIGRATIONS = 10;
const TEST_MS = 3 * BOOT_MS;

/** The peer: takes the connection, and says which numbers have come; a gap or a repetition is a failure. */
const LISTENER = `nc -l -p 5000 | awk '$2 != NR { print "WRONG got " $0 " as line " NR } NR % 20 == 0 { print "LINES " NR }'`;

/** The traveller's end of it. */
const TALKER =
  '{ (i=1; while echo line $i; do i=$((i + 1)); sleep 0.1; done) | nc 10.0.0.1 5000; echo WRONG end; } &';

/** What the traveller does besides: each command goes on for ever, and says WRONG if something is wrong. */
const LOADS = {
  idle: [],
  memtester: [
    '{ while memtester 8M 1 > /tmp/memtester; do echo MEMTESTER passed; done; echo WRONG memtester; } &',
  ],
  'disk and network': [
    `while dd if=/dev/urandom of=/tmp/block bs=64k count=16 2> /dev/null; do cp /tmp/block /mnt/block; sync;
     echo 1 > /proc/sys/vm/drop_caches; cmp /tmp/block /mnt/block || echo WRONG block; done &`,
    'ping -q -i 0.01 -s 1400 10.0.0.1 > /dev/null &',
  ],
} as const;

/** Types lines at a guest's shell. */
const type = (vm: VmProcess, ...lines: readonly string[]): void => {
  vm.child.stdin.write(lines.map((line) => `${line}\n`).join(''));
};

/** What the guest's kernel has said since this was last asked. */
async function kernelMessages(vm: VmProcess): Promise<string[]> {
  const from = vm.stdout.text.length;
  type(vm, 'echo DMESG begins; dmesg -c; echo DMESG ends');
  await vm.waitForLine(/^DMESG ends/, from, BOOT_MS);
  const [, messages = ''] = /^DMESG begins\r?\n(.*?)^DMESG ends/ms.exec(vm.stdout.text.slice(from)) ?? [];
  return messages.split(/\r?\n/).filter((line) => line !== '' && !BUSY_HOST.test(line));
}

/** What a kernel says of a host that is busy with other things. */
const BUSY_HOST = /hrtimer: interrupt took/;

describe.skipIf(linuxMissing || !hasTool('mkfs.ext4', '-V'))('a Linux guest that travels', () => {
  test.for(Object.keys(LOADS) as (keyof typeof LOADS)[])(
    `${MIGRATIONS} times, %s, keeps its connection and its file system`,
    { timeout: TEST_MS },
    async (load, { bench }) => {
      const { path } = await startSwitch(bench);
      const disk = bench.path('disk.img');
      writeFileSync(disk, '');
      truncateSync(disk, 64 * 1024 * 1024);
      execFileSync('mkfs.ext4', ['-q', '-F', disk]);

      const peer = bench.spawn(withNetwork(path, 1), { qmp: false });
      const backends = [...['-drive', `file=${disk},if=none,format=raw,id=d0`], ...['-netdev', netdev(path)]];
      let vm = await bench.start([
        ...linux('console=ttyS0'),
        ...['-device', 'virtio-blk-device,drive=d0', '-device', nic(2)],
        ...backends,
      ]);
      for (const [host, number] of [
        [peer, 1],
        [vm, 2],
      ] as const) {
        await host.waitForLine(/^READY /, 0, BOOT_MS);
        type(host, `ip addr add 10.0.0.${number}/24 dev eth0; ip link set eth0 up; echo NETWORK is up`);
        await host.waitForLine(/^NETWORK is up/, 0, BOOT_MS);
      }
      type(peer, LISTENER);
      // 4: what drops caches later is no message of its own.
      type(vm, 'mount /dev/vda /mnt && echo 4 > /proc/sys/vm/drop_caches && echo MOUNTED');
      await vm.waitForLine(/^MOUNTED/, 0, BOOT_MS);
      type(vm, TALKER);
      await peer.waitForLine(/^LINES 20/, 0, BOOT_MS);
      await kernelMessages(vm);
      type(vm, ...LOADS[load]);

      const said: string[] = [];
      for (let number = 1; number <= MIGRATIONS; number++) {
        const uri = `unix:${bench.path('migration')}`;
        const next = await bench.start([...backends, '-incoming', uri]);
        const arrived = vm.events.length;
        await vm.execute('migrate', { uri });
        expect(await vm.migrationEnd(arrived, BOOT_MS), `migration ${number}`).toBe('completed');
        said.push(vm.stdout.text);
        await vm.quit();
        vm = next;
        // The connection goes on before the next one begins.
        await peer.waitForNewLine(/^LINES /, BOOT_MS);
      }
      if (load === 'memtester') await vm.waitForLine(/^MEMTESTER passed/, 0, BOOT_MS);
      expect(await kernelMessages(vm)).toEqual([]);
      type(vm, 'kill $(jobs -p); umount /mnt; poweroff -f');
      expect(await vm.exited(BOOT_MS)).toEqual({ code: 0, signal: null });
      const everything = [...said, vm.stdout.text, peer.stdout.text].join('\n');
      expect(everything.split('\n').filter((line) => /^WRONG/.test(line))).toEqual([]);
      expect(everything).not.toMatch(TROUBLE);
      execFileSync('fsck.ext4', ['-f', '-n', disk]);
    },
  );
});

const netdev = (path: string): string => `stream,id=n0,addr.type=unix,addr.path=${path}`;
const nic = (host: number): string => `e1000,netdev=n0,mac=52:54:00:00:00:0${host}`;
const withNetwork = (path: string, host: number): string[] => [
  ...linux('console=ttyS0'),
  ...['-netdev', netdev(path), '-device', nic(host)],
];
