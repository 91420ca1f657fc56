/** Network back ends on their sockets, without a machine. */
import { createSocket } from 'node:dgram';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { NetworkCable } from '../../src/devices/network.ts';
import { FrameSplitter } from '../../src/host/ethernet-stream.ts';
import type { NetdevListener, SocketNetdevSpec } from '../../src/host/netdev.ts';
import { openNetworks } from '../../src/host/netdev-open.ts';
import { startPasst } from '../../src/host/netdev-passt.ts';
import { FrameServer, FrameStream } from '../support/ethernet.ts';
import { poll } from '../support/vm-process.ts';

let dir: string;
const cleanups: (() => void)[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'godwit-netdev-'));
});
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
  rmSync(dir, { recursive: true });
});

/** A back end on a cable, and the frames that came out of it. */
async function opened(spec: SocketNetdevSpec) {
  const events: string[] = [];
  const listener: NetdevListener = {
    connected: (id) => void events.push(`connected ${id}`),
    disconnected: (id) => void events.push(`disconnected ${id}`),
  };
  const { netdevs } = await openNetworks({ netdevs: [spec], dumps: [] }, listener);
  const netdev = netdevs.get(spec.id);
  if (netdev === undefined) throw new Error('not opened');
  cleanups.push(() => netdev.close());
  const cable = new NetworkCable();
  const got: string[] = [];
  const card = {
    room: Number.POSITIVE_INFINITY,
    label: 'nic',
    model: 'nic',
    mac: () => new Uint8Array(6),
    receive: (frame: Uint8Array) => card.room-- > 0 && got.push(Buffer.from(frame).toString()) > 0,
    linkChanged() {},
  };
  cable.plugCard(card);
  cable.plugBackend(netdev);
  cable.hold(false);
  return { cable, card, netdev, got, events };
}

const until = (done: () => boolean): Promise<true> => poll(async () => done() || undefined);
const unix = (path: string) => ({ kind: 'unix', path }) as const;

describe('frames on a stream', () => {
  test('come out whole, however the stream is cut', () => {
    const frames = ['', 'a', 'bc', 'x'.repeat(1000)];
    const bytes = Buffer.concat(
      frames.flatMap((text) => {
        const length = Buffer.alloc(4);
        length.writeUInt32BE(text.length);
        return [length, Buffer.from(text)];
      }),
    );
    for (const step of [1, 2, 3, 5, 7, 1000, bytes.length]) {
      const splitter = new FrameSplitter();
      const got: string[] = [];
      for (let at = 0; at < bytes.length; at += step) {
        for (const frame of splitter.push(bytes.subarray(at, at + step)))
          got.push(Buffer.from(frame).toString());
      }
      expect(got).toEqual(frames);
    }
  });

  test('a length that no frame has ends it', () => {
    expect(() => new FrameSplitter().push(Buffer.from([0, 2, 0, 0]))).toThrow(
      expect.objectContaining({ kind: 'format' }),
    );
  });
});

