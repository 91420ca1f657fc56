/** The models of virtio-blk: what a user can say of it, with QEMU's names. */
import type { DeviceModel, PropertySpec } from '../model.ts';
import { VIRTIO_PROPERTIES, virtioModels } from './virtio-model.ts';

/** Bytes of a serial number, §5.2.6 (VIRTIO_BLK_T_GET_ID). */
export const SERIAL_BYTES = 20;
/** How many queues a disk can have: one per hart. */
export const MAX_BLK_QUEUES = 8;

export const VIRTIO_BLK_PROPERTIES = {
  drive: { type: 'string', default: '', maxLength: 64, help: 'id of the -drive that it shows' },
  serial: { type: 'string', default: '', maxLength: SERIAL_BYTES, help: 'serial number' },
  'num-queues': { type: 'number', default: 1, min: 1, max: MAX_BLK_QUEUES, help: 'number of queues' },
  'queue-size': {
    type: 'number',
    default: 256,
    min: 4,
    max: 1024,
    powerOf2: true,
    help: 'entries of a queue',
  },
  discard: { type: 'bool', default: true, help: 'offer discard' },
  'write-zeroes': { type: 'bool', default: true, help: 'offer write zeroes' },
  'config-wce': { type: 'bool', default: true, help: 'the guest may switch the write cache' },
  ...VIRTIO_PROPERTIES,
  size: { type: 'number', default: 0, min: 0, max: 2 ** 52, derived: true, help: 'bytes of the disk' },
  readonly: { type: 'bool', default: false, derived: true, help: 'the guest can not write' },
  writeback: { type: 'bool', default: true, derived: true, help: 'there is a write cache' },
} as const satisfies Readonly<Record<string, PropertySpec>>;

export const VIRTIO_BLK_MODELS: readonly DeviceModel[] = virtioModels('virtio-blk', {
  help: 'a disk',
  properties: VIRTIO_BLK_PROPERTIES,
  backend: { kind: 'drive', property: 'drive', required: true },
});
