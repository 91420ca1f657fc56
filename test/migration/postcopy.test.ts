/** Post-copy: the guest runs at the destination before its memory is there, and no failure loses it. */
import { describe, expect, test } from 'vitest';
import type { MigrationParameters } from '../../src/migration/parameters.ts';
import { SWEEP } from './fake-vm.ts';
import type { Faults } from './memory-transport.ts';
import { flipAt, type Place, placesInside } from './places.ts';
import { checkPostcopy, doneWith, type PostcopyOutcome, postcopy } from './postcopy-bench.ts';

describe.each([
  ['from the first instant', 0],
  ['after one pass', 1],
  ['after three', 3],
])('%s', (_, after) => {
  test('the guest goes on where it was, and gets all its memory', async () => {
    const outcome = await postcopy({ after, parameters: { downtimeLimitMs: 0 } });
    checkPostcopy(outcome);
    expect(outcome.sent).toBeUndefined();
    expect(outcome.statuses).toEqual(['setup', 'active', 'device', 'postcopy-active', 'completed']);
    expect(outcome.arrivals).toEqual(['setup', 'active', 'device', 'postcopy-active', 'completed']);
    const { ram, downtime } = outcome.sender.info();
    expect(ram?.['postcopy-requests']).toBe(outcome.destination.wanted.length);
    if (after === 0) expect(ram?.['postcopy-requests']).toBeGreaterThan(0);
    expect(ram?.['postcopy-bytes']).toBeGreaterThan(after === 0 ? 100_000 : 8_000);
    expect(downtime).toBeLessThan(20);
    doneWith(outcome);
  });
});

describe.each([0, 1, 2, 3])('disks that travel come late as well, after %i passes', (after) => {
  test.each([false, true])('incremental: %s', async (incremental) => {
    const outcome = await postcopy({
      after,
      disks: [2 * 1024 * 1024 + 512, 128 * 1024],
      incremental,
      parameters: { downtimeLimitMs: 0 },
    });
    checkPostcopy(outcome);
    expect(outcome.sent).toBeUndefined();
    expect(outcome.statuses).toContain('postcopy-active');
    const { disk } = outcome.sender.info();
    expect(disk?.remaining).toBe(0);
    expect(disk?.['postcopy-bytes']).toBeGreaterThan(0);
    const { calls, wantedChunks } = outcome.destination;
    if (after === 0) expect(wantedChunks.length).toBeGreaterThan(0);
    expect(disk?.['postcopy-requests']).toBe(wantedChunks.length);
    expect(calls.slice(-3)).toEqual(['start', 'endDisks', 'nameDisks']);
    doneWith(outcome);
  });
});

test('disks of a guest that writes nothing are whole when it starts', async () => {
  const outcome = await postcopy({ after: 3, disks: [256 * 1024], nsPerWrite: 1e15 });
  checkPostcopy(outcome);
  expect(outcome.sent).toBeUndefined();
  const { calls } = outcome.destination;
  expect(calls).not.toContain('beginDisks');
  expect(calls.slice(-2)).toEqual(['nameDisks', 'start']);
  doneWith(outcome);
});

test('a disk that is full when chunks come late: paused until there is room', async () => {
  let full = false;
  const outcome = await postcopy({
    after: 0,
    disks: [2 * 1024 * 1024],
    onStatus: (status, { destination }) => {
      for (const disk of destination.disks) {
        if (status === 'postcopy-active' && !full) disk.room = disk.written;
        else if (status === 'postcopy-paused') disk.room = Infinity;
      }
      if (status === 'postcopy-active') full = true;
    },
  });
  checkPostcopy(outcome);
  expect(outcome.sent).toBeUndefined();
  expect(outcome.pauses[0]).toMatch(/No space left on device/);
  doneWith(outcome);
});

test('a disk that is full before: the guest stays', async () => {
  const outcome = await postcopy({ after: 0, disks: [2 * 1024 * 1024], room: 4096 });
  checkPostcopy(outcome);
  expect(outcome.sent?.message).toMatch(/No space left on device/);
  expect(outcome.source.running).toBe(true);
  doneWith(outcome);
});

test('a source that can not read its disk: paused, and tried again', async () => {
  const outcome = await postcopy({ after: 0, disks: [1024 * 1024], failAtRead: 6 });
  checkPostcopy(outcome);
  expect(outcome.sent).toBeUndefined();
  expect(outcome.statuses).toContain('postcopy-paused');
  doneWith(outcome);
});

