/** A guest that dirties too fast is slowed down by what it takes, and let go again, however the migration ends. */
import { describe, expect, test } from 'vitest';
import { GodwitError } from '../../src/error.ts';
import { autoConverge, type PassObservation, throttleFor } from '../../src/migration/auto-converge.ts';
import { deadlineStep, ON_DEADLINE } from '../../src/migration/deadline.ts';
import { DEFAULT_PARAMETERS, type MigrationParameters } from '../../src/migration/parameters.ts';
import type { MigrationEvent } from '../../src/migration/sender.ts';
import { FakeSourceVm, type VmCall } from './fake-vm.ts';
import { checkSafe, done, migrate, type Outcome, type Setting } from './harness.ts';
import { VirtualTime } from './virtual-time.ts';

const MB = 1e6;
/** 64 MB of pages that are rewritten at 400 MB/s, 100 MB/s to send them, 10 MB in a pause. */
const SEEN: PassObservation = {
  durationMs: 640,
  sentBytes: 64 * MB,
  dirtiedBytes: 64 * MB,
  pendingBytes: 64 * MB,
  pauseBytes: 10 * MB,
  throughput: 100 * MB,
  fullDirtyRate: 400 * MB,
  throttle: 0,
};

describe('auto-converge', () => {
  test('chooses at the first look what halves the rest each pass, and says why', () => {
    // 50 MB/s of 400 are an eighth.
    expect(autoConverge(SEEN, DEFAULT_PARAMETERS)).toEqual({
      throttle: 88,
      why: 'throttle 88 %: the guest dirties 400 MB/s, 100 MB/s are sent',
    });
  });

  test('or the milder throttle with which one pass is enough', () => {
    // 8 MB/s fit 80 % of the pause in the 0.2 s that 20 MB take: 200 of 400 MB/s.
    const seen = { ...SEEN, pendingBytes: 20 * MB, pauseBytes: 50 * MB };
    expect(autoConverge(seen, DEFAULT_PARAMETERS)?.throttle).toBe(50);
  });

  test.each<[Partial<PassObservation>, Partial<MigrationParameters>, number | undefined]>([
    // Nothing is done where less is dirtied than the threshold allows, nor after a moment.
    [{ dirtiedBytes: 31 * MB }, {}, undefined],
    [{ dirtiedBytes: 31 * MB }, { throttleTriggerThreshold: 40 }, 90],
    [{ durationMs: 20 }, {}, undefined],
    // At first at least cpu-throttle-initial; then at least cpu-throttle-increment more; never more than the maximum.
    [{ fullDirtyRate: 55 * MB }, {}, 20],
    [{ throttle: 88 }, {}, 98],
    [{ throttle: 88 }, { cpuThrottleTailslow: true }, 89],
    [{ throttle: 88, fullDirtyRate: 1000 * MB }, { cpuThrottleTailslow: true }, 95],
    [{ throttle: 98 }, {}, 99],
    [{ throttle: 99 }, {}, undefined],
    [{}, { maxCpuThrottle: 60 }, 60],
    [{ throttle: 60 }, { maxCpuThrottle: 60 }, undefined],
    [{ fullDirtyRate: 0 }, {}, 20],
  ])('%j %j: %s', (seen, parameters, throttle) => {
    const advice = autoConverge({ ...SEEN, ...seen }, { ...DEFAULT_PARAMETERS, ...parameters });
    expect(advice?.throttle).toBe(throttle);
  });

  test('for a deadline, what is left has to fall to the pause in time', () => {
    // 56 MB too many. In 1 s: 56 MB/s of 100 are left over for it, 44 of 400 may be dirtied.
    expect(throttleFor(1000, SEEN)).toBe(89);
    expect(throttleFor(1e6, SEEN)).toBe(76);
    expect(throttleFor(500, SEEN)).toBe(99);
    expect(throttleFor(-1, SEEN)).toBe(99);
    expect(throttleFor(1000, { ...SEEN, pendingBytes: 7 * MB })).toBe(0);
    expect(throttleFor(1000, { ...SEEN, fullDirtyRate: 20 * MB })).toBe(0);
  });
});

test.each(ON_DEADLINE)('on-deadline=%s demands nothing before it has to', (onDeadline) => {
  expect(deadlineStep({ leftMs: 10_000, pauseMs: 2000, onDeadline })).toBeUndefined();
  const late = deadlineStep({ leftMs: 300, pauseMs: 2000, onDeadline });
  expect(late).toBe(
    { pause: 'pause', postcopy: 'postcopy', throttle: undefined, cancel: undefined }[onDeadline],
  );
});

/** A guest that rewrites its 60 pages at 2 GB/s, on a link of 40 MB/s, and a pause in which 7 of them fit. */
const NS_PER_PAGE = 2000;
const RUNAWAY: Setting = { nsPerPage: NS_PER_PAGE };
const SLOWED: Setting = { ...RUNAWAY, parameters: { autoConverge: true } };

