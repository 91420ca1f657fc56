/**
 * Never lose a guest: whatever breaks during a migration, exactly one side runs the guest afterwards (if "go" was under
 * way at that moment, at most one, and the source says so), and nothing of the guest is lost.
 *
 * One guest goes through all the faults of a test, from process to process: its line numbers show at the end that
 * nothing was lost on the whole way.
 */
import { createConnection, createServer, type Socket } from 'node:net';
import { describe, expect } from 'vitest';
import type { Fault } from '../support/cutting-proxy.ts';
import { expectNumbered, guest, joinedConsole } from '../support/guests.ts';
import { line, Traveller } from '../support/traveller.ts';
import { type Bench, test, within } from '../support/vm-process.ts';

const SMALL_GUEST = guest('dirty', 'size=1M rate=300 report=20');
const NEW_LINE = /^dirty \d+ .*/;
/** So little that a migration stays in its first pass. */
const HELD = { 'max-bandwidth': 64 * 1024 };

/** Lets guests travel through all faults, two guests at a time. */
async function endure(bench: Bench, faults: readonly Fault[]): Promise<void> {
  const waiting = [...faults];
  await Promise.all(
    [0, 1].map(async () => {
      const traveller = await Traveller.start(bench);
      for (let fault = waiting.shift(); fault !== undefined; fault = waiting.shift())
        await traveller.migrate(fault);
      await traveller.arrive();
    }),
  );
}

describe('a line that breaks', () => {
  test('before or in the middle of any frame, in either direction', { timeout: 600_000 }, async ({
    bench,
  }) => {
    const source = await bench.start(SMALL_GUEST);
    const { target, proxy, uri } = await line(bench);
    await source.waitForLine(NEW_LINE);
    await source.execute('migrate', { uri });
    expect(await source.migrationEnd()).toBe('completed');
    await target.waitForNewLine(NEW_LINE);
    await source.quit();
    await target.quit();
    const { forward, return: back } = proxy.frames;
    expect(forward.map(({ name }) => name).slice(0, 3)).toEqual(['opening', 'hello', 'checkState']);
    expect(forward.slice(-3).map(({ name }) => name)).toEqual(['state', 'end', 'go']);
    expect(back.map(({ name }) => name)).toEqual([
      'opening',
      'accepted',
      ...back.slice(2, -2).map(() => 'passed'),
      'ready',
      'running',
    ]);
    const everywhere = (['forward', 'return'] as const).flatMap((direction) =>
      proxy.frames[direction].flatMap((_, i) =>
        (['cut-before', 'cut-middle'] as const).map((what): Fault => ({ direction, frame: i - 1, what })),
      ),
    );
    // How many frames there are depends on time; these are always at the end, where it matters most.
    const always: Fault[] = [
      { direction: 'forward', frame: 'go', what: 'cut-before' },
      { direction: 'return', frame: 'running', what: 'cut-before' },
      { direction: 'forward', frame: 'end', what: 'cut-middle' },
      { direction: 'forward', frame: 'go', what: 'cut-middle' },
      { direction: 'return', frame: 'running', what: 'cut-middle' },
      { direction: 'return', frame: 'ready', what: 'cut-before' },
      { direction: 'forward', frame: 'go', what: 'cut-after' },
      { direction: 'return', frame: 'running', what: 'cut-after' },
    ];
    await endure(bench, [...always, ...everywhere]);
  });

  test('a bit that flips in any type of frame is noticed', { timeout: 300_000 }, async ({ bench }) => {
    const faults: Fault[] = [
      { direction: 'forward', frame: 'hello', what: 'flip-header' },
      { direction: 'forward', frame: 'hello', what: 'flip-payload' },
      { direction: 'forward', frame: 'checkState', what: 'flip-payload' },
      { direction: 'forward', frame: 'ram', what: 'flip-header' },
      { direction: 'forward', frame: 'ram', what: 'flip-payload' },
      { direction: 'forward', frame: 'pass', what: 'flip-payload' },
      { direction: 'forward', frame: 'state', what: 'flip-payload' },
      { direction: 'forward', frame: 'end', what: 'flip-header' },
      { direction: 'forward', frame: 'go', what: 'flip-header' },
      { direction: 'return', frame: 'accepted', what: 'flip-header' },
      { direction: 'return', frame: 'passed', what: 'flip-payload' },
      { direction: 'return', frame: 'ready', what: 'flip-header' },
      { direction: 'return', frame: 'running', what: 'flip-header' },
    ];
    await endure(bench, faults);
  });

  test('a frame that comes twice is noticed', { timeout: 360_000 }, async ({ bench }) => {
    const faults: Fault[] = [
      { direction: 'forward', frame: 'hello', what: 'duplicate' },
      { direction: 'forward', frame: 'ram', what: 'duplicate' },
      { direction: 'forward', frame: 'pass', what: 'duplicate' },
      { direction: 'forward', frame: 'end', what: 'duplicate' },
      { direction: 'return', frame: 'accepted', what: 'duplicate' },
      { direction: 'return', frame: 'passed', what: 'duplicate' },
    ];
    await endure(bench, faults);
  });
});

