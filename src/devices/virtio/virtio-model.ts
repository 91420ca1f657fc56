/** What the models of virtio devices have in common, with QEMU's names. */
import type { DeviceModel, PropertySpec } from '../model.ts';

export const VIRTIO_PROPERTIES = {
  indirect_desc: { type: 'bool', default: true, help: 'offer indirect descriptors' },
  event_idx: { type: 'bool', default: true, help: 'offer event indices' },
} as const satisfies Readonly<Record<string, PropertySpec>>;

const PCI_PROPERTIES = {
  'disable-legacy': {
    type: 'bool',
    default: false,
    help: 'virtio 1.x only, with the identity of such a device',
  },
} as const satisfies Readonly<Record<string, PropertySpec>>;

/** The models of one kind of device: over MMIO and over PCI. */
export function virtioModels(kind: string, model: Omit<DeviceModel, 'driver' | 'bus'>): DeviceModel[] {
  return [
    { ...model, driver: `${kind}-device`, bus: 'virtio-mmio', help: `${model.help}, over MMIO` },
    {
      ...model,
      driver: `${kind}-pci`,
      bus: 'pci',
      help: `${model.help}, over PCI`,
      properties: { ...model.properties, ...PCI_PROPERTIES },
    },
  ];
}
