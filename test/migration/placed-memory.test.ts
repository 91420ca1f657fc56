import { expect, test } from 'vitest';
import { createLayout, createSharedMemory, PAGE_SIZE } from '../../src/memory/layout.ts';
import { HEADER_SIZE, OPENING_SIZE } from '../../src/migration/frame.ts';
import { FrameReader } from '../../src/migration/frame-reader.ts';
import { FrameWriter } from '../../src/migration/frame-writer.ts';
import { Interrupt } from '../../src/migration/interrupt.ts';
import { Kernels } from '../../src/migration/kernels.ts';
import type { DestinationVm } from '../../src/migration/migratable-vm.ts';
import { frameName } from '../../src/migration/protocol.ts';
import { receivedPages } from '../../src/migration/ram-applier.ts';
import { RamLoad } from '../../src/migration/ram-load.ts';
import { RamReceiver } from '../../src/migration/ram-receiver.ts';
import { MAX_RUNS, RAM_HEADER_SIZE, RUN_KIND, RUN_SIZE } from '../../src/migration/ram-stream.ts';
import type { Transport } from '../../src/migration/transport.ts';
import { again, checkSafe, done, migrate } from './harness.ts';
import { MemoryFile } from './memory-transport.ts';
import { flipAt } from './places.ts';
import { VirtualTime } from './virtual-time.ts';

const PAGES = 64;
const layout = createLayout(1, [{ name: 'ram', size: PAGES * PAGE_SIZE }]);
/** Long enough to be placed. */
const RUN = 8;

type Runs = readonly (readonly [page: number, count: number, kind: number])[];

/** What stands in page `page`. */
const content = (page: number): Uint8Array =>
  new Uint8Array(PAGE_SIZE).map((_, i) => (page * 31 + i * 7 + (i >> 8)) & 0xff);

/** A payload of these runs. @param runs as the table says, if it lies. */
function payload(runs: Runs, pass = 2, count = runs.length): Uint8Array {
  const data = runs.flatMap(([page, pages, kind]) =>
    kind === RUN_KIND.data ? Array.from({ length: pages }, (_, i) => content(page + i)) : [],
  );
  const table = new Uint8Array(RAM_HEADER_SIZE + runs.length * RUN_SIZE);
  const view = new DataView(table.buffer);
  view.setUint32(0, pass, true);
  view.setUint32(4, count, true);
  runs.forEach(([page, pages, kind], i) => {
    view.setUint32(8 + 8 * i, page, true);
    view.setUint16(12 + 8 * i, pages, true);
    view.setUint16(14 + 8 * i, kind, true);
  });
  return Uint8Array.from(Buffer.concat([table, ...data]));
}

/** A stream of one frame. */
async function streamOf(bytes: Uint8Array): Promise<Uint8Array> {
  const file = new MemoryFile();
  await new FrameWriter(file.writer(), Kernels.standalone(), 'forward').send('ram', bytes);
  return file.bytes();
}

/** Reads to where the reader wants the bytes, `sizes(offset)` at a time. */
function filling(bytes: Uint8Array, sizes: (offset: number) => number): Transport {
  let at = 0;
  return {
    ...MemoryFile.reader(bytes),
    read: async (into) => {
      if (into === undefined || at === bytes.length) return undefined;
      const count = Math.min(into.length, bytes.length - at, sizes(at));
      into.set(bytes.subarray(at, at + count));
      at += count;
      return into.subarray(0, count);
    },
  };
}

/** A destination in pass `passes + 1`, and frames that were given to its helpers, if it has any. */
function setUp(passes = 1, helpers = true) {
  const memory = createSharedMemory(layout);
  const kernels = new Kernels(memory, layout.scratch);
  const ram = new RamLoad(kernels, layout, undefined, receivedPages(memory, layout));
  for (let number = 1; number <= passes; number++)
    ram.endPass({ number, pages: 0, zeroPages: 0, final: false }, 0);
  const given: number[] = [];
  const applyRam = async ({ at }: { at: number }) => {
    given.push(at);
    return { pages: 0, zeroPages: 0 };
  };
  const vm = { memory, layout, ...(helpers ? { applyRam } : {}) } as unknown as DestinationVm;
  const receiver = new RamReceiver(vm, kernels, ram, new Interrupt(new VirtualTime()), false);
  const receive = async (transport: Transport): Promise<void> => {
    const reader = new FrameReader(transport, 'forward');
    reader.landIn(receiver.slots);
    const frame = await reader.next();
    if (frame === undefined) throw new Error('no frame');
    receiver.take(frame, 0);
    await receiver.settled();
  };
  const pages = new Uint8Array(memory.buffer, layout.blocksBase, PAGES * PAGE_SIZE);
  return { memory, ram, receiver, receive, given, pages };
}