const decisions = (events: readonly MigrationEvent[]): string[] =>
  events.flatMap((event) => (event.event === 'decision' ? [event.text] : []));

/** Whatever the end: the guest runs as fast as before, where it runs. */
function checkLifted(outcome: Outcome): void {
  checkSafe(outcome);
  expect(outcome.source.guest.throttle, 'the throttle').toBe(0);
  expect(outcome.source.dirtyLimits.at(-1), 'the dirty limit').toBeUndefined();
  expect(outcome.sender.info()).not.toHaveProperty('cpu-throttle-percentage');
}

/** Gives up after so many ms of virtual time. */
function giveUpAfter(time: VirtualTime, ms: number): Pick<Setting, 'time' | 'prepare'> {
  return { time, prepare: ({ sender }) => void time.after(ms, () => sender.cancel()) };
}

describe('a migration', () => {
  test('of a runaway guest does not end without a throttle, and does with it', async () => {
    const free = await migrate({ ...RUNAWAY, ...giveUpAfter(new VirtualTime(), 3000) });
    expect(free.sent?.message).toBe('the migration was cancelled');
    expect(free.source.throttles).toEqual([]);
    done(free);
    const slowed = await migrate(SLOWED);
    expect(slowed.sent).toBeUndefined();
    expect(slowed.source.throttles.length).toBeGreaterThan(1);
    expect(slowed.source.throttles.at(-1)).toBe(0);
    expect(Math.max(...slowed.source.throttles)).toBeGreaterThan(70);
    const said = decisions(slowed.events);
    expect(said).toHaveLength(slowed.source.throttles.length - 1);
    expect(said[0]).toMatch(/^pass \d+: throttle \d\d %: the guest dirties \d+ MB\/s, \d+ MB\/s are sent$/);
    expect(slowed.sender.info().decisions?.map(({ text }) => text)).toEqual(said);
    checkLifted(slowed);
    done(slowed);
  });

  test('of a guest that converges by itself does not throttle it', async () => {
    const outcome = await migrate({ parameters: { autoConverge: true } });
    expect(outcome.sent).toBeUndefined();
    expect(outcome.source.calls).not.toContain('setThrottle');
    done(outcome);
  });

  test('lifts the throttle when it is cancelled, and shows it until then', async () => {
    const time = new VirtualTime();
    let shown: number | undefined;
    const outcome = await migrate({
      ...SLOWED,
      parameters: { autoConverge: true, downtimeLimitMs: 0, maxCpuThrottle: 90 },
      time,
      prepare: ({ sender }) => {
        time.after(1000, () => {
          shown = sender.info()['cpu-throttle-percentage'];
          sender.cancel();
        });
      },
    });
    expect(outcome.statuses.at(-1)).toBe('cancelled');
    expect(shown).toBe(90);
    expect(outcome.source.throttles.at(-1)).toBe(0);
    checkLifted(outcome);
    done(outcome);
  });

  test.each(['syncDirtyLog', 'stop', 'saveState', 'setThrottle'] as const)(
    'lifts the throttle when %s fails',
    async (call: VmCall) => {
      const time = new VirtualTime();
      const source = new FakeSourceVm(time, { nsPerPage: NS_PER_PAGE });
      let failed = false;
      source.onCall = (called) => {
        if (called !== call || failed || source.guest.throttle === 0) return;
        failed = true;
        throw new GodwitError('internal', `${call} fails`);
      };
      const outcome = await migrate({ ...SLOWED, time, source });
      expect(outcome.sent?.message).toContain(`${call} fails`);
      expect(outcome.statuses.at(-1)).toBe('failed');
      expect(source.throttles.at(-1)).toBe(0);
      expect(source.throttles.length).toBeGreaterThan(1);
      checkLifted(outcome);
      done(outcome);
    },
  );

  test.each(['forward', 'back'] as const)('lifts the throttle when the link dies (%s)', async (direction) => {
    const whole = await migrate(SLOWED);
    const bytes = Buffer.concat(whole.link[direction].log).length;
    done(whole);
    for (const part of [0.5, 0.8, 0.97]) {
      for (const cutAs of ['end', 'reset'] as const) {
        const outcome = await migrate({
          ...SLOWED,
          link: { [direction]: { cutAt: Math.floor(bytes * part), cutAs } },
        });
        expect(outcome.sent).toBeDefined();
        checkLifted(outcome);
        done(outcome);
      }
    }
  });

  test('with dirty-limit tells the harts their limit, and lifts it', async () => {
    const time = new VirtualTime();
    const outcome = await migrate({
      ...RUNAWAY,
      parameters: { dirtyLimit: true, vcpuDirtyLimit: 10 },
      time,
      prepare: ({ sender }) => {
        time.after(500, () => sender.setParameters({ vcpuDirtyLimit: 5 }));
        time.after(1000, () => sender.cancel());
      },
    });
    expect(outcome.source.dirtyLimits).toEqual([10, 5, undefined]);
    expect(decisions(outcome.events)[0]).toMatch(
      /^pass \d+: each hart is limited to 10 MB\/s: the guest dirties/,
    );
    checkLifted(outcome);
    done(outcome);
  });
});

