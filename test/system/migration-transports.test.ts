/** Guests of real processes that travel through commands and under TLS. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import * as zlib from 'node:zlib';
import { describe, expect } from 'vitest';
import { Authority, haveOpenssl } from '../support/certificates.ts';
import { expectNumbered, guest, joinedConsole } from '../support/guests.ts';
import { type Bench, test, type VmProcess } from '../support/vm-process.ts';

const SMALL_GUEST = guest('dirty', 'size=1M rate=300 report=20');
const NEW_LINE = /^dirty \d+ .*/;

async function tls(vm: VmProcess, endpoint: string): Promise<void> {
  await vm.execute('migrate-set-parameters', { 'tls-creds': 'tls0' });
  if (endpoint === 'server') await vm.execute('migrate-incoming', { uri: 'tcp:127.0.0.1:0' });
}

const credentials = (dir: string, endpoint: string): string[] => [
  '-object',
  `tls-creds-x509,id=tls0,dir=${dir},endpoint=${endpoint},verify-peer=on`,
];

/** Where a destination listens. */
async function uriOf(vm: VmProcess): Promise<string> {
  const [address] = (await vm.migration())['socket-address'] ?? [];
  return `tcp:${address?.host}:${address?.port}`;
}

async function arrives(source: VmProcess, uri: string, target: VmProcess): Promise<void> {
  await source.execute('migrate', { uri });
  expect(await source.migrationEnd(), (await source.migration())['error-desc']).toBe('completed');
  await target.waitForNewLine(NEW_LINE);
  await source.quit();
  await target.quit();
  expectNumbered(joinedConsole(source, target), 'dirty');
}

describe('commands', () => {
  test('a guest is kept through gzip, runs on at its source, and goes on from what was kept', async ({
    bench,
  }) => {
    const source = await bench.start(SMALL_GUEST);
    await source.waitForLine(NEW_LINE);
    const file = bench.path('kept.gz');
    await source.execute('migrate', { uri: `exec:gzip -1 > ${file}` });
    expect(await source.migrationEnd()).toBe('completed');
    expect(await source.status()).toBe('postmigrate');
    // What the command did with the guest, only the user knows.
    await source.execute('cont');
    await source.waitForNewLine(NEW_LINE);
    const from = source.events.length;
    await source.execute('migrate', { uri: 'exec:echo no >&2; exit 9' });
    expect(await source.migrationEnd(from)).toBe('failed');
    expect((await source.migration())['error-desc']).toMatch(/ended with exit status 9, .*: no$/);
    await source.waitForNewLine(NEW_LINE);
    await source.quit();
    const target = await bench.start(['-incoming', 'defer']);
    await target.execute('migrate-incoming', { uri: `exec:gzip -dc ${file}` });
    await target.waitForNewLine(NEW_LINE);
    await target.quit();
    const broken = await bench.start(['-incoming', 'defer']);
    await broken.execute('migrate-incoming', { uri: `exec:head -c 4000 ${file} | gzip -dc` });
    expect((await broken.exited()).code).toBe(1);
    expect(broken.errors()).toHaveLength(1);
    expect(broken.stderr.text).toMatch(/ended with exit status 1: .*unexpected end of file/);
  });

  const incoming = async (bench: Bench, command: string): Promise<VmProcess> => {
    const vm = await bench.start(['-incoming', 'defer']);
    await vm.execute('migrate-incoming', { uri: `exec:${command}` });
    return vm;
  };
  const decode = (key: string): string => `openssl enc -d -aes-256-ctr -pbkdf2 -pass file:${key}`;
  test.skipIf(!haveOpenssl)(
    'a guest moves through commands at both ends; with another key it stays',
    async ({ bench }) => {
      const [key, otherKey, pipe] = [bench.path('key'), bench.path('other-key'), bench.path('pipe')];
      writeFileSync(key, 'one\n');
      writeFileSync(otherKey, 'another\n');
      execFileSync('mkfifo', [pipe]);
      const uri = `exec:gzip -1 | openssl enc -aes-256-ctr -pbkdf2 -pass file:${key} > ${pipe}`;
      // More than the pipes hold: one way, a source learns of a failure only while it writes.
      const source = await bench.start(guest('dirty', 'size=8M words=512 pattern=random rate=300 report=20'));
      await source.waitForLine(NEW_LINE);
      const stranger = await incoming(bench, `${decode(otherKey)} -in ${pipe}`);
      await source.execute('migrate', { uri });
      expect((await stranger.exited()).code).toBe(1);
      expect(stranger.stderr.text).toMatch(/stream opening: expected 89 67/);
      expect(await source.migrationEnd()).toBe('failed');
      expect(await source.status()).toBe('running');
      const target = await incoming(bench, `${decode(key)} -in ${pipe} | gzip -dc`);
      const from = source.events.length;
      await source.execute('migrate', { uri });
      expect(await source.migrationEnd(from), (await source.migration())['error-desc']).toBe('completed');
      await target.waitForNewLine(NEW_LINE);
      await source.quit();
      await target.quit();
      expectNumbered(joinedConsole(source, target), 'dirty');
    },
  );
});

