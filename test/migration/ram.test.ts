import { expect, test } from 'vitest';
import { GodwitError } from '../../src/error.ts';
import { createLayout, createSharedMemory, PAGE_SIZE } from '../../src/memory/layout.ts';
import type { Frame } from '../../src/migration/frame-reader.ts';
import { KERNEL_SCRATCH, Kernels, type Piece, sizeOf } from '../../src/migration/kernels.ts';
import { PageBitmap } from '../../src/migration/page-bitmap.ts';
import { sentPages } from '../../src/migration/page-counts.ts';
import { RamLoad } from '../../src/migration/ram-load.ts';
import { RamSave } from '../../src/migration/ram-save.ts';
import {
  LONG_RUN,
  MAX_COMPARED_PAGES,
  MAX_DATA_PAGES,
  MAX_RAM_PAYLOAD,
  MAX_RUNS,
  MAX_ZERO_PAGES,
  RUN_KIND,
} from '../../src/migration/ram-stream.ts';

const PAGES = 20_000;
const layout = createLayout(1, [{ name: 'ram', size: PAGES * PAGE_SIZE }]);
const source = createSharedMemory(layout);
const target = createSharedMemory(layout);
const slot = layout.scratch + KERNEL_SCRATCH;
const kernels = new Kernels(source, layout.scratch);

/** Carries one payload from the source's scratch area to the destination's. */
function carry(pieces: readonly Piece[]): Frame {
  const bytes = new Uint8Array(target.buffer, slot, sizeOf(pieces));
  bytes.set(kernels.gather(pieces));
  return { type: 'ram', offset: 0, payload: bytes, at: slot };
}

const page = (memory: WebAssembly.Memory, index: number): Uint8Array =>
  new Uint8Array(memory.buffer, layout.blocksBase + index * PAGE_SIZE, PAGE_SIZE);

test('all pages travel, whatever the mix of zero and other pages; zero pages cost next to nothing', () => {
  const save = new RamSave(kernels, layout);
  const load = new RamLoad(new Kernels(target, layout.scratch), layout);
  for (let i = 0; i < 2000; i += 2) page(source, i).fill(i & 0xff || 1);
  for (let i = 2000; i < 2300; i++) page(source, i)[i] = 1;
  save.markAll();
  expect(save.remaining).toBe(PAGES);
  save.beginPass(1);
  const totals = { pages: 0, zeroPages: 0, bytes: 0, frames: 0 };
  for (;;) {
    const payload = save.pack(slot);
    if (payload === undefined) break;
    const length = sizeOf(payload.pieces);
    expect(length).toBeLessThanOrEqual(MAX_RAM_PAYLOAD);
    load.apply(carry(payload.pieces));
    totals.pages += sentPages(payload.pages);
    totals.zeroPages += payload.pages.zero;
    totals.bytes += length;
    totals.frames++;
  }
  expect(totals.pages).toBe(PAGES);
  expect(totals.zeroPages).toBe(PAGES - 1300);
  expect(totals.bytes - 1300 * PAGE_SIZE).toBeLessThan(20_000);
  expect(save.remaining).toBe(0);
  load.endPass({ number: 1, pages: PAGES, zeroPages: totals.zeroPages, final: false }, 0);
  // A page that was sent whole becomes zero again.
  page(source, 4).fill(0);
  new PageBitmap(new Uint32Array(source.buffer, layout.pendingBitmap, layout.bitmapSize / 4), PAGES).addRange(
    4,
    2,
  );
  save.beginPass(2);
  const second = save.pack(slot);
  if (second !== undefined) load.apply(carry(second.pieces));
  load.endPass({ number: 2, pages: 2, zeroPages: 2, final: true }, 0);
  load.verifyComplete({ pagesSent: PAGES + 2, passes: 2, running: true }, 0);
  const all = (memory: WebAssembly.Memory): Uint8Array =>
    new Uint8Array(memory.buffer, layout.blocksBase, PAGES * PAGE_SIZE);
  expect(Buffer.compare(all(source), all(target))).toBe(0);
});

test('a frame holds at most so many pages, runs and zero pages', () => {
  const save = new RamSave(kernels, layout);
  const bitmap = new PageBitmap(
    new Uint32Array(source.buffer, layout.pendingBitmap, layout.bitmapSize / 4),
    PAGES,
  );
  save.clear();
  bitmap.addRange(2000, 300);
  save.beginPass(2);
  expect(save.pack(slot)).toMatchObject({ pages: { whole: MAX_DATA_PAGES, zero: 0 } });
  expect(save.pack(slot, 5)).toMatchObject({ pages: { whole: 5 } });
  save.clear();
  save.beginPass(3);
  for (let i = 4000; i < 6000; i += 2) bitmap.add(i);
  expect(save.pack(slot)).toMatchObject({ pages: { zero: MAX_RUNS, whole: 0 } });
  save.clear();
  save.beginPass(4);
  bitmap.addRange(4000, 10_000);
  expect(save.pack(slot)).toMatchObject({ pages: { zero: MAX_ZERO_PAGES, whole: 0 } });
  save.clear();
  save.beginPass(5);
  expect(save.pack(slot)).toBeUndefined();
});

