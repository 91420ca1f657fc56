/** The disk. Virtual I/O Device 1.2, §5.2. */
import { expect, describe as suite, test } from 'vitest';
import { GodwitError } from '../../../src/error.ts';
import { FakeDisk, settled } from '../../support/fake-disk.ts';
import {
  BlkBench,
  NO_STATUS,
  REQUEST,
  SECTORS,
  STATUS_IO_ERROR,
  STATUS_OK,
  STATUS_UNSUPPORTED,
} from '../../support/virtio-blk.ts';
import { REG } from '../../support/virtio-driver.ts';

const FEATURE = { readonly: 1n << 5n, flush: 1n << 9n, configWce: 1n << 11n, mq: 1n << 12n };

function started(options: ConstructorParameters<typeof BlkBench>[0] = {}, without = 0n): BlkBench {
  const bench = new BlkBench(options);
  bench.driver.start(bench.driver.offered() & ~without);
  return bench;
}

/** Sector, count and flags of a discard or write-zeroes request. */
function rangeOf(sector: number, count: number, flags = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(sector), true);
  view.setUint32(8, count, true);
  view.setUint32(12, flags, true);
  return bytes;
}

suite('requests (§5.2.6)', () => {
  test('write, flush and read back', async () => {
    const bench = started();
    const bytes = Uint8Array.from({ length: 1536 }, (_, i) => i % 251);
    expect((await bench.run(REQUEST.out, 2, bytes)).status()).toBe(STATUS_OK);
    expect((await bench.run(REQUEST.flush, 0)).status()).toBe(STATUS_OK);
    const read = await bench.run(REQUEST.in, 2, 1536);
    expect(read.data()).toEqual(bytes);
    expect(bench.disk.calls).toEqual(['write 1024+1536', 'flush', 'read 1024+1536']);
    expect(bench.driver.collect().map(([, written]) => written)).toEqual([1, 1, 1537]);
  });

  test('the serial number', async () => {
    const bench = started({ properties: { serial: 'GODWIT-1' } });
    const read = await bench.run(REQUEST.getId, 0, 20);
    expect(new TextDecoder().decode(read.data())).toBe('GODWIT-1'.padEnd(20, '\0'));
  });

  test.each([
    ['discard', REQUEST.discard, 0, ['discard 2048+1024']],
    ['write zeroes', REQUEST.writeZeroes, 0, ['zero 2048+1024']],
    ['write zeroes and unmap', REQUEST.writeZeroes, 1, ['zero 2048+1024 unmap']],
  ])('%s', async (_, type, flags, calls) => {
    const bench = started();
    expect((await bench.run(type, 0, rangeOf(4, 2, flags))).status()).toBe(STATUS_OK);
    expect(bench.disk.calls).toEqual(calls);
  });

  test.each([
    ['a read behind the end', REQUEST.in, SECTORS, 512, STATUS_IO_ERROR],
    ['a read across the end', REQUEST.in, SECTORS - 1, 1024, STATUS_IO_ERROR],
    ['a read at the end of 64 bits', REQUEST.in, 2 ** 54, 512, STATUS_IO_ERROR],
    ['a read of half a sector', REQUEST.in, 0, 256, STATUS_IO_ERROR],
    ['a write across the end', REQUEST.out, SECTORS - 1, new Uint8Array(1024), STATUS_IO_ERROR],
    ['a discard across the end', REQUEST.discard, 0, rangeOf(SECTORS - 1, 2), STATUS_IO_ERROR],
    ['a discard that is too long', REQUEST.discard, 0, rangeOf(0, 0x40_0000), STATUS_IO_ERROR],
    ['a discard of half a range', REQUEST.discard, 0, new Uint8Array(8), STATUS_IO_ERROR],
    ['a discard with the flag unmap (§5.2.6.2)', REQUEST.discard, 0, rangeOf(0, 1, 1), STATUS_UNSUPPORTED],
    ['zeroes with an unknown flag', REQUEST.writeZeroes, 0, rangeOf(0, 1, 2), STATUS_UNSUPPORTED],
    ['a request of no known type', 99, 0, 512, STATUS_UNSUPPORTED],
  ])('%s is refused, and nothing done', async (_, type, sector, data, status) => {
    const bench = started();
    expect((await bench.run(type, sector, data)).status()).toBe(status);
    expect(bench.disk.calls).toEqual([]);
    expect(bench.guestErrors).toEqual([]);
  });

  test('a disk that is read only takes no writes, and says so', async () => {
    const bench = started({ properties: { readonly: true } });
    expect(bench.driver.offered() & FEATURE.readonly).toBe(FEATURE.readonly);
    for (const [type, data] of [
      [REQUEST.out, new Uint8Array(512)],
      [REQUEST.discard, rangeOf(0, 1)],
      [REQUEST.writeZeroes, rangeOf(0, 1)],
    ] as const) {
      expect((await bench.run(type, 0, data)).status()).toBe(STATUS_IO_ERROR);
    }
    expect(bench.disk.calls).toEqual([]);
  });

  test('a transfer of several pieces is whole', async () => {
    const disk = new FakeDisk(8192);
    const bench = new BlkBench({ disk });
    const MiB = 1024 * 1024;
    for (let i = 0; i < disk.contents.length; i++) disk.contents[i] = (i * 2654435761) >>> 13;
    bench.driver.start();
    // One buffer of 640 KiB, three times over: nearly 2 MiB in one request.
    const part = { address: 0x8004_0000, length: 640 * 1024, writable: true };
    const header = { address: 0x8001_0000, length: 16 };
    bench.driver.add([header, part, part, part, { address: 0x8001_0100, length: 1, writable: true }]);
    bench.driver.notify();
    await settled();
    expect(disk.calls).toEqual([`read 0+${MiB}`, `read ${MiB}+${3 * part.length - MiB}`]);
    const last = disk.contents.subarray(2 * part.length, 3 * part.length);
    expect(Buffer.compare(bench.memory.read(part.address, part.length) as Uint8Array, last)).toBe(0);
  });
});

