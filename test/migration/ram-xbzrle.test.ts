import { expect, test } from 'vitest';
import { createLayout, createSharedMemory, PAGE_SIZE } from '../../src/memory/layout.ts';
import type { Frame } from '../../src/migration/frame-reader.ts';
import { KERNEL_SCRATCH, Kernels, type Piece, sizeOf } from '../../src/migration/kernels.ts';
import { PageBitmap } from '../../src/migration/page-bitmap.ts';
import { addPages, noPages, type PageCounts, sentPages } from '../../src/migration/page-counts.ts';
import { RamLoad } from '../../src/migration/ram-load.ts';
import { RamSave } from '../../src/migration/ram-save.ts';
import { XbzrleCodec } from '../../src/migration/xbzrle-codec.ts';
import { Random } from '../support/random.ts';

const PAGES = 300;
const layout = createLayout(1, [{ name: 'ram', size: PAGES * PAGE_SIZE }]);
const slot = layout.scratch + KERNEL_SCRATCH;
const KiB = 1024;

/** A source and a destination, joined by passes. */
class Pair {
  readonly source = createSharedMemory(layout);
  readonly target = createSharedMemory(layout);
  readonly save = new RamSave(new Kernels(this.source, layout.scratch), layout);
  readonly load = new RamLoad(new Kernels(this.target, layout.scratch), layout, new XbzrleCodec(this.target));
  readonly pending = this.#bitmap(layout.pendingBitmap);
  readonly dirty = this.#bitmap(layout.dirtyBitmap);
  #pass = 0;

  constructor() {
    this.save.markAll();
  }

  page(index: number): Uint8Array {
    return new Uint8Array(this.source.buffer, layout.blocksBase + index * PAGE_SIZE, PAGE_SIZE);
  }

  /** The guest writes a page between two passes. */
  write(index: number, change: (page: Uint8Array) => void): void {
    change(this.page(index));
    this.pending.add(index);
  }

