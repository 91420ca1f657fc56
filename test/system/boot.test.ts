/** A guest boots from the command line, runs, stops and ends as its user expects. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { elfToRaw, expectNumbered, guest, guestImage } from '../support/guests.ts';
import { type Bench, poll, Terminal, test } from '../support/vm-process.ts';

/** Runs a guest to its end. */
async function run(
  bench: Bench,
  args: string[],
): Promise<{ code: number | null; lines: string[]; stderr: string }> {
  const vm = bench.spawn(args, { qmp: false });
  const { code } = await vm.exited(60_000);
  return { code, lines: vm.lines(), stderr: vm.stderr.text };
}

describe('guests from the command line', () => {
  test.for([
    [1, '16M', 16],
    [2, '16M', 16],
    [8, '256M', 256],
    [1, '1G', 1024],
  ] as const)(
    'hello sees %i harts and %s of RAM, and its power-off is exit status 0',
    async ([harts, memory, mib], { bench }) => {
      const { code, lines, stderr } = await run(bench, guest('hello', '', memory, '-smp', String(harts)));
      expect(lines).toEqual([`hello from hart 0 of ${harts} harts, ${mib} MiB`]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    },
  );

  test('a setting that the guest does not know ends with its exit status', async ({ bench }) => {
    const { code, lines } = await run(bench, guest('hello', 'spni=3'));
    expect(code).toBe(1);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^hello/);
  });

  test('ticks come without a gap', async ({ bench }) => {
    const { code, lines } = await run(bench, guest('ticks', 'count=20 interval=10'));
    expect(code).toBe(0);
    expect(expectNumbered(`${lines.join('\n')}\n`, 'tick')).toBe(20);
  });

  test.for([1, 4, 8])('%i harts share a lock and pass a token', async (harts, { bench }) => {
    const settings = 'limit=1 size=4M report=50 rate=1000';
    const { code, lines } = await run(bench, guest('smp', settings, '16M', '-smp', String(harts)));
    expect(code).toBe(0);
    expect(expectNumbered(`${lines.join('\n')}\n`, 'smp')).toBeGreaterThan(3);
    const [, tokens] = /tokens (\d+)$/.exec(lines.at(-1) ?? '') ?? [];
    expect(Number(tokens)).toBeGreaterThanOrEqual(harts);
  });

  test('a raw image starts at the base of RAM', async ({ bench }) => {
    const raw = bench.path('hello.bin');
    writeFileSync(raw, elfToRaw(readFileSync(guestImage('hello'))));
    const { code, lines } = await run(bench, ['-M', 'virt', '-bios', 'none', '-m', '32M', '-kernel', raw]);
    expect(lines).toEqual(['hello from hart 0 of 1 harts, 32 MiB']);
    expect(code).toBe(0);
  });
});

