/** Rescue: checkpoints of a guest in post-copy come back, and the source takes it up from the last whole one. */
import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../src/memory/layout.ts';
import {
  decodeCheckpointPages,
  encodeCheckpointPages,
  MAX_CHECKPOINT_PAGES,
} from '../../src/migration/checkpoint-frame.ts';
import { checkSweep } from './fake-vm.ts';
import type { Faults } from './memory-transport.ts';
import { flipAt, placesInside } from './places.ts';
import {
  checkPostcopy,
  doneWith,
  type PostcopyOutcome,
  type PostcopySetting,
  postcopy,
} from './postcopy-bench.ts';

/** So slow that there are some checkpoints before the guest has all its memory. */
const SLOW = { maxPostcopyBandwidth: 400_000, postcopyRescue: true, postcopyRescueIntervalMs: 60 };

const setting = (more: PostcopySetting = {}): PostcopySetting => ({ after: 0, parameters: SLOW, ...more });

/** The guest goes on at the source exactly as it was at some instant. @returns the number of the checkpoint, 0 for none. */
function checkRescued({ source, destination, sender, sent }: PostcopyOutcome): number {
  const [rescue, ...others] = source.rescues;
  if (rescue === undefined) throw new Error('it was not rescued');
  expect(others).toEqual([]);
  expect(source.running && !destination.running).toBe(true);
  const [, which] =
    /^the destination was lost: the guest goes on here from (the hand-over|checkpoint \d+), /.exec(
      sent?.message ?? '',
    ) as RegExpExecArray;
  expect(sender.state).toBe('failed');
  const { contents, position } = rescue;
  const atStop = source.atStop as Uint8Array;
  if (which === 'the hand-over') expect(Buffer.compare(contents, atStop)).toBe(0);
  else {
    // Any that was taken may be the one that arrived last.
    const fits = destination.checkpoints.filter(
      ({ position: at, pages }) =>
        at === position &&
        Array.from({ length: contents.length / PAGE_SIZE }, (_, page) => page).every(
          (page) => contents[page * PAGE_SIZE] === (pages.get(page) ?? atStop[page * PAGE_SIZE]),
        ),
    );
    expect(
      fits.length,
      `what stands in memory at position ${position} was so at a checkpoint`,
    ).toBeGreaterThan(0);
  }
  checkSweep(source.memory, source.layout);
  for (let step = 0; step < 100; step++) source.guest.step();
  checkSweep(source.memory, source.layout);
  expect(source.guest.logging).toBe(false);
  return which === 'the hand-over' ? 0 : Number(which?.slice('checkpoint '.length));
}

test('checkpoints come back while the guest runs without all of its memory, and end with that', async () => {
  const outcome = await postcopy(setting());
  checkPostcopy(outcome);
  expect(outcome.sent).toBeUndefined();
  const [here, there] = [outcome.sender.info().rescue, outcome.receiver.info().rescue];
  expect(there?.checkpoints).toBeGreaterThan(2);
  expect(here?.checkpoints).toBeGreaterThanOrEqual(there?.checkpoints ?? 0);
  expect(here?.pages).toBeGreaterThan(10);
  expect(here?.bytes).toBeGreaterThan(10 * PAGE_SIZE);
  expect(there?.['pause-mean']).toBe(1000);
  doneWith(outcome);
});

test('without the capability nothing comes back, and nothing can be taken up', async () => {
  const outcome = await postcopy(
    setting({
      parameters: { ...SLOW, postcopyRescue: false },
      links: [{ forward: { cutAt: 60_000 } }, {}],
      onStatus: (status, { sender }) => {
        expect(() => sender.rescue()).toThrow('migrate-rescue needs a paused post-copy that was begun with');
        if (status === 'postcopy-paused') expect(sender.info().rescue).toBeUndefined();
      },
    }),
  );
  checkPostcopy(outcome);
  expect(outcome.destination.checkpoints).toEqual([]);
  doneWith(outcome);
});

test('a device in the middle of its work holds a checkpoint up', async () => {
  const outcome = await postcopy(
    setting({
      onStatus: (status, { destination }) => {
        if (status === 'device') destination.refusals = 3;
      },
    }),
  );
  expect(outcome.destination.refusals).toBeLessThan(0);
  checkPostcopy(outcome);
  doneWith(outcome);
});

