/** The PCI transport. Virtual I/O Device 1.2, §4.1. */
import { describe, expect, test } from 'vitest';
import { settled } from '../../support/fake-disk.ts';
import { addRequest, NO_STATUS, REQUEST, SECTORS, STATUS_OK } from '../../support/virtio-blk.ts';
import { ENTRIES } from '../../support/virtio-driver.ts';
import { COMMON, PciBench } from '../../support/virtio-pci.ts';

test('is found by its identity and its capabilities (§4.1.2, §4.1.4)', () => {
  const bench = new PciBench({ modern: true });
  expect(bench.config.read(0, 4)).toBe(0x1042_1af4);
  expect(bench.config.read(8, 4)).toBe(0x0100_0001);
  const both = new PciBench();
  expect(both.config.read(0, 4)).toBe(0x1001_1af4);
  expect(both.config.read(8, 4)).toBe(0x0100_0000);
  expect(both.config.read(0x2c, 4)).toBe(0x0002_1af4);
  expect(bench.structures().map(({ type, bar, offset }) => [type, bar, offset])).toEqual([
    [1, 4, 0],
    [3, 4, 0x1000],
    [4, 4, 0x2000],
    [2, 4, 0x3000],
    [5, 0, 0],
  ]);
  expect(bench.msixCapability()).toBeGreaterThan(0);
});

test('reads of a disk, with its interrupt pin until the ISR is read (§4.1.4.5)', async () => {
  const bench = new PciBench();
  bench.disk.contents.fill(0x5c, 1024, 1536);
  bench.start();
  expect(bench.get(COMMON.deviceStatus, 1)).toBe(15);
  expect(bench.get(COMMON.numQueues, 2)).toBe(1);
  expect(bench.space.read(bench.structure(4).offset, 4)).toBe(SECTORS);
  const request = addRequest(bench, 0, REQUEST.in, 2, 512);
  bench.notify();
  await settled();
  expect(request.status()).toBe(STATUS_OK);
  expect(request.data()).toEqual(new Uint8Array(512).fill(0x5c));
  expect(bench.level).toBe(true);
  expect(bench.readIsr()).toBe(1);
  expect(bench.level).toBe(false);
  expect(bench.readIsr()).toBe(0);
});

test('every queue has a message of its own (§4.1.5.1.2)', async () => {
  const bench = new PciBench({ queues: 2 });
  bench.start(2);
  bench.useMessages(2);
  addRequest(bench, 0, REQUEST.flush, 0, 0, 1);
  bench.notify(1);
  await settled();
  expect(bench.messages).toEqual([[0x2800_0000, 102]]);
  addRequest(bench, 1, REQUEST.flush, 0);
  bench.notify(0);
  await settled();
  expect(bench.messages.at(-1)).toEqual([0x2800_0000, 101]);
  expect(bench.level).toBe(false);
  // An index that can't be: the configuration's message (§2.1.2).
  bench.put16(bench.avail() + 2, 3 * ENTRIES);
  bench.notify(0);
  expect(bench.messages.at(-1)).toEqual([0x2800_0000, 100]);
  expect(bench.get(COMMON.deviceStatus, 1)).toBe(15 | 0x40);
});

test('a vector that there is not is refused (§4.1.5.1.2.1)', () => {
  const bench = new PciBench();
  bench.start();
  for (const register of [COMMON.configMsixVector, COMMON.queueMsixVector]) {
    bench.set(register, 2, 1);
    expect(bench.get(register, 2)).toBe(1);
    bench.set(register, 2, 2);
    expect(bench.get(register, 2)).toBe(0xffff);
  }
});

test('a function that may not be bus master reaches no memory', async () => {
  const bench = new PciBench();
  bench.start();
  bench.config.write(0x04, 2, 3);
  const request = addRequest(bench, 0, REQUEST.in, 0, 512);
  bench.notify();
  await settled();
  expect(request.status()).toBe(NO_STATUS);
  expect(bench.disk.calls).toEqual([]);
});

test('a reset by the driver leaves nothing of the queues (§4.1.4.3)', async () => {
  const bench = new PciBench();
  bench.start();
  bench.useMessages();
  bench.set(COMMON.deviceStatus, 1, 0);
  expect(bench.get(COMMON.deviceStatus, 1)).toBe(0);
  expect(
    [COMMON.queueEnable, COMMON.queueMsixVector, COMMON.configMsixVector].map((at) => bench.get(at, 2)),
  ).toEqual([...[0, 0xffff, 0xffff]]);
});

test('the window in configuration space reaches the same registers (§4.1.4.9)', () => {
  const bench = new PciBench();
  bench.enable();
  const { at } = bench.structure(5);
  const access = (offset: number, length: number) => {
    bench.config.write(at + 4, 1, 4);
    bench.config.write(at + 8, 4, offset);
    bench.config.write(at + 12, 4, length);
  };
  access(COMMON.deviceStatus, 1);
  bench.config.write(at + 16, 4, 3);
  expect(bench.get(COMMON.deviceStatus, 1)).toBe(3);
  access(0x2000, 4);
  expect(bench.config.read(at + 16, 4)).toBe(SECTORS);
  for (const [offset, length] of [
    [0x2001, 4],
    [0x2000, 3],
    [0x3ffe, 4],
    [0xffff_fffc, 4],
  ] as const) {
    access(offset, length);
    expect(bench.config.read(at + 16, 4)).toBe(0);
  }
});

describe('the legacy interface (§4.1.4.10)', () => {
  function started(): PciBench {
    const bench = new PciBench();
    const { ports } = bench;
    bench.enable();
    ports.write(0x12, 1, 0);
    ports.write(0x12, 1, 3);
    ports.write(4, 4, ports.read(0, 4));
    ports.write(0xe, 2, 0);
    bench.entries = ports.read(0xc, 2);
    ports.write(8, 4, bench.desc() / 4096);
    ports.write(0x12, 1, 7);
    return bench;
  }

  test('moves requests, and interrupts until the ISR is read', async () => {
    const bench = started();
    bench.disk.contents.fill(0x77, 512, 1024);
    expect(bench.ports.read(8, 4)).toBe(bench.desc() / 4096);
    expect(bench.ports.read(0x14, 4)).toBe(SECTORS);
    expect(bench.ports.read(0, 4) & (1 << 24)).not.toBe(0);
    const request = addRequest(bench, 0, REQUEST.in, 1, 512);
    bench.ports.write(0x10, 2, 0);
    await settled();
    expect(request.data()).toEqual(new Uint8Array(512).fill(0x77));
    expect(bench.level).toBe(true);
    expect(bench.ports.read(0x13, 1)).toBe(1);
    expect(bench.level).toBe(false);
    bench.ports.write(8, 4, 0);
    expect(bench.ports.read(0x12, 1)).toBe(0);
  });

  test('has vectors before its configuration while messages are in use', async () => {
    const bench = started();
    bench.useMessages();
    bench.ports.write(0x16, 2, 0xffff);
    expect(bench.ports.read(0x16, 2)).toBe(0xffff);
    bench.ports.write(0x16, 2, 1);
    expect([bench.ports.read(0x14, 2), bench.ports.read(0x16, 2)]).toEqual([0, 1]);
    expect(bench.ports.read(0x18, 4)).toBe(SECTORS);
    addRequest(bench, 0, REQUEST.flush, 0);
    bench.ports.write(0x10, 2, 0);
    await settled();
    expect(bench.messages).toEqual([[0x2800_0000, 101]]);
  });
});
