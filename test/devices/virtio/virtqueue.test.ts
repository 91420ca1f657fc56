/** Rings that lie: the device stops and says so (§2.1.2), and nothing is thrown. Virtual I/O Device 1.2, §2.7. */
import { expect, describe as suite, test } from 'vitest';
import { settled } from '../../support/fake-disk.ts';
import { FLAT_BASE } from '../../support/flat-memory.ts';
import { BlkBench, NO_STATUS, REQUEST, STATUS_OK } from '../../support/virtio-blk.ts';
import { DESC, ENTRIES, REG } from '../../support/virtio-driver.ts';

const NEEDS_RESET = 0x40;
const HEADER = { address: FLAT_BASE + 0x8000, length: 16 };
const STATUS = { address: FLAT_BASE + 0x8800, length: 1, writable: true };
const TABLE = FLAT_BASE + 0x9000;

const LIES: Readonly<Record<string, [reason: string, tell: (bench: BlkBench) => void]>> = {
  'an index that moved by more than the queue has': [
    'the driver moved its index by 9, and the queue has 8 entries',
    ({ driver }) => driver.put16(driver.avail() + 2, ENTRIES + 1),
  ],
  'a head that is no descriptor': ['descriptor 8 of 8', ({ driver }) => driver.offer(ENTRIES)],
  'a link to no descriptor': [
    'descriptor 77 of 8',
    ({ driver }) => {
      driver.putDescriptor(driver.desc(), HEADER, DESC.next, 77);
      driver.offer(0);
    },
  ],
  'a loop': [
    'a chain of descriptors is a loop',
    ({ driver }) => {
      driver.putDescriptor(driver.desc(), HEADER, DESC.next, 1);
      driver.putDescriptor(driver.desc() + 16, HEADER, DESC.next, 0);
      driver.offer(0);
    },
  ],
  'a buffer outside memory': [
    'a buffer at 0x1000 of 16 bytes, which is not memory',
    ({ driver }) => driver.add([{ address: 0x1000, length: 16 }, STATUS]),
  ],
  'a buffer that reaches out of memory': [
    'a buffer at 0x800ffff8 of 16 bytes, which is not memory',
    ({ driver }) => driver.add([{ address: FLAT_BASE + 0xf_fff8, length: 16 }, STATUS]),
  ],
  'a buffer at the end of 64 bits': [
    'a buffer at 0x10000000000000000 of 16 bytes, which is not memory',
    ({ driver }) => {
      driver.putDescriptor(driver.desc(), HEADER);
      driver.memory.view.setBigUint64(driver.desc() - FLAT_BASE, 0xffff_ffff_ffff_fff8n, true);
      driver.offer(0);
    },
  ],
  'a buffer of no bytes': [
    'a buffer of no bytes',
    ({ driver }) => driver.add([HEADER, { ...HEADER, length: 0 }, STATUS]),
  ],
  'a readable buffer behind a writable one': [
    'a readable buffer behind a writable one',
    ({ driver }) => driver.add([HEADER, STATUS, HEADER]),
  ],
  'an indirect descriptor that goes on': [
    'an indirect descriptor inside a chain',
    ({ driver }) => {
      driver.putDescriptor(driver.desc(), { address: TABLE, length: 32 }, DESC.indirect | DESC.next, 1);
      driver.offer(0);
    },
  ],
  'an indirect table inside an indirect table': [
    'an indirect descriptor inside a chain',
    ({ driver }) => {
      driver.putDescriptor(driver.desc(), { address: TABLE, length: 32 }, DESC.indirect);
      driver.putDescriptor(TABLE, { address: TABLE, length: 32 }, DESC.indirect);
      driver.offer(0);
    },
  ],
  'an indirect table of half a descriptor': [
    'an indirect table of 24 bytes',
    ({ driver }) => {
      driver.putDescriptor(driver.desc(), { address: TABLE, length: 24 }, DESC.indirect);
      driver.offer(0);
    },
  ],
  'an indirect table outside memory': [
    'the descriptor table is not in memory',
    ({ driver }) => {
      driver.putDescriptor(driver.desc(), { address: 0, length: 32 }, DESC.indirect);
      driver.offer(0);
    },
  ],
  'a chain of more than a queue can have': [
    'a chain that is too long',
    ({ driver }) => {
      const count = 2000;
      const at = FLAT_BASE + 0x4_0000;
      driver.putDescriptor(driver.desc(), { address: at, length: 16 * count }, DESC.indirect);
      for (let i = 0; i < count; i++) driver.putDescriptor(at + 16 * i, HEADER, DESC.next, i + 1);
      driver.offer(0);
    },
  ],
  'a request without room for its status': [
    'a request without room for header or status',
    ({ driver }) => driver.add([HEADER]),
  ],
  'a request without its whole header': [
    'a request without room for header or status',
    ({ driver }) => driver.add([{ ...HEADER, length: 8 }, STATUS]),
  ],
};

