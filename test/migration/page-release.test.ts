/** release-ram: what the destination has is given back at the source, and nothing else is. */
import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../src/memory/layout.ts';
import { PageBitmap } from '../../src/migration/page-bitmap.ts';
import { PageRelease } from '../../src/migration/page-release.ts';
import { FakeSourceVm } from './fake-vm.ts';
import { checkPostcopy, doneWith, postcopy } from './postcopy-bench.ts';
import { VirtualTime } from './virtual-time.ts';

const isZero = ({ memory, layout }: FakeSourceVm, from: number, to: number): boolean =>
  new Uint8Array(memory.buffer, layout.blocksBase + from * PAGE_SIZE, (to - from) * PAGE_SIZE).every(
    (byte) => byte === 0,
  );

describe.each([
  ['one connection', undefined],
  ['a connection for requests', [{}]],
] as const)('%s', (_, urgent) => {
  test('goes back while the rest is on its way', async () => {
    const outcome = await postcopy({
      after: 0,
      parameters: { releaseRam: true, maxPostcopyBandwidth: 400_000 },
      ...(urgent === undefined ? {} : { urgent }),
    });
    checkPostcopy(outcome);
    expect(outcome.sent).toBeUndefined();
    const { source } = outcome;
    expect(isZero(source, 0, source.layout.pages)).toBe(true);
    // All at once at the end, and before that by bits.
    expect(source.released.at(-1)).toBe(source.layout.pages);
    const before = source.released.slice(0, -1);
    expect(before.length).toBeGreaterThan(4);
    expect(before.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(40);
    doneWith(outcome);
  });
});

test('stays without it', async () => {
  const outcome = await postcopy({ after: 0 });
  checkPostcopy(outcome);
  expect(outcome.source.released).toEqual([]);
  doneWith(outcome);
});

test('what is missing stays, and what has gone can not be missing again', () => {
  const source = new FakeSourceVm(new VirtualTime());
  const release = new PageRelease(source);
  const missing = PageBitmap.create(source.layout.pages);
  missing.addRange(3, 2);
  release.missing(missing, 0);
  while (release.step()) {
    // As long as there is something.
  }
  expect(isZero(source, 0, 3)).toBe(true);
  expect(isZero(source, 3, 5)).toBe(false);
  expect(isZero(source, 5, source.layout.pages)).toBe(true);
  // Confirmed, but still here: what the destination asks for after all is kept.
  const kept = PageBitmap.create(source.layout.pages);
  release.missing(kept, 0);
  release.missing(missing, 0);
  while (release.step()) {
    // As long as there is something.
  }
  expect(isZero(source, 3, 5)).toBe(false);
  missing.add(2);
  expect(() => release.missing(missing, 77)).toThrow(
    'frame "received", pages: expected page 2, which it has confirmed, got none (at byte 77)',
  );
});
