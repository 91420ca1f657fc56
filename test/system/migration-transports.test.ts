/** Guests of real processes that travel through commands and under TLS. */
import { describe, expect } from 'vitest';
import { Authority, haveOpenssl } from '../support/certificates.ts';
import { expectNumbered, guest, joinedConsole } from '../support/guests.ts';
import { test, type VmProcess } from '../support/vm-process.ts';

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
