/** Post-copy's frames of pages: whatever mixture of pages is pending, zero, or here already, each page goes over once. */
import { expect, test } from 'vitest';
import { createLayout, createSharedMemory, type Layout, PAGE_SIZE } from '../../src/memory/layout.ts';
import { KERNEL_SCRATCH, Kernels } from '../../src/migration/kernels.ts';
import { LatePages } from '../../src/migration/late-pages.ts';
import { PageBitmap } from '../../src/migration/page-bitmap.ts';
import { PageSweep, type PagesPayload } from '../../src/migration/page-sweep.ts';
import { Random } from '../support/random.ts';
import { giveBack } from './fake-vm.ts';

const PAGES = 1300;

interface Side {
  readonly memory: WebAssembly.Memory;
  readonly layout: Layout;
  readonly bytes: Uint8Array;
  readonly slot: number;
  readonly kernels: Kernels;
}

function side(): Side {
  const layout = createLayout(1, [{ name: 'ram', size: PAGES * PAGE_SIZE }]);
  const memory = createSharedMemory(layout);
  const kernels = new Kernels(memory, layout.scratch);
  const slot = layout.scratch + KERNEL_SCRATCH + 24;
  return { memory, layout, bytes: new Uint8Array(memory.buffer), slot, kernels };
}

const firstWord = ({ bytes, layout }: Side, page: number): number =>
  bytes[layout.blocksBase + page * PAGE_SIZE] as number;

test('every mixture arrives as it is, and what is here is left alone', () => {
  const random = new Random(5);
  for (let round = 0; round < 6; round++) {
    const [source, destination] = [side(), side()];
    const pending = PageBitmap.create(PAGES);
    const here = new Set<number>();
    const words = new Uint32Array(source.memory.buffer, source.layout.pendingBitmap, Math.ceil(PAGES / 32));
    for (let page = 0; page < PAGES; ) {
      // Runs of pages that are alike.
      const end = Math.min(PAGES, page + 1 + random.below(70));
      const [isPending, zero, isHere] = [random.chance(0.7), random.chance(0.3), random.chance(0.2)];
      for (; page < end; page++) {
        if (isPending) pending.add(page);
        if (isHere) here.add(page);
        // What stood there before is not what is to stand there.
        destination.bytes.fill(isHere ? 0xee : 0xdd, ...range(destination, page));
        if (!zero) source.bytes.fill(1 + (page % 200), ...range(source, page));
      }
    }
    const marks = new PageBitmap(words, PAGES);
    for (let page = 0; page < PAGES; page++) if (pending.has(page)) marks.add(page);
    const received = new Uint32Array(
      destination.memory.buffer,
      destination.layout.receivedBitmap,
      Math.ceil(PAGES / 32),
    );
    received.fill(0xffff_ffff);
    const bits = new PageBitmap(received, PAGES);
    for (let page = 0; page < PAGES; page++) {
      if (pending.has(page) && !here.has(page)) bits.delete(page);
    }
    const touched = PageBitmap.create(PAGES);
    touched.addRange(0, PAGES);
    const sweep = new PageSweep(source.kernels, source.layout);
    const late = new LatePages(destination.kernels, destination.layout, touched);
    const due = pending.count();
    expect(sweep.remaining).toBe(due);
    let sent = 0;
    for (;;) {
      const asked = random.below(PAGES);
      const most = 1 + random.below(32);
      const payload: PagesPayload | undefined =
        [
          () => sweep.packOne(source.slot, asked),
          () => sweep.packAhead(source.slot, asked, Math.min(PAGES, asked + 40), most),
        ][random.below(3)]?.() ?? sweep.packNext(source.slot, most);
      if (payload === undefined) break;
      sent += payload.pages;
      expect(sweep.remaining).toBe(due - sent);
      destination.bytes.set(
        source.bytes.subarray(source.slot, source.slot + payload.length),
        destination.slot,
      );
      const before = late.missing;
      const placed = late.place({
        type: 'pages',
        offset: 0,
        at: destination.slot,
        payload: new Uint8Array(destination.memory.buffer, destination.slot, payload.length),
      });
      expect(late.missing).toBe(before - placed);
    }
    expect(sent).toBe(due);
    expect(late.missing).toBe(0);
    for (let page = 0; page < PAGES; page++) {
      const came = pending.has(page) && !here.has(page);
      const untouched = here.has(page) ? 0xee : 0xdd;
      expect(firstWord(destination, page), `page ${page}`).toBe(came ? firstWord(source, page) : untouched);
    }
    for (const { memory } of [source, destination]) giveBack(memory);
  }
});

test('the sweep keeps out of the way of what is sent ahead', () => {
  const source = side();
  new Uint32Array(source.memory.buffer, source.layout.pendingBitmap, Math.ceil(PAGES / 32)).fill(-1);
  const sweep = new PageSweep(source.kernels, source.layout);
  sweep.avoid(0);
  sweep.packNext(source.slot, 16);
  expect(sweep.isPending(0)).toBe(true);
  sweep.follow(100);
  sweep.packNext(source.slot, 16);
  expect(sweep.isPending(100)).toBe(false);
  giveBack(source.memory);
});

function range({ layout }: Side, page: number): [from: number, to: number] {
  const from = layout.blocksBase + page * PAGE_SIZE;
  return [from, from + PAGE_SIZE];
}
