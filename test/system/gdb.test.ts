/** gdb-multiarch at work on godwit-system-riscv64: in two harts, with page tables, beside monitors and migrations. */
import { writeFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { GDB, gdb, hasGdb, PacketClient } from '../support/gdb.ts';
import { expectNumbered, guest, guestImage } from '../support/guests.ts';
import { DATA, pagingGuest, VIRTUAL } from '../support/paging-guest.ts';
import { type Bench, DEADLINE_MS, freePort, poll, test, type VmProcess } from '../support/vm-process.ts';

if (!hasGdb) console.log(`no ${GDB}: what only it can show is skipped`);

const SLOW = { timeout: 4 * DEADLINE_MS };

/** A VM with a socket for debuggers. */
async function debugged(bench: Bench, ...args: string[]): Promise<{ vm: VmProcess; path: string }> {
  const path = bench.path('gdb');
  const vm = await bench.start([...args, '-gdb', `unix:${path},server=on,wait=off`]);
  return { vm, path };
}

/** Address of `tick` in the guest of that name, by gdb's own count of it: the second line of its code. */
async function symbolAddress(name: string): Promise<string> {
  const { execFileSync } = await import('node:child_process');
  const text = execFileSync(GDB, ['-nx', '-batch', '-ex', `info address ${name}`, guestImage('ticks')]);
  return /0x([0-9a-f]+)/.exec(text.toString())?.[1] ?? '';
}

describe.skipIf(!hasGdb)(GDB, () => {
  test('debugs two harts as threads, and leaves the guest as it was', SLOW, async ({ bench }) => {
    const { vm, path } = await debugged(bench, ...guest('smp', 'size=4M report=50'), '-smp', '2', '-S');
    const text = await gdb(
      `unix:${path}`,
      guestImage('smp'),
      'info threads',
      'break work',
      'continue',
      'printf "hart %d, first\\n", $a0',
      'p $_thread - 1 == $a0',
      'continue',
      'printf "hart %d, second\\n", $a0',
      'p $_thread - 1 == $a0',
      'delete',
      'p/x $pc',
      'stepi',
      'p/x $pc',
      'thread 2',
      'p/x $mhartid',
      'stepi',
      'p $_thread',
      'thread 1',
      'p/x $mhartid',
      'watch *(long *)&count',
      'continue',
      'continue',
      'delete',
      'p/x $tp = 0x123456789',
      'p/x $tp',
      'set {long}0x80f00000 = 0x1122334455667788',
      'x/gx 0x80f00000',
      'x/bx 0x80f00000',
      'x/gx 0x10',
      'detach',
    );
    expect(text).toMatch(/\* 1 +Thread 1 \(CPU#0 \[running\]\)/);
    expect(text).toMatch(/ {2}2 +Thread 2 \(CPU#1 \[running\]\)/);
    expect(text.match(/Thread [12] hit Breakpoint 1, 0x[0-9a-f]+ in work \(\)/g)).toHaveLength(2);
    const order = [/hart (\d), first/, /hart (\d), second/].map((pattern) => pattern.exec(text)?.[1]);
    expect(order.sort()).toEqual(['0', '1']);
    const values = [...text.matchAll(/^\$(\d+) = (.*)$/gm)].map(([, , value]) => value);
    const [first, second, before, after, secondId, thread, firstId, set, got] = values;
    expect([first, second]).toEqual(['1', '1']);
    expect([2n, 4n]).toContain(BigInt(after ?? 0) - BigInt(before ?? 0));
    expect([secondId, thread, firstId, set, got]).toEqual(['0x1', '2', '0x0', '0x123456789', '0x123456789']);
    const changes = [...text.matchAll(/Old value = (\d+)\nNew value = (\d+)/g)].map(([, old, now]) => [
      old,
      now,
    ]);
    expect(changes).toEqual([
      ['0', '1'],
      ['1', '2'],
    ]);
    expect(text).toMatch(/0x80f00000:\s+0x1122334455667788/);
    expect(text).toMatch(/0x80f00000:\s+0x88/);
    expect(text).toContain('Cannot access memory at address 0x10');
    // gdb has left at the error, and detached.
    await vm.waitForNewLine(/^smp \d+ /);
    await vm.waitForNewLine(/^smp \d+ /);
    expect(vm.stdout.text).not.toContain('ERROR');
    expect(await vm.status()).toBe('running');
  });

  test('over tcp: breakpoints by address, all registers, monitor commands, kill', SLOW, async ({ bench }) => {
    const port = await freePort();
    const vm = await bench.start([...guest('ticks', 'interval=10'), '-gdb', `tcp:127.0.0.1:${port}`]);
    const address = await symbolAddress('tick');
    await vm.waitForLine(/^tick 3 /);
    const text = await gdb(
      `tcp:127.0.0.1:${port}`,
      undefined,
      `hbreak *0x${address}`,
      'continue',
      'p $pc',
      'p $priv',
      'info registers',
      'info registers mstatus mcause fcsr satp pmpaddr0 misa',
      'p $ft0 = 1.5',
      'p $ft0.double * 2',
      'p/x $mscratch = 0x55',
      'p/x $mscratch',
      'x/2i $pc',
      'monitor info status',
      'monitor nonsense',
      'monitor info registers',
      'maintenance packet qfoo',
      'kill',
    );
    expect(text).toMatch(new RegExp(`Breakpoint 1, 0x0*${address} in \\?\\?`));
    expect(text).toMatch(/\$2 = 3\n/);
    for (const name of ['ra', 'sp', 'gp', 'tp', 't0', 'fp', 's1', 'a0', 'a7', 's11', 't6', 'pc']) {
      expect(text).toMatch(new RegExp(`^${name} +0x[0-9a-f]+`, 'm'));
    }
    expect(text).toMatch(/^mcause +0x8000000000000007/m);
    expect(text).toMatch(/^misa +0x8[0-9a-f]{15}/m);
    expect(text).toMatch(/^satp +0x0/m);
    expect(text).toMatch(/= 3\n/);
    expect(text).toMatch(/= 0x55\n.*= 0x55\n/s);
    expect(text).toContain('VM status: paused (debug)');
    expect(text).toContain("unknown command: 'nonsense'");
    expect(text).toMatch(/^ *pc +0*[0-9a-f]+/m);
    expect(await vm.exited()).toEqual({ code: 0, signal: null });
    expect(vm.stderr.text).toMatch(/terminated by the debugger/);
  });

  test(
    'sees memory as a hart in supervisor mode does, and leaves no trace in page tables',
    SLOW,
    async ({ bench }) => {
      const image = bench.path('paging.elf');
      writeFileSync(image, pagingGuest());
      const { vm, path } = await debugged(
        bench,
        ...['-M', 'virt', '-bios', 'none', '-m', '16M', '-smp', '2', '-kernel', image, '-S'],
      );
      const store = '0x80000048';
      const entry = '0x80013000';
      const text = await gdb(
        `unix:${path}`,
        undefined,
        `break *${store}`,
        'continue',
        'thread 1',
        'p $priv',
        `p/x (*(long *)${entry}) & 0xc0`,
        `p/x *(long *)0x40000000`,
        'set {long}0x40000008 = 0x77',
        `p/x *(long *)${DATA.toString()}`,
        `p/x *(long *)(${DATA} + 8)`,
        `p/x (*(long *)${entry}) & 0xc0`,
        'delete',
        'stepi',
        `p/x (*(long *)${entry}) & 0xc0`,
        // Hart 1 alone, until it has stored its flag.
        'thread 2',
        'set scheduler-locking on',
        'tbreak *0x8000004c',
        'continue',
        'p/x *(long *)0xffff800040000008',
        'thread 1',
        'p/x $pc',
        'detach',
      );
      const values = [...text.matchAll(/^\$\d+ = (.*)$/gm)].map(([, value]) => value);
      const [privilege, untouched, flag, seen, written, still, after, other, stayed] = values;
      expect(VIRTUAL[0]).toBe(0x4000_0000n);
      expect([privilege, untouched, flag, seen, written]).toEqual(['1', '0x0', '0x0', '0x0', '0x77']);
      expect([still, after, other, stayed]).toEqual(['0x0', '0xc0', '0x1', '0x8000004c']);
      expect(await vm.status()).toBe('running');
    },
  );

  test('the same session at QEMU shows the same', SLOW, async ({ bench }) => {
    const { vm, path } = await debugged(bench, ...guest('ticks', 'interval=500'), '-smp', '2', '-S');
    const session = [
      'x/4i $pc',
      'break tick',
      'continue',
      'bt 1',
      'info registers ra gp sp a0 mepc',
      'stepi',
      'stepi',
      'x/i $pc',
      'delete',
      'rwatch *(long *)&ticked',
      'continue',
      'x/i $pc',
      'delete',
      'watch *(long *)&ticked',
      'continue',
      'x/i $pc',
      'delete',
      'awatch *(long *)&ticked',
      'continue',
      'info registers pc',
      'x/2i $pc',
      'detach',
    ];
    const ours = await gdb(`unix:${path}`, guestImage('ticks'), ...session);
    await vm.waitForNewLine(/^tick \d/);
    expectNumbered(vm.stdout.text, 'tick');
    expect(ours).toContain('hit Breakpoint 1');
    expect(ours).toContain('hit Hardware read watchpoint 2');
    const theirs = await atQemu(bench, session);
    if (theirs === undefined) console.log('no qemu-system-riscv64: compared with nothing');
    else expect(alike(ours)).toEqual(alike(theirs));
  });

  test(
    'with -icount, a run that gdb stops and steps is the run that nobody stops',
    SLOW,
    async ({ bench }) => {
      const args = [...guest('ticks', 'count=8 interval=10'), '-icount', 'shift=2', '-no-reboot'];
      const plain = bench.spawn(args, { qmp: false });
      await plain.exited();
      const path = bench.path('gdb');
      const vm = bench.spawn([...args, '-S', '-gdb', `unix:${path},server=on,wait=off`], { qmp: false });
      await PacketClient.waitFor(path);
      await gdb(
        `unix:${path}`,
        guestImage('ticks'),
        'break tick',
        'continue',
        'stepi 50',
        'continue',
        'delete',
        'watch *(long *)&ticked',
        'continue',
        'stepi 1000',
        'detach',
      );
      expect((await vm.exited()).code).toBe(0);
      expect(vm.stdout.text).toBe(plain.stdout.text);
    },
  );
});

/** The session at QEMU, or undefined if there is none. */
async function atQemu(bench: Bench, session: readonly string[]): Promise<string | undefined> {
  const { hasTool } = await import('../support/tool.ts');
  const { spawn } = await import('node:child_process');
  if (!hasTool('qemu-system-riscv64')) return undefined;
  const path = bench.path('gdb');
  const qemu = spawn('qemu-system-riscv64', [
    ...guest('ticks', 'interval=500'),
    ...['-smp', '2', '-S', '-display', 'none', '-serial', 'null', '-monitor', 'none'],
    ...['-gdb', `unix:${path},server=on,wait=off`],
  ]);
  bench.onEnd(() => void qemu.kill('SIGKILL'));
  await PacketClient.waitFor(path);
  return await gdb(`unix:${path}`, guestImage('ticks'), ...session);
}

/** What gdb prints, but for how threads and processes are called, and what depends on the time. */
function alike(text: string): string[] {
  return text
    .replace(/Thread 1\./g, 'Thread ')
    .replace(/\(process 1\)/g, '(Remote target)')
    .replace(/(Old|New|) ?[vV]alue = \d+/g, '$1 value')
    .split('\n')
    .filter((line) => line !== '');
}

describe('with other faces', () => {
  const TICK = 'T05thread:01;';

  test('QMP sees what a debugger does, and a debugger what monitors do', async ({ bench }) => {
    const { vm, path } = await debugged(bench, ...guest('ticks', 'interval=10'));
    const client = await PacketClient.connect(path);
    expect(await client.ask('?')).toBe(TICK);
    expect(await vm.status()).toBe('paused');
    client.post('vCont;c');
    await vm.waitForEvent('RESUME');
    expect(await vm.status()).toBe('running');
    // Ctrl-C.
    client.send('\x03');
    expect(await client.next()).toBe('T02thread:01;');
    expect(await vm.status()).toBe('paused');
    // A monitor's stop.
    client.post('vCont;c');
    await poll(async () => ((await vm.status()) === 'running' ? true : undefined));
    await vm.execute('stop');
    expect(await client.next()).toBe('T02thread:01;');
    // A breakpoint at the trap handler's entry, which is where mtvec points to.
    const mtvec = await client.ask(`p${(66 + 0x305).toString(16)}`);
    const handler = Buffer.from(mtvec, 'hex').readBigUInt64LE().toString(16);
    expect(await client.ask(`Z0,${handler},4`)).toBe('OK');
    expect(await client.ask('vCont;c')).toBe(TICK);
    expect(await vm.status()).toBe('debug');
    expect(await client.ask('p20')).toBe(mtvec);
    // A monitor's cont goes on from the breakpoint to the next time that it is reached.
    const stops = vm.events.filter(({ event }) => event === 'STOP').length;
    await vm.execute('cont');
    await poll(async () =>
      vm.events.filter(({ event }) => event === 'STOP').length > stops ? true : undefined,
    );
    expect(await vm.status()).toBe('debug');
    expect(await client.ask('p20')).toBe(mtvec);
    // The connection is lost: the guest stands still, and goes on as a monitor says.
    client.close();
    expect(await vm.status()).toBe('debug');
    const next = await PacketClient.connect(path);
    expect(await next.ask('?')).toBe(TICK);
    expect(await next.ask('D')).toBe('OK');
    await vm.waitForNewLine(/^tick \d+/);
    expectNumbered(vm.stdout.text, 'tick');
    expect(vm.eventNames().slice(0, 4)).toEqual(['STOP', 'RESUME', 'STOP', 'RESUME']);
    next.close();
  });

  test('a guest that is stopped at a breakpoint arrives stopped, without the breakpoint', async ({
    bench,
  }) => {
    const { vm: source, path } = await debugged(bench, ...guest('ticks', 'interval=10'));
    const socket = bench.path('migration');
    const target = await bench.start(['-incoming', `unix:${socket}`]);
    const client = await PacketClient.connect(path);
    const handler = Buffer.from(await client.ask(`p${(66 + 0x305).toString(16)}`), 'hex');
    await client.ask(`Z0,${handler.readBigUInt64LE().toString(16)},4`);
    expect(await client.ask('vCont;c')).toBe(TICK);
    await source.execute('migrate', { uri: `unix:${socket}` });
    expect(await source.migrationEnd()).toBe('completed');
    expect(await target.status()).toBe('paused');
    // The guest can't go on here, and the debugger is told why.
    client.post('vCont;c');
    expect(Buffer.from((await client.next()).slice(1), 'hex').toString()).toMatch(/handed over/);
    expect(await client.next()).toBe('E01');
    await target.execute('cont');
    await target.waitForLine(/^tick \d+/);
    await target.waitForNewLine(/^tick \d+/);
    expect(await target.status()).toBe('running');
    expectNumbered(source.stdout.text + target.stdout.text, 'tick');
  });

  test('a debugger that waits is told when the guest is migrated away', async ({ bench }) => {
    const { vm: source, path } = await debugged(bench, ...guest('ticks', 'interval=10'));
    const socket = bench.path('migration');
    const target = await bench.start(['-incoming', `unix:${socket}`]);
    const client = await PacketClient.connect(path);
    expect(await client.ask('qC')).toBe('QC01');
    client.post('vCont;c');
    await source.waitForNewLine(/^tick \d+/);
    await source.execute('migrate', { uri: `unix:${socket}` });
    expect(await client.next()).toBe('T18thread:01;');
    expect(await source.migrationEnd()).toBe('completed');
    await target.waitForLine(/^tick \d+/);
  });

  test('a debugger is turned away while there is no guest', async ({ bench }) => {
    const path = bench.path('gdb');
    const vm = await bench.start(['-incoming', 'defer', '-gdb', `unix:${path},server=on,wait=off`]);
    const client = await PacketClient.connect(path);
    await expect(client.ask('?')).rejects.toThrow(/ended without packet/);
    await vm.stderr.until(
      () => vm.errors()[0],
      'message',
      () => '',
    );
    expect(vm.errors()).toEqual([
      'godwit-system-riscv64: a debugger was turned away: there is no guest to debug yet',
    ]);
    expect(await vm.status()).toBe('inmigrate');
  });

  test('the human monitor opens and closes the door', async ({ bench }) => {
    const vm = await bench.start(guest('ticks', 'interval=10'));
    const path = bench.path('gdb');
    const monitor = (line: string) => vm.execute('human-monitor-command', { 'command-line': line });
    expect(await monitor(`gdbserver unix:${path},server=on,wait=off`)).toBe(
      `Waiting for gdb connection on device 'unix:${path},server=on,wait=off'\r\n`,
    );
    const client = await PacketClient.connect(path);
    expect(await client.ask('?')).toBe(TICK);
    expect(await monitor('gdbserver none')).toBe('Disabled gdbserver\r\n');
    await expect(PacketClient.connect(path)).rejects.toThrow();
    // As at any loss of the connection.
    expect(await vm.status()).toBe('paused');
    expect(await monitor('gdbserver tcp:127.0.0.1:notaport')).toMatch(
      /^Error: gdbserver tcp:127.0.0.1:notaport: expected/,
    );
  });

  test('a debugger is told of the end', async ({ bench }) => {
    const { vm, path } = await debugged(bench, ...guest('ticks', 'interval=10'));
    const client = await PacketClient.connect(path);
    await client.ask('?');
    client.post('vCont;c');
    await vm.execute('quit');
    expect(await client.next()).toBe('W00');
  });
});
