import { expect, test } from 'vitest';
import type { Sender } from '../../src/migration/sender.ts';
import type { SenderState } from '../../src/migration/sender-states.ts';
import { FakeSourceVm } from './fake-vm.ts';
import { again, checkSafe, done, migrate, type Outcome } from './harness.ts';
import { VirtualTime } from './virtual-time.ts';

const HOLD = { pauseBeforeSwitchover: true };

/** Calls `then` once, in the first turn of the event loop in which the sender is in this state. */
function when(sender: Sender, state: SenderState, then: () => void): void {
  const look = (): void => {
    if (sender.state === state) then();
    else if (!['completed', 'failed', 'cancelled'].includes(sender.state)) setImmediate(look);
  };
  look();
}

test('pause-before-switchover: the guest stands still until the word is given, and the wait counts as pause', async () => {
  const time = new VirtualTime();
  const source = new FakeSourceVm(time);
  let heldAt = { running: true, calls: 0 };
  const outcome = await migrate({
    time,
    source,
    parameters: HOLD,
    prepare: ({ sender }) => {
      when(sender, 'pre-switchover', () => {
        heldAt = { running: source.running, calls: source.calls.length };
        expect(sender.info()).toMatchObject({ status: 'pre-switchover' });
        expect(sender.info()).toHaveProperty('expected-downtime');
        time.after(7000, () => {
          expect(source.calls.length, 'nothing happens meanwhile').toBe(heldAt.calls);
          expect(sender.continue()).toBe(true);
        });
      });
    },
  });
  expect(outcome.sent).toBeUndefined();
  expect(heldAt.running).toBe(false);
  expect(outcome.statuses).toEqual(['setup', 'active', 'pre-switchover', 'device', 'completed']);
  const { pause, downtime } = outcome.sender.info();
  expect(pause?.heldMs).toBeGreaterThanOrEqual(7000);
  const sum = Object.values(pause ?? {}).reduce((all, ms) => all + ms, 0);
  expect(Math.abs(sum - (downtime ?? 0))).toBeLessThan(1);
  checkSafe(outcome);
  done(outcome);
});

test('a cancel while the guest is held takes it back; the word comes too late then', async () => {
  const outcome = await migrate({
    parameters: HOLD,
    prepare: ({ sender }) =>
      when(sender, 'pre-switchover', () => {
        expect(sender.cancel()).toBe(true);
        expect(sender.continue()).toBe(false);
      }),
  });
  expect(outcome.sent).toMatchObject({ kind: 'cancelled' });
  expect(outcome.source.running).toBe(true);
  expect(outcome.statuses.slice(-3)).toEqual(['pre-switchover', 'cancelling', 'cancelled']);
  checkSafe(outcome);
  await again(outcome);
});

test.each(['end', 'reset'] as const)(
  'a link that breaks (%s) while the guest is held: it runs on',
  async (as) => {
    const outcome = await migrate({
      parameters: HOLD,
      prepare: ({ sender, link }) => when(sender, 'pre-switchover', () => link.cut(as)),
    });
    expect(outcome.sent).toBeDefined();
    expect(outcome.received).toBeDefined();
    expect(outcome.source.running).toBe(true);
    checkSafe(outcome);
    await again(outcome);
  },
);

test('the word in any other state does nothing', async () => {
  const outcome = await migrate({
    prepare: ({ sender }) => {
      expect(sender.continue()).toBe(false);
      when(sender, 'active', () => expect(sender.continue()).toBe(false));
    },
  });
  expect(outcome.sent).toBeUndefined();
  expect(outcome.sender.continue()).toBe(false);
  done(outcome);
});

test('a guest that is stopped while it is held arrives paused; once the destination was told otherwise, that is too late', async () => {
  const early = await migrate({
    parameters: HOLD,
    prepare: ({ sender }) =>
      when(sender, 'pre-switchover', () => {
        expect(sender.arrivePaused()).toBe(true);
        sender.continue();
      }),
  });
  expect(early.sent).toBeUndefined();
  expect(early.destination.started).toBe(false);
  checkSafe(early);
  done(early);

  let late: boolean | undefined;
  const time = new VirtualTime();
  const source = new FakeSourceVm(time);
  let look = (): void => {};
  const onWrite = (): void => {
    source.catchUp();
    look();
  };
  const outcome = await migrate({
    ...{ time, source, link: { onWrite } },
    prepare: ({ sender }) => {
      look = () => {
        if (sender.state === 'handover') late = sender.arrivePaused();
      };
    },
  });
  expect(late).toBe(false);
  expect(outcome.destination.started).toBe(true);
  done(outcome);
});

test('the stall timeout can be changed on the way', async () => {
  const time = new VirtualTime();
  const source = new FakeSourceVm(time);
  const outcome = await migrate({
    ...{ time, source },
    link: { back: { stallAt: 100 } },
    parameters: { stallTimeoutMs: 1_000_000 },
    prepare: ({ sender }) => {
      source.onCall = (call) => {
        if (call === 'startDirtyLog') sender.setParameters({ stallTimeoutMs: 70 });
      };
    },
  });
  expect(outcome.sent?.message).toMatch(/did not .* within 70 ms/);
  expect(outcome.source.running).toBe(true);
  checkSafe(outcome);
  done(outcome);
});

test('the destination tells what has arrived, and how long the guest stood still as it saw that', async () => {
  let half: ReturnType<Outcome['receiver']['info']> | undefined;
  const outcome = await migrate({
    prepare: ({ sender, receiver, link }) => {
      const look = (): void => {
        if (link.forward.written < 60_000) setImmediate(look);
        else half = receiver.info();
      };
      when(sender, 'active', look);
    },
  });
  expect(half?.status).toBe('active');
  expect(half?.ram?.transferred).toBeGreaterThan(0);
  expect(half?.ram?.remaining).toBeLessThan(half?.ram?.total ?? 0);
  const { ram, downtime, status } = outcome.receiver.info();
  const sent = outcome.sender.info();
  expect(status).toBe('completed');
  expect(ram).toMatchObject({
    transferred: outcome.link.forward.written,
    remaining: 0,
    total: sent.ram?.total,
    duplicate: sent.ram?.duplicate,
    normal: sent.ram?.normal,
    'dirty-sync-count': sent.passes?.length,
  });
  expect(downtime).toBeGreaterThanOrEqual(sent.downtime ?? Number.NaN);
  expect(downtime).toBeLessThan((sent.downtime ?? 0) + 5);
  done(outcome);
});
