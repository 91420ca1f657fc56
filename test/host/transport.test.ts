import { fork } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { GodwitError } from '../../src/error.ts';
import { libc } from '../../src/host/libc.ts';
import { formatTransportAddress, parseTransportAddress } from '../../src/host/transport-address.ts';
import { connectTransport, listenTransport } from '../../src/host/transport-open.ts';
import type { Transport } from '../../src/migration/transport.ts';

const dir = mkdtempSync(join(tmpdir(), 'godwit-transport-'));
afterAll(() => rmSync(dir, { recursive: true }));
let counter = 0;
const freshPath = (): string => join(dir, `t${counter++}`);

async function failure(promise: Promise<unknown>): Promise<GodwitError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(GodwitError);
  expect((error as GodwitError).message).not.toContain('\n');
  return error as GodwitError;
}

async function pair(uri: string): Promise<{ source: Transport; destination: Transport; address: string }> {
  const listener = await listenTransport(uri);
  const source = await connectTransport(listener.address);
  await source.write([Uint8Array.of(1)]);
  const destination = await listener.accept();
  expect(await destination.read()).toEqual(Uint8Array.of(1));
  return { source, destination, address: listener.address };
}

async function readAll(transport: Transport): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for (let piece = await transport.read(); piece !== undefined; piece = await transport.read()) {
    pieces.push(Uint8Array.from(piece));
  }
  return Buffer.concat(pieces);
}

test('addresses are read as QEMU spells them, and written back', () => {
  for (const uri of [
    'tcp:localhost:4444',
    'tcp:[::1]:0',
    'tcp:10.0.0.1:65535',
    'tcp::4444',
    'unix:/tmp/a:b',
    'file:x y',
  ]) {
    expect(formatTransportAddress(parseTransportAddress(uri))).toBe(uri);
  }
  expect(parseTransportAddress('tcp:[::1]:5')).toEqual({ kind: 'tcp', host: '::1', port: 5 });
});

test.each([
  ['', 'tcp:HOST:PORT, unix:PATH, file:PATH'],
  ['/tmp/socket', 'tcp:HOST:PORT, unix:PATH, file:PATH'],
  ['rdma:host:1', 'tcp:HOST:PORT, unix:PATH, file:PATH'],
  ['unx:/tmp/a', 'did you mean unix:PATH?'],
  ['TCP:a:1', 'did you mean tcp:HOST:PORT?'],
  ['fille:/tmp/a', 'did you mean file:PATH?'],
  ['tcp:host', 'tcp:HOST:PORT with a port of 0 to 65535'],
  ['tcp:host:65536', 'tcp:HOST:PORT with a port of 0 to 65535'],
  ['tcp:host:12x', 'tcp:HOST:PORT with a port of 0 to 65535'],
  ['tcp:::1:5', 'tcp:HOST:PORT with a port of 0 to 65535'],
  ['unix:', 'unix:PATH'],
  ['file:', 'file:PATH'],
  [`unix:/${'x'.repeat(107)}`, 'a socket path of at most 107 bytes, got 108 bytes'],
])('the address "%s" is refused with the forms known', (uri, message) => {
  expect(() => parseTransportAddress(uri)).toThrow(message);
  expect(() => parseTransportAddress(uri)).toThrow(expect.objectContaining({ kind: 'usage' }));
});

describe.runIf(libc() !== undefined)('a unix socket, once the library is loaded that asks for room', () => {
  const frame = new Uint8Array(1024 * 1024);
  /** More than a socket takes by itself. */
  const more = frame.subarray(0, 320 * 1024);

  /** A pair through which some has gone. */
  async function used(hurry: boolean): Promise<{ source: Transport; destination: Transport }> {
    const { source, destination } = await pair(`unix:${freshPath()}`);
    if (hurry) source.hurry?.();
    const sent = 2;
    const writing = (async () => {
      for (let i = 0; i < sent; i++) await source.write([frame]);
    })();
    for (let missing = sent * frame.length; missing > 0; )
      missing -= (await destination.read())?.length ?? missing;
    await writing;
    return { source, destination };
  }

  test('holds more when some has gone through', async () => {
    const { source, destination } = await used(false);
    // Nobody reads.
    await source.write([more]);
    source.destroy();
    destination.destroy();
  });

  test('holds no more if what goes through is in a hurry', async () => {
    const { source, destination } = await used(true);
    let written = false;
    const writing = source.write([more]).then(() => {
      written = true;
    });
    // All that the system took would have been noticed by then.
    for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(written).toBe(false);
    for (let missing = more.length; missing > 0; ) missing -= (await destination.read())?.length ?? missing;
    await writing;
    source.destroy();
    destination.destroy();
  });
});

