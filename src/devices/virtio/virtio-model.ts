/** Properties that all virtio devices have, with QEMU's names. */
import type { PropertySpec } from '../model.ts';

export const VIRTIO_PROPERTIES = {
  indirect_desc: { type: 'bool', default: true, help: 'offer indirect descriptors' },
  event_idx: { type: 'bool', default: true, help: 'offer event indices' },
} as const satisfies Readonly<Record<string, PropertySpec>>;
