import { expect, test } from 'vitest';
import { PAGE_SIZE } from '../../src/memory/layout.ts';
import { Receiver } from '../../src/migration/receiver.ts';
import { Sender } from '../../src/migration/sender.ts';
import { contents, FakeDestination, FakeSourceVm, giveBack, PAGES, SWEEP } from './fake-vm.ts';
import { checkSafe, done, migrate, PARAMETERS } from './harness.ts';
import { MemoryFile } from './memory-transport.ts';
import { VirtualTime } from './virtual-time.ts';

test('a running guest moves: several passes, a short pause, memory equal at the hand-over', async () => {
  const outcome = await migrate();
  expect(outcome.sent).toBeUndefined();
  expect(outcome.received).toBeUndefined();
  checkSafe(outcome);
  expect(outcome.destination.running).toBe(true);
  expect(outcome.source.running).toBe(false);
  expect(outcome.statuses).toEqual(['setup', 'active', 'device', 'completed']);
  expect(outcome.destination.configuration).toEqual(outcome.source.configuration);
  expect(outcome.destination.calls).toEqual(['build', 'checkState', 'loadState', 'start']);
  done(outcome);
});

test('query-migrate tells what was sent, pass by pass, and where the pause went', async () => {
  const outcome = await migrate();
  const { ram, passes = [], pause, ...info } = outcome.sender.info();
  expect(info).toMatchObject({ status: 'completed', 'total-time': 6, 'setup-time': 0, downtime: 0 });
  expect(info).not.toHaveProperty('expected-downtime');
  expect(passes.length).toBeGreaterThan(2);
  expect(passes.map(({ number }) => number)).toEqual(passes.map((_, i) => i + 1));
  expect(passes[0]).toMatchObject({ pages: PAGES, zeroPages: 169 });
  const sum = (pick: (pass: (typeof passes)[number]) => number): number =>
    passes.reduce((total, pass) => total + pick(pass), 0);
  expect(ram).toMatchObject({
    transferred: outcome.link.forward.written,
    remaining: 0,
    total: PAGES * PAGE_SIZE,
    duplicate: sum((pass) => pass.zeroPages),
    normal: sum((pass) => pass.pages - pass.zeroPages),
    'normal-bytes': sum((pass) => pass.pages - pass.zeroPages) * PAGE_SIZE,
    'dirty-sync-count': passes.length,
    'page-size': PAGE_SIZE,
  });
  expect(passes.slice(0, -1).every(({ dirtyPagesPerSecond: rate }) => rate > 4000 && rate < 6000)).toBe(true);
  expect((ram?.['precopy-bytes'] ?? 0) + (ram?.['downtime-bytes'] ?? 0)).toBe(ram?.transferred);
  expect(Object.values(pause ?? {}).every((ms) => ms >= 0)).toBe(true);
  const events = outcome.events.flatMap((e) => (e.event === 'pass' ? [e.pass] : []));
  expect(events).toEqual(passes.map(({ number }) => number));
  done(outcome);
});

test('a paused guest moves and arrives paused', async () => {
  const time = new VirtualTime();
  const outcome = await migrate({ time, source: new FakeSourceVm(time, { paused: true }) });
  expect(outcome.sent).toBeUndefined();
  checkSafe(outcome);
  expect(outcome.destination.started).toBe(false);
  expect(outcome.arrival?.runningAtSource).toBe(false);
  done(outcome);
});

test('a guest that dirties faster than the link is held to its limit, until the limit is raised', async () => {
  const time = new VirtualTime();
  const source = new FakeSourceVm(time, { nsPerPage: 20_000 });
  let passes = 0;
  const outcome = await migrate({
    time,
    source,
    prepare: ({ sender }) => {
      source.onCall = (call) => {
        if (call !== 'syncDirtyLog' || ++passes !== 20) return;
        expect(sender.info()).toMatchObject({ status: 'active' });
        expect(sender.info()['expected-downtime']).toBeGreaterThanOrEqual(5);
        sender.setParameters({ downtimeLimitMs: 30 });
      };
    },
  });
  expect(outcome.sent).toBeUndefined();
  checkSafe(outcome);
  expect(passes).toBe(21);
  done(outcome);
});

test('the cap holds while the guest runs, and can be lifted at once', async () => {
  const capped = { maxBandwidth: 200_000, downtimeLimitMs: 0 };
  const time = new VirtualTime();
  const source = new FakeSourceVm(time, { nsPerPage: 1e7 });
  let at: { ms: number; bytes: number } | undefined;
  const outcome = await migrate({
    time,
    source,
    parameters: capped,
    prepare: ({ sender }) => {
      time.after(3000, () => {
        at = { ms: time.nowNs() / 1e6, bytes: sender.info().ram?.transferred ?? 0 };
        sender.setParameters({ maxBandwidth: 0, downtimeLimitMs: 30 });
      });
    },
  });
  expect(outcome.sent).toBeUndefined();
  expect(at?.bytes).toBeGreaterThan(500_000);
  expect(at?.bytes).toBeLessThan(700_000);
  expect(time.nowNs() / 1e6 - (at?.ms ?? 0)).toBeLessThan(50);
  checkSafe(outcome);
  done(outcome);
});