suite('the write cache (§5.2.5, §5.2.6.2)', () => {
  const write = (bench: BlkBench) => bench.run(REQUEST.out, 0, new Uint8Array(512));

  test('is used while the disk says so', async () => {
    const bench = started();
    expect(bench.driver.handler.read(REG.config + 32, 1)).toBe(1);
    await write(bench);
    bench.driver.handler.write(REG.config + 32, 1, 0);
    expect(bench.driver.handler.read(REG.config + 32, 1)).toBe(0);
    await write(bench);
    expect(bench.disk.calls).toEqual(['write 0+512', 'write 0+512', 'flush']);
  });

  test('is not used by a disk of cache=writethrough', async () => {
    const bench = started({ properties: { writeback: false, 'config-wce': false } });
    expect(bench.driver.offered() & FEATURE.flush).toBe(0n);
    await write(bench);
    expect(bench.disk.calls).toEqual(['write 0+512', 'flush']);
  });

  test('is not used for a driver that can not flush', async () => {
    const bench = started({}, FEATURE.flush | FEATURE.configWce);
    await write(bench);
    expect(bench.disk.calls).toEqual(['write 0+512', 'flush']);
  });

  test('is as it was at first after a reset', () => {
    const bench = started();
    bench.driver.handler.write(REG.config + 32, 1, 0);
    bench.driver.write(REG.status, 0);
    expect(bench.driver.handler.read(REG.config + 32, 1)).toBe(1);
  });
});

suite('an error of the back end', () => {
  const FAILING = [
    ['read', REQUEST.in, 512, 'read'],
    ['write', REQUEST.out, new Uint8Array(512), 'write'],
    ['flush', REQUEST.flush, 0, 'write'],
    ['discard', REQUEST.discard, rangeOf(0, 1), 'write'],
    ['zero', REQUEST.writeZeroes, rangeOf(0, 1), 'write'],
  ] as const;

  test.each(FAILING)('at a %s reaches the guest as one', async (call, type, data, operation) => {
    const bench = started();
    bench.disk.failNext = { call, code: 'EIO' };
    const { status } = await bench.run(type, 0, data);
    expect(status()).toBe(STATUS_IO_ERROR);
    expect(bench.disk.failures).toEqual([`${operation} EIO`]);
    expect((await bench.run(type, 0, data)).status()).toBe(STATUS_OK);
  });

  test('at the flush behind a written-through write is the error of the write', async () => {
    const bench = started({ properties: { writeback: false, 'config-wce': false } });
    bench.disk.failNext = { call: 'flush', code: 'EIO' };
    expect((await bench.run(REQUEST.out, 0, new Uint8Array(512))).status()).toBe(STATUS_IO_ERROR);
  });

  test('that is to be ignored, is', async () => {
    const bench = started();
    bench.disk.action = 'ignore';
    bench.disk.failNext = { call: 'write', code: 'EIO' };
    expect((await bench.run(REQUEST.out, 0, new Uint8Array(512))).status()).toBe(STATUS_OK);
  });

  test('for which the VM stops is unseen by the guest: the request is done when it goes on', async () => {
    const bench = started();
    bench.disk.action = 'stop';
    bench.disk.failNext = { call: 'write', code: 'ENOSPC' };
    const bytes = new Uint8Array(512).fill(9);
    const { status } = await bench.run(REQUEST.out, 0, bytes);
    expect(status()).toBe(NO_STATUS);
    // Nobody else's end is an occasion to try it again.
    expect((await bench.run(REQUEST.in, 8, 512)).status()).toBe(STATUS_OK);
    bench.device.setRunning?.(false);
    await bench.device.drain?.();
    expect(status()).toBe(NO_STATUS);
    bench.device.setRunning?.(true);
    await settled();
    expect(status()).toBe(STATUS_OK);
    expect(bench.disk.contents.subarray(0, 512)).toEqual(bytes);
  });
});

