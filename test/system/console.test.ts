/** Consoles, human monitors and logs: where `-serial`, `-monitor`, `-nographic` and `-d` put what they show. */
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { expect } from 'vitest';
import { expectNumbered, guest } from '../support/guests.ts';
import { freePort, Terminal, test } from '../support/vm-process.ts';

test('-serial file: holds the console', async ({ bench }) => {
  const file = bench.path('console');
  const vm = bench.spawn(
    ['-display', 'none', '-serial', `file:${file}`, ...guest('ticks', 'count=5 interval=10')],
    {
      qmp: false,
      console: false,
    },
  );
  expect((await vm.exited()).code).toBe(0);
  expect(expectNumbered(readFileSync(file, 'utf8'), 'tick')).toBe(5);
  expect(vm.stdout.text).toBe('');
});

test.for(['unix', 'tcp'] as const)(
  '-serial %s: serves the console, and with wait=on the guest waits for it',
  async (kind, { bench }) => {
    const path = bench.path('serial');
    const address = kind === 'unix' ? `unix:${path}` : `tcp:127.0.0.1:${await freePort()}`;
    const vm = bench.spawn(
      ['-display', 'none', '-serial', `${address},server=on,wait=on`, ...guest('ticks', 'interval=10')],
      {
        qmp: false,
        console: false,
      },
    );
    const serial = await Terminal.connect(address, vm);
    await serial.expect(/tick 1 [\s\S]*tick 5 .*\n/);
    expectNumbered(serial.log.text, 'tick');
    // The guest goes on without a listener.
    serial.close();
    const again = await Terminal.connect(address, vm);
    await again.expect(/tick \d+ .*\ntick \d+ .*\n/);
    expect(await vm.kill('SIGTERM')).toEqual({ code: 0, signal: null });
    expect(existsSync(path)).toBe(false);
  },
);

test('-serial and -monitor connect to who listens', async ({ bench }) => {
  const path = bench.path('listener');
  const connected = new Promise<Socket>((resolve) => {
    const server = createServer(resolve).listen(path);
    bench.onEnd(() => void server.close());
  });
  bench.spawn(['-display', 'none', '-serial', `unix:${path}`, ...guest('ticks', 'interval=10')], {
    qmp: false,
    console: false,
  });
  const serial = new Terminal(await connected);
  await serial.expect(/tick 3 .*\n/);
  serial.close();
});

test('-monitor unix: is a human monitor', async ({ bench }) => {
  const path = bench.path('monitor');
  const vm = bench.spawn(
    [
      '-display',
      'none',
      '-serial',
      'stdio',
      '-monitor',
      `unix:${path},server=on,wait=off`,
      ...guest('ticks', 'interval=10'),
    ],
    { qmp: false, console: false },
  );
  const monitor = await Terminal.connect(`unix:${path}`, vm);
  await monitor.expect(/^godwit .* monitor - type 'help'.*\r\n\(qemu\) /);
  await vm.waitForLine(/^tick 3 /);
  expect(await monitor.command('info status')).toContain('VM status: running');
  expect(await monitor.command('info migrate')).toContain('Migration status: none');
  await monitor.command('stop');
  expect(await monitor.command('info status')).toContain('VM status: paused');
  await monitor.command('cont');
  await vm.waitForNewLine(/^tick /);
  expect(await monitor.command('migrate unix:/no/such/socket')).toMatch(/Error: .*\/no\/such\/socket/);
  expect(await monitor.command('infi status')).toMatch(/unknown command: 'infi'.*info/);
  // A client that goes does no harm, the next one is served.
  monitor.close();
  const next = await Terminal.connect(`unix:${path}`, vm);
  await next.expect(/\(qemu\) /);
  next.send('quit\n');
  expect(await vm.exited()).toEqual({ code: 0, signal: null });
  expectNumbered(vm.stdout.text, 'tick');
});

test('-nographic shares stdio between console and monitor', async ({ bench }) => {
  const vm = bench.spawn(['-nographic', ...guest('ticks', 'interval=50')], { qmp: false, console: false });
  await vm.waitForLine(/^tick 2 /);
  const terminal = (pattern: RegExp): Promise<string> =>
    vm.stdout.until(
      () => pattern.exec(vm.stdout.text)?.[0],
      String(pattern),
      () => ` in ${vm.stdout.text}`,
    );
  vm.child.stdin.write('\x01h');
  await terminal(/C-a x {4}exit emulator/);
  vm.child.stdin.write('\x01c');
  await terminal(/monitor - type 'help'.*\r\n\(qemu\) /);
  vm.child.stdin.write('info status\n');
  await terminal(/VM status: running/);
  vm.child.stdin.write('\x01c');
  vm.child.stdin.write('\x01x');
  expect(await vm.exited()).toEqual({ code: 0, signal: null });
});

test('a pipe that ends on stdin does not end the guest', async ({ bench }) => {
  const vm = bench.spawn(['-nographic', ...guest('ticks', 'interval=20 count=5')], {
    qmp: false,
    console: false,
  });
  vm.child.stdin.end();
  expect(await vm.exited()).toEqual({ code: 0, signal: null });
  expect(expectNumbered(vm.stdout.text, 'tick')).toBe(5);
});

test('-d writes a line per event to -D', async ({ bench }) => {
  const [log, saved] = [bench.path('log'), bench.path('saved')];
  const vm = await bench.start([
    ...guest('ticks', 'interval=20'),
    '-d',
    'int,migration,cpu_reset',
    '-D',
    log,
  ]);
  await vm.waitForLine(/^tick 3 /);
  await vm.execute('migrate', { uri: `file:${saved}` });
  expect(await vm.migrationEnd()).toBe('completed');
  await vm.quit();
  const lines = readFileSync(log, 'utf8').split('\n').slice(0, -1);
  expect(lines.filter((line) => line.includes('riscv') || /hart/.test(line)).length).toBeGreaterThanOrEqual(
    3,
  );
  expect(lines.filter((line) => /^migration: (setup|active|device|completed)$/.test(line))).toEqual([
    'migration: setup',
    'migration: active',
    'migration: device',
    'migration: completed',
  ]);
  expect(vm.stderr.text).toBe('');
});
