/**
 * Never lose a guest, at random: whatever goes wrong, wherever, in whichever kind of migration, at most one side runs the
 * guest, its memory is right, and a second migration to a fresh destination works.
 *
 * GODWIT_FAULTS=N makes N migrations, GODWIT_SEED=N repeats a run of them, GODWIT_RUN=N only its migration N.
 */
import { beforeAll, expect, test } from 'vitest';
import type { Random } from '../support/random.ts';
import { seeded } from '../support/random.ts';
import { FakeSourceVm } from './fake-vm.ts';
import { again, checkSafe, done, migrate, type Outcome } from './harness.ts';
import { KIND_NAMES, KINDS, type Kind } from './kinds.ts';
import type { Faults } from './memory-transport.ts';
import { type Place, places } from './places.ts';
import { VirtualTime } from './virtual-time.ts';

const DIRECTIONS = ['forward', 'back'] as const;
type Direction = (typeof DIRECTIONS)[number];
const FAULTS = ['end', 'reset', 'stall', 'delay', 'repeat', 'flip', 'half'] as const;

/** What one migration goes through; plain data, so that an error can show it. */
interface Plan {
  readonly kind: Kind;
  readonly faults: readonly {
    readonly what: (typeof FAULTS)[number];
    readonly direction: Direction;
    readonly at: number;
    /** Where the frame ends that comes twice; how long the delay is; which bit is flipped. */
    readonly end: number;
    readonly ms: number;
    readonly bit: number;
  }[];
  /** After so many calls and writes of the source. */
  readonly cancelAt: number | undefined;
  readonly held: boolean;
  readonly paused: boolean;
  /** Largest piece that a read returns. */
  readonly chunk: number;
}

const streams = {} as Record<Kind, Record<Direction, Place[]>>;

beforeAll(async () => {
  for (const kind of KIND_NAMES) {
    const clean = await migrate(KINDS[kind]);
    const whole = (pieces: Uint8Array[]): Place[] => places(new Uint8Array(Buffer.concat(pieces)));
    streams[kind] = { forward: whole(clean.link.forward.log), back: whole(clean.link.back.log) };
    done(clean);
  }
});

function plan(random: Random): Plan {
  const kind = random.pick(KIND_NAMES);
  const count = random.weighted([[8, 1] as const, [2, 2] as const, [1, 0] as const]);
  return {
    kind,
    faults: Array.from({ length: count }, () => fault(random, kind)),
    cancelAt: random.chance(0.2) ? random.below(150) : undefined,
    held: random.chance(0.2),
    paused: random.chance(0.1),
    chunk: random.pick([16 * 1024, 1000, 24, 7]),
  };
}

function fault(random: Random, kind: Kind): Plan['faults'][number] {
  const direction = random.pick(DIRECTIONS);
  const found = streams[kind][direction];
  const length = found.at(-1)?.offset ?? 0;
  const what = random.pick(FAULTS);
  const frames = found.filter(({ end }) => end !== undefined);
  // At the end of a stream, where the guest changes sides, it matters most.
  const place = random.pick(random.chance(0.4) ? found.slice(-12) : found);
  const frame = random.pick(random.chance(0.4) ? frames.slice(-4) : frames);
  const at = what === 'repeat' ? frame.offset : random.chance(0.7) ? place.offset : random.below(length);
  return {
    ...{ what, direction, at, end: frame.end ?? at },
    ...{ ms: random.between(1, 4000), bit: random.below(8) },
  };
}

function faultsOf({ faults }: Plan, direction: Direction): Faults {
  const flips = faults.filter((one) => one.direction === direction && one.what === 'flip');
  const alter = (bytes: Uint8Array, at: number): void => {
    for (const flip of flips) {
      const i = flip.at - at;
      if (i >= 0 && i < bytes.length) bytes[i] = (bytes[i] ?? 0) ^ (1 << flip.bit);
    }
  };
  const made = faults
    .filter((one) => one.direction === direction)
    .map(({ what, at, end, ms }): Faults => {
      switch (what) {
        case 'end':
        case 'reset':
          return { cutAt: at, cutAs: what };
        case 'stall':
          return { stallAt: at };
        case 'delay':
          return { delay: { at, ms } };
        case 'repeat':
          return { repeat: [at, end] };
        case 'half':
          return { halfAt: at };
        case 'flip':
          return { alter };
        default:
          throw new Error(`no such fault: ${what satisfies never}`);
      }
    });
  return Object.assign({}, ...made) as Faults;
}

async function run(one: Plan): Promise<Outcome> {
  const setting = KINDS[one.kind];
  const { nsPerPage = 200_000, parameters = {} } = setting as { nsPerPage?: number; parameters?: object };
  const time = new VirtualTime();
  const source = new FakeSourceVm(time, { nsPerPage, paused: one.paused });
  let steps = 0;
  let step = (): void => {};
  source.onCall = () => step();
  const outcome = await migrate({
    ...setting,
    ...{ time, source },
    parameters: { ...parameters, pauseBeforeSwitchover: one.held },
    link: {
      chunk: one.chunk,
      onWrite: () => {
        source.catchUp();
        step();
      },
      forward: faultsOf(one, 'forward'),
      back: faultsOf(one, 'back'),
    },
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
  const { source, destination, sent, received } = outcome;
  if (one.faults.every(({ what }) => what === 'delay') && one.cancelAt === undefined) {
    expect(sent, 'slow is not broken').toBeUndefined();
    expect(received).toBeUndefined();
  }
  expect(destination.started === undefined || destination.started === !one.paused, 'as it was').toBe(true);
  if (destination.started === undefined && !source.stopped) await again(outcome, KINDS[one.kind]);
  else done(outcome);
}

test('whatever goes wrong wherever: at most one side runs, nothing is lost, and it can be tried again', async () => {
  await seeded(100, async (random) => {
    const one = plan(random);
    try {
      await check(one);
    } catch (error) {
      throw new Error(`${JSON.stringify(one)}: ${(error as Error).message}`, { cause: error });
    }
  });
}, 3_600_000);
