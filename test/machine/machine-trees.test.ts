import { expect, test } from 'vitest';
import type { Device } from '../../src/devices/device.ts';
import { deviceTreeLines, memoryTreeLines } from '../../src/machine/machine-trees.ts';
import type { MmioRegion } from '../../src/memory/mmio.ts';

const region = (name: string, base: number, size: number): MmioRegion => ({
  ...{ name, base, size },
  handler: { read: () => 0, write() {} },
});

const device = (name: string, ...regions: MmioRegion[]) => ({ name, regions }) as unknown as Device;

test('info mtree lists regions with their kind, as QEMU does', () => {
  const ram = { name: 'ram', base: 0x8000_0000, size: 0x100_0000, hostOffset: 0, readonly: false };
  expect(
    memoryTreeLines([
      { kind: 'ram', region: { ...ram, name: 'rom', base: 0x1000, size: 0x1000, readonly: true } },
      { kind: 'mmio', region: region('uart', 0x1000_0000, 8) },
      { kind: 'ram', region: ram },
    ]),
  ).toEqual([
    'address-space: memory',
    '  0000000000000000-ffffffffffffffff (prio 0, i/o): system',
    '    0000000000001000-0000000000001fff (prio 0, rom): rom',
    '    0000000010000000-0000000010000007 (prio 0, i/o): uart',
    '    0000000080000000-0000000080ffffff (prio 0, ram): ram',
  ]);
});

test('info qtree shows each device where it is plugged in', () => {
  const added = { addr: 0, id: 'd', properties: { drive: 'x', queues: 1, legacy: false } };
  const lines = deviceTreeLines(
    [
      device('uart', region('uart', 0x1000_0000, 8)),
      device('virtio-mmio-bus.0/virtio-blk', region('v', 0x1000_1000, 0x200)),
      device('pcie.0/e1000'),
      device('gpex', region('ecam', 0x3000_0000, 0x1000_0000)),
    ],
    [
      { ...added, driver: 'virtio-blk-device', bus: 'virtio-mmio-bus.0' },
      { ...added, driver: 'e1000', bus: 'pcie.0', addr: 8, properties: {} },
    ],
  );
  expect(lines.join('\n')).toBe(`bus: main-system-bus
  type System
  dev: uart, id ""
    mmio 0000000010000000/0000000000000008
  dev: virtio-mmio, id ""
    mmio 0000000010001000/0000000000000200
    bus: virtio-mmio-bus.0
      type virtio-mmio-bus
      dev: virtio-blk-device, id "d"
        drive = "x"
        queues = 1 (0x1)
        legacy = false
  dev: gpex, id ""
    mmio 0000000030000000/0000000010000000
    bus: pcie.0
      type PCIE
      dev: e1000, id "d"
        addr = 01.0`);
});