describe('a process that is killed', () => {
  test.for<[when: string, fault: Fault | undefined]>([
    ['in the hand-shake', { direction: 'forward', frame: 'checkState', what: 'stall' }],
    ['while memory moves', undefined],
    ['just before it is ready', { direction: 'return', frame: 'ready', what: 'stall' }],
  ])('the destination, %s: the source runs on and can migrate again', async ([, fault], { bench }) => {
    const source = await bench.start(SMALL_GUEST);
    await source.waitForLine(NEW_LINE);
    const { target, proxy, uri } = await line(bench, fault);
    if (fault === undefined) await source.execute('migrate-set-parameters', HELD);
    await source.execute('migrate', { uri });
    if (fault === undefined) await source.waitForEvent('MIGRATION', 'active');
    else await within(proxy.struck, () => 'the line never stood still');
    await target.kill('SIGKILL');
    proxy.close();
    expect(await source.migrationEnd()).toBe('failed');
    expect((await source.migration())['error-desc']).toMatch(/connection|closed/);
    expect(await source.status()).toBe('running');
    await source.waitForNewLine(NEW_LINE);
    await source.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
    const next = await line(bench);
    const from = source.events.length;
    await source.execute('migrate', { uri: next.uri });
    expect(await source.migrationEnd(from)).toBe('completed');
    await next.target.waitForNewLine(NEW_LINE);
    await source.quit();
    expectNumbered(joinedConsole(source, next.target), 'dirty');
  });

  test('the destination, after "go": the source stays paused and says why, and cont takes the guest back', async ({
    bench,
  }) => {
    const source = await bench.start([...SMALL_GUEST, '-S']);
    await source.execute('cont');
    await source.waitForLine(NEW_LINE);
    const { target, proxy, uri } = await line(bench, {
      direction: 'return',
      frame: 'running',
      what: 'stall',
    });
    await source.execute('migrate', { uri });
    await within(proxy.struck, () => 'the line never stood still');
    // The outcome is open: nothing that the user says starts a second guest.
    await expect(source.execute('cont')).rejects.toThrow(/not finalized/);
    await source.execute('migrate_cancel');
    expect(await source.status()).toBe('finish-migrate');
    await target.kill('SIGKILL');
    proxy.close();
    expect(await source.migrationEnd()).toBe('failed');
    expect(await source.status()).toBe('postmigrate');
    expect((await source.migration())['error-desc']).toMatch(
      /continue it here only if you know that it is not/,
    );
    await source.execute('cont');
    expect(await source.status()).toBe('running');
    await source.waitForNewLine(NEW_LINE);
    expectNumbered(source.stdout.text, 'dirty');
  });

  test('the source, while memory moves: the destination says so and has never run the guest', async ({
    bench,
  }) => {
    const source = await bench.start(SMALL_GUEST);
    const { target, uri } = await line(bench);
    await source.execute('migrate-set-parameters', HELD);
    await source.execute('migrate', { uri });
    await target.waitForEvent('MIGRATION', 'active');
    await source.kill('SIGKILL');
    expect((await target.exited()).code).toBe(1);
    expect(target.errors()).toHaveLength(1);
    expect(target.stderr.text).toMatch(/^godwit-system-riscv64: incoming migration failed: /);
    expect(target.stdout.text).toBe('');
  });

  test('the source, just before "go": the destination is ready and does not run the guest', async ({
    bench,
  }) => {
    const source = await bench.start(SMALL_GUEST);
    const { target, proxy, uri } = await line(bench, { direction: 'forward', frame: 'go', what: 'stall' });
    await source.execute('migrate', { uri });
    await within(proxy.struck, () => 'the line never stood still');
    await source.kill('SIGKILL');
    expect(await target.status()).toBe('inmigrate');
    proxy.cut();
    expect((await target.exited()).code).toBe(1);
    expect(target.stdout.text).toBe('');
  });
});

