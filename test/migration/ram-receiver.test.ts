import { expect, test } from 'vitest';
import { GodwitError } from '../../src/error.ts';
import { createLayout, createSharedMemory, PAGE_SIZE } from '../../src/memory/layout.ts';
import type { Frame } from '../../src/migration/frame-reader.ts';
import { Interrupt } from '../../src/migration/interrupt.ts';
import { Kernels } from '../../src/migration/kernels.ts';
import type { DestinationVm } from '../../src/migration/migratable-vm.ts';
import { ARRIVAL_SLOTS, type RamJob, receivedPages } from '../../src/migration/ram-applier.ts';
import { type RamCounts, RamLoad } from '../../src/migration/ram-load.ts';
import { RamReceiver } from '../../src/migration/ram-receiver.ts';
import { RUN_KIND } from '../../src/migration/ram-stream.ts';
import { VirtualTime } from './virtual-time.ts';

const PAGES = 64;

function setUp(applyRam?: (job: RamJob) => Promise<RamCounts>) {
  const layout = createLayout(1, [{ name: 'ram', size: PAGES * PAGE_SIZE }]);
  const memory = createSharedMemory(layout);
  const kernels = new Kernels(memory, layout.scratch);
  const ram = new RamLoad(kernels, layout, undefined, receivedPages(memory, layout));
  const vm = { memory, layout, ...(applyRam === undefined ? {} : { applyRam }) } as DestinationVm;
  const receiver = new RamReceiver(vm, kernels, ram, new Interrupt(new VirtualTime()), false);
  /** A frame of pass `pass` with page `page`, all ones, as a reader leaves it in a slot. */
  const arrive = async (pass: number, page: number): Promise<Frame> => {
    const at = await receiver.slots.acquire();
    const payload = new Uint8Array(memory.buffer, at, 16 + PAGE_SIZE).fill(1);
    const view = new DataView(memory.buffer, at);
    view.setUint32(0, pass, true);
    view.setUint32(4, 1, true);
    view.setUint32(8, page, true);
    view.setUint16(12, 1, true);
    view.setUint16(14, RUN_KIND.data, true);
    const checksum = BigInt.asUintN(64, kernels.hashAt(at, payload.length, 5));
    const pieces = [{ at, length: payload.length }];
    return { type: 'ram', offset: 100, payload, at, proof: { seed: 5, checksum, pieces } };
  };
  return { layout, memory, ram, receiver, arrive };
}

test('frames are put in place and counted, and their slots are free again', async () => {
  const { layout, memory, ram, receiver, arrive } = setUp();
  for (let page = 0; page < 3 * ARRIVAL_SLOTS; page++) receiver.take(await arrive(1, page), page & 3);
  await receiver.settled();
  ram.endPass({ number: 1, pages: 3 * ARRIVAL_SLOTS, zeroPages: 0, final: false }, 0);
  const bytes = new Uint8Array(memory.buffer, layout.blocksBase, PAGES * PAGE_SIZE);
  expect(bytes.lastIndexOf(1)).toBe(3 * ARRIVAL_SLOTS * PAGE_SIZE - 1);
  expect(bytes.indexOf(0)).toBe(3 * ARRIVAL_SLOTS * PAGE_SIZE);
});

test('a pass has settled when the last helper is done; slots are not used before theirs is', async () => {
  const jobs: { readonly job: RamJob; readonly done: () => void }[] = [];
  const counts = { pages: 1, zeroPages: 0 };
  const { receiver, arrive } = setUp(
    (job) => new Promise((resolve) => jobs.push({ job, done: () => resolve(counts) })),
  );
  for (let page = 0; page < ARRIVAL_SLOTS; page++) receiver.take(await arrive(1, page), 0);
  let settled = false;
  const end = receiver.settled().then(() => {
    settled = true;
  });
  const next = receiver.slots.acquire();
  jobs[2]?.done();
  expect(await next).toBe(jobs[2]?.job.at);
  expect(settled).toBe(false);
  for (const { done } of jobs) done();
  await end;
});

test('what a helper finds wrong ends the migration', async () => {
  const { receiver, arrive } = setUp(async () => {
    throw new GodwitError('format', 'a bad page');
  });
  receiver.take(await arrive(1, 0), 0);
  await expect(receiver.settled()).rejects.toThrow('a bad page');
});

test('memory of another pass, or that comes after the final one, is refused on every connection', async () => {
  const { layout, memory, ram, receiver, arrive } = setUp();
  const early = await arrive(2, 0);
  expect(() => receiver.take(early, 1)).toThrow(/frame "ram", pass: expected 1, got 2/);
  ram.endPass({ number: 1, pages: 0, zeroPages: 0, final: true }, 0);
  for (let i = 0; i <= ARRIVAL_SLOTS; i++) {
    const late = await arrive(2, 0);
    expect(() => receiver.take(late, 3)).toThrow(
      'channel 3, frame "ram", pass: expected none after the final one, got another (at byte 100)',
    );
  }
  const late = await arrive(2, 0);
  expect(() => receiver.take(late, 0)).toThrow('frame "ram", pass: expected none after the final one');
  expect(new Uint8Array(memory.buffer, layout.blocksBase, PAGE_SIZE).every((byte) => byte === 0)).toBe(true);
});
