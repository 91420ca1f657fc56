/**
 * Never lose a guest, at random, between processes: guests of every kind travel over lines with random faults.
 *
 * GODWIT_FAULTS=N makes N/25 journeys, GODWIT_SEED=N repeats a run of them, GODWIT_RUN=N only its journey N. (What happens
 * at what time is not in the seed.)
 */
import { FRAMES, type FrameName } from '../../src/migration/protocol.ts';
import type { Fault } from '../support/cutting-proxy.ts';
import { type Random, seeded } from '../support/random.ts';
import { KINDS, type Kind, Traveller } from '../support/traveller.ts';
import { test } from '../support/vm-process.ts';

/** Migrations of one journey. */
const STATIONS = 4;

const WHATS = [
  ...['cut-before', 'cut-middle', 'cut-after', 'stall', 'delay', 'half'],
  ...['duplicate', 'flip-header', 'flip-payload'],
] as Fault['what'][];

/** Frames that every migration has. */
const ALWAYS = {
  forward: ['hello', 'checkState', 'ram', 'pass', 'state', 'end', 'go'],
  return: ['accepted', 'passed', 'ready', 'running'],
} as const satisfies Record<Fault['direction'], readonly FrameName[]>;

/** Nothing comes behind it: twice, it is not noticed. */
const LAST: readonly FrameName[] = ['go', 'running', 'ready'];

function fault(random: Random): Fault {
  const direction = random.pick(['forward', 'return'] as const);
  const frame = random.pick<FrameName>(ALWAYS[direction]);
  const possible = WHATS.filter((what) => {
    if (what === 'duplicate') return !LAST.includes(frame);
    return what !== 'flip-payload' || FRAMES[frame].max > 0;
  });
  const what = random.pick(possible);
  return { direction, frame, what, ...(what === 'delay' ? { ms: random.between(1, 800) } : {}) };
}

test('a guest travels over bad lines and is nowhere lost', { timeout: 10_800_000 }, async ({ bench }) => {
  await seeded(
    2,
    async (random) => {
      const name = random.pick(Object.keys(KINDS) as (keyof typeof KINDS)[]);
      const traveller = await Traveller.start(bench, KINDS[name] as Kind);
      const faults = Array.from({ length: STATIONS }, () => fault(random));
      try {
        for (const one of faults) await traveller.migrate(one);
        await traveller.arrive();
      } catch (error) {
        throw new Error(`${name}, ${JSON.stringify(faults)}: ${(error as Error).message}`, { cause: error });
      }
    },
    1 / 25,
  );
});