  /** @param meanwhile called before each frame: the guest writes while a pass is under way. */
  pass(final = false, meanwhile: () => void = () => {}): PageCounts & { bytes: number } {
    const counts = { ...noPages(), bytes: 0 };
    this.save.count();
    this.save.beginPass(++this.#pass, final);
    for (;;) {
      meanwhile();
      const payload = this.save.pack(slot, 3);
      if (payload === undefined) break;
      addPages(counts, payload.pages);
      counts.bytes += sizeOf(payload.pieces);
      if (payload.pieces.length > 0) this.load.apply(this.#carry(payload.pieces));
    }
    const [pages, zeroPages] = [sentPages(counts), counts.zero];
    this.load.endPass({ number: this.#pass, pages, zeroPages, final }, 0);
    return counts;
  }

  /** The dirty log goes to the pending pages. */
  sync(): void {
    for (let page = this.dirty.next(0); page >= 0; page = this.dirty.next(page + 1)) this.pending.add(page);
    this.dirty.clear();
  }

  check(): void {
    const [a, b] = [this.source, this.target].map(
      (memory) => new Uint8Array(memory.buffer, layout.blocksBase, PAGES * PAGE_SIZE),
    ) as [Uint8Array, Uint8Array];
    for (let page = 0; page < PAGES; page++) {
      const range = [page * PAGE_SIZE, (page + 1) * PAGE_SIZE] as const;
      expect(Buffer.compare(a.subarray(...range), b.subarray(...range)), `page ${page}`).toBe(0);
    }
  }

  #carry(pieces: readonly Piece[]): Frame {
    const payload = new Uint8Array(this.target.buffer, slot, sizeOf(pieces));
    payload.set(new Kernels(this.source, layout.scratch).gather(pieces));
    return { type: 'ram', offset: 0, payload, at: slot };
  }

  #bitmap(at: number): PageBitmap {
    return new PageBitmap(new Uint32Array(this.source.buffer, at, layout.bitmapSize / 4), PAGES);
  }
}

test('from the third time on, a page that changed a little costs a few bytes; an equal one nothing', () => {
  const pair = new Pair();
  pair.save.setCacheSize(4096 * KiB);
  for (let i = 0; i < PAGES; i++) pair.page(i).fill(i % 200 || 1);
  const touch = (page: Uint8Array): void => {
    page[100] = ((page[100] ?? 0) + 1) & 255;
  };
  const round = (): PageCounts & { bytes: number } => {
    for (let i = 0; i < 100; i++) pair.write(i, touch);
    return pair.pass();
  };
  expect(pair.pass()).toMatchObject({ whole: PAGES, delta: 0, miss: 0 });
  expect(round()).toMatchObject({ whole: 100, miss: 100, delta: 0 });
  const third = round();
  expect(third).toMatchObject({ whole: 0, delta: 100, deltaBytes: 500 });
  expect(third.bytes).toBeLessThan(600);
  // What a sample foresees is what the pass then sends.
  for (let i = 0; i < 100; i++) pair.write(i, touch);
  pair.write(200, touch);
  pair.write(201, (page) => page.fill(0));
  pair.save.count();
  expect(pair.save.sample(1000)).toMatchObject({ whole: 1, zero: 1, delta: 100, deltaBytes: 500 });
  expect(pair.pass()).toMatchObject({ whole: 1, zero: 1, delta: 100, deltaBytes: 500 });
  for (let i = 0; i < 100; i++) pair.write(i, () => {});
  expect(pair.pass()).toMatchObject({ whole: 0, delta: 0, equal: 100, bytes: 0 });
  pair.write(5, (page) => page.fill(0xaa));
  expect(pair.pass()).toMatchObject({ whole: 1, overflow: 1, miss: 0 });
  pair.write(5, touch);
  expect(pair.pass(true)).toMatchObject({ delta: 1, deltaBytes: 5 });
  pair.check();
});

test('a page that becomes zero, and then something else, is a delta against zeros', () => {
  const pair = new Pair();
  pair.save.setCacheSize(64 * KiB);
  const states: [number, Partial<PageCounts>][] = [
    [7, { whole: 1, miss: 1 }],
    [0, { zero: 1 }],
    [9, { overflow: 1, whole: 1 }],
  ];
  pair.page(3).fill(1);
  pair.pass();
  for (const [value, counts] of states) {
    pair.write(3, (page) => page.fill(value));
    expect(pair.pass()).toMatchObject(counts);
  }
  pair.write(3, (page) => page.fill(0));
  pair.pass();
  pair.write(3, (page) => page.fill(1, 10, 12));
  expect(pair.pass(true)).toMatchObject({ delta: 1, deltaBytes: 6 });
  pair.check();
});

test('two pages for one slot: the one in use stays, until it was not used for a pass', () => {
  const pair = new Pair();
  pair.save.setCacheSize(16 * KiB);
  const touch = (page: Uint8Array): void => {
    page[0] = ((page[0] ?? 0) + 1) & 127 || 1;
  };
  const pass = (...written: number[]): PageCounts => {
    for (const page of written) pair.write(page, touch);
    return pair.pass();
  };
  for (const page of [1, 5]) pair.page(page).fill(1);
  pair.pass();
  expect(pass(1, 5)).toMatchObject({ miss: 2 }); // 1 stays
  expect(pass(1, 5)).toMatchObject({ delta: 1, miss: 1 });
  expect(pass(5)).toMatchObject({ miss: 1 }); // 1 was used in the last pass
  expect(pass(5)).toMatchObject({ miss: 1 }); // now 5 takes it
  expect(pass(1, 5)).toMatchObject({ delta: 1, miss: 1 });
  pair.pass(true);
  pair.check();
});

test('a page that was written again while it waited is left for the next pass, but only once', () => {
  const pair = new Pair();
  for (let i = 0; i < PAGES; i++) pair.page(i).fill(1);
  const hot = (): void => {
    for (let i = 100; i < 150; i++) pair.dirty.add(i);
  };
  hot();
  expect(pair.pass(false, hot)).toMatchObject({ whole: PAGES - 50 });
  pair.sync();
  hot();
  expect(pair.pass(false, hot)).toMatchObject({ whole: 50 });
  pair.sync();
  hot();
  expect(pair.pass(false, hot)).toMatchObject({ whole: 0 });
  pair.sync();
  // In the final pass nothing is left.
  hot();
  expect(pair.pass(true)).toMatchObject({ whole: 50 });
  pair.check();
});

test('whatever a guest writes, and however large the cache is from pass to pass, nothing is lost', () => {
  for (let seed = 1; seed <= 8; seed++) {
    const random = new Random(seed);
    const pair = new Pair();
    const sizes = [16, 64, 256, 1024, 4096].map((size) => size * KiB);
    const total = noPages();
    const change = (page: Uint8Array): void => {
      const kind = random.below(10);
      if (kind === 0) page.fill(0);
      else if (kind === 1) for (let i = 0; i < PAGE_SIZE; i++) page[i] = random.below(256);
      else if (kind < 8) page[random.below(PAGE_SIZE)] = random.below(256);
      else if (kind === 8) page.fill(random.below(256), random.below(2000), 2000 + random.below(2096));
    };
    /** The guest writes while the pass is under way: into pages that wait, and into ones that were sent. */
    const meanwhile = (): void => {
      for (let i = random.below(6); i > 0; i--) {
        const page = random.below(PAGES);
        change(pair.page(page));
        pair.dirty.add(page);
      }
    };
    for (let pass = 1; pass < 25; pass++) {
      if (random.below(3) === 0) pair.save.setCacheSize(sizes[random.below(sizes.length)] ?? 0);
      if (random.below(15) === 0) pair.save.setCacheSize(0);
      addPages(total, pair.pass(false, meanwhile));
      pair.sync();
      const first = random.below(PAGES);
      for (let i = random.below(60); i > 0; i--) pair.write((first + i) % PAGES, change);
    }
    pair.pass(true);
    pair.check();
    for (const kind of ['zero', 'whole', 'delta', 'equal', 'miss'] as const) {
      expect(total[kind], `${kind} pages with seed ${seed}`).toBeGreaterThan(0);
    }
  }
});

test('a delta for a page that has not come, a bad one, and one without the feature are refused whole', () => {
  const memory = createSharedMemory(layout);
  const kernels = new Kernels(memory, layout.scratch);
  const load = new RamLoad(kernels, layout, new XbzrleCodec(memory));
  const without = new RamLoad(kernels, layout);
  const bytes = new Uint8Array(memory.buffer);
  const frame = (runs: [number, number, number][], data: number[]): Frame => {
    const length = 8 + runs.length * 8 + data.length;
    const view = new DataView(memory.buffer, slot);
    view.setUint32(0, 1, true);
    view.setUint32(4, runs.length, true);
    runs.forEach(([first, count, kind], i) => {
      view.setUint32(8 + 8 * i, first, true);
      view.setUint16(12 + 8 * i, count, true);
      view.setUint16(14 + 8 * i, kind, true);
    });
    bytes.set(data, slot + 8 + runs.length * 8);
    return { type: 'ram', offset: 5000, payload: bytes.subarray(slot, slot + length), at: slot };
  };
  const whole = Array.from({ length: PAGE_SIZE }, () => 3);
  load.apply(frame([[0, 1, 1]], whole));
  without.apply(frame([[0, 1, 1]], whole));
  const delta = [3, 0, 0, 1, 9];
  const refused = (runs: [number, number, number][], data: number[], message: string): void => {
    expect(() => load.apply(frame(runs, data))).toThrow(message);
    expect([...bytes.subarray(layout.blocksBase, layout.blocksBase + 2)]).toEqual([3, 3]);
  };
  refused([[1, 1, 2]], delta, 'run 0, page: expected a page that has arrived, got 1, which has not');
  refused([[0, 2, 2]], [...delta, ...delta], 'got 1, which has not (at byte 5000)');
  const bad = 'frame "ram", run 1, delta 0, equal-run: expected 0 to 4096, got 4097 (at byte 5028)';
  refused(
    [
      [0, 1, 0],
      [0, 1, 2],
    ],
    [],
    'run 1, page: expected 1 to 299, got 0',
  );
  load.apply(frame([[1, 1, 1]], whole));
  refused(
    [
      [0, 1, 2],
      [1, 1, 2],
    ],
    [...delta, 4, 0, 0x81, 0x20, 1, 9],
    bad.replace('5028', '5031'),
  );
  refused([[0, 1, 2]], [...delta, 0], 'length: expected 21 bytes, got 22');
  refused([[0, 1, 2]], [], 'run 0, delta 0, length: expected 2 bytes, got 0 (at byte 5016)');
  expect(() => without.apply(frame([[0, 1, 2]], delta))).toThrow(
    'run 0, kind: expected zero (0), data (1), coming (3), got 2',
  );
  load.apply(frame([[0, 1, 2]], delta));
  expect([...bytes.subarray(layout.blocksBase, layout.blocksBase + 2)]).toEqual([9, 3]);
});