test('a pass that would only send what is written again anyway is broken off as soon as the rest fits the pause', async () => {
  const time = new VirtualTime();
  const source = new FakeSourceVm(time, { nsPerPage: 1e6 });
  const outcome = await migrate({
    time,
    source,
    parameters: { maxBandwidth: 400e3, downtimeLimitMs: 0 },
    // In the middle of a pass, which takes 0.7 s.
    prepare: ({ sender }) => {
      time.after(40_000, () => sender.setParameters({ downtimeLimitMs: 100 }));
    },
  });
  expect(outcome.sent).toBeUndefined();
  const passes = outcome.sender.info().passes ?? [];
  const [before, broken, final] = [passes.at(-4), passes.at(-2), passes.at(-1)];
  expect(before).toMatchObject({ pages: 51, durationMs: expect.closeTo(600, 0) });
  expect(broken).toMatchObject({ pages: 18, durationMs: expect.closeTo(101, 0) });
  expect(final).toMatchObject({ pages: SWEEP.pages });
  checkSafe(outcome);
  done(outcome);
});

test.each([
  { nsPerPage: 5e6, what: 'gets another pass as long as that makes the pause shorter', last: 6, more: true },
  { nsPerPage: 1e6, what: 'is stopped at once if that would not', last: SWEEP.pages, more: false },
])('a guest whose rest fits the pause $what', async ({ nsPerPage, last, more }) => {
  const outcome = await migrate({ nsPerPage, link: { rate: 2e6 }, parameters: { downtimeLimitMs: 100 } });
  expect(outcome.sent).toBeUndefined();
  const { passes = [], decisions = [] } = outcome.sender.info();
  const texts = decisions.map(({ text }) => text);
  expect(
    texts.some((text) => /expected pause \d+ ms of 100 ms, and passes get shorter: one more$/.test(text)),
  ).toBe(more);
  if (more) expect(passes.at(-1)?.pages).toBeLessThanOrEqual(last);
  else expect(passes.at(-1)?.pages).toBe(last);
  checkSafe(outcome);
  done(outcome);
});

test('what the cap allows at once goes before a guest is stopped, and nothing that it does not', async () => {
  const parameters = { downtimeLimitMs: 300, maxBandwidth: 0.6e6 };
  const outcome = await migrate({ nsPerPage: 4.5e6, link: { rate: 2.5e6 }, parameters });
  expect(outcome.sent).toBeUndefined();
  const { passes = [], decisions = [] } = outcome.sender.info();
  expect(decisions.map(({ text }) => text)).toEqual([
    expect.stringMatching(/^pass 1: expected pause 7\d ms of 300 ms, and the bandwidth limit leaves room: /),
  ]);
  // A tenth of a second's bytes, without a wait for the next one; the guest writes some pages meanwhile.
  const [, sprint, final] = passes;
  expect(passes).toHaveLength(3);
  expect(sprint?.pages).toBe(14);
  expect(sprint?.durationMs).toBeLessThan(50);
  expect(final?.pages).toBeLessThan(40);
  checkSafe(outcome);
  done(outcome);
});

test('a cancel at every step of a migration leaves the guest at the source, or comes too late', async () => {
  const endings: string[] = [];
  for (let step = 0; ; step++) {
    const time = new VirtualTime();
    const source = new FakeSourceVm(time);
    let steps = 0;
    let cancelled: boolean | undefined;
    let state = '';
    let cancel = (): void => {};
    const count = (): void => {
      if (steps++ === step) cancel();
    };
    source.onCall = count;
    const outcome = await migrate({
      time,
      source,
      link: {
        onWrite: () => {
          source.catchUp();
          count();
        },
      },
      prepare: ({ sender }) => {
        cancel = () => {
          state = sender.state;
          cancelled = sender.cancel();
        };
      },
    });
    if (cancelled === undefined) {
      done(outcome);
      break;
    }
    checkSafe(outcome);
    if (cancelled) {
      expect(outcome.sent).toMatchObject({ kind: 'cancelled' });
      expect(outcome.source.running).toBe(true);
      expect(outcome.statuses.slice(-2)).toEqual(['cancelling', 'cancelled']);
      expect(outcome.destination.started).toBeUndefined();
      expect(outcome.received?.message).toMatch(
        /the migration was cancelled|the end of the stream|connection dropped/,
      );
      giveBack(outcome.destination.memory);
      source.onCall = () => {};
      const second = await migrate({ source, time });
      expect(second.sent).toBeUndefined();
      checkSafe(second);
      done(second);
    } else {
      expect(['handover', 'completed']).toContain(state);
      expect(outcome.sent).toBeUndefined();
      done(outcome);
    }
    endings.push(`${state} ${cancelled}`);
  }
  expect([...new Set(endings)]).toEqual([
    'setup true',
    'active true',
    'stopping true',
    'device true',
    'handover false',
    'completed false',
  ]);
});