describe('users in a hurry', () => {
  test('however often cont is said during the hand-over, only the destination runs', async ({ bench }) => {
    const source = await bench.start(SMALL_GUEST);
    const { target, uri } = await line(bench);
    await source.waitForLine(NEW_LINE);
    let over = false;
    const answers = new Set<string>();
    const hurry = async (): Promise<void> => {
      await source.waitForEvent('STOP');
      while (!over) {
        const batch = Array.from({ length: 50 }, () =>
          source.qmp.execute('cont').then(
            () => 'went on',
            (error: Error) => error.message.replace(/^.*cont: /, ''),
          ),
        );
        for (const answer of await Promise.all(batch)) answers.add(answer);
      }
    };
    const hurrying = hurry();
    await source.execute('migrate', { uri });
    expect(await source.migrationEnd()).toBe('completed');
    await target.waitForNewLine(NEW_LINE);
    over = true;
    await hurrying;
    expect([...answers]).not.toContain('went on');
    expect(await source.status()).toBe('postmigrate');
  });

  test('a destination that is sent on before it has put its phone down can still be cancelled', async ({
    bench,
  }) => {
    const source = await bench.start(SMALL_GUEST);
    const first = await line(bench);
    const second = await line(bench);
    await source.waitForLine(NEW_LINE);
    await first.target.execute('migrate-set-parameters', HELD);
    await source.execute('migrate', { uri: first.uri });
    await first.target.waitForEvent('RESUME');
    let begun = false;
    while (!begun) {
      const batch = Array.from({ length: 20 }, () =>
        first.target.qmp.execute('migrate', { uri: second.uri }),
      );
      begun = (await Promise.allSettled(batch)).some(({ status }) => status === 'fulfilled');
    }
    const from = first.target.eventNames().indexOf('MIGRATION completed') + 1;
    await first.target.waitForEvent('MIGRATION', 'active', from);
    await first.target.execute('migrate_cancel');
    expect(await first.target.migrationEnd(from)).toBe('cancelled');
    await first.target.waitForNewLine(NEW_LINE);
  });

  test('stop and cont while the migration runs leave the guest as it was told last', async ({ bench }) => {
    const source = await bench.start(SMALL_GUEST);
    const { target, uri } = await line(bench);
    await source.waitForLine(NEW_LINE);
    await source.execute('migrate-set-parameters', HELD);
    await source.execute('migrate', { uri });
    await source.waitForEvent('MIGRATION', 'active');
    for (let i = 0; i < 10; i++) await source.execute(i % 2 === 0 ? 'stop' : 'cont');
    await source.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
    expect(await source.migrationEnd()).toBe('completed');
    await target.waitForNewLine(NEW_LINE);
    await source.quit();
    expectNumbered(joinedConsole(source, target), 'dirty');
  });
});

describe('the wrong number', () => {
  const answering: [who: string, answer: (socket: Socket) => void, names: RegExp][] = [
    ['hangs up at once', (socket) => socket.end(), /closed|connection/],
    ['breaks off', (socket) => socket.destroy(), /closed|broke|connection/],
    [
      'speaks another language',
      (socket) => socket.end('220 mail.example.org ESMTP ready\r\n'),
      /stream opening/,
    ],
    [
      'answers with endless noise',
      (socket) => void socket.write(Buffer.alloc(1 << 20, 0x55)),
      /stream opening/,
    ],
  ];
  test.for(answering)('somebody who %s', async ([, answer, names], { bench }) => {
    const path = bench.path('somebody');
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => {});
      answer(socket);
    }).listen(path);
    bench.onEnd(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    const source = await bench.start(SMALL_GUEST);
    await source.execute('migrate', { uri: `unix:${path}` });
    expect(await source.migrationEnd()).toBe('failed');
    expect((await source.migration())['error-desc']).toMatch(names);
    expect(await source.status()).toBe('running');
    await source.waitForNewLine(NEW_LINE);
  });

  test('somebody who never answers can be cancelled', async ({ bench }) => {
    const path = bench.path('somebody');
    const sockets: Socket[] = [];
    const server = createServer((socket) => void sockets.push(socket)).listen(path);
    bench.onEnd(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    const source = await bench.start(SMALL_GUEST);
    await source.execute('migrate', { uri: `unix:${path}` });
    await source.waitForEvent('MIGRATION', 'setup');
    expect(await source.status()).toBe('running');
    await source.waitForNewLine(NEW_LINE);
    expect((await source.migration()).status).toBe('setup');
    await source.execute('migrate_cancel');
    expect(await source.migrationEnd()).toBe('cancelled');
    await source.waitForNewLine(NEW_LINE);
  });

  test('a source that speaks another language ends the destination with an error', async ({ bench }) => {
    const path = bench.path('incoming');
    const target = await bench.start(['-incoming', `unix:${path}`]);
    createConnection(path)
      .on('error', () => {})
      .end('GET / HTTP/1.1\r\nHost: here\r\n\r\n');
    expect((await target.exited()).code).toBe(1);
    expect(target.errors()).toHaveLength(1);
    expect(target.stderr.text).toMatch(/stream opening/);
  });

  test('who only looks whether somebody listens does not use the destination up', async ({ bench }) => {
    const source = await bench.start(SMALL_GUEST);
    const path = bench.path('incoming');
    const target = await bench.start(['-incoming', `unix:${path}`]);
    for (let i = 0; i < 3; i++) {
      const socket = createConnection(path);
      await new Promise((resolve) => socket.once('connect', resolve));
      socket.destroy();
    }
    const silent = createConnection(path).on('error', () => {});
    await new Promise((resolve) => silent.once('connect', resolve));
    await source.execute('migrate', { uri: `unix:${path}` });
    expect(await source.migrationEnd()).toBe('completed');
    silent.destroy();
    await target.waitForNewLine(NEW_LINE);
  });
});