test('pages that were written again while they waited are left out of the run that they stand in, once', () => {
  const save = new RamSave(kernels, layout);
  const bitmap = (at: number): PageBitmap =>
    new PageBitmap(new Uint32Array(source.buffer, at, layout.bitmapSize / 4), PAGES);
  const dirty = bitmap(layout.dirtyBitmap);
  const runs = (): number[][] => {
    const payload = save.pack(slot);
    if (payload === undefined) return [];
    const view = new DataView(source.buffer, payload.pieces[0]?.at);
    return Array.from({ length: view.getUint32(4, true) }, (_, i) => [
      view.getUint32(8 + 8 * i, true),
      view.getUint16(12 + 8 * i, true),
      view.getUint16(14 + 8 * i, true),
    ]);
  };
  save.clear();
  bitmap(layout.pendingBitmap).addRange(2000, 200);
  for (const index of [2000, 2040, 2041, 2199]) dirty.add(index);
  // The guest has cleared one in the middle.
  page(source, 2100).fill(0);
  save.beginPass(2);
  expect(runs()).toEqual([
    [2001, 39, 1],
    [2042, 58, 1],
    [2100, 1, 0],
    [2101, 98, 1],
  ]);
  expect(runs()).toEqual([]);
  save.beginPass(3);
  expect(runs()).toEqual([
    [2000, 1, 1],
    [2040, 2, 1],
    [2199, 1, 1],
  ]);
  bitmap(layout.pendingBitmap).addRange(2000, 3);
  save.beginPass(4, true);
  expect(runs()).toEqual([[2000, 3, 1]]);
  dirty.clear();
});

test('what is written all the time is left for the next pass in long runs, and comes in long runs then', () => {
  const save = new RamSave(kernels, layout);
  const bitmap = (at: number): PageBitmap =>
    new PageBitmap(new Uint32Array(source.buffer, at, layout.bitmapSize / 4), PAGES);
  const [first, count] = [64, MAX_COMPARED_PAGES + 100];
  const frames = (pass: number): number[][][] => {
    bitmap(layout.pendingBitmap).addRange(first, count);
    bitmap(layout.dirtyBitmap).addRange(first, count);
    save.beginPass(pass);
    const list: number[][][] = [];
    for (let payload = save.pack(slot); payload !== undefined; payload = save.pack(slot)) {
      const view = new DataView(source.buffer, payload.pieces[0]?.at);
      list.push(
        Array.from({ length: view.getUint32(4, true) }, (_, i) => [
          view.getUint32(8 + 8 * i, true),
          view.getUint16(12 + 8 * i, true),
          view.getUint16(14 + 8 * i, true),
        ]),
      );
    }
    return list;
  };
  save.clear();
  for (let i = first; i < first + count; i++) page(source, i).fill(1);
  // One that the guest has cleared is sent as it is.
  page(source, 80).fill(0);
  const { zero, data, coming } = RUN_KIND;
  expect(frames(1)).toEqual([
    [
      [first, 16, coming],
      [80, 1, zero],
      [81, MAX_COMPARED_PAGES - 16, coming],
    ],
    [[MAX_COMPARED_PAGES + 65, 99, coming]],
  ]);
  page(source, 80).fill(1);
  // It has not waited yet.
  const sizes = [16, MAX_DATA_PAGES - 16];
  expect(frames(2)[0]).toEqual([
    [first, sizes[0], data],
    [81, sizes[1], data],
  ]);
  save.clear();
  bitmap(layout.dirtyBitmap).clear();
});

