/** A connection that one thread has lent to another is read and written without an event loop, and its end is noticed. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { PolledSocket } from '../../src/host/polled-socket.ts';
import { connectTransport, listenTransport } from '../../src/host/transport-open.ts';
import type { SocketTransport } from '../../src/host/transport-socket.ts';
import type { LentConnection, Transport } from '../../src/migration/transport.ts';

const dir = mkdtempSync(join(tmpdir(), 'godwit-polled-'));
afterAll(() => rmSync(dir, { recursive: true }));
let counter = 0;

/** Both ends of a connection; the destination has read the first byte. */
async function pair(kind: 'unix' | 'tcp'): Promise<{ source: Transport; destination: Transport }> {
  const uri = kind === 'unix' ? `unix:${join(dir, `s${counter++}`)}` : 'tcp:127.0.0.1:0';
  const listener = await listenTransport(uri);
  const source = await connectTransport(listener.address);
  await source.write([Uint8Array.of(1)]);
  const destination = await listener.accept();
  expect(await destination.read()).toEqual(Uint8Array.of(1));
  return { source, destination };
}

const lent = (transport: Transport): LentConnection => {
  const connection = transport.lend?.();
  if (connection === undefined) throw new Error('nothing was lent');
  return connection;
};

/** Looks until something comes. */
async function look(socket: PolledSocket): Promise<void> {
  while (!socket.poll()) await new Promise((resolve) => setImmediate(resolve));
}

test.each(['unix', 'tcp'] as const)('bytes go both ways over a %s socket', async (kind) => {
  const { source, destination } = await pair(kind);
  const socket = new PolledSocket(lent(destination));
  const reading = socket.read();
  expect(socket.poll(), 'nothing has come').toBe(false);
  await source.write([Uint8Array.of(2, 3)]);
  await look(socket);
  expect(await reading).toEqual(Uint8Array.of(2, 3));
  await socket.write([Uint8Array.of(4), Uint8Array.of(5, 6)]);
  expect(await source.read()).toEqual(Uint8Array.of(4, 5, 6));
  for (const side of [source, destination]) side.destroy();
});

test('what the other side does not take is written when it does', async () => {
  const { source, destination } = await pair('unix');
  const socket = new PolledSocket(lent(destination));
  const sent = Uint8Array.from({ length: 3_000_000 }, (_, i) => i * 7);
  let taken = false;
  const writing = socket.write([sent]).then(() => {
    taken = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(taken).toBe(false);
  const pieces: Uint8Array[] = [];
  for (let length = 0; length < sent.length; ) {
    const piece = Uint8Array.from((await source.read()) as Uint8Array);
    pieces.push(piece);
    length += piece.length;
    socket.poll();
  }
  await writing;
  expect(Buffer.compare(Buffer.concat(pieces), sent)).toBe(0);
  for (const side of [source, destination]) side.destroy();
});

test('the other side’s end is the end; then nothing can be written', async () => {
  const { source, destination } = await pair('unix');
  const socket = new PolledSocket(lent(destination));
  const reading = socket.read();
  source.destroy();
  await look(socket);
  expect(await reading).toBeUndefined();
  await expect(socket.write([new Uint8Array(10)])).rejects.toThrow('the connection was broken off');
  await expect(socket.read()).rejects.toThrow('the connection was broken off');
  destination.destroy();
});

test('who lets go of it reads no more', async () => {
  const { source, destination } = await pair('unix');
  const socket = new PolledSocket(lent(destination));
  const reading = socket.read();
  socket.destroy();
  await expect(reading).rejects.toThrow('dropped here');
  await source.write([Uint8Array.of(9)]);
  expect(socket.poll()).toBe(false);
  for (const side of [source, destination]) side.destroy();
});

test('what has come and was not read yet can’t be lent; nothing of it is lost', async () => {
  const { source, destination } = await pair('unix');
  await source.write([Uint8Array.of(2)]);
  expect(await (destination as SocketTransport).speaks()).toBe(true);
  expect(destination.lend?.()).toBeUndefined();
  expect(await destination.read()).toEqual(Uint8Array.of(2));
  await source.write([Uint8Array.of(3)]);
  expect(await destination.read()).toEqual(Uint8Array.of(3));
  for (const side of [source, destination]) side.destroy();
});