suite('requests that are under way', () => {
  test('end in any order', async () => {
    const bench = started();
    bench.disk.held = true;
    const first = bench.request(REQUEST.in, 0, 512);
    const second = bench.request(REQUEST.flush, 0);
    bench.driver.notify();
    await settled();
    expect(bench.device.busy).toBe(true);
    bench.disk.held = false;
    const third = await bench.run(REQUEST.out, 1, new Uint8Array(512));
    expect([first, second, third].map(({ status }) => status())).toEqual([NO_STATUS, NO_STATUS, STATUS_OK]);
    await bench.disk.release();
    const [done, ...later] = bench.driver.collect().map(([head]) => head);
    expect(done).toBe(third.head);
    expect(new Set(later)).toEqual(new Set([first.head, second.head]));
    expect(bench.device.busy).toBe(false);
  });

  test('are waited for by a machine that stops, which flushes last', async () => {
    const bench = started();
    bench.disk.held = true;
    const { status } = await bench.run(REQUEST.out, 0, new Uint8Array(512));
    bench.device.setRunning?.(false);
    let drained = false;
    const drain = bench.device.drain?.().then(() => {
      drained = true;
    });
    await settled();
    expect(drained).toBe(false);
    bench.disk.held = false;
    await bench.disk.release();
    await drain;
    expect(status()).toBe(STATUS_OK);
    expect(bench.disk.calls).toEqual(['write 0+512', 'flush']);
  });

  test('reach no memory after a reset, and none overtakes them', async () => {
    const bench = started();
    bench.disk.contents.fill(5);
    bench.disk.held = true;
    const old = await bench.run(REQUEST.in, 0, 512);
    bench.memory.bytes.fill(0, 0, 0x1_0000);
    bench.driver.start();
    bench.disk.held = false;
    const young = await bench.run(REQUEST.in, 1, 512);
    expect(bench.disk.calls).toEqual(['read 0+512']);
    expect(young.status()).toBe(NO_STATUS);
    await bench.disk.release();
    await settled();
    expect(bench.disk.calls).toEqual(['read 0+512', 'read 512+512']);
    expect(old.status()).toBe(NO_STATUS);
    expect(old.data()).toEqual(new Uint8Array(512));
    expect(young.status()).toBe(STATUS_OK);
  });

  test('are part of the state, and are done where it is loaded, once the machine runs', async () => {
    const source = started({ properties: { 'num-queues': 2 } });
    expect(source.driver.offered() & FEATURE.mq).toBe(FEATURE.mq);
    source.driver.start(undefined, 2);
    source.disk.held = true;
    const bytes = new Uint8Array(512).fill(3);
    const { head, status } = source.request(REQUEST.out, 7, bytes, 1);
    source.driver.notify(1);
    await settled();
    const section = source.device.state.save();
    expect(section.fields.device).toEqual({ writeback: true, requests: [{ queue: 1, head }] });

    const destination = new BlkBench({ properties: { 'num-queues': 2 } });
    destination.device.setRunning?.(false);
    destination.device.state.prepare(section)();
    // Memory arrives after the state.
    destination.memory.bytes.set(source.memory.bytes);
    expect(destination.device.state.save()).toEqual(section);
    await settled();
    expect(destination.disk.calls).toEqual([]);
    destination.device.setRunning?.(true);
    await settled();
    expect(destination.disk.contents.subarray(7 * 512, 8 * 512)).toEqual(bytes);
    expect(destination.driver.collect(1)).toEqual([[head, 1]]);
    expect(destination.level).toBe(true);
    expect(status()).toBe(NO_STATUS);
  });

  test('a state with a request of no queue or entry is refused', () => {
    const bench = started();
    const section = bench.device.state.save();
    for (const request of [
      { queue: 1, head: 0 },
      { queue: 0, head: 8 },
    ]) {
      const fields = { ...section.fields, device: { writeback: true, requests: [request] } };
      expect(() => bench.device.state.prepare({ ...section, fields })).toThrow(GodwitError);
    }
  });

  test('are no more than 64; the others wait in the queue', async () => {
    const bench = started({ properties: { 'num-queues': 8 } });
    bench.driver.start(undefined, 4);
    bench.disk.held = true;
    // Every entry of the ring names the same chain: 8 of them in each of 4 queues, again and again.
    const { head } = bench.request(REQUEST.flush, 0);
    for (let turn = 0; turn < 16; turn++) {
      for (let i = turn === 0 ? 1 : 0; i < 8; i++) bench.driver.offer(head);
      bench.driver.notify();
    }
    await settled();
    expect(bench.disk.waiting).toBe(64);
  });
});
