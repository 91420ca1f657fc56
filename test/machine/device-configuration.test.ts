/** The devices that a user adds: their places, and what is wrong with them. */
import { describe, expect, test } from 'vitest';
import type { BackendFacts } from '../../src/devices/model.ts';
import {
  checkDevices,
  configureDevices,
  type DeviceRequest,
  deviceDifferences,
  missingBackends,
} from '../../src/machine/device-configuration.ts';

const DRIVE: BackendFacts = {
  kind: 'drive',
  id: 'x0',
  facts: { size: 4096, readonly: false, writeback: true },
};
const OTHER: BackendFacts = { ...DRIVE, id: 'x1' };

/** "virtio-blk-device,drive=x0" as an option. */
function request(text: string): DeviceRequest {
  const [driver = '', ...rest] = text.split(',');
  const values = new Map(rest.map((part) => part.split('=') as [string, string]));
  return { driver, values, where: `-device ${text}` };
}

const configure = (...texts: string[]) => configureDevices(texts.map(request), [DRIVE, OTHER]);

describe('places', () => {
  test('are given from the highest transport down, and from PCI slot 1 up', () => {
    const devices = configure(
      ...['virtio-rng-device', 'virtio-rng-device,bus=virtio-mmio-bus.6', 'virtio-rng-device'],
      ...['virtio-rng-pci', 'virtio-rng-pci,addr=3.1', 'virtio-rng-pci,addr=2', 'virtio-rng-pci'],
    );
    expect(devices.map(({ bus, addr }) => `${bus} ${addr}`)).toEqual([
      ...['virtio-mmio-bus.7 0', 'virtio-mmio-bus.6 0', 'virtio-mmio-bus.5 0'],
      ...['pcie.0 8', 'pcie.0 25', 'pcie.0 16', 'pcie.0 32'],
    ]);
  });

  test.each([
    [
      ['virtio-rng-device,bus=virtio-mmio-bus.1', 'virtio-rng-device,bus=virtio-mmio-bus.1'],
      /Bus 'virtio-mmio-bus\.1' is full/,
    ],
    [new Array(9).fill('virtio-rng-device'), /No 'virtio-bus' bus found/],
    [new Array(32).fill('virtio-rng-pci'), /no slot is left/],
    [['virtio-rng-pci,addr=1', 'virtio-rng-pci,addr=01.0'], /slot 01\.0 is in use/],
    [['virtio-rng-pci,addr=0'], /addr: expected 1 to 1f/],
    [['virtio-rng-pci,addr=20'], /addr: expected 1 to 1f/],
    [['virtio-rng-device,addr=1'], /Property 'virtio-rng-device\.addr' not found/],
    [['virtio-rng-device,id=a', 'virtio-rng-pci,id=a'], /Duplicate device ID 'a'/],
    [['virtio-blk-device,drive=x0', 'virtio-blk-pci,drive=x0'], /Drive 'x0' is already in use/],
    [['virtio-blk-device,drive=x2'], /can't find value 'x2'/],
    [['virtio-blk-device,drive=x0,num-queues=9'], /num-queues: expected a number from 1 to 8, got '9'/],
    [['virtio-blk-device,drive=x0,queue-size=100'], /queue-size: expected a power of 2 from 4 to 1024/],
    [['virtio-blk-device,drive=x0,discard=maybe'], /discard: expected on or off, got 'maybe'/],
    [['virtio-blk-device,drive=x0,size=1'], /Property 'virtio-blk-device\.size' not found/],
  ])('%j can not be', (texts, message) => {
    expect(() => configure(...texts)).toThrow(message);
  });
});

test('a disk has what its options say, and what its drive is', () => {
  const [disk] = configure('virtio-blk-device,drive=x0,serial=abc,num-queues=0x2,event_idx=off');
  expect(disk?.properties).toMatchObject({
    ...{ drive: 'x0', serial: 'abc', 'num-queues': 2, event_idx: false, discard: true },
    ...{ size: 4096, readonly: false, writeback: true },
  });
});

describe('a configuration that arrives', () => {
  const good = () => structuredClone(configure('virtio-blk-device,drive=x0', 'virtio-rng-pci'));

  test('is taken as it was sent', () => {
    expect(checkDevices(good())).toEqual(good());
  });

  test.each([
    ['no list', () => ({}), 'devices'],
    ['no device', () => [1], 'devices[0]'],
    ['an unknown driver', () => [{ ...good()[0], driver: 'floppy' }], 'devices[0].driver'],
    ['a bus that there is not', () => [{ ...good()[0], bus: 'virtio-mmio-bus.8' }], 'devices[0].bus'],
    ['a bus of another kind', () => [{ ...good()[0], bus: 'pcie.0', addr: 8 }], 'devices[0].bus'],
    ['an address on a bus without any', () => [{ ...good()[0], addr: 1 }], 'devices[0].addr'],
    ['the place of the host bridge', () => [{ ...good()[1], addr: 0 }], 'devices[0].addr'],
    ['two in one place', () => [good()[1], good()[1]], 'devices[1].addr'],
    ['a long id', () => [{ ...good()[0], id: 'x'.repeat(65) }], 'devices[0].id'],
    ['a key too many', () => [{ ...good()[0], extra: 1 }], 'devices[0]'],
    [
      'a property too many',
      () => [{ ...good()[1], properties: { ...good()[1]?.properties, x: 1 } }],
      'devices[0].properties.x',
    ],
    [
      'a property too few',
      () => [{ ...good()[1], properties: { event_idx: true } }],
      'devices[0].properties.indirect_desc',
    ],
    [
      'a property of another type',
      () => [{ ...good()[0], properties: { ...good()[0]?.properties, size: '1' } }],
      'devices[0].properties.size',
    ],
  ])('with %s is refused, and where', (_, make, where) => {
    expect(() => checkDevices(make())).toThrow(
      expect.objectContaining({
        kind: 'format',
        details: expect.objectContaining({ where: `machine configuration: ${where}` }),
      }),
    );
  });

  test('is compared device by device', () => {
    const wanted = configure('virtio-blk-device,drive=x1,serial=a', 'virtio-rng-device');
    expect(deviceDifferences(wanted, good())).toEqual([
      'virtio-blk-device on virtio-mmio-bus.7: drive: here x1, at the source x0',
      'virtio-blk-device on virtio-mmio-bus.7: serial: here a, at the source ',
      'virtio-rng-device on virtio-mmio-bus.6: not at the source',
      'virtio-rng-pci on pcie.0 1.0: not here',
    ]);
  });

  test('needs its back ends, as they were', () => {
    expect(missingBackends(good(), [DRIVE])).toEqual([]);
    expect(missingBackends(good(), [OTHER])).toEqual([
      "virtio-blk-device on virtio-mmio-bus.7 needs the drive 'x0', which is not here: give -drive id=x0,…",
    ]);
    expect(missingBackends(good(), [{ ...DRIVE, facts: { ...DRIVE.facts, size: 512 } }])).toEqual([
      "drive 'x0': size: here 512, at the source 4096",
    ]);
  });
});
