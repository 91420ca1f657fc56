/** The `net` guest on its e1000, and who talks to it over sockets: as its user has it, in processes of their own. */
import { spawn } from 'node:child_process';
import { describe, expect } from 'vitest';
import { FrameServer, Host, ip } from '../support/ethernet.ts';
import { guest, guestImage } from '../support/guests.ts';
import { hasTool } from '../support/tool.ts';
import { type Bench, poll, test, type VmProcess } from '../support/vm-process.ts';

/** A VM with the net guest, connected to a host of the test's. */
async function pair(bench: Bench, settings = ''): Promise<{ vm: VmProcess; host: Host }> {
  const server = await FrameServer.listen(bench.path('net'));
  bench.onEnd(() => server.close());
  const vm = await bench.start(
    guest('net', settings, '16M', '-device', 'e1000,netdev=n0', '-netdev', stream('n0', server.path)),
  );
  return { vm, host: new Host(await server.client(), 2) };
}

const stream = (id: string, path: string): string => `stream,id=${id},addr.type=unix,addr.path=${path}`;

const GUEST_MAC = Buffer.from([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

describe('a guest on a stream socket', () => {
  test.for(['irq', 'poll'])(
    'answers ARP, pings of all sizes, and echoes (wait=%s)',
    async (wait, { bench }) => {
      const { vm, host } = await pair(bench, `wait=${wait}`);
      await vm.waitForLine(/^net 10\.0\.2\.15 52:54:00:12:34:56$/);
      await vm.waitForLine(/^net link up$/);
      expect(await host.arp(ip(15))).toEqual(GUEST_MAC);
      for (const bytes of [0, 1, 56, 1000, 1472])
        expect(await host.ping(GUEST_MAC, ip(15), bytes)).toBe(true);
      for (let n = 0; n < 100; n++) {
        const data = Buffer.from(`datagram ${n}`);
        expect(await host.echo(GUEST_MAC, ip(15), data)).toEqual(data);
      }
    },
  );
});

test.skipIf(!hasTool('qemu-system-riscv64'))('the same image answers in QEMU', async ({ bench }) => {
  const server = await FrameServer.listen(bench.path('net'));
  const qemu = spawn('qemu-system-riscv64', [
    ...['-M', 'virt', '-bios', 'none', '-m', '16M', '-kernel', guestImage('net'), '-display', 'none'],
    ...['-serial', 'none', '-monitor', 'none', '-device', 'e1000,netdev=n0'],
    ...['-netdev', stream('n0', server.path)],
  ]);
  bench.onEnd(() => {
    qemu.kill();
    server.close();
  });
  const host = new Host(await server.client(), 2);
  // It may not listen yet when we ask for the first time.
  expect(await poll(() => host.arp(ip(15), 500))).toEqual(GUEST_MAC);
  expect(await host.ping(GUEST_MAC, ip(15), 1000)).toBe(true);
  expect(await host.echo(GUEST_MAC, ip(15), Buffer.from('hello'))).toEqual(Buffer.from('hello'));
});
