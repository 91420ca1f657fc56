/**
 * Never lose a guest, at random: whatever goes wrong, wherever, in whichever kind of migration, at most one side runs the
 * guest, its memory and its disks are right, and a second migration to a fresh destination works.
 *
 * GODWIT_FAULTS=N makes N migrations, GODWIT_SEED=N repeats a run of them, GODWIT_RUN=N only its migration N.
 */
import { beforeAll, expect, test } from 'vitest';
import type { Random } from '../support/random.ts';
import { seeded } from '../support/random.ts';
import { FakeDestinationDisk, FakeSourceDisk } from './fake-disks.ts';
import { FakeDestination, FakeSourceVm } from './fake-vm.ts';
import { again, checkSafe, done, migrate, type Outcome, type Setting } from './harness.ts';
import { KINDS as COMMON } from './kinds.ts';
import { type Place, places } from './places.ts';
import {
  checkPostcopy,
  doneWith,
  type PostcopyOutcome,
  type PostcopySetting,
  postcopy,
} from './postcopy-bench.ts';
import { type LinkFault, linkFault, linkFaults } from './random-link.ts';
import { VirtualTime } from './virtual-time.ts';

/** A kind of migration, as plain data. */
interface RandomKind extends Pick<Setting, 'parameters' | 'passes' | 'nsPerPage'> {
  /** Sizes of the disks that travel; the destination has parts of them already. */
  readonly disks?: readonly number[];
  readonly channels?: number;
}

const KINDS = {
  ...COMMON,
  'auto-converge': {
    parameters: { autoConverge: true, downtimeLimitMs: 1, maxBandwidth: 400_000 },
    nsPerPage: 1_000_000,
  },
  disks: { disks: [1024 * 1024 + 512, 512] },
  multifd: { channels: 2 },
} as const satisfies Record<string, RandomKind>;
type Kind = keyof typeof KINDS;
const KIND_NAMES = Object.keys(KINDS) as Kind[];

/** The streams of a migration; the last one is of a further connection. */
const STREAMS = ['forward', 'back', 'channel'] as const;
type Stream = (typeof STREAMS)[number];

/** What one migration goes through; plain data, so that an error can show it. */
interface Plan {
  readonly kind: Kind;
  readonly faults: readonly (LinkFault & { readonly stream: Stream })[];
  /** After so many calls and writes of the source. */
  readonly cancelAt: number | undefined;
  readonly held: boolean;
  readonly paused: boolean;
  /** Largest piece that a read returns. */
  readonly chunk: number;
}

const streams = {} as Record<Kind, Record<Stream, Place[]>>;

function sourceOf(kind: RandomKind, time: VirtualTime, paused = false): FakeSourceVm {
  const disks = (kind.disks ?? []).map((size, i) => new FakeSourceDisk(time, `d${i}`, size, i + 7));
  return new FakeSourceVm(time, { nsPerPage: kind.nsPerPage ?? 200_000, paused, disks, incremental: true });
}

/** A fresh destination, and what else such a migration has. */
function settingOf(kind: RandomKind, time: VirtualTime, source: FakeSourceVm): Setting {
  const base = (contents: Uint8Array): Uint8Array => contents.slice().fill(0, 300_000);
  const disks = source.fakeDisks.map(
    ({ id, size, contents }) => new FakeDestinationDisk(time, id, size, base(contents)),
  );
  return {
    ...{ time, source, destination: new FakeDestination(disks) },
    ...(kind.parameters === undefined ? {} : { parameters: kind.parameters }),
    ...(kind.passes === undefined ? {} : { passes: kind.passes }),
    ...(kind.channels === undefined ? {} : { channels: Array.from({ length: kind.channels }, () => ({})) }),
  };
}

const whole = (pieces: readonly Uint8Array[]): Place[] => places(new Uint8Array(Buffer.concat(pieces)));

beforeAll(async () => {
  for (const name of KIND_NAMES) {
    const time = new VirtualTime();
    const source = sourceOf(KINDS[name], time);
    const clean = await migrate(settingOf(KINDS[name], time, source));
    expect(clean.sent, name).toBeUndefined();
    if (name === 'auto-converge') expect(Math.max(...source.throttles)).toBeGreaterThan(0);
    const { link, channels } = clean;
    streams[name] = {
      forward: whole(link.forward.log),
      back: whole(link.back.log),
      channel: whole(channels.at(-1)?.forward.log ?? []),
    };
    done(clean);
  }
});

/** How many faults a connection has. */
const faultCount = (random: Random): number =>
  random.weighted([[8, 1] as const, [2, 2] as const, [1, 0] as const]);