test('a payload that is not right is refused whole', () => {
  const load = new RamLoad(new Kernels(target, layout.scratch), layout);
  const build = (pass: number, runs: [number, number, number][], data: number): Frame => {
    const bytes = new Uint8Array(target.buffer, slot, 8 + runs.length * 8 + data);
    bytes.fill(0xab);
    const view = new DataView(target.buffer, slot);
    view.setUint32(0, pass, true);
    view.setUint32(4, runs.length, true);
    runs.forEach(([first, count, kind], i) => {
      view.setUint32(8 + 8 * i, first, true);
      view.setUint16(12 + 8 * i, count, true);
      view.setUint16(14 + 8 * i, kind, true);
    });
    return { type: 'ram', offset: 5000, payload: bytes, at: slot };
  };
  page(target, 3).fill(1);
  const before = page(target, 3).slice();
  const good: [number, number, number] = [3, 1, 1];
  for (const [what, pass, runs, data] of [
    ['pass', 2, [good], 4096],
    ['runs', 1, [], 0],
    ['page', 1, [good, [PAGES, 1, 0]], 4096],
    ['page', 1, [good, [0xffff_ffff, 1, 0]], 4096],
    ['page', 1, [good, [3, 1, 1]], 8192],
    ['page', 1, [good, [2, 1, 0]], 4096],
    ['count', 1, [good, [5, 0, 0]], 4096],
    ['count', 1, [good, [PAGES - 1, 2, 0]], 4096],
    ['kind', 1, [good, [5, 1, 2]], 4096],
    ['length', 1, [good], 4095],
    ['length', 1, [good], 4097],
    ['length', 1, [good, [4, 64, 1]], 4096],
  ] satisfies [string, number, [number, number, number][], number][]) {
    expect(() => load.apply(build(pass, runs, data)), what).toThrow(
      new RegExp(`frame "ram", .*${what}: expected .*, got .* \\(at byte 5000\\)`),
    );
  }
  const short: Frame = { type: 'ram', offset: 0, payload: new Uint8Array(target.buffer, slot, 7), at: slot };
  expect(() => load.apply(short)).toThrow(GodwitError);
  expect(page(target, 3)).toEqual(before);
  expect(load.received.count()).toBe(0);
});

test('the end is accepted only when every page has come and all counts agree', () => {
  const load = new RamLoad(new Kernels(target, layout.scratch), layout);
  const end = { pagesSent: 0, passes: 1, running: true };
  expect(() => load.verifyComplete({ ...end, passes: 0 }, 9)).toThrow(
    'expected a final pass before it, got none',
  );
  expect(() => load.endPass({ number: 2, pages: 0, zeroPages: 0, final: true }, 9)).toThrow(
    'number: expected 1',
  );
  expect(() => load.endPass({ number: 1, pages: 1, zeroPages: 0, final: true }, 9)).toThrow(
    'pages: expected 0',
  );
  load.endPass({ number: 1, pages: 0, zeroPages: 0, final: true }, 9);
  expect(() => load.endPass({ number: 2, pages: 0, zeroPages: 0, final: true }, 9)).toThrow(
    'no pass after the final',
  );
  expect(() => load.verifyComplete({ ...end, pagesSent: 1 }, 9)).toThrow('pagesSent');
  expect(() => load.verifyComplete({ ...end, passes: 2 }, 9)).toThrow('passes');
  expect(() => load.verifyComplete(end, 9)).toThrow('every page to have arrived, got nothing for page 0');
});

test('a sample of a set is spread evenly over it', () => {
  const bitmap = PageBitmap.create(1000);
  const members: number[] = [];
  for (let page = 3; page < 1000; page += 1 + (page % 7)) {
    bitmap.add(page);
    members.push(page);
  }
  for (const step of [1, 2, 5, 33, members.length]) {
    const wanted = members.filter((_, i) => i % step === step >> 1);
    expect([...bitmap.sample(step)]).toEqual(wanted);
  }
  const other = PageBitmap.create(1000);
  other.addRange(0, 10);
  expect(bitmap.countUnion(other)).toBe(members.filter((page) => page >= 10).length + 10);
});

test('bitmaps find, count and fill as sets do', () => {
  const bitmap = PageBitmap.create(100);
  expect(bitmap.next(0)).toBe(-1);
  expect(bitmap.nextAbsent(0)).toBe(0);
  for (const index of [0, 31, 32, 63, 99]) bitmap.add(index);
  const found: number[] = [];
  for (let at = bitmap.next(0); at >= 0; at = bitmap.next(at + 1)) found.push(at);
  expect(found).toEqual([0, 31, 32, 63, 99]);
  expect(bitmap.count()).toBe(5);
  expect(bitmap.next(100)).toBe(-1);
  bitmap.delete(31);
  expect(bitmap.has(31)).toBe(false);
  bitmap.clear();
  bitmap.addRange(5, 90);
  expect([bitmap.count(), bitmap.next(0), bitmap.nextAbsent(5), bitmap.has(94), bitmap.has(95)]).toEqual([
    90,
    5,
    95,
    true,
    false,
  ]);
  expect([bitmap.gapLength(0, 100), bitmap.gapLength(0, 3), bitmap.gapLength(5, 9)]).toEqual([5, 3, 0]);
  expect(bitmap.gapLength(95, 50)).toBe(5);
  bitmap.addRange(0, 100);
  expect(bitmap.nextAbsent(0)).toBe(-1);
  bitmap.deleteRange(3, 80);
  expect(bitmap.gapLength(3, 100)).toBe(80);
});