/** Passes connections on, and cuts one of them after some bytes. */
async function relay(
  bench: Bench,
  to: string,
  cut?: { readonly connection: number; readonly after: number },
): Promise<string> {
  const path = bench.path('relay');
  let connections = 0;
  const server = createServer((client) => {
    const number = connections++;
    const behind = createConnection(to);
    let bytes = 0;
    client.on('data', (data) => {
      bytes += data.length;
      if (cut?.connection === number && bytes > cut.after) client.destroy();
    });
    client.pipe(behind).pipe(client);
    for (const [one, other] of [
      [client, behind],
      [behind, client],
    ] as const) {
      one.on('error', () => {});
      one.on('close', () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  bench.onEnd(() => void server.close());
  return `unix:${path}`;
}

describe('multifd', () => {
  const MULTIFD = { capabilities: [{ capability: 'multifd', state: true }] };

  async function waiting(bench: Bench): Promise<{ target: VmProcess; path: string }> {
    const target = await bench.start(['-incoming', 'defer']);
    const path = bench.path('incoming');
    await target.execute('migrate-set-capabilities', MULTIFD);
    await target.execute('migrate-incoming', { uri: `unix:${path}` });
    return { target, path };
  }

  test('a guest moves over several connections, compressed or not, whatever strangers do; a cut channel changes nothing', async ({
    bench,
  }) => {
    const source = await bench.start(guest('dirty', 'size=4M rate=3000 report=20'));
    await source.waitForLine(NEW_LINE);
    await source.execute('migrate-set-capabilities', MULTIFD);
    await source.execute('migrate-set-parameters', { 'multifd-channels': 3 });
    // The main connection is the first; a channel breaks in the middle of memory, or before it has said who it is.
    for (const cut of [
      { connection: 2, after: 100_000 },
      { connection: 1, after: 0 },
    ]) {
      const { target, path } = await waiting(bench);
      const from = source.events.length;
      await source.execute('migrate-set-parameters', { 'stall-timeout': 15_000 });
      await source.execute('migrate', { uri: await relay(bench, path, cut) });
      expect(await source.migrationEnd(from)).toBe('failed');
      expect((await source.migration())['error-desc']).toMatch(/channel|the connection/);
      expect(await source.status()).toBe('running');
      expect((await target.exited()).code).toBe(1);
      expect(target.stdout.text).toBe('');
      await source.waitForNewLine(NEW_LINE);
    }
    let vm = source;
    const past = [source];
    for (const compression of ['none', 'zlib']) {
      const { target, path } = await waiting(bench);
      await vm.execute('migrate-set-capabilities', MULTIFD).catch(() => {});
      await vm.execute('migrate-set-parameters', {
        'multifd-channels': 3,
        'multifd-compression': compression,
      });
      const stranger = createConnection(path);
      stranger.on('error', () => {});
      const from = vm.events.length;
      await vm.execute('migrate', { uri: `unix:${path}` });
      expect(await vm.migrationEnd(from), (await vm.migration())['error-desc']).toBe('completed');
      await target.waitForNewLine(NEW_LINE);
      const { ram } = await vm.migration();
      expect(ram?.['multifd-bytes']).toBeGreaterThan(10_000);
      stranger.destroy();
      await vm.quit();
      vm = target;
      past.push(vm);
    }
    await vm.quit();
    expectNumbered(joinedConsole(...past), 'dirty');
  });

  test('the destination may want it when it listens already', async ({ bench }) => {
    const source = await bench.start(SMALL_GUEST);
    await source.waitForLine(NEW_LINE);
    const uri = `unix:${bench.path('incoming')}`;
    const target = await bench.start(['-incoming', uri]);
    for (const vm of [source, target]) await vm.execute('migrate-set-capabilities', MULTIFD);
    await source.execute('migrate', { uri });
    expect(await source.migrationEnd(), (await source.migration())['error-desc']).toBe('completed');
    await target.waitForNewLine(NEW_LINE);
    await source.quit();
    await target.quit();
  });

  test('both sides have to want it; zstd needs a Node that has it', async ({ bench }) => {
    const source = await bench.start(SMALL_GUEST);
    await source.waitForLine(NEW_LINE);
    const path = bench.path('incoming');
    const target = await bench.start(['-incoming', `unix:${path}`]);
    await source.execute('migrate-set-capabilities', MULTIFD);
    await source.execute('migrate', { uri: `unix:${path}` });
    expect(await source.migrationEnd()).toBe('failed');
    expect((await source.migration())['error-desc']).toMatch(/the source has the capability multifd on/);
    expect((await target.exited()).code).toBe(1);
    const zstd = source.execute('migrate-set-parameters', { 'multifd-compression': 'zstd' });
    if ('zstdCompress' in zlib) await zstd;
    else await expect(zstd).rejects.toThrow(/zstd: expected Node 22.15 or 23.8, or newer/);
    await source.waitForNewLine(NEW_LINE);
    await source.quit();
  });
});

describe.skipIf(!haveOpenssl)('TLS', () => {
  test('a guest moves; strangers are refused before that, and the destination waits on', async ({
    bench,
  }) => {
    const authority = new Authority(bench.path('ca'));
    const [client, server] = [{ name: 'a' }, { name: 'b', alternatives: 'IP:127.0.0.1' }];
    const good = authority.folder(bench.path('good'), { client, server });
    const expired = authority.folder(bench.path('expired'), { client: { ...client, days: -1 } });
    const target = await bench.start(['-incoming', 'defer', ...credentials(good, 'server')]);
    await tls(target, 'server');
    const uri = await uriOf(target);

    const stranger = await bench.start([...SMALL_GUEST, ...credentials(expired, 'client')]);
    await stranger.waitForLine(NEW_LINE);
    await tls(stranger, 'client');
    await stranger.execute('migrate', { uri });
    expect(await stranger.migrationEnd()).toBe('failed');
    const refusal = "the client's certificate (a) is refused: it has expired";
    expect((await stranger.migration())['error-desc']).toBe(`the destination refuses: ${refusal}`);
    await stranger.waitForNewLine(NEW_LINE);
    await stranger.quit();
    expect(await target.status()).toBe('inmigrate');
    expect(target.stderr.text).toMatch(
      /^godwit-system-riscv64: warning: connection to tcp:.*it has expired\n$/,
    );

    const source = await bench.start([...SMALL_GUEST, ...credentials(good, 'client')]);
    await source.waitForLine(NEW_LINE);
    await tls(source, 'client');
    await arrives(source, uri, target);
  });

  test('credentials that do not exist are refused', async ({ bench }) => {
    const source = await bench.start(SMALL_GUEST);
    await source.execute('migrate-set-parameters', { 'tls-creds': 'tls1' });
    await expect(source.execute('migrate', { uri: 'tcp:127.0.0.1:1' })).rejects.toThrow(
      "No TLS credentials with id 'tls1'",
    );
    await source.quit();
  });
});