function plan(random: Random): Plan {
  const kind = random.pick(KIND_NAMES);
  const count = faultCount(random);
  return {
    kind,
    faults: Array.from({ length: count }, () => {
      const stream = random.pick('channels' in KINDS[kind] ? STREAMS : STREAMS.slice(0, 2));
      return { stream, ...linkFault(random, streams[kind][stream]) };
    }),
    cancelAt: random.chance(0.2) ? random.below(150) : undefined,
    held: random.chance(0.2),
    paused: random.chance(0.1),
    chunk: random.pick([16 * 1024, 1000, 24, 7]),
  };
}

async function run(one: Plan): Promise<Outcome> {
  const time = new VirtualTime();
  const source = sourceOf(KINDS[one.kind], time, one.paused);
  let steps = 0;
  let step = (): void => {};
  source.onCall = () => step();
  const setting = settingOf(KINDS[one.kind], time, source);
  const of = (stream: Stream) => linkFaults(one.faults.filter((fault) => fault.stream === stream));
  const outcome = await migrate({
    ...setting,
    parameters: { ...setting.parameters, pauseBeforeSwitchover: one.held },
    link: {
      chunk: one.chunk,
      onWrite: () => {
        source.catchUp();
        step();
      },
      forward: of('forward'),
      back: of('back'),
    },
    ...(setting.channels === undefined
      ? {}
      : { channels: setting.channels.map((each, i) => (i === 0 ? each : { forward: of('channel') })) }),
    prepare: ({ sender }) => {
      step = () => {
        if (steps++ === one.cancelAt) sender.cancel();
      };
      const look = (): void => {
        if (sender.state === 'pre-switchover') sender.continue();
        if (!['completed', 'failed', 'cancelled'].includes(sender.state)) setImmediate(look);
      };
      if (one.held) look();
    },
  });
  source.onCall = () => {};
  return outcome;
}

async function check(one: Plan): Promise<void> {
  const outcome = await run(one);
  checkSafe(outcome);
  const { time, source, destination, sent, received } = outcome;
  if (one.faults.every(({ what }) => what === 'delay') && one.cancelAt === undefined) {
    expect(sent, 'slow is not broken').toBeUndefined();
    expect(received).toBeUndefined();
  }
  expect(destination.started === undefined || destination.started === !one.paused, 'as it was').toBe(true);
  expect(source.guest.throttle, 'the throttle is lifted').toBe(0);
  if (destination.started === undefined && !source.stopped) {
    await again(outcome, settingOf(KINDS[one.kind], time, source));
  } else done(outcome);
}

/** Throws what fails together with the plan. */
async function telling(one: object, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    throw new Error(`${JSON.stringify(one)}: ${(error as Error).message}`, { cause: error });
  }
}

test('whatever goes wrong wherever: at most one side runs, nothing is lost, and it can be tried again', async () => {
  await seeded(60, async (random) => {
    const one = plan(random);
    await telling(one, () => check(one));
  });
}, 3_600_000);

/** A post-copy, and what its connections go through; after them comes a good one. */
interface LatePlan extends Pick<PostcopySetting, 'after' | 'paused' | 'disks'> {
  readonly connections: readonly { readonly forward: LinkFault[]; readonly back: LinkFault[] }[];
}

const DIRECTIONS = ['forward', 'back'] as const;

test('whatever breaks a post-copy, however often: the guest is on one side, and gets all of its memory', async () => {
  const first = await postcopy({ after: 1, disks: [70_000] });
  const second = await postcopy({ after: 0, links: [{ forward: { cutAt: 60_000 } }, {}] });
  const at = (outcome: PostcopyOutcome, link: number) => ({
    forward: whole(outcome.links[link]?.forward.log ?? []),
    back: whole(outcome.links[link]?.back.log ?? []),
  });
  const [begun, resumed] = [at(first, 0), at(second, 1)];
  doneWith(first);
  doneWith(second);
  await seeded(25, async (random) => {
    const paused = random.chance(0.1);
    const one: LatePlan = {
      // A guest that stands still has moved after its first pass.
      after: paused ? 0 : random.below(4),
      paused,
      disks: random.chance(0.3) ? [70_000] : [],
      connections: Array.from({ length: random.between(1, 4) }, (_, i) => {
        const faults = { forward: [] as LinkFault[], back: [] as LinkFault[] };
        const found = i === 0 ? begun : resumed;
        for (let left = faultCount(random); left > 0; left--) {
          const direction = random.pick(DIRECTIONS);
          faults[direction].push(linkFault(random, found[direction]));
        }
        return faults;
      }),
    };
    await telling(one, async () => {
      const { connections, ...setting } = one;
      const links = connections.map(({ forward, back }) => ({
        forward: linkFaults(forward),
        back: linkFaults(back),
      }));
      const outcome = await postcopy({ ...setting, links: [...links, {}] });
      checkPostcopy(outcome);
      const all = connections.flatMap(({ forward, back }) => [...forward, ...back]);
      if (all.every(({ what }) => what === 'delay'))
        expect(outcome.sent, 'slow is not broken').toBeUndefined();
      doneWith(outcome);
    });
  });
}, 3_600_000);