describe.each(['unix', 'tcp'] as const)('%s', (kind) => {
  const uri = (): string => (kind === 'unix' ? `unix:${freshPath()}` : 'tcp:127.0.0.1:0');

  test('carries bytes both ways, in order, to a clean end', async () => {
    const { source, destination } = await pair(uri());
    const large = new Uint8Array(5_000_000).map((_, i) => (i * 7) >> 3);
    const shared = new Uint8Array(new SharedArrayBuffer(300_000)).fill(5);
    const received = readAll(destination);
    await source.write([large.subarray(0, 10), large.subarray(10)]);
    await source.write([shared]);
    await source.end();
    const got = await received;
    expect(got.length).toBe(5_300_000);
    expect(Buffer.compare(got.subarray(0, 5_000_000), large)).toBe(0);
    expect(got.subarray(5_000_000).every((byte) => byte === 5)).toBe(true);
    // The other direction is still open.
    const back = readAll(source);
    await destination.write([Uint8Array.of(1, 2, 3)]);
    await destination.end();
    expect([...(await back)]).toEqual([1, 2, 3]);
    source.destroy();
    destination.destroy();
  });

  test('a reader who has a place for the bytes gets them there, in order, and what stands behind it afterwards', async () => {
    const { source, destination } = await pair(uri());
    const sent = new Uint8Array(3_000_000).map((_, i) => (i * 13) >> 4);
    const writing = source.write([sent]).then(() => source.end());
    const memory = new Uint8Array(new SharedArrayBuffer(sent.length));
    let at = 0;
    let inPlace = 0;
    for (let size = 1; at < sent.length; size = (size * 5) % 300_007) {
      const place = memory.subarray(at, at + size);
      const piece = (await destination.read(place)) as Uint8Array;
      expect(piece.length).toBeGreaterThan(0);
      if (piece.buffer === memory.buffer) {
        expect(piece.byteOffset).toBe(at);
        expect(piece.length).toBeLessThanOrEqual(place.length);
        inPlace += piece.length;
        at += piece.length;
      } else {
        // As a reader does: what is more than it has room for belongs to the next place.
        memory.set(piece, at);
        at += piece.length;
      }
    }
    expect(Buffer.compare(memory, sent)).toBe(0);
    expect(inPlace, 'most of it').toBeGreaterThan(sent.length / 2);
    expect(await destination.read(memory)).toBeUndefined();
    await writing;
    source.destroy();
    destination.destroy();
  });

  test('a reader who is never out of bytes leaves turns to others', async () => {
    const { source, destination } = await pair(uri());
    const block = new Uint8Array(4 * 1024 * 1024);
    let writing = true;
    const writes = (async () => {
      while (writing) await source.write([block]);
    })();
    let turns = 0;
    const place = new Uint8Array(64 * 1024);
    const reading = (async () => {
      while (turns < 3) await destination.read(place);
    })();
    while (turns < 3) {
      await new Promise((resolve) => setImmediate(resolve));
      turns++;
    }
    await reading;
    writing = false;
    destination.destroy();
    await writes.catch(() => {});
    source.destroy();
  });

  test('a reader that does not read holds the writer up, and a dropped connection frees it', async () => {
    const { source, destination } = await pair(uri());
    let taken = 0;
    const block = new Uint8Array(1024 * 1024);
    const writing = (async () => {
      for (; taken < 100; taken++) await source.write([block]);
    })();
    const outcome = writing.catch((error: unknown) => error);
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(taken).toBeLessThan(30);
    source.destroy();
    source.destroy();
    expect(await outcome).toMatchObject({ kind: 'transport' });
    await expect(source.read()).rejects.toMatchObject({ kind: 'transport' });
    await expect(source.write([block])).rejects.toMatchObject({ kind: 'transport' });
    destination.destroy();
  });

  test('the end of a peer that was killed is an error or an end, never a crash', async () => {
    const { source, destination } = await pair(uri());
    const reading = source.read().catch((error: unknown) => error);
    destination.destroy();
    const result = await reading;
    expect(result === undefined || (result as GodwitError).kind === 'transport').toBe(true);
    const writes = await failure(
      (async () => {
        for (let i = 0; i < 50; i++) await source.write([new Uint8Array(100_000)]);
      })(),
    );
    expect(writes.kind).toBe('transport');
    source.destroy();
  });

  test('one connection is taken, and nobody else', async () => {
    const { source, destination, address } = await pair(uri());
    const error = await failure(connectTransport(address));
    expect(error).toMatchObject({ kind: 'transport' });
    expect(error.message).toMatch(
      /: can't connect: (connection refused: nobody listens there|no such file or directory)$/,
    );
    if (kind === 'unix') expect(existsSync(address.slice(5))).toBe(false);
    source.destroy();
    destination.destroy();
  });

  test('who connects and says nothing does not use the listener up', async () => {
    const listener = await listenTransport(uri());
    const silent = await connectTransport(listener.address);
    const probe = await connectTransport(listener.address);
    probe.destroy();
    const source = await connectTransport(listener.address);
    await source.write([Uint8Array.of(9)]);
    const destination = await listener.accept();
    expect(await destination.read()).toEqual(Uint8Array.of(9));
    expect(await silent.read().catch(() => undefined)).toBeUndefined();
    for (const transport of [silent, source, destination]) transport.destroy();
  });

  test('an address in use is refused, and its owner is not disturbed', async () => {
    const listener = await listenTransport(uri());
    const error = await failure(listenTransport(listener.address));
    expect(error.message).toBe(`${listener.address} is in use by another process`);
    const source = await connectTransport(listener.address);
    await source.write([Uint8Array.of(1)]);
    const destination = await listener.accept();
    source.destroy();
    destination.destroy();
  });

  test('a listener that is closed says so to who waits', async () => {
    const listener = await listenTransport(uri());
    const waiting = failure(listener.accept());
    listener.close();
    listener.close();
    expect((await waiting).kind).toBe('cancelled');
  });
});