test('a guest that was paused is taken up paused', async () => {
  const outcome = await postcopy(
    setting({ paused: true, links: [{ forward: { cutAt: 60_000 } }], rescueAfter: 1 }),
  );
  expect(outcome.source.rescues.length).toBe(1);
  expect(outcome.source.running).toBe(false);
  doneWith(outcome);
});

describe.each(['forward', 'back'] as const)(
  'the destination is lost at any frame of the %s direction',
  (direction) => {
    const everywhere = async (
      before: readonly { readonly forward: Faults }[],
      faultAt: (offset: number) => Faults,
    ): Promise<number[]> => {
      const clean = await postcopy(setting({ links: [...before, {}] }));
      const places = placesInside(clean.links[before.length]?.[direction].log ?? []);
      doneWith(clean);
      expect(places.length).toBeGreaterThan(20);
      const numbers: number[] = [];
      for (const { offset, what } of places) {
        const links = [...before, { [direction]: faultAt(offset) }, {}];
        const outcome = await postcopy(setting({ links, rescueAfter: before.length + 1 }));
        try {
          if (outcome.source.rescues.length > 0) numbers.push(checkRescued(outcome));
          else checkPostcopy(outcome);
        } catch (error) {
          throw new Error(`${what} (byte ${offset}): ${(error as Error).message}`, { cause: error });
        }
        doneWith(outcome);
      }
      return numbers;
    };

    test('cut: the guest goes on from a whole checkpoint', async () => {
      const numbers = await everywhere([], (cutAt) => ({ cutAt }));
      expect(new Set(numbers).size).toBeGreaterThan(2);
    });

    test('a bit that flips: what is damaged is not used', async () => {
      const numbers = await everywhere([], (offset) => ({ alter: flipAt(offset) }));
      expect(new Set(numbers).size).toBeGreaterThan(2);
    });

    test('after a recovery', async () => {
      const numbers = await everywhere([{ forward: { cutAt: 60_000 } }], (cutAt) => ({ cutAt }));
      expect(new Set(numbers).size).toBeGreaterThan(2);
    });
  },
);

describe('pages of a checkpoint', () => {
  const pages = Uint32Array.of(3, 4, 199);
  const data = new Uint8Array(3 * PAGE_SIZE);
  data.fill(7, 0, PAGE_SIZE);
  data[3 * PAGE_SIZE - 1] = 1;
  const payload = encodeCheckpointPages(pages, data);

  test('come out as they went in; zero pages take no room', () => {
    expect(payload.length).toBe(24 + 2 * PAGE_SIZE);
    const decoded = decodeCheckpointPages(payload, 200, 0);
    expect(decoded.map(({ page }) => page)).toEqual([3, 4, 199]);
    expect(decoded[0]?.bytes?.every((byte) => byte === 7)).toBe(true);
    expect(decoded[1]?.bytes).toBeUndefined();
    expect(decoded[2]?.bytes?.at(-1)).toBe(1);
  });

  const changed = (change: (view: DataView) => void): Uint8Array => {
    const copy = payload.slice();
    change(new DataView(copy.buffer));
    return copy;
  };
  test.each([
    ['no count', payload.subarray(0, 4), 'length'],
    ['none', changed((view) => view.setUint32(0, 0, true)), 'count'],
    ['too many', changed((view) => view.setUint32(0, MAX_CHECKPOINT_PAGES + 1, true)), 'count'],
    ['something else', changed((view) => view.setUint32(4, 1, true)), 'reserved'],
    ['a page that is not there', changed((view) => view.setUint32(8, 200, true)), 'page'],
    ['more bytes than said', changed((view) => view.setUint32(8, 0x8000_0003, true)), 'length'],
    ['fewer', payload.subarray(0, payload.length - 1), 'length'],
    ['no list', payload.subarray(0, 12), 'length'],
  ])('%s is refused', (_, bad, field) => {
    expect(() => decodeCheckpointPages(bad, 200, 77)).toThrow(
      new RegExp(`^frame "rescuePages", ${field}: expected .*, got .* \\(at byte 77\\)`),
    );
  });
});
