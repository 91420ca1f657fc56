import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TlsSettings } from '../../src/host/tls-credentials.ts';
import { connectTransport, listenTransport } from '../../src/host/transport-open.ts';
import { hostTimers } from '../../src/host/transport-timers.ts';
import { Receiver } from '../../src/migration/receiver.ts';
import { Sender } from '../../src/migration/sender.ts';
import { FakeDestination, FakeSourceVm, giveBack } from '../migration/fake-vm.ts';
import { VirtualTime } from '../migration/virtual-time.ts';
import { Authority, haveOpenssl } from '../support/certificates.ts';

const dir = mkdtempSync(join(tmpdir(), 'godwit-tls-'));
afterAll(() => rmSync(dir, { recursive: true }));
const clock = { nowNs: () => Number(process.hrtime.bigint()) };
const URI = 'tcp:127.0.0.1:0';

const x509 = (
  folder: string,
  endpoint: 'client' | 'server',
  more: { hostname?: string } = {},
): TlsSettings => ({
  credentials: { type: 'x509', id: 'tls0', dir: join(dir, folder), endpoint, verifyPeer: true },
  ...more,
});

/**
 * Migrates a guest from one to the other.
 * @param hears whether the destination hears of it; otherwise it goes on waiting, and is ended here.
 */
async function migrate(
  client: TlsSettings | undefined,
  server: TlsSettings | undefined,
  { uri = URI, hears = true } = {},
) {
  const refused: string[] = [];
  const listener = await listenTransport(uri, {
    ...(server === undefined ? {} : { tls: server }),
    onRefused: (reason) => refused.push(reason),
  });
  const source = new FakeSourceVm(new VirtualTime(), { nsPerPage: 2000 });
  const destination = new FakeDestination();
  const receiving = listener
    .accept()
    .then((transport) => new Receiver({ builder: destination, transport, clock, timers: hostTimers }).run())
    .then(
      () => undefined,
      (error: Error) => error.message,
    );
  const sender = new Sender({
    vm: source,
    open: () => connectTransport(listener.address, client === undefined ? {} : { tls: client }),
    clock,
    timers: hostTimers,
  });
  const sent = await sender.run().then(
    () => undefined,
    (error: Error) => error.message,
  );
  if (!hears) listener.close();
  const received = await receiving;
  expect(source.running && destination.running).toBe(false);
  if (sent !== undefined) {
    expect(source.running, 'the source runs on').toBe(true);
    expect(source.calls, 'nothing has moved').not.toContain('startDirtyLog');
  }
  giveBack(source.memory);
  if (destination.started !== undefined) giveBack(destination.memory);
  return { sent, received, refused, running: destination.running };
}