const MIXED: Runs = [
  [3, RUN, RUN_KIND.data],
  [20, 2, RUN_KIND.zero],
  [30, RUN + 1, RUN_KIND.data],
];

function checkPlaced({ ram, pages, given }: ReturnType<typeof setUp>): void {
  expect(given).toEqual([]);
  const expected = new Uint8Array(pages.length);
  for (let page = 3; page < 3 + RUN; page++) expected.set(content(page), page * PAGE_SIZE);
  for (let page = 30; page < 31 + RUN; page++) expected.set(content(page), page * PAGE_SIZE);
  expect(Buffer.compare(pages, expected)).toBe(0);
  expect(ram.progress).toMatchObject({ pages: 2 * RUN + 3, zeroPages: 2 });
  expect([2, 3, 10, 11, 20, 21, 22, 38, 39].map((page) => ram.received.has(page))).toEqual([
    false,
    true,
    true,
    false,
    true,
    true,
    false,
    true,
    false,
  ]);
}

test('long runs of a later pass are read to where they belong, whether or not the connection can do that', async () => {
  const stream = await streamOf(payload(MIXED));
  for (const transport of [MemoryFile.reader(stream), filling(stream, () => Infinity)]) {
    const destination = setUp();
    await destination.receive(transport);
    checkPlaced(destination);
  }
});

test('however short the reads are, and wherever one ends', async () => {
  const stream = await streamOf(payload(MIXED));
  for (const size of [1, 7, 4097]) {
    for (const transport of [MemoryFile.reader(stream, size), filling(stream, () => size)]) {
      const destination = setUp();
      await destination.receive(transport);
      checkPlaced(destination);
    }
  }
  const [head, tail] = [OPENING_SIZE + HEADER_SIZE + 40, 40];
  for (
    let cut = 1;
    cut < stream.length;
    cut = cut < head || cut >= stream.length - tail ? cut + 1 : stream.length - tail
  ) {
    const destination = setUp();
    await destination.receive(filling(stream, (at) => (at < cut ? cut - at : Infinity)));
    checkPlaced(destination);
  }
});

test('a stream that ends inside such a frame, or has another byte anywhere in it, is refused', async () => {
  const stream = await streamOf(payload(MIXED));
  for (let at = OPENING_SIZE; at < stream.length; at += at < 120 ? 1 : 997) {
    const bad = Uint8Array.from(stream);
    bad[at] = (bad[at] ?? 0) ^ (1 << (at % 8));
    const flipped = setUp(1, false);
    await expect(flipped.receive(filling(bad, () => Infinity)), `byte ${at}`).rejects.toMatchObject({
      kind: 'format',
    });
    expect(flipped.ram.progress.pages, 'nothing has arrived').toBe(0);
    await expect(setUp().receive(filling(stream.subarray(0, at), () => Infinity))).rejects.toThrow();
  }
});