test('a deadline brings it about, in the middle of a pass, and the throttle is gone', async () => {
  const outcome = await postcopy({
    after: 99,
    parameters: { downtimeLimitMs: 0, maxBandwidth: 100_000, deadlineMs: 2000, onDeadline: 'postcopy' },
  });
  checkPostcopy(outcome);
  expect(outcome.sent).toBeUndefined();
  expect(outcome.statuses).toEqual(['setup', 'active', 'device', 'postcopy-active', 'completed']);
  const { decisions = [], ram, ...info } = outcome.sender.info();
  expect(decisions.at(-1)?.text).toMatch(/^deadline: 0\.\d s are left: post-copy$/);
  expect(ram?.['precopy-bytes']).toBeLessThan(250_000);
  expect(ram?.['postcopy-bytes']).toBeGreaterThan(200_000);
  expect(info['total-time']).toBeLessThan(2000);
  expect(outcome.source.throttles.at(-1) ?? 0).toBe(0);
  expect(info).not.toHaveProperty('cpu-throttle-percentage');
  doneWith(outcome);
});

test('a guest that was paused arrives paused', async () => {
  const outcome = await postcopy({ after: 0, paused: true });
  checkPostcopy(outcome);
  expect(outcome.destination.started).toBe(false);
  expect(outcome.sender.info().ram?.['postcopy-requests']).toBe(0);
  doneWith(outcome);
});

test('pages that the guest waits for come first, and the sweep goes on around them', async () => {
  const outcome = await postcopy({
    after: 0,
    parameters: { maxPostcopyBandwidth: 400_000 },
  });
  checkPostcopy(outcome);
  const { wanted } = outcome.destination;
  // Each brings its neighbours with it: far fewer requests than pages.
  expect(wanted[0]).toBe(SWEEP.first + (outcome.source.guest.position % SWEEP.pages));
  expect(wanted.length).toBeLessThan(SWEEP.pages);
  doneWith(outcome);
});

test('post-copy has to be switched on, and a migration to be under way', async () => {
  const outcome = await postcopy({
    after: 99,
    parameters: { postcopy: false },
    onStatus: (status, { sender }) => {
      if (status === 'active') expect(() => sender.startPostcopy()).toThrow(/^Enable postcopy with/);
    },
  });
  expect(outcome.sent).toBeUndefined();
  expect(outcome.statuses).not.toContain('postcopy-active');
  doneWith(outcome);
  const other = await postcopy({ after: 99 });
  expect(() => other.sender.startPostcopy()).toThrow('Postcopy must be started after migration has been');
  expect(() => other.sender.pause()).toThrow('only supported during postcopy-active');
  expect(() => other.receiver.pause()).toThrow('only supported during postcopy-active');
  expect(() => other.sender.recover(() => Promise.reject())).toThrow('Cannot resume');
  doneWith(other);
});

test('it can not be cancelled once the guest is at the destination', async () => {
  const outcome = await postcopy({
    after: 0,
    onStatus: (status, { sender, receiver }) => {
      if (status !== 'postcopy-active') return;
      expect(sender.cancel()).toBe(false);
      expect(receiver.cancel()).toBe(false);
    },
  });
  expect(outcome.sent).toBeUndefined();
  checkPostcopy(outcome);
  doneWith(outcome);
});

test.each(['source', 'destination'] as const)(
  'paused by the user of the %s, again and again',
  async (side) => {
    let pauses = 0;
    const outcome = await postcopy({
      after: 0,
      parameters: { maxPostcopyBandwidth: 100_000 },
      onStatus: (status, { sender, receiver }) => {
        if (status !== 'postcopy-active' || ++pauses > 4) return;
        setImmediate(() => {
          if (side === 'source') sender.pause();
          else receiver.pause();
        });
      },
    });
    checkPostcopy(outcome);
    expect(outcome.sent).toBeUndefined();
    expect(outcome.links.length).toBe(5);
    expect(outcome.statuses.filter((status) => status === 'postcopy-paused').length).toBe(4);
    expect(outcome.statuses.slice(4, 8)).toEqual([
      'postcopy-paused',
      'postcopy-recover-setup',
      'postcopy-recover',
      'postcopy-active',
    ]);
    expect(outcome.destination.links.filter((up) => !up).length).toBe(4);
    doneWith(outcome);
  },
);

