/** Devices whose memory arrives late (post-copy): what they do waits, and nothing is lost or done twice. */
import { expect, test } from 'vitest';
import { settled } from '../support/fake-disk.ts';
import { BlkBench, NO_STATUS, REQUEST, STATUS_OK } from '../support/virtio-blk.ts';
import { frame, MAC, PEER, R, rig } from './e1000/rig.ts';

test('a disk: descriptors, buffers and rings come one by one; each request is done once', async () => {
  const bench = new BlkBench({ late: true });
  bench.driver.start(bench.driver.offered());
  const bytes = Uint8Array.from({ length: 512 }, (_, i) => i % 251);
  const write = bench.request(REQUEST.out, 3, bytes);
  const read = bench.request(REQUEST.in, 3, 512);
  bench.driver.notify();
  bench.driver.notify();
  expect(bench.disk.calls).toEqual([]);
  let pages = 0;
  for (; bench.late.waits; pages++) {
    expect(write.status()).toBe(NO_STATUS);
    bench.late.arrive();
    bench.driver.notify();
    if (bench.disk.calls.length > 0) await settled();
    if (bench.disk.calls.length > 0) break;
  }
  bench.late.arriveAll();
  await settled();
  expect(pages).toBeGreaterThan(1);
  expect(write.status()).toBe(STATUS_OK);
  expect(bench.disk.calls.filter((call) => call.startsWith('write'))).toEqual(['write 1536+512']);
  expect(bench.disk.calls.filter((call) => call.startsWith('read'))).toEqual(['read 1536+512']);
  expect(read.data()?.length).toBe(512);
  expect(bench.driver.collect().map(([head]) => head)).toEqual([write.head, read.head]);
  expect(bench.guestErrors).toEqual([]);
});

test('a disk that is reset while a request waits for memory does nothing of it', async () => {
  const bench = new BlkBench({ late: true });
  bench.driver.start(bench.driver.offered());
  bench.request(REQUEST.out, 3, new Uint8Array(512));
  bench.driver.notify();
  bench.device.reset();
  bench.late.arriveAll();
  await settled();
  expect(bench.disk.calls).toEqual([]);
});

test('a network adapter that sends: frames go out once each and in order', () => {
  const it = rig(true);
  it.transmitRing();
  const frames = [1, 2, 3].map((n) => frame(PEER, { from: MAC, payload: new Uint8Array(60).fill(n) }));
  const EOP_RS = 0x0900_0000;
  for (const [i, one] of frames.entries()) {
    it.describe([it.place(0x8000 + 0x1000 * i, one), 0, EOP_RS | one.length, 0]);
  }
  it.transmit();
  expect(it.sent).toEqual([]);
  let steps = 0;
  for (; it.dma.waits; steps++) {
    it.transmit();
    it.dma.arrive();
    expect(it.sent).toEqual(frames.slice(0, it.sent.length));
  }
  expect(steps).toBe(4);
  expect(it.sent).toEqual(frames);
  expect(it.read(R.TDH)).toBe(3);
});

test('a network adapter that receives: frames wait on the cable until their buffers are there', () => {
  const it = rig(true);
  it.receiveRing();
  const frames = [1, 2].map((n) => frame(MAC, { payload: new Uint8Array(60).fill(n) }));
  for (const one of frames) it.cable.deliver(one.slice());
  expect(it.read(R.RDH)).toBe(0);
  expect(it.dma.arriveAll()).toBe(2);
  expect(it.read(R.RDH)).toBe(2);
  expect(frames.map((_, i) => it.received(i).bytes.subarray(0, 74))).toEqual(frames);
  expect(it.read(R.GPRC)).toBe(2);
});