describe.skipIf(!haveOpenssl)('certificates', () => {
  beforeAll(() => {
    const authority = new Authority(join(dir, 'ca'));
    const other = new Authority(join(dir, 'other-ca'), 'somebody else');
    const client = { name: 'source host' };
    const server = { name: 'localhost', alternatives: 'DNS:localhost,IP:127.0.0.1' };
    authority.folder(join(dir, 'good'), { client, server });
    authority.folder(join(dir, 'none'), {});
    authority.folder(join(dir, 'expired'), {
      client: { ...client, days: -1 },
      server: { ...server, days: -1 },
    });
    authority.folder(join(dir, 'elsewhere'), {
      server: { name: 'b.example', alternatives: 'DNS:b.example' },
    });
    other.folder(join(dir, 'strange'), { client, server });
  });

  test.each([
    ['tcp', URI, {}],
    ['tcp, by name', URI, { hostname: 'localhost' }],
    ['unix', `unix:${join(dir, 'socket')}`, { hostname: 'localhost' }],
  ])('a guest moves over %s when both sides are who they say they are', async (_what, uri, more) => {
    expect(await migrate(x509('good', 'client', more), x509('good', 'server'), { uri })).toEqual({
      sent: undefined,
      received: undefined,
      refused: [],
      running: true,
    });
  });

  test.each([
    ['expired', /the client's certificate \(source host\) is refused: it has expired/],
    ['strange', /./],
    ['none', /the client has shown no certificate, and tls-creds has verify-peer=on/],
  ])(
    'a client whose certificate is %s is refused, is told why, and others may still come',
    async (folder, why) => {
      const strange = folder === 'strange';
      const outcome = await migrate(x509(folder, 'client'), x509('good', 'server'), { hears: false });
      if (!strange) {
        expect(outcome.sent).toMatch(why);
        expect(outcome.sent).toMatch(/^the destination refuses: /);
        expect(outcome.refused.join()).toMatch(why);
      } else {
        // It trusts another authority: it refuses the server first.
        expect(outcome.sent).toMatch(
          /the server's certificate \(localhost, 127.0.0.1\) is refused: .*not in ca-cert/,
        );
      }
      expect(outcome.received).toMatch(/listening was ended/);
    },
  );

  test.each([
    ['expired', {}, /the server's certificate \(localhost, 127.0.0.1\) is refused: it has expired/],
    ['strange', {}, /not in ca-cert\.pem/],
    ['elsewhere', {}, /expected one for 127\.0\.0\.1, got one for b\.example/],
    ['good', { hostname: 'c.example' }, /expected one for c\.example, got one for localhost, 127\.0\.0\.1/],
  ])(
    'a server whose certificate is %s is refused by the client, and is told why',
    async (folder, more, why) => {
      const server: TlsSettings = x509(folder, 'server');
      const { sent, received } = await migrate(x509('good', 'client', more), {
        credentials: { ...server.credentials, verifyPeer: false } as TlsSettings['credentials'],
      });
      expect(sent).toMatch(why);
      expect(received).toMatch(why);
      expect(received).toMatch(/^the source gave up: /);
    },
  );

  test('one side without TLS is an error on both, and nothing moves', async () => {
    const plainClient = await migrate(undefined, x509('good', 'server'), { hears: false });
    expect(plainClient.sent).toBeDefined();
    expect(plainClient.refused.join()).toMatch(/the TLS handshake failed/);
    const plainServer = await migrate(x509('good', 'client'), undefined);
    expect(plainServer.sent).toMatch(/the TLS handshake failed|stream opening/);
    expect(plainServer.received).toMatch(/stream opening: expected/);
  });

  test('the wrong kind of credentials, missing files and addresses without a host say so', async () => {
    await expect(connectTransport(URI, { tls: x509('good', 'server') })).rejects.toThrow(
      "tls-creds 'tls0': expected endpoint=client, got endpoint=server",
    );
    await expect(listenTransport(URI, { tls: x509('none', 'server') })).rejects.toThrow(
      /there is no .*server-cert\.pem/,
    );
    await expect(connectTransport('file:/tmp/x', { tls: x509('good', 'client') })).rejects.toThrow(
      /only tcp and unix sockets can be secured/,
    );
    const listener = await listenTransport(`unix:${join(dir, 'nameless')}`, { tls: x509('good', 'server') });
    await expect(connectTransport(listener.address, { tls: x509('good', 'client') })).rejects.toThrow(
      /set tls-hostname/,
    );
    listener.close();
  });
});

describe('pre-shared keys', () => {
  const psk = (endpoint: 'client' | 'server', username = 'qemu', folder = dir): TlsSettings => ({
    credentials: { type: 'psk', id: 'tls0', dir: folder, endpoint, username },
  });
  beforeAll(() =>
    writeFileSync(join(dir, 'keys.psk'), 'qemu:00112233445566778899aabbccddeeff\nother:ffee\n'),
  );

  test('a guest moves when the key is the same', async () => {
    expect(await migrate(psk('client'), psk('server'))).toMatchObject({ sent: undefined, running: true });
  });

  test('what only this thread can decrypt is lent to no other', async () => {
    const listener = await listenTransport(URI, { tls: psk('server') });
    const [source, destination] = await Promise.all([
      connectTransport(listener.address, { tls: psk('client') }).then(async (transport) => {
        await transport.write([Uint8Array.of(1)]);
        return transport;
      }),
      listener.accept(),
    ]);
    expect([...((await destination.read()) ?? [])]).toEqual([1]);
    expect(destination.lend?.()).toBeUndefined();
    await source.write([Uint8Array.of(2)]);
    expect([...((await destination.read()) ?? [])]).toEqual([2]);
    for (const side of [source, destination]) side.destroy();
  });

  test('another key is refused', async () => {
    const folder = mkdtempSync(join(dir, 'psk'));
    writeFileSync(join(folder, 'keys.psk'), 'qemu:deadbeefdeadbeefdeadbeefdeadbeef\n');
    const { sent, refused, running } = await migrate(psk('client', 'qemu', folder), psk('server'), {
      hears: false,
    });
    expect(sent).toMatch(/the TLS handshake failed/);
    expect(refused.join()).toMatch(/the TLS handshake failed/);
    expect(running).toBe(false);
    await expect(migrate(psk('client', 'nobody'), psk('server'), { hears: false })).resolves.toMatchObject({
      sent: "tls-creds 'tls0': keys.psk has no user 'nobody'",
    });
  });
});
