/** The `net` guest on its e1000, and who talks to it over sockets: as its user has it, in processes of their own. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { FrameServer, FrameStream, Host, ip } from '../support/ethernet.ts';
import { guest, guestImage } from '../support/guests.ts';
import { startSwitch } from '../support/switch.ts';
import { hasTool } from '../support/tool.ts';
import { type Bench, poll, test, type VmProcess } from '../support/vm-process.ts';

/** A VM with the net guest, connected to a host of the test's. */
async function pair(bench: Bench, settings = ''): Promise<{ vm: VmProcess; host: Host }> {
  const server = await FrameServer.listen(bench.path('net'));
  bench.onEnd(() => server.close());
  const vm = await bench.start(
    guest('net', settings, '16M', '-device', 'e1000,netdev=n0', '-netdev', stream('n0', server.path)),
  );
  const host = new Host(await server.client(), 2);
  // From here on it listens.
  await vm.waitForLine(/^net link up$/);
  return { vm, host };
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

const MAC_TEXT = '52:54:00:12:34:56';

describe('godwit switch', () => {
  test('joins two VMs and a host, and tells who is where', async ({ bench }) => {
    const { path, show, text } = await startSwitch(bench);
    const host = new Host(await FrameStream.connect(path), 2);
    for (const [number, mac] of [
      [15, MAC_TEXT],
      [16, '52:54:00:12:34:57'],
    ] as const) {
      const vm = await bench.start(
        guest(
          'net',
          `host=${number}`,
          '16M',
          '-device',
          `e1000,netdev=n0,mac=${mac}`,
          '-netdev',
          stream('n0', path),
        ),
      );
      await vm.waitForLine(/^net link up$/);
      const address = Buffer.from(mac.split(':').map((byte) => Number.parseInt(byte, 16)));
      expect(await host.arp(ip(number))).toEqual(address);
      expect(await host.ping(address, ip(number))).toBe(true);
    }
    const { ports, addresses } = show();
    expect(ports.map(({ port }) => port)).toEqual([1, 2, 3]);
    expect(new Map(addresses.map(({ address, port }) => [address, port]))).toEqual(
      new Map([
        ['02:00:00:00:00:02', 1],
        [MAC_TEXT, 2],
        ['52:54:00:12:34:57', 3],
      ]),
    );
    // To the first guest: what was asked of it, and the broadcasts about the second; not the second one's ping.
    expect(ports[1]?.sentFrames).toBe(4);
    expect(text()).toMatch(/^52:54:00:12:34:56 +2 +\d/m);
  });

  test.for(['pre-copy', 'post-copy'] as const)(
    'a guest that moves is found again, and the echo goes on: %s',
    async (mode, { bench }) => {
      const { path, show } = await startSwitch(bench);
      const host = new Host(await FrameStream.connect(path), 2);
      const source = await bench.start(
        guest('net', 'report=50', '32M', '-device', 'e1000,netdev=n0', '-netdev', stream('n0', path)),
      );
      const uri = `unix:${bench.path('migration')}`;
      const target = await bench.start(['-incoming', uri, '-netdev', stream('n0', path)]);
      await source.waitForLine(/^net link up$/);
      expect(await host.arp(ip(15))).toEqual(GUEST_MAC);
      expect(show().addresses.find(({ address }) => address === MAC_TEXT)?.port).toBe(2);
      // Datagram after datagram, while it moves; one that is lost in between is sent again, as UDP's users do.
      let answered = 0;
      let lost = 0;
      let moving = true;
      const echoes = (async () => {
        while (moving || answered < 200) {
          const data = Buffer.from(`datagram ${answered}`);
          const back = await host.echo(GUEST_MAC, ip(15), data, 5000);
          if (back?.equals(data) === true) answered++;
          else lost++;
        }
      })();
      if (mode === 'post-copy') await source.migrateAtOnce(uri);
      else await source.execute('migrate', { uri });
      expect(await source.migrationEnd()).toBe('completed');
      await target.waitForEvent('RESUME');
      moving = false;
      await echoes;
      expect(lost).toBeLessThan(5);
      expect(show().addresses.find(({ address }) => address === MAC_TEXT)?.port).toBe(3);
      await source.quit();
      // Its own count goes on, too: every echo was answered by the one guest.
      const line = await target.waitForLine(/^net \d+ .* answers (\d+)$/);
      expect(Number(line[1])).toBeGreaterThan(0);
      expect(await host.ping(GUEST_MAC, ip(15))).toBe(true);
      const numbers = (source.stdout.text + target.stdout.text).match(/^net (\d+) /gm) ?? [];
      expect(numbers).toEqual(numbers.map((_, i) => `net ${i + 1} `));
    },
  );

  test('a machine that arrives without its network is told so, before any memory has moved', async ({
    bench,
  }) => {
    const { path } = await startSwitch(bench);
    const source = await bench.start(
      guest('net', '', '16M', '-device', 'e1000,netdev=n0', '-netdev', stream('n0', path)),
    );
    const uri = `unix:${bench.path('migration')}`;
    await bench.start(['-incoming', uri]);
    await source.execute('migrate', { uri });
    expect(await source.migrationEnd()).toBe('failed');
    expect((await source.migration())['error-desc']).toContain("needs the netdev 'n0', which is not here");
    expect(await source.status()).toBe('running');
  });
});

describe('the monitor', () => {
  test('pulls the cable and plugs it in: the guest sees it, by either end’s name', async ({ bench }) => {
    const { vm, host } = await pair(bench);
    for (const name of ['n0', 'e1000.0']) {
      await vm.execute('set_link', { name, up: false });
      await vm.waitForNewLine(/^net link down$/);
      expect(await host.arp(ip(15), 200)).toBeUndefined();
      expect(await vm.execute('human-monitor-command', { 'command-line': 'info network' })).toContain(
        'link=off',
      );
      const from = host.stream.frames.length;
      await vm.execute('human-monitor-command', { 'command-line': `set_link ${name} on` });
      await vm.waitForNewLine(/^net link up$/);
      expect(await host.stream.find((frame) => frame.readUInt16BE(12) === 0x0806, from)).toBeDefined();
      expect(await host.arp(ip(15))).toEqual(GUEST_MAC);
    }
    await expect(vm.execute('set_link', { name: 'n1', up: true })).rejects.toThrow("Device 'n1' not found");
  });

  test('knows an adapter by its id, if it has one', async ({ bench }) => {
    const vm = await bench.start(guest('net', '', '16M', '-device', 'e1000,id=lan', '-S'));
    await vm.execute('set_link', { name: 'lan', up: false });
    const shown = await vm.execute('human-monitor-command', { 'command-line': 'info network' });
    expect(shown).toMatch(/^lan: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56,link=off/);
    await expect(vm.execute('set_link', { name: 'e1000.0', up: true })).rejects.toThrow('not found');
  });

  test('info pci and info network show the adapter', async ({ bench }) => {
    const { vm } = await pair(bench);
    const ask = async (line: string): Promise<string> =>
      String(await vm.execute('human-monitor-command', { 'command-line': line }));
    expect(await ask('info pci')).toContain('BAR0: 32 bit memory at 0x40000000 [0x4001ffff].');
    expect(await ask('info network')).toMatch(
      /^e1000\.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56\r?\n \\ n0: index=0,type=stream,unix:/,
    );
  });

  test('announce_self: switches learn the guest’s address, round after round', async ({ bench }) => {
    const { vm, host } = await pair(bench);
    const announced = (): Buffer[] =>
      host.stream.frames.filter(
        (frame) => frame.readUInt16BE(12) === 0x8035 && frame.subarray(6, 12).equals(GUEST_MAC),
      );
    await vm.execute('announce-self', { rounds: 3, initial: 10, step: 10, max: 20 });
    await poll(async () => (announced().length === 3 ? true : undefined));
    expect(announced()[0]?.subarray(0, 6)).toEqual(Buffer.alloc(6, 0xff));

    // Only the adapters that are named; another id is another announcement; without adapters it ends.
    const [once, often] = [
      { rounds: 1, initial: 10, step: 0, max: 10 },
      { rounds: 1000, initial: 10, step: 0, max: 10 },
    ];
    await vm.execute('announce-self', { ...once, interfaces: ['another'] });
    await vm.execute('announce-self', { ...often, interfaces: ['e1000.0'], id: 'x' });
    await vm.execute('announce-self', { ...once, interfaces: [], id: 'y' });
    await poll(async () => (announced().length > 8 ? true : undefined));
    await vm.execute('announce-self', { ...once, interfaces: [], id: 'x' });
    const ended = announced().length;
    await vm.execute('human-monitor-command', { 'command-line': 'announce_self e1000.0 z' });
    await poll(async () => (announced().length > ended ? true : undefined));
    expect(announced().length).toBeLessThan(ended + 20);
  });
});

test('filter-dump: what went over the cable stands in the file, in order', async ({ bench }) => {
  const server = await FrameServer.listen(bench.path('net'));
  bench.onEnd(() => server.close());
  const file = bench.path('dump.pcap');
  const dump = ['-object', `filter-dump,id=f0,netdev=n0,file=${file}`];
  const vm = await bench.start(
    guest('net', '', '16M', '-device', 'e1000,netdev=n0', '-netdev', stream('n0', server.path), ...dump),
  );
  const host = new Host(await server.client(), 2);
  await vm.waitForLine(/^net link up$/);
  await host.arp(ip(15));
  await host.ping(GUEST_MAC, ip(15), 500);
  const frames = await poll(async () => {
    const read = readPcap(readFileSync(file));
    return read.some((frame) => frame[23] === 1 && frame[34] === 0) ? read : undefined;
  });
  const kinds = frames.map((frame) => frame.readUInt16BE(12).toString(16));
  expect(kinds.slice(-4)).toEqual(['806', '806', '800', '800']);
  expect(frames.at(-1)?.subarray(6, 12)).toEqual(GUEST_MAC);
  // The guest strips the padding off; its own frames are as the peer got them.
  expect(frames.at(-1)).toEqual(host.stream.frames.at(-1));
});

/** The frames of a pcap file, as far as it goes. */
function readPcap(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 24; at + 16 <= bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    frames.push(bytes.subarray(at + 16, at + 16 + length));
    at += 16 + length;
  }
  return frames;
}