/** Of the first connection: the guest is the source's until "go" has been said. */
function earlyPlaces(pieces: readonly Uint8Array[]): Place[] {
  let early = true;
  return placesInside(pieces).map((place) => {
    const said = { ...place, what: early ? `${place.what}, early` : place.what };
    if (place.frame === 'go' || place.frame === 'running') early = false;
    return said;
  });
}

async function everywhere(
  direction: 'forward' | 'back',
  faultAt: (offset: number) => Faults,
  check: (outcome: PostcopyOutcome, what: string) => void,
  { connection = 0, disks = [] as readonly number[], parameters = {} as Partial<MigrationParameters> } = {},
): Promise<void> {
  const cutFirst = { forward: { cutAt: 60_000 } };
  const clean = await postcopy({
    after: 0,
    disks,
    parameters,
    links: connection === 0 ? [] : [cutFirst, {}],
  });
  expect(clean.sent).toBeUndefined();
  const found = earlyPlaces(clean.links[connection]?.[direction].log ?? []);
  doneWith(clean);
  expect(found.length).toBeGreaterThan(5);
  for (const { offset, what } of found) {
    const faulty = { [direction]: faultAt(offset) };
    const outcome = await postcopy({
      after: 0,
      disks,
      parameters,
      links: connection === 0 ? [faulty, {}] : [cutFirst, faulty, {}],
    });
    try {
      checkPostcopy(outcome);
      check(outcome, what);
    } catch (error) {
      throw new Error(`${what} (byte ${offset}): ${(error as Error).message}`, { cause: error });
    }
    doneWith(outcome);
  }
}

/** Bytes of a disk that comes in some frames. */
const DISK = 200 * 1024 + 512;

describe.each([
  ['forward', []],
  ['back', []],
  ['forward', [DISK]],
  ['back', [DISK]],
] as const)('the %s direction, with disks of %j bytes', (direction, disks) => {
  test.each(['end', 'reset'] as const)('cut at and inside every frame (%s)', async (cutAs) => {
    await everywhere(
      direction,
      (cutAt) => ({ cutAt, cutAs }),
      ({ sent, links, destination }, what) => {
        if (sent !== undefined) expect(what).toMatch(direction === 'back' ? /./ : /early/);
        else if (!destination.ended) expect(links.length).toBe(2);
      },
      { disks },
    );
  });

  test('a flipped bit in every frame', async () => {
    await everywhere(
      direction,
      (offset) => ({
        alter: flipAt(offset),
      }),
      ({ sent }, what) => {
        if (sent !== undefined && direction === 'forward') expect(what).toMatch(/early|go/);
      },
      { disks },
    );
  });

  test('stalled at every frame: noticed after the time that was set', async () => {
    await everywhere(
      direction,
      (stallAt) => ({ stallAt }),
      ({ time }) => expect(time.nowNs()).toBeLessThan(30_000e6),
      { disks },
    );
  });

  test('a recovery is cut at every frame, and the next one goes on', async () => {
    await everywhere(
      direction,
      (cutAt) => ({ cutAt }),
      ({ sent, links }, what) => {
        expect(sent).toBeUndefined();
        if (!/whole|swept|diskPlaced/.test(what)) expect(links.length).toBe(3);
      },
      { connection: 1, disks },
    );
  });
});

describe.each(['forward', 'back'] as const)('the %s direction, while memory is given back', (direction) => {
  test.each([0, 1])('connection %i is cut at and inside every frame', async (connection) => {
    const parameters = { releaseRam: true };
    await everywhere(
      direction,
      (cutAt) => ({ cutAt }),
      () => {},
      { connection, parameters },
    );
  });
});

test('a connection of another migration is refused, and the post-copy waits for the right one', async () => {
  const outcome = await postcopy({ after: 0, links: [{ forward: { cutAt: 60_000 } }, {}], intruder: true });
  checkPostcopy(outcome);
  expect(outcome.sent).toBeUndefined();
  expect(outcome.links.length).toBe(3);
  expect(outcome.arrivals.filter((status) => status === 'postcopy-paused').length).toBe(2);
  expect(outcome.pauses[1]).toMatch(/frame "resume", id: expected [0-9a-f]{32}, got 0{32}/);
  doneWith(outcome);
});