test.each<[string, Uint8Array]>([
  ['a page that is not there', payload([[PAGES, RUN, RUN_KIND.data]])],
  ['a run past the end', payload([[PAGES - RUN + 1, RUN, RUN_KIND.data]])],
  ['more runs than there may be', payload([[0, RUN, RUN_KIND.data]], 2, MAX_RUNS + 1)],
  ['more runs than there are', payload([[0, RUN, RUN_KIND.data]], 2, 3)],
  ['bytes behind the last page', Uint8Array.from([...payload([[0, RUN, RUN_KIND.data]]), 1])],
  ['too few bytes', payload([[0, RUN, RUN_KIND.data]]).subarray(0, -1)],
  ['another pass', payload([[0, RUN, RUN_KIND.data]], 3)],
  [
    'another kind',
    payload([
      [0, RUN, RUN_KIND.data],
      [40, 1, 9],
    ]),
  ],
  ['a header and no table', payload([[0, RUN, RUN_KIND.data]]).subarray(0, RAM_HEADER_SIZE)],
  ['less than a header', payload([[0, RUN, RUN_KIND.data]]).subarray(0, RAM_HEADER_SIZE - 1)],
])('a table with %s changes nothing: the frame is left to who checks it whole', async (_what, bytes) => {
  const destination = setUp();
  const stream = await streamOf(bytes);
  await destination.receive(filling(stream, () => Infinity));
  expect(destination.given.length).toBe(1);
  expect(destination.pages.every((byte) => byte === 0)).toBe(true);
  const slot = new Uint8Array(destination.memory.buffer, destination.given[0], bytes.length);
  expect(Buffer.compare(slot, bytes)).toBe(0);
});

test('runs that overlap or go backwards are refused when they are here', async () => {
  for (const second of [0, 4]) {
    const destination = setUp();
    const stream = await streamOf(
      payload([
        [8, RUN, RUN_KIND.data],
        [second, RUN, RUN_KIND.data],
      ]),
    );
    await expect(destination.receive(filling(stream, () => Infinity))).rejects.toMatchObject({
      kind: 'format',
    });
    expect(destination.ram.progress.pages).toBe(0);
  }
});

test('memory of the first pass, short runs, and what comes when the passes are over go the other way', async () => {
  const long: Runs = [[0, RUN, RUN_KIND.data]];
  const short: Runs = [
    [0, 2, RUN_KIND.data],
    [4, 2, RUN_KIND.data],
  ];
  for (const [passes, runs, over] of [
    [0, long, false],
    [1, short, false],
    [1, [[0, 9, RUN_KIND.zero]] satisfies Runs, false],
    [1, long, true],
  ] as const) {
    const destination = setUp(passes);
    if (over) destination.receiver.finish();
    const stream = await streamOf(payload(runs, passes + 1));
    await destination.receive(filling(stream, () => Infinity));
    expect(destination.given.length).toBe(1);
    expect(destination.pages.every((byte) => byte === 0)).toBe(true);
  }
});

test('passes do not end while a frame is being placed', async () => {
  const destination = setUp();
  const stream = await streamOf(payload(MIXED));
  const reading = destination.receive(
    filling(stream, (at) => {
      if (at > stream.length / 2) destination.receiver.finish();
      return 4096;
    }),
  );
  await expect(reading).rejects.toThrow('the passes have ended before all of their memory was here');
});

/** Offsets of a byte in the last page of each frame of the stream that is placed. */
function inPlacedFrames(stream: Uint8Array): number[] {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.length);
  const found: number[] = [];
  for (let at = OPENING_SIZE; at < stream.length; ) {
    const length = view.getUint32(at + 8, true);
    const table = at + HEADER_SIZE;
    const ram = frameName(view.getUint16(at, true)) === 'ram';
    if (
      ram &&
      view.getUint32(table, true) > 1 &&
      length >= RUN * PAGE_SIZE &&
      view.getUint32(table + 4, true) === 1
    )
      found.push(table + length - 100);
    at = table + length;
  }
  return found;
}

test('a bit that flips in memory that stands in its place already: the guest goes on at its source', async () => {
  const setting = { passes: 2 };
  const whole = await migrate(setting);
  checkSafe(whole);
  const offsets = inPlacedFrames(new Uint8Array(Buffer.concat(whole.link.forward.log)));
  done(whole);
  expect(offsets.length).toBeGreaterThan(0);
  for (const offset of offsets) {
    const outcome = await migrate({ ...setting, link: { forward: { alter: flipAt(offset) } } });
    checkSafe(outcome);
    expect(outcome.received?.message).toMatch(
      /frame (\d+ )?"ram", checksum: expected .*, got .* \(at byte \d+\)/,
    );
    expect(outcome.sent?.message).toContain('checksum');
    expect(outcome.source.running).toBe(true);
    expect(outcome.destination.started).toBeUndefined();
    await again(outcome, setting);
    done(outcome);
  }
});
