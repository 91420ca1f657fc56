import { describe, expect, it } from 'vitest';
import { HmpSession } from '../../src/monitor/hmp-session.ts';
import type { MigrationInfo } from '../../src/monitor/target.ts';
import { setUp } from './fake-target.ts';

const GREETING = "godwit 0.1.0 monitor - type 'help' for more information\r\n(qemu) ";

function start() {
  const fixture = setUp();
  const { far, context } = fixture;
  new HmpSession(far, context);
  /** Types keys, waits for the next prompt, and gives what was shown before it. */
  const type = async (keys: string) => {
    const before = far.text.length;
    far.send(keys);
    await far.until((text) => text.length > before && text.endsWith('\r\n(qemu) '));
    return far.text.slice(before, -'(qemu) '.length);
  };
  /** Runs a line and gives what it printed. */
  const run = async (line: string) =>
    (await type(`${line}\r`)).slice(line.length + 2).replaceAll('\r\n', '\n');
  return { ...fixture, type, run };
}

// What QEMU 7.2.22 printed.
const GOLDEN: [line: string, printed: string][] = [
  ['info status', 'VM status: running\n'],
  ['info name', ''],
  ['info uuid', '00000000-0000-0000-0000-000000000000\n'],
  ['foo', "unknown command: 'foo'\n"],
  ['info foo', "unknown command: 'info foo'\n"],
  ['"', "unknown command: '\"'\n"],
  ['migrate', 'migrate: string expected\nTry "help migrate" for more information\n'],
  ['migrate -d', 'migrate: string expected\nTry "help migrate" for more information\n'],
  ['migrate -x foo', 'migrate: unsupported option -x\nTry "help migrate" for more information\n'],
  ['stop x', 'stop|s: extraneous characters at the end of line\nTry "help stop" for more information\n'],
  [
    'migrate_set_parameter max-bandwidth 10 20',
    'migrate_set_parameter: extraneous characters at the end of line\n' +
      'Try "help migrate_set_parameter" for more information\n',
  ],
  ['migrate_set_capability foo on', 'Error: invalid parameter value: foo\n'],
  ['migrate_set_parameter foo 1', 'Error: invalid parameter value: foo\n'],
  ['migrate_set_parameter max-bandwidth 100M', ''],
  [
    'migrate_set_parameter multifd-compression foo',
    "Error: Parameter 'multifd-compression' does not accept value 'foo'\n",
  ],
  [
    'migrate_set_parameter cpu-throttle-tailslow maybe',
    "Error: Parameter 'cpu-throttle-tailslow' expects 'on' or 'off'\n",
  ],
  [
    'migrate_set_parameter xbzrle-cache-size 100M',
    "Error: Parameter 'xbzrle-cache-size' expects a power of two no less than the target page size\n",
  ],
  ['migrate_incoming tcp:0:1', "Error: '-incoming' was not specified on the command line\n"],
  ['gdbserver', "Waiting for gdb connection on device 'tcp::1234'\n"],
  ['gdbserver unix:/g', "Waiting for gdb connection on device 'unix:/g'\n"],
  ['gdbserver none', 'Disabled gdbserver\n'],
  ['help stop', 'stop|s  -- stop emulation\n'],
  ['help foo', "unknown command: 'foo'\n"],
  ['', ''],
];