test('port 0 becomes the port that was chosen', async () => {
  const listener = await listenTransport('tcp:127.0.0.1:0');
  expect(listener.address).toMatch(/^tcp:127\.0\.0\.1:[1-9]\d+$/);
  listener.close();
});

test('who can not be reached is named with the reason, in one line', async () => {
  const server: Server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const refused = await failure(connectTransport(`tcp:127.0.0.1:${port}`));
  expect(refused.message).toBe(
    `tcp:127.0.0.1:${port}: can't connect: connection refused: nobody listens there`,
  );
  const missing = await failure(connectTransport('unix:/nowhere/at/all'));
  expect(missing.message).toBe("unix:/nowhere/at/all: can't connect: no such file or directory");
  const folder = await failure(listenTransport('unix:/nowhere/at/all'));
  expect(folder).toMatchObject({ kind: 'transport' });
  const file = await failure(listenTransport('file:/nowhere/at/all'));
  expect(file.message).toMatch(/^file:\/nowhere\/at\/all: can't be opened \(ENOENT/);
  const other = freshPath();
  writeFileSync(other, 'precious');
  const notSocket = await failure(listenTransport(`unix:${other}`));
  expect(notSocket.message).toBe(`unix:${other}: the file exists and is no socket`);
  expect(readFileSync(other, 'utf8')).toBe('precious');
});

test('the socket file of a killed process is replaced', async () => {
  const path = freshPath();
  const script = join(dir, 'listen.mjs');
  writeFileSync(
    script,
    `import { createServer } from 'node:net';
     createServer().listen(${JSON.stringify(path)}, () => process.send('ready'));`,
  );
  const child = fork(script, { execArgv: [] });
  await new Promise((resolve) => child.once('message', resolve));
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
  expect(existsSync(path)).toBe(true);
  const { source, destination } = await pair(`unix:${path}`);
  source.destroy();
  destination.destroy();
});

test('a file gets its name when it is whole, and nothing is left of one that was dropped', async () => {
  const path = freshPath();
  const file = await connectTransport(`file:${path}`);
  expect(file.duplex).toBe(false);
  await file.write([Uint8Array.of(1, 2), Uint8Array.of(3)]);
  expect(existsSync(path)).toBe(false);
  await file.end();
  file.destroy();
  expect([...readFileSync(path)]).toEqual([1, 2, 3]);
  expect(existsSync(`${path}.partial`)).toBe(false);

  const dropped = await connectTransport(`file:${path}`);
  await dropped.write([Uint8Array.of(9)]);
  dropped.destroy();
  await expect(dropped.write([Uint8Array.of(9)])).rejects.toMatchObject({ kind: 'transport' });
  while (existsSync(`${path}.partial`)) await new Promise((resolve) => setImmediate(resolve));
  expect([...readFileSync(path)]).toEqual([1, 2, 3]);

  const reader = await (await listenTransport(`file:${path}`)).accept();
  expect([...(await readAll(reader))]).toEqual([1, 2, 3]);
  reader.destroy();
  await expect(reader.read()).rejects.toMatchObject({ kind: 'transport' });
  expect((await failure(listenTransport(`file:${dir}`))).message).toContain('expected a regular file');
});

test('a full disk is an error that names the file', async () => {
  if (!existsSync('/dev/full')) return;
  // The partial file is a link to a device that is always full.
  const path = freshPath();
  const { symlinkSync } = await import('node:fs');
  symlinkSync('/dev/full', `${path}.partial`);
  const file = await connectTransport(`file:${path}`);
  const error = await failure(file.write([new Uint8Array(100)]));
  expect(error.message).toMatch(/can't be written \(ENOSPC/);
  file.destroy();
  expect(existsSync(path)).toBe(false);
});

test('plain sockets of others can talk to it as well', async () => {
  const listener = await listenTransport('tcp:127.0.0.1:0');
  const { port } = parseTransportAddress(listener.address) as { port: number };
  const socket = connect(port, '127.0.0.1');
  socket.end('GET / HTTP/1.1\r\n\r\n');
  const transport = await listener.accept();
  expect(new TextDecoder().decode(await readAll(transport))).toContain('GET /');
  transport.destroy();
});