describe('a deadline', () => {
  test('far off: the guest is throttled as much as needed, and the pause limit holds', async () => {
    const outcome = await migrate({ ...RUNAWAY, parameters: { deadlineMs: 5000, onDeadline: 'throttle' } });
    expect(outcome.sent).toBeUndefined();
    expect(outcome.sender.info()['total-time']).toBeLessThan(5000);
    expect(decisions(outcome.events)[0]).toMatch(
      /^deadline: throttle \d\d %: [45](\.\d)? s to the deadline, the guest dirties/,
    );
    expect(outcome.sender.info().downtime).toBeLessThan(10);
    checkLifted(outcome);
    done(outcome);
  });

  test('pause: the guest is stopped in time, whatever the pause limit', async () => {
    const outcome = await migrate({
      ...RUNAWAY,
      parameters: { downtimeLimitMs: 0, deadlineMs: 3000, onDeadline: 'pause' },
    });
    expect(outcome.sent).toBeUndefined();
    const total = outcome.sender.info()['total-time'] ?? 0;
    expect(total).toBeGreaterThan(2500);
    expect(total).toBeLessThan(3000);
    expect(decisions(outcome.events).at(-1)).toMatch(
      /^deadline: 0\.\d s are left and the rest takes 0(\.\d)? s: the guest is paused now$/,
    );
    checkLifted(outcome);
    done(outcome);
  });

  test('pause: even in the middle of the first pass; nothing is lost', async () => {
    // 91 pages that hold something take 3.7 s at 100 kB/s while the guest runs, and few ms without the cap.
    const outcome = await migrate({
      ...RUNAWAY,
      parameters: { maxBandwidth: 100_000, deadlineMs: 1000, onDeadline: 'pause' },
    });
    expect(outcome.sent).toBeUndefined();
    const { passes = [], ...info } = outcome.sender.info();
    expect(info['total-time']).toBeLessThan(1000);
    const before = passes.slice(0, -1).reduce((sum, { pages, zeroPages }) => sum + pages - zeroPages, 0);
    expect(before).toBeGreaterThan(10);
    expect(before).toBeLessThan(50);
    checkLifted(outcome);
    done(outcome);
  });

  test('cancel: given up at the deadline with that as the reason, also if the other side is silent', async () => {
    for (const setting of [RUNAWAY, { ...RUNAWAY, link: { back: { stallAt: 0 } } }]) {
      const outcome = await migrate({ ...setting, parameters: { deadlineMs: 1000, onDeadline: 'cancel' } });
      expect(outcome.statuses.at(-1)).toBe('cancelled');
      expect(outcome.sent?.message).toBe('the deadline of 1 s has passed: the migration is given up');
      expect(outcome.sender.info()['error-desc']).toBe(outcome.sent?.message);
      expect(outcome.sender.info()['total-time']).toBeLessThan(1100);
      expect(outcome.source.throttles).toEqual([]);
      checkLifted(outcome);
      done(outcome);
    }
  });

  test('throttle: past the deadline it goes on, and says so', async () => {
    const time = new VirtualTime();
    const outcome = await migrate({
      nsPerPage: 200,
      time,
      parameters: { downtimeLimitMs: 0, deadlineMs: 500, onDeadline: 'throttle' },
      prepare: ({ sender }) => void time.after(2000, () => sender.setParameters({ downtimeLimitMs: 1000 })),
    });
    expect(outcome.sent).toBeUndefined();
    expect(outcome.sender.info()['total-time']).toBeGreaterThan(1900);
    expect(decisions(outcome.events)).toContain(
      'deadline: it has passed, and all that is allowed is to throttle the guest',
    );
    expect(Math.max(...outcome.source.throttles)).toBe(99);
    checkLifted(outcome);
    done(outcome);
  });

  test('set while it runs counts from the start', async () => {
    const time = new VirtualTime();
    const outcome = await migrate({
      ...RUNAWAY,
      time,
      prepare: ({ sender }) =>
        void time.after(800, () => sender.setParameters({ deadlineMs: 1000, onDeadline: 'cancel' })),
    });
    expect(outcome.statuses.at(-1)).toBe('cancelled');
    expect(outcome.sender.info()['total-time']).toBeLessThan(1100);
    checkLifted(outcome);
    done(outcome);
  });
});