test('a cancel while the other side takes nothing is obeyed at once', async () => {
  const outcome = await migrate({
    link: { forward: { stallAt: 60_000 } },
    prepare: ({ sender, link }) => {
      const tick = (): void => {
        if (link.forward.written < 60_000) setImmediate(tick);
        else sender.cancel();
      };
      tick();
    },
  });
  expect(outcome.sent).toMatchObject({ kind: 'cancelled' });
  expect(outcome.time.nowNs()).toBeLessThan(1000e6);
  checkSafe(outcome);
  done(outcome);
});

test('a destination that is told to give up says so, in every state before "go"', async () => {
  for (let cancelAt = 0; cancelAt < 30; cancelAt++) {
    let turns = 0;
    let given: boolean | undefined;
    const outcome = await migrate({
      prepare: ({ receiver }) => {
        const tick = (): void => {
          if (turns++ === cancelAt) given = receiver.cancel('the user quit');
          else setImmediate(tick);
        };
        tick();
      },
    });
    checkSafe(outcome);
    if (given === true) {
      expect(outcome.received?.message).toBe('the user quit');
      expect(outcome.sent?.message).toMatch(/the destination (refuses|failed): the user quit/);
      expect(outcome.source.running).toBe(true);
    } else {
      expect(outcome.destination.running).toBe(true);
    }
    done(outcome);
  }
});

test('a connection that can not be made is an error, and nothing was touched', async () => {
  const time = new VirtualTime();
  const vm = new FakeSourceVm(time);
  const open = (): Promise<never> => Promise.reject(new Error('nobody listens there'));
  const sender = new Sender({ vm, open, clock: time, timers: time });
  await expect(time.run(sender.run())).rejects.toThrow('nobody listens there');
  expect(vm.calls).toEqual([]);
  expect(sender.info()).toMatchObject({ status: 'failed', 'error-desc': 'nobody listens there' });
  giveBack(vm.memory);
});

async function toFile(
  file: MemoryFile,
): Promise<{ vm: FakeSourceVm; sender: Sender; error: Error | undefined }> {
  const time = new VirtualTime();
  const vm = new FakeSourceVm(time);
  const open = async () =>
    file.writer(() => {
      time.spend(1e6);
      vm.catchUp();
    });
  const sender = new Sender({
    vm,
    open,
    clock: time,
    timers: time,
    parameters: { ...PARAMETERS, downtimeLimitMs: 5 },
  });
  const error = await time.run(
    sender.run().then(
      () => undefined,
      (thrown: Error) => thrown,
    ),
  );
  return { vm, sender, error };
}

async function fromFile(
  bytes: Uint8Array,
): Promise<{ destination: FakeDestination; error: Error | undefined }> {
  const time = new VirtualTime();
  const destination = new FakeDestination();
  const transport = MemoryFile.reader(bytes);
  const receiver = new Receiver({ builder: destination, transport, clock: time, timers: time });
  const error = await time.run(
    receiver.run().then(
      () => undefined,
      (thrown: Error) => thrown,
    ),
  );
  return { destination, error };
}

test('to a file and back: the guest stops, the file is whole, and a new process goes on from it', async () => {
  const file = new MemoryFile();
  const { vm, sender, error } = await toFile(file);
  expect(error).toBeUndefined();
  expect(file.complete).toBe(true);
  expect(vm.stopped).toBe(true);
  expect(vm.guest.logging).toBe(false);
  expect(sender.info()).toMatchObject({ status: 'completed' });
  const { destination, error: failed } = await fromFile(file.bytes());
  expect(failed).toBeUndefined();
  expect(destination.running).toBe(true);
  expect(Buffer.compare(contents(destination.memory, destination.layout), vm.atStop as Uint8Array)).toBe(0);
  giveBack(destination.memory);
  giveBack(vm.memory);
});

test('a file that is cut or has something after its end is refused, and the guest is not run', async () => {
  const file = new MemoryFile();
  const { vm } = await toFile(file);
  const bytes = file.bytes();
  for (const [variant, message] of [
    [bytes.slice(0, -24), /expected frames up to "go", got the end of the stream \(at byte \d+\)/],
    [bytes.slice(0, -1), /expected 1 more bytes, got the end of the stream/],
    [bytes.slice(0, 5000), /expected \d+ more bytes, got the end of the stream/],
    [new Uint8Array(0), /the end of the stream/],
    [new Uint8Array(Buffer.concat([bytes, bytes.subarray(0, 1)])), /expected 23 more bytes/],
    [new Uint8Array(Buffer.concat([bytes, bytes.subarray(-24)])), /sequence number/],
  ] as const) {
    const { destination, error } = await fromFile(variant);
    expect(error?.message).toMatch(message);
    expect(destination.started).toBeUndefined();
    giveBack(destination.memory);
  }
  giveBack(vm.memory);
});

test('a file that can not be completed leaves the guest running', async () => {
  const file = new MemoryFile();
  file.failAtEnd = true;
  const { vm, sender, error } = await toFile(file);
  expect(error?.message).toContain('no space left on device');
  expect(vm.running).toBe(true);
  expect(vm.guest.logging).toBe(false);
  expect(sender.info().status).toBe('failed');
  giveBack(vm.memory);
});