describe('a human monitor', () => {
  it.each(GOLDEN)('prints for %j what QEMU does', async (line, printed) => {
    expect(await start().run(line)).toBe(printed);
  });

  it('greets, echoes and prompts as QEMU', async () => {
    const { far, type } = start();
    expect(far.text).toBe(GREETING);
    expect(await type('info status\n')).toBe('info status\r\nVM status: running\r\n');
  });

  it('runs commands under all their names', async () => {
    const { run, target } = start();
    await run('s');
    expect(await run('info status')).toBe('VM status: paused\n');
    await run('c');
    await run('system_reset');
    await run('q');
    expect(target.calls.filter((call) => call !== 'queryStatus')).toEqual([
      'stop',
      'cont',
      'systemReset',
      'quit',
    ]);
  });

  it('names the nearest known word', async () => {
    const { run } = start();
    expect(await run('sotp')).toBe("unknown command: 'sotp'; did you mean stop?\n");
    expect(await run('info migrat')).toBe("unknown command: 'info migrat'; did you mean info migrate?\n");
    expect(await run('migrate_set_capability event on')).toContain('did you mean events?');
  });

  it('reads sizes as QEMU does: MiB for bandwidths, and shows bytes', async () => {
    const { run, target } = start();
    for (const [text, bytes] of [
      ['100', 100 * 2 ** 20],
      ['1G', 2 ** 30],
      ['64k', 2 ** 16],
      ['0', 0],
    ] as const) {
      expect(await run(`migrate_set_parameter max-bandwidth ${text}`)).toBe('');
      expect(target.parameters()['max-bandwidth']).toBe(bytes);
    }
    await run('migrate_set_parameter max-bandwidth 32M');
    await run('migrate_set_parameter downtime-limit 2s');
    const shown = await run('info migrate_parameters');
    expect(shown).toContain('\nmax-bandwidth: 33554432 bytes/second\n');
    expect(shown).toContain('\ndowntime-limit: 2000 ms\n');
    expect(shown).toContain("\ntls-creds: ''\n");
    expect(await run('migrate_set_parameter max-bandwidth x')).toMatch(
      /^Error: Parameter 'max-bandwidth': expected a size/,
    );
    expect(await run('migrate_set_parameter downtime-limit 2000001')).toBe(
      "Error: Parameter 'downtime-limit' expects an integer in the range of 0 to 2000000 ms\n",
    );
  });

  it('lists capabilities, and refuses those it lacks', async () => {
    const { run } = start();
    expect(await run('migrate_set_capability mapped-ram on')).toBe(
      "Error: capability 'mapped-ram' is not available in this version\n",
    );
    expect(await run('migrate_set_capability events on')).toBe('');
    const shown = await run('info migrate_capabilities');
    expect(shown).toMatch(/^xbzrle: off\n/);
    expect(shown).toContain('\nevents: on\n');
  });

  it('shows topics that the machine adds, with their arguments', async () => {
    const { run } = start();
    expect(await run('info registers -a')).toBe("pc 80000000\nhart 0 args '-a'\n");
    expect(await run('info')).toContain('info registers  -- show the cpu registers\n');
    expect(await run('help info')).toBe(await run('info'));
    expect(await run('help')).toContain('migrate [-d] [-b] [-i] [-r] uri -- migrate to URI');
  });

  it('waits for a migration with progress, keeps what is typed meanwhile, then shows how it ended', async () => {
    const { far, target, host, type } = start();
    const ram = {
      ...{ transferred: 3 * 2 ** 20, remaining: 2 ** 20, total: 2 ** 28, duplicate: 0, normal: 768 },
      ...{ 'normal-bytes': 3 * 2 ** 20, 'dirty-pages-rate': 0, mbps: 1000, 'dirty-sync-count': 2 },
      'page-size': 4096,
    };
    target.migration = { status: 'active', 'expected-downtime': 25, ram };
    const shown = type('migrate unix:/x\rinfo name\r');
    target.fire({ event: 'MIGRATION_PASS', data: { pass: 2 } });
    await far.until((text) => text.includes('pass 2'));
    expect(far.text).toContain(
      'active: pass 2, 3.0 MiB sent, 1.0 MiB of 256.0 MiB remaining, 1000.0 Mbit/s, expected pause 25 ms\r\n',
    );
    expect(host.tickers.size).toBe(1);
    target.migration = { status: 'completed', 'total-time': 600, downtime: 25, ram };
    target.fire({ event: 'MIGRATION', data: { status: 'completed' } });
    expect(await shown).toMatch(
      /Migration status: completed, total time 600 ms, pause 25 ms, 3\.0 MiB sent\r\n\(qemu\) info name\r\n$|Migration status: completed, total time 600 ms, pause 25 ms, 3\.0 MiB sent\r\n$/,
    );
    await far.until((text) => text.endsWith('info name\r\n(qemu) '));
    expect(host.tickers.size).toBe(0);
    expect(target.listeners).toBe(0);
  });

  it('says why a migration failed or was refused', async () => {
    const { run, target } = start();
    expect(await run('migrate foo:bar')).toBe("Error: Parameter 'uri' expects a valid migration protocol\n");
    const shown = run('migrate unix:/x');
    target.migration = { status: 'failed', 'error-desc': 'unix:/x: nobody listens there' };
    target.fire({ event: 'MIGRATION', data: { status: 'failed' } });
    expect(await shown).toBe('Error: unix:/x: nobody listens there\n');
    expect(await run('info migrate')).toBe('Migration status: failed (unix:/x: nobody listens there)\n');
    expect(await run('migrate -d unix:/x')).toBe('');
  });

  it('prints info migrate with the lines of QEMU', async () => {
    const { run, target } = start();
    // query-migrate and info migrate of one QEMU run.
    target.migration = {
      ...{ status: 'completed', 'setup-time': 2, downtime: 1, 'total-time': 27 },
      ram: {
        ...{ total: 201388032, 'postcopy-requests': 0, 'dirty-sync-count': 2, 'multifd-bytes': 0 },
        ...{ 'pages-per-second': 0, 'downtime-bytes': 0, 'page-size': 4096, remaining: 0 },
        ...{ 'postcopy-bytes': 0, mbps: 150.28735999999998, transferred: 454863, 'precopy-bytes': 454863 },
        ...{ duplicate: 49164, 'dirty-pages-rate': 0, skipped: 0, 'normal-bytes': 12288, normal: 3 },
      },
    } as MigrationInfo;
    expect((await run('info migrate')).split('\n')).toEqual([
      ...['Migration status: completed', 'total time: 27 ms', 'downtime: 1 ms', 'setup: 2 ms'],
      ...['transferred ram: 444 kbytes', 'throughput: 150.29 mbps', 'remaining ram: 0 kbytes'],
      ...['total ram: 196668 kbytes', 'duplicate: 49164 pages', 'skipped: 0 pages', 'normal: 3 pages'],
      ...['normal bytes: 12 kbytes', 'dirty sync count: 2', 'page size: 4 kbytes', 'multifd bytes: 0 kbytes'],
      ...['pages-per-second: 0', 'precopy ram: 444 kbytes', ''],
    ]);
  });

  it('edits lines: cursor, history, erasing, Ctrl-C, completion', async () => {
    const { far, type } = start();
    // "infX" less the X, " uud", and the missing i put in with the cursor keys.
    expect(await type('infX\x7fo uuuid\x1b[D\x1b[D\x1b[D\x1b[3~\x1b[H\x1b[C\x1b[F\r')).toContain('00000000-');
    await type('info uuid\r');
    expect(await type('\x1b[A\r')).toContain('00000000-');
    await type('info name\r');
    expect(await type('\x1b[A\x1b[A\x1b[B\x1b[A\r')).toContain('00000000-');
    await type('garbage\x03');
    expect(far.text).toMatch(/garbage\^C\r\n\(qemu\) $/);
    expect(await type('rubbish\x15info uuid\r')).not.toContain('unknown command');
    expect(await type('info rubbish\x17uuid\r')).toContain('00000000-');
    expect(await type('info sta\t\r')).toContain('info status \r\nVM status: running\r\n');
    far.send('sys\t');
    await far.until((text) => text.endsWith('(qemu) system_'));
    far.send('\t');
    await far.until((text) => text.endsWith('system_powerdown  system_reset\r\n(qemu) system_'));
    far.send('\x15');
    expect(await type('migrate_set_cap\tev\to\tn\r')).not.toContain('Error');
  });

  it('takes no endless lines and no escape sequence that never ends', async () => {
    const { far, type } = start();
    far.send(`\x1b[${'0'.repeat(5000)}`);
    far.send('y'.repeat(10_000));
    const shown = await type('\r');
    expect(/'(.*)'/.exec(shown)?.[1]?.length).toBeLessThanOrEqual(4095);
    expect(await type('info uuid\r')).toContain('00000000-');
  });

  it('runs a script that is piped in to its end, then closes', async () => {
    const { far, target } = start();
    far.send('stop\ninfo status\nquit\n');
    far.end();
    await far.until(() => far.closed);
    expect(far.text).toContain('VM status: paused\r\n');
    expect(target.calls).toEqual(['stop', 'queryStatus', 'quit']);
  });
});