describe('-netdev stream', () => {
  test('as a server has one client after the other, and drops what nobody takes', async () => {
    const path = join(dir, 's');
    const spec = { id: 'n0', where: '', type: 'stream', server: true, address: unix(path) } as const;
    const { cable, got, events, netdev } = await opened(spec);
    expect(netdev.describe()).toBe(`index=0,type=stream,listening on unix:${path}`);
    cable.send(Uint8Array.of(1));
    expect(cable.counters.sentDropped).toBe(1);
    const first = await FrameStream.connect(path);
    await until(() => events.length === 1);
    first.send(Buffer.from('hello'));
    await until(() => got.length === 1);
    cable.send(Buffer.from('world'));
    expect(String(await first.find(() => true))).toBe('world');
    const second = await FrameStream.connect(path);
    await until(() => second.closed);
    first.close();
    await until(() => events.length === 2);
    const third = await FrameStream.connect(path);
    third.send(Buffer.from('again'));
    await until(() => got.length === 2);
    expect([got, events]).toEqual([
      ['hello', 'again'],
      ['connected n0', 'disconnected n0', 'connected n0'],
    ]);
    third.close();
  });

  test('a peer that sends nonsense loses its connection, and nobody else anything', async () => {
    const path = join(dir, 's');
    const spec = { id: 'n0', where: '', type: 'stream', server: true, address: unix(path) } as const;
    const { got, events } = await opened(spec);
    const bad = await FrameStream.connect(path);
    bad.send(Buffer.alloc(100_000));
    await until(() => bad.closed && events.length === 2);
    const good = await FrameStream.connect(path);
    good.send(Buffer.from('good'));
    await until(() => got.length === 1);
    good.close();
  });

  test('a card without room holds its sender up, and loses nothing', async () => {
    const path = join(dir, 's');
    const spec = { id: 'n0', where: '', type: 'stream', server: true, address: unix(path) } as const;
    const { cable, card, got, netdev } = await opened(spec);
    const flow = vi.spyOn(netdev, 'flow');
    card.room = 0;
    const peer = await FrameStream.connect(path);
    for (let n = 0; n < 2000; n++) peer.send(Buffer.from(`${n}`.padEnd(1500, '.')));
    await until(() => flow.mock.calls.length > 0);
    expect([flow.mock.lastCall, got]).toEqual([[false], []]);
    card.room = Number.POSITIVE_INFINITY;
    await until(() => {
      cable.ready();
      return got.length === 2000;
    });
    expect(got.map((text) => Number.parseInt(text, 10))).toEqual(Array.from({ length: 2000 }, (_, n) => n));
    expect(cable.counters.receivedDropped).toBe(0);
    peer.close();
  });

  test('as a client finds nobody: an error, or, with reconnect, patience', async () => {
    const path = join(dir, 's');
    const spec = { id: 'n0', where: '', type: 'stream', server: false, address: unix(path) } as const;
    await expect(opened(spec)).rejects.toThrow(`unix:${path}: can't connect: no such file or directory`);
    const { netdev, events } = await opened({ ...spec, reconnectMs: 20 });
    expect(netdev.describe()).toContain('waiting for');
    const server = await FrameServer.listen(path);
    cleanups.push(() => server.close());
    (await server.client()).close();
    const second = await server.client();
    await until(() => events.length === 3);
    netdev.send(Buffer.from('back'));
    expect(String(await second.find(() => true))).toBe('back');
    expect(events).toEqual(['connected n0', 'disconnected n0', 'connected n0']);
  });
});

test('-netdev dgram: a frame is a datagram', async () => {
  const other = createSocket('udp4');
  await new Promise<void>((resolve) => other.bind(0, '127.0.0.1', resolve));
  cleanups.push(() => other.close());
  const received: string[] = [];
  other.on('message', (message) => void received.push(String(message)));
  const remote = { host: '127.0.0.1', port: other.address().port };
  const spec = { id: 'n0', where: '', type: 'dgram', local: { host: '127.0.0.1', port: 0 }, remote } as const;
  const { cable, got, netdev } = await opened(spec);
  const [, port] = /udp=127\.0\.0\.1:(\d+)\//.exec(netdev.describe()) ?? [];
  cable.send(Buffer.from('out'));
  await until(() => received.length === 1);
  other.send('in', Number(port), '127.0.0.1');
  await until(() => got.length === 1);
  expect([received, got]).toEqual([['out'], ['in']]);
});

test('-netdev user says what it needs', async () => {
  const path = process.env.PATH;
  process.env.PATH = dir;
  try {
    await expect(
      startPasst({ id: 'u', where: '-netdev user,id=u', type: 'user', passt: [] }),
    ).rejects.toThrow('-netdev user,id=u: needs passt, which is not installed');
  } finally {
    process.env.PATH = path;
  }
});

test('filter-dump: a pcap file with every frame, cut to maxlen', async () => {
  const file = join(dir, 'dump.pcap');
  const spec = { id: 'f', netdev: 'n0', file, maxlen: 20, where: '' };
  const { dumps } = await openNetworks({ netdevs: [], dumps: [spec] }, { connected() {}, disconnected() {} });
  dumps[0]?.tap(new Uint8Array(10).fill(1));
  dumps[0]?.tap(new Uint8Array(30).fill(2));
  await until(() => readFileSync(file).length === 24 + 16 + 10 + 16 + 20);
  const bytes = readFileSync(file);
  expect([
    bytes.readUInt32LE(0),
    bytes.readUInt16LE(4),
    bytes.readUInt32LE(16),
    bytes.readUInt32LE(20),
  ]).toEqual([0xa1b2c3d4, 2, 20, 1]);
  expect([bytes.readUInt32LE(32), bytes.readUInt32LE(36)]).toEqual([10, 10]);
  expect([bytes.readUInt32LE(58), bytes.readUInt32LE(62), bytes[66]]).toEqual([20, 30, 2]);
  await expect(
    openNetworks(
      { netdevs: [], dumps: [{ ...spec, file: join(dir, 'no', 'such') }] },
      { connected() {}, disconnected() {} },
    ),
  ).rejects.toThrow(expect.objectContaining({ kind: 'file' }));
});