describe('stop, go and reset', () => {
  test('time stands still while the guest is stopped, and no tick is lost', async ({ bench }) => {
    const vm = await bench.start(guest('ticks', 'interval=20'));
    await vm.waitForLine(/^tick 5 /);
    const events = vm.events.length;
    await vm.execute('stop');
    expect(await vm.status()).toBe('paused');
    const stoppedAt = vm.stdout.text.length;
    // Another process's ticks show that host time passes.
    const watch = await bench.start(guest('ticks', 'interval=20'));
    await watch.waitForLine(/^tick 25 /);
    expect(vm.stdout.text.length).toBe(stoppedAt);
    await vm.execute('cont');
    expect(await vm.status()).toBe('running');
    await vm.waitForLine(/^tick 10 /, stoppedAt);
    expectNumbered(vm.stdout.text, 'tick');
    // Deadlines are exact multiples of the interval by a clock that did not move meanwhile.
    const times = vm.lines().map((line) => Number(line.split(' ')[2]));
    const [before = 0, after = 0] = [times[4], times[9]];
    expect(after - before).toBeLessThan(0.4);
    expect(vm.eventNames(events)).toEqual(['STOP', 'RESUME']);
  });

  test('a command that is waiting for the monitor to answer is not overtaken by the start', async ({
    bench,
  }) => {
    const path = bench.path('early');
    const args = [...guest('ticks', 'interval=10'), '-qmp', `unix:${path},server=on,wait=off`];
    const vm = bench.spawn(args, { qmp: false });
    const client = await Terminal.connect(`unix:${path}`, vm);
    client.send('{"execute":"qmp_capabilities"}{"execute":"stop"}{"execute":"query-status","id":1}');
    await client.expect(/"id": 1/);
    client.send('{"execute":"query-status","id":2}');
    await client.expect(/"status": "paused"[^\n]*"id": 2/);
    client.close();
  });

  test('-S waits for cont', async ({ bench }) => {
    const vm = await bench.start([...guest('ticks', 'interval=10 count=3'), '-S']);
    expect(await vm.status()).toBe('prelaunch');
    expect(vm.stdout.text).toBe('');
    await vm.execute('cont');
    expect(await vm.exited()).toEqual({ code: 0, signal: null });
    expect(expectNumbered(vm.stdout.text, 'tick')).toBe(3);
  });

  test('system_reset starts the guest over', async ({ bench }) => {
    const vm = await bench.start(guest('ticks', 'interval=20'));
    await vm.waitForLine(/^tick 5 /);
    const [from, events] = [vm.stdout.text.length, vm.events.length];
    await vm.execute('system_reset');
    await vm.waitForLine(/^tick 1 0\.02/, from);
    await vm.waitForLine(/^tick 3 /, from);
    const [, , reset] = /([\s\S]*?)(tick 1 [\s\S]*)/.exec(vm.stdout.text.slice(from)) ?? [];
    expectNumbered(reset ?? '', 'tick');
    expect(vm.eventNames(events)).toEqual(['RESET']);
  });

  test('a guest reset starts over; with -no-reboot it ends the VM with status 0', async ({ bench }) => {
    // The test finisher's reset word, from hello with its last store changed.
    const raw = bench.path('reset.bin');
    // lui t0,0x100; lui t1,0x7; addi t1,t1,0x777; sw t1,0(t0); j .
    const words = [0x001002b7, 0x00007337, 0x77730313, 0x0062a023, 0x0000006f];
    writeFileSync(raw, new Uint8Array(Uint32Array.from(words).buffer));
    const args = ['-M', 'virt', '-bios', 'none', '-m', '16M', '-kernel', raw];
    const vm = await bench.start([...args, '-S']);
    await vm.execute('cont');
    await vm.waitForEvent('RESET');
    expect(vm.running).toBe(true);
    expect(vm.events.find(({ event }) => event === 'RESET')?.data).toEqual({
      guest: true,
      reason: 'guest-reset',
    });
    const once = await bench.start([...args, '-S', '-no-reboot']);
    await once.execute('cont').catch(() => {});
    expect(await once.exited()).toEqual({ code: 0, signal: null });
    expect(once.events.find(({ event }) => event === 'SHUTDOWN')?.data).toEqual({
      guest: true,
      reason: 'guest-reset',
    });
  });

  test('with -no-shutdown a guest that powers off leaves its VM for a look, and a reset starts it again', async ({
    bench,
  }) => {
    const vm = await bench.start([...guest('ticks', 'interval=10 count=2'), '-S', '-no-shutdown']);
    await vm.execute('cont');
    await vm.waitForEvent('SHUTDOWN');
    await vm.waitForEvent('STOP');
    expect(await vm.status()).toBe('shutdown');
    await expect(vm.execute('cont')).rejects.toThrow(/Resetting the Virtual Machine is required/);
    await vm.execute('system_reset');
    const from = vm.stdout.text.length;
    await vm.execute('cont');
    await vm.waitForLine(/^tick 2 /, from);
    expect(vm.running).toBe(true);
  });

  test('quit and SIGTERM end with status 0', async ({ bench }) => {
    const vm = await bench.start(guest('ticks'));
    expect(await vm.quit()).toEqual({ code: 0, signal: null });
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      const other = await bench.start(guest('ticks', 'interval=10'));
      await other.waitForLine(/^tick 1 /);
      expect(await other.kill(signal)).toEqual({ code: 0, signal: null });
      expect(other.stderr.text).toBe('');
    }
  });

  test('SIGTERM ends a VM that still waits for a client', async ({ bench }) => {
    const serial = bench.path('serial');
    const args = [...guest('ticks'), '-display', 'none', '-serial', `unix:${serial},server=on,wait=on`];
    const vm = bench.spawn(args, { qmp: false, console: false });
    await poll(async () => existsSync(serial) || undefined);
    expect(await vm.kill('SIGTERM')).toEqual({ code: 0, signal: null });
    expect(existsSync(serial)).toBe(false);
  });

  test('SIGTERM removes socket files and the pidfile, of a running and of a waiting VM', async ({
    bench,
  }) => {
    for (const args of [guest('ticks'), ['-incoming', `unix:${bench.path('incoming')}`]]) {
      const files = ['pid', 'serial', 'monitor'].map((name) => bench.path(name));
      const [pid = '', serial = '', monitor = ''] = files;
      const sockets = [
        '-serial',
        `unix:${serial},server=on,wait=off`,
        '-monitor',
        `unix:${monitor},server=on,wait=off`,
      ];
      const vm = bench.spawn(['-display', 'none', '-pidfile', pid, ...sockets, ...args], { console: false });
      await vm.connectQmp();
      expect(readFileSync(pid, 'utf8')).toBe(`${vm.child.pid}\n`);
      for (const file of files) expect(existsSync(file), file).toBe(true);
      const incoming = args[1]?.slice('unix:'.length) ?? '';
      if (args[0] === '-incoming') expect(existsSync(incoming)).toBe(true);
      expect(await vm.kill('SIGTERM')).toEqual({ code: 0, signal: null });
      for (const file of files) expect(existsSync(file), file).toBe(false);
      if (args[0] === '-incoming') expect(existsSync(incoming), incoming).toBe(false);
    }
  });
});
