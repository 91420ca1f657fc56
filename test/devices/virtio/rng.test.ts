/** The source of entropy. Virtual I/O Device 1.2, §5.4. */
import { expect, test } from 'vitest';
import { virtioMmio } from '../../../src/devices/virtio/mmio.ts';
import { virtioRng } from '../../../src/devices/virtio/rng.ts';
import { FLAT_BASE, FlatMemory } from '../../support/flat-memory.ts';
import { REG, VirtioDriver } from '../../support/virtio-driver.ts';

test('fills what it is given, and says how much that was', () => {
  const memory = new FlatMemory(0x4_0000);
  let level = false;
  const device = virtioMmio({
    ...{ index: 0, base: 0x1000, legacy: false, dma: memory, interruptProperties: {}, guestError() {} },
    interrupt: (to) => {
      level = to;
    },
    plugged: { function: virtioRng((bytes) => new Uint8Array(bytes).fill(0x5a)), properties: {} },
  });
  const driver = new VirtioDriver(device, memory);
  expect(driver.read(REG.deviceId)).toBe(4);
  driver.start();
  const small = driver.add([{ address: FLAT_BASE + 0x8000, length: 10, writable: true }]);
  const large = driver.add([{ address: FLAT_BASE + 0x1_0000, length: 0x2_0000, writable: true }]);
  driver.notify();
  expect(driver.collect()).toEqual([
    [small, 10],
    [large, 0x1_0000],
  ]);
  expect(memory.read(FLAT_BASE + 0x8000, 12)).toEqual(Uint8Array.of(...new Array(10).fill(0x5a), 0, 0));
  expect(level).toBe(true);
});
