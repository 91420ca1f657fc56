/** Post-copy with a second connection for page requests: no failure of either loses the guest or a page. */
import { describe, expect, test } from 'vitest';
import type { Faults } from './memory-transport.ts';
import { flipAt, placesInside } from './places.ts';
import {
  checkPostcopy,
  doneWith,
  type PostcopyOutcome,
  type PostcopySetting,
  postcopy,
} from './postcopy-bench.ts';

const setting = (more: PostcopySetting = {}): PostcopySetting => ({ after: 0, urgent: [{}], ...more });

describe.each([
  ['from the first instant', 0],
  ['after two passes', 2],
])('%s', (_, after) => {
  test('pages are asked for over it, and come over it', async () => {
    const outcome = await postcopy(setting({ after, parameters: { downtimeLimitMs: 0 } }));
    checkPostcopy(outcome);
    expect(outcome.sent).toBeUndefined();
    expect(outcome.urgents.length).toBe(1);
    const { ram } = outcome.sender.info();
    expect(ram?.['postcopy-requests']).toBe(outcome.destination.wanted.length);
    const names = placesInside(outcome.urgents[0]?.back.log ?? []).map(({ what }) => what);
    expect(names.filter((what) => what === 'before request').length).toBe(outcome.destination.wanted.length);
    const main = placesInside(outcome.links[0]?.back.log ?? []).map(({ what }) => what);
    expect(main).not.toContain('before request');
    if (after === 0) expect(ram?.['postcopy-requests']).toBeGreaterThan(0);
    doneWith(outcome);
  });
});

test('a destination that takes no second connection refuses', async () => {
  const outcome = await postcopy({ after: 0, parameters: { postcopyPreempt: true } });
  checkPostcopy(outcome);
  expect(outcome.sent?.message).toContain('postcopy-preempt on, the destination has it off');
  doneWith(outcome);
});

test('checkpoints and requests do not get in each other’s way', async () => {
  const outcome = await postcopy(
    setting({
      parameters: { maxPostcopyBandwidth: 400_000, postcopyRescue: true, postcopyRescueIntervalMs: 60 },
    }),
  );
  checkPostcopy(outcome);
  expect(outcome.sent).toBeUndefined();
  expect(outcome.sender.info().rescue?.checkpoints).toBeGreaterThan(1);
  doneWith(outcome);
});

async function everywhere(
  which: 'links' | 'urgents',
  direction: 'forward' | 'back',
  faultAt: (offset: number) => Faults,
  check: (outcome: PostcopyOutcome, what: string) => void,
  parameters: PostcopySetting['parameters'] = {},
): Promise<void> {
  const clean = await postcopy(setting({ parameters }));
  const places = placesInside(clean[which][0]?.[direction].log ?? []);
  doneWith(clean);
  expect(places.length).toBeGreaterThan(3);
  for (const { offset, what } of places) {
    const faulty = [{ [direction]: faultAt(offset) }, {}];
    const links = which === 'links' ? { links: faulty } : { urgent: faulty };
    const outcome = await postcopy(setting({ parameters, ...links }));
    try {
      checkPostcopy(outcome);
      check(outcome, what);
    } catch (error) {
      throw new Error(`${what} (byte ${offset}): ${(error as Error).message}`, { cause: error });
    }
    doneWith(outcome);
  }
}

const CASES = (['links', 'urgents'] as const).flatMap((which) =>
  (['forward', 'back'] as const).map((direction) => [which, direction] as const),
);

describe.each(CASES)('%s, %s', (which, direction) => {
  test.each(['end', 'reset'] as const)('cut at and inside every frame (%s)', async (cutAs) => {
    await everywhere(
      which,
      direction,
      (cutAt) => ({ cutAt, cutAs }),
      ({ sent }, what) => {
        // Right before the first of them, the guest is still the source's.
        if (which === 'urgents' && /^in .*(pages|request)/.test(what)) expect(sent).toBeUndefined();
      },
    );
  });

  test('cut at and inside every frame, while memory is given back', async () => {
    const releaseRam = { releaseRam: true };
    await everywhere(
      which,
      direction,
      (cutAt) => ({ cutAt }),
      () => {},
      releaseRam,
    );
  });

  test('a flipped bit in every frame', async () => {
    await everywhere(
      which,
      direction,
      (offset) => ({ alter: flipAt(offset) }),
      ({ sent }, what) => {
        if (which === 'urgents' && /pages|request/.test(what)) expect(sent).toBeUndefined();
      },
    );
  });

  test('stalled at every frame: noticed after the time that was set', async () => {
    await everywhere(
      which,
      direction,
      (stallAt) => ({ stallAt }),
      ({ time }) => expect(time.nowNs()).toBeLessThan(30_000e6),
    );
  });
});
