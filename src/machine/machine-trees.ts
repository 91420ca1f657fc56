/** `info mtree` and `info qtree`: what stands where, in the form of QEMU 7.2's human monitor. */
import type { Device } from '../devices/device.ts';
import type { DeviceConfiguration, PropertyValue } from '../devices/model.ts';
import type { Mapping } from '../memory/address-space.ts';

const address = (value: number | bigint): string => value.toString(16).padStart(16, '0');

/** The guest's physical address space, by rising address. */
export function memoryTreeLines(mappings: readonly Mapping[]): string[] {
  return [
    'address-space: memory',
    `  ${address(0)}-${address((1n << 64n) - 1n)} (prio 0, i/o): system`,
    ...mappings.map((mapping) => {
      const { name, base, size } = mapping.region;
      const kind = mapping.kind === 'mmio' ? 'i/o' : mapping.region.readonly ? 'rom' : 'ram';
      return `    ${address(base)}-${address(base + size - 1)} (prio 0, ${kind}): ${name}`;
    }),
  ];
}

/** The devices that are on the bus, each with its regions, and the buses that they make with what was added to them. */
export function deviceTreeLines(devices: readonly Device[], added: readonly DeviceConfiguration[]): string[] {
  const onBus = devices.filter(({ regions }) => regions.length > 0);
  return ['bus: main-system-bus', '  type System', ...onBus.flatMap((device) => deviceLines(device, added))];
}

function deviceLines({ name, regions }: Device, added: readonly DeviceConfiguration[]): string[] {
  // A virtio transport is named after its bus: "virtio-mmio-bus.0/virtio-blk".
  const [bus = ''] = name.split('/');
  const isTransport = bus.startsWith(VIRTIO_BUS);
  return [
    `  dev: ${isTransport ? 'virtio-mmio' : name}, id ""`,
    ...regions.map(({ base, size }) => `    mmio ${address(base)}/${address(size)}`),
    ...(isTransport ? busLines(bus, VIRTIO_BUS, added) : []),
    ...(name === PCI_HOST ? busLines(PCI_BUS, 'PCIE', added) : []),
  ];
}

const VIRTIO_BUS = 'virtio-mmio-bus';
const PCI_HOST = 'gpex';
const PCI_BUS = 'pcie.0';

function busLines(bus: string, type: string, added: readonly DeviceConfiguration[]): string[] {
  return [
    `    bus: ${bus}`,
    `      type ${type}`,
    ...added.filter((device) => device.bus === bus).flatMap(addedLines),
  ];
}

function addedLines({ driver, id, bus, addr, properties }: DeviceConfiguration): string[] {
  const slot = `${(addr >> 3).toString(16).padStart(2, '0')}.${addr & 7}`;
  return [
    `      dev: ${driver}, id "${id}"`,
    ...(bus === PCI_BUS ? [`        addr = ${slot}`] : []),
    ...Object.entries(properties).map(([name, value]) => `        ${name} = ${shown(value)}`),
  ];
}

function shown(value: PropertyValue): string {
  if (typeof value === 'number') return `${value} (0x${value.toString(16)})`;
  return typeof value === 'string' ? `"${value}"` : String(value);
}
