/** The transport. Virtual I/O Device 1.2, §4.2; the legacy interface §4.2.4. */
import { expect, describe as suite, test } from 'vitest';
import { NO_MEMORY } from '../../../src/devices/dma.ts';
import { virtioMmio } from '../../../src/devices/virtio/mmio.ts';
import { settled } from '../../support/fake-disk.ts';
import { BlkBench, REQUEST, SECTORS, STATUS_OK } from '../../support/virtio-blk.ts';
import { REG } from '../../support/virtio-driver.ts';

const VERSION_1 = 1n << 32n;

suite.each([
  ['legacy', true, 1],
  ['modern', false, 2],
] as const)('a %s transport', (_, legacy, version) => {
  test('says who it is, and what it can (§4.2.2)', () => {
    const { driver } = new BlkBench({ legacy });
    expect(driver.read(REG.magic)).toBe(0x74726976);
    expect(driver.read(REG.version)).toBe(version);
    expect(driver.read(REG.deviceId)).toBe(2);
    expect((driver.offered() & VERSION_1) !== 0n).toBe(!legacy);
    driver.write(REG.featuresSel, 2);
    expect(driver.read(REG.features)).toBe(0);
    expect(driver.read(REG.queueNumMax)).toBe(1024);
    driver.write(REG.queueSel, 1);
    expect(driver.read(REG.queueNumMax)).toBe(0);
  });

  test('moves requests, and interrupts until that is acknowledged', async () => {
    const bench = new BlkBench({ legacy });
    bench.disk.contents.fill(0xab, 512, 1024);
    bench.driver.start();
    const read = await bench.run(REQUEST.in, 1, 512);
    expect(read.status()).toBe(STATUS_OK);
    expect(read.data()).toEqual(new Uint8Array(512).fill(0xab));
    expect(bench.driver.collect()).toEqual([[read.head, 513]]);
    expect(bench.level).toBe(true);
    expect(bench.driver.read(REG.interruptStatus)).toBe(1);
    bench.driver.write(REG.interruptAck, 1);
    expect(bench.level).toBe(false);
  });

  test('is new after a reset by its driver (§2.4)', async () => {
    const bench = new BlkBench({ legacy });
    bench.driver.start();
    await bench.run(REQUEST.in, 0, 512);
    bench.driver.write(REG.status, 0);
    expect(bench.driver.read(REG.status)).toBe(0);
    expect(bench.driver.read(REG.interruptStatus)).toBe(0);
    expect(bench.level).toBe(false);
    bench.request(REQUEST.in, 0, 512);
    bench.driver.notify();
    await settled();
    expect(bench.disk.calls).toEqual(['read 0+512']);
  });

  test('keeps features that were not offered out', () => {
    const bench = new BlkBench({ legacy });
    bench.driver.start((1n << 64n) - 1n);
    expect(bench.device.state.save().fields.driverFeatures).toBe(bench.driver.offered());
  });

  test('answers its configuration in every size (§4.2.2.2)', () => {
    const { handler } = new BlkBench({ legacy }).driver;
    expect(handler.read(REG.config, 4)).toBe(SECTORS);
    expect(handler.read(REG.config, 1)).toBe(SECTORS);
    expect(handler.read(REG.config + 20, 2)).toBe(512);
    expect(handler.read(REG.config + 0xfc, 4)).toBe(0);
  });

  test('without a device says so (§4.2.3.1.1), and nothing else', () => {
    const empty = virtioMmio({
      ...{ index: 0, base: 0x1000, legacy, dma: NO_MEMORY },
      ...{ interrupt() {}, interruptProperties: {}, guestError() {} },
    });
    const handler = empty.regions[0]?.handler;
    expect([0, 4, 8, 0xc, 0x10, 0x34, 0x70, 0x100].map((at) => handler?.read(at, 4))).toEqual([
      ...[0x74726976, version, 0, 0x554d4551, 0, 0, 0, 0],
    ]);
  });
});

test('the legacy page frame number is in pages of the driver, and 0 resets (§4.2.4)', () => {
  const { driver } = new BlkBench({ legacy: true });
  driver.start();
  expect(driver.read(REG.queuePfn)).toBe(0x8_0000);
  expect(driver.read(REG.status)).toBe(7);
  driver.write(REG.queuePfn, 0);
  expect(driver.read(REG.queuePfn)).toBe(0);
  expect(driver.read(REG.status)).toBe(0);
});

test('a modern queue is served only when its driver is ready (§3.1.1)', async () => {
  const bench = new BlkBench();
  bench.driver.start();
  bench.driver.write(REG.status, 11);
  bench.request(REQUEST.in, 0, 512);
  bench.driver.notify();
  await settled();
  expect(bench.disk.calls).toEqual([]);
});