test('of a guest that stands still, long runs are sent from where they are, and arrive the same', () => {
  const memory = createSharedMemory(layout);
  const own = new Kernels(memory, layout.scratch);
  const save = new RamSave(own, layout);
  const pending = new PageBitmap(
    new Uint32Array(memory.buffer, layout.pendingBitmap, layout.bitmapSize / 4),
    PAGES,
  );
  const runs: [number, number][] = [
    [10, LONG_RUN - 1],
    [30, LONG_RUN],
    [50, 1],
    [60, 400],
    [5000, 3],
  ];
  for (const [first, count] of runs) {
    pending.addRange(first, count);
    for (let i = first; i < first + count; i++) page(memory, i).fill(i & 0xff || 1);
  }
  // Zero pages between two long runs have no bytes.
  pending.addRange(460, 5);
  pending.addRange(465, LONG_RUN);
  for (let i = 465; i < 465 + LONG_RUN; i++) page(memory, i).fill(7);
  save.count();
  save.beginPass(2, true);
  const load = new RamLoad(new Kernels(target, layout.scratch), layout);
  load.endPass({ number: 1, pages: 0, zeroPages: 0, final: false }, 0);
  let inPlace = 0;
  for (let payload = save.pack(slot); payload !== undefined; payload = save.pack(slot)) {
    for (const { at, length } of payload.pieces) {
      expect(length).toBeGreaterThan(0);
      if (at >= layout.blocksBase) inPlace += length;
    }
    const [first] = payload.pieces as [Piece];
    expect(first.at).toBeLessThan(slot + MAX_RAM_PAYLOAD);
    expect(sizeOf(payload.pieces)).toBeLessThanOrEqual(MAX_RAM_PAYLOAD);
    const bytes = new Uint8Array(target.buffer, slot, sizeOf(payload.pieces));
    bytes.set(own.gather(payload.pieces));
    load.apply({ type: 'ram', offset: 0, payload: bytes, at: slot });
  }
  expect(inPlace).toBe((LONG_RUN + 400 + LONG_RUN) * PAGE_SIZE);
  for (const [first, count] of runs)
    for (let i = first; i < first + count; i++)
      expect(Buffer.compare(page(target, i), page(memory, i))).toBe(0);
});

test('of pages that nothing has touched, the first pass reads none; the others read all', () => {
  const memory = createSharedMemory(layout);
  const save = new RamSave(new Kernels(memory, layout.scratch), layout);
  const untouched = PageBitmap.create(PAGES);
  untouched.addRange(100, 1000);
  // What would show that they were read.
  for (const index of [98, 100, 1099, 1100]) page(memory, index).fill(1);
  const whole = (pass: number): number => {
    save.beginPass(pass);
    let sum = 0;
    for (let payload = save.pack(slot); payload !== undefined; payload = save.pack(slot))
      sum += payload.pages.whole;
    return sum;
  };
  save.markAll(untouched);
  expect(save.sample(PAGES).whole).toBe(2);
  expect(whole(1)).toBe(2);
  new PageBitmap(new Uint32Array(memory.buffer, layout.pendingBitmap, layout.bitmapSize / 4), PAGES).addRange(
    0,
    2000,
  );
  expect(whole(2)).toBe(4);
});

test('pages that the first pass leaves for the next are announced: they get memory, and have not arrived', () => {
  const save = new RamSave(kernels, layout);
  const load = new RamLoad(new Kernels(target, layout.scratch), layout);
  const bitmap = (at: number): PageBitmap =>
    new PageBitmap(new Uint32Array(source.buffer, at, layout.bitmapSize / 4), PAGES);
  save.clear();
  for (let i = 100; i < 110; i++) page(source, i).fill(1);
  page(target, 103).fill(9);
  bitmap(layout.pendingBitmap).addRange(100, 10);
  bitmap(layout.dirtyBitmap).addRange(102, 4);
  save.beginPass(1);
  const first = save.pack(slot);
  expect(first).toMatchObject({ pages: { whole: 6, zero: 0 } });
  const frame = carry(first?.pieces ?? []);
  const view = new DataView(frame.payload.buffer, frame.payload.byteOffset);
  const runs = [0, 1, 2].map((i) =>
    [8, 12, 14].map((at, j) => view[j === 0 ? 'getUint32' : 'getUint16'](at + 8 * i, true)),
  );
  expect(runs).toEqual([
    [100, 2, RUN_KIND.data],
    [102, 4, RUN_KIND.coming],
    [106, 4, RUN_KIND.data],
  ]);
  load.apply(frame);
  expect(
    page(target, 103).every((byte) => byte === 9),
    'as it was',
  ).toBe(true);
  expect(load.received.has(102)).toBe(false);
  load.endPass({ number: 1, pages: 6, zeroPages: 0, final: false }, 0);
  bitmap(layout.dirtyBitmap).clear();
  save.clear();
});