suite.each(Object.entries(LIES))('%s', (_, [reason, tell]) => {
  test('stops the device until it is reset', async () => {
    const bench = new BlkBench();
    bench.driver.start();
    tell(bench);
    bench.driver.notify();
    await settled();
    expect(bench.guestErrors).toEqual([`virtio-blk: ${reason}`]);
    expect(bench.driver.read(REG.status) & NEEDS_RESET).toBe(NEEDS_RESET);
    expect(bench.driver.read(REG.interruptStatus)).toBe(2);
    bench.driver.notify();
    await settled();
    expect(bench.guestErrors).toHaveLength(1);

    bench.memory.bytes.fill(0);
    const { driver } = bench;
    driver.start();
    expect(driver.read(REG.status) & NEEDS_RESET).toBe(0);
    expect((await bench.run(REQUEST.in, 0, 512)).status()).toBe(STATUS_OK);
  });
});

test.each([
  ['the available ring', REG.queueDriver, 'the available ring is not in memory'],
  ['the descriptor table', REG.queueDesc, 'the descriptor table is not in memory'],
  ['the used ring', REG.queueDevice, 'the used ring is not in memory'],
])('%s outside memory stops the device', async (_, register, reason) => {
  const bench = new BlkBench();
  bench.driver.start();
  bench.driver.write(register + 4, 0xffff);
  bench.request(REQUEST.in, 0, 512);
  bench.driver.notify();
  await settled();
  expect(bench.guestErrors).toEqual([`virtio-blk: ${reason}`]);
});

test('indirect descriptors are followed (§2.7.5.3)', async () => {
  const bench = new BlkBench();
  const { driver } = bench;
  bench.disk.contents.fill(7, 0, 512);
  driver.start();
  const data = { address: FLAT_BASE + 0xa000, length: 512, writable: true };
  driver.putDescriptor(driver.desc(), { address: TABLE, length: 48 }, DESC.indirect);
  driver.putDescriptor(TABLE, HEADER, DESC.next, 1);
  driver.putDescriptor(TABLE + 16, data, DESC.next, 2);
  driver.putDescriptor(TABLE + 32, STATUS);
  driver.offer(0);
  driver.notify();
  await settled();
  expect(driver.collect()).toEqual([[0, 513]]);
  expect(bench.memory.read(data.address, 512)).toEqual(new Uint8Array(512).fill(7));
});

suite('notifications', () => {
  const EVENT_INDEX = 1n << 29n;
  const usedEvent = ({ driver }: BlkBench) => driver.avail() + 4 + 2 * ENTRIES;
  const availEvent = ({ driver }: BlkBench) => driver.used() + 4 + 8 * ENTRIES;

  test('come until the driver says that it wants none (§2.7.7)', async () => {
    const bench = new BlkBench();
    bench.driver.start(bench.driver.offered() & ~EVENT_INDEX);
    bench.driver.put16(bench.driver.avail(), 1);
    await bench.run(REQUEST.in, 0, 512);
    expect(bench.level).toBe(false);
    bench.driver.put16(bench.driver.avail(), 0);
    await bench.run(REQUEST.in, 0, 512);
    expect(bench.level).toBe(true);
  });

  test('with event indices come when the used index passes used_event (§2.7.10)', async () => {
    const bench = new BlkBench();
    bench.driver.start();
    bench.driver.put16(usedEvent(bench), 2);
    const levels: boolean[] = [];
    for (let i = 0; i < 4; i++) {
      await bench.run(REQUEST.in, 0, 512);
      levels.push(bench.level);
      bench.driver.write(REG.interruptAck, 1);
    }
    // The first look counts as one that passed it.
    expect(levels).toEqual([true, false, true, false]);
    expect(bench.driver.get16(availEvent(bench))).toBe(4);
  });

  test('indices go around (§2.7.13)', async () => {
    const bench = new BlkBench();
    const { driver, memory } = bench;
    driver.start();
    const section = bench.device.state.save();
    const [queue] = (section.fields as { queues: object[] }).queues;
    const queues = [
      { ...queue, lastAvail: 0xffff, usedIndex: 0xffff, signalled: 0xffff, signalledValid: true },
    ];
    bench.device.state.prepare({ ...section, fields: { ...section.fields, queues } })();
    driver.put16(driver.avail() + 2, 0xffff);
    driver.put16(driver.used() + 2, 0xffff);
    driver.put16(usedEvent(bench), 0xffff);
    const { head, status } = await bench.run(REQUEST.in, 3, 512);
    expect(status()).toBe(STATUS_OK);
    expect(driver.get16(driver.used() + 2)).toBe(0);
    expect(memory.view.getUint32(driver.used() + 4 + 8 * (0xffff % ENTRIES) - FLAT_BASE, true)).toBe(head);
    expect(bench.level).toBe(true);
  });
});

test('what is made available without a notification waits', async () => {
  const bench = new BlkBench();
  bench.driver.start();
  const { status } = bench.request(REQUEST.in, 0, 512);
  await settled();
  expect(status()).toBe(NO_STATUS);
});
