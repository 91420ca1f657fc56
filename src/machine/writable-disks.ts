/** The disks that a guest can write: what has to travel with it unless both sides share it. */
import type { DeviceConfiguration } from '../devices/model.ts';
import { deviceModel } from './device-models.ts';

export interface WritableDisk {
  /** The drive's id. */
  readonly id: string;
  /** Bytes. */
  readonly size: number;
}

/** In the order of the devices; each drive once. */
export function writableDisks(devices: readonly DeviceConfiguration[]): WritableDisk[] {
  const disks = new Map<string, WritableDisk>();
  for (const { driver, properties } of devices) {
    const { backend } = deviceModel('-device', driver);
    if (backend?.kind !== 'drive' || properties.readonly === true) continue;
    const id = String(properties[backend.property]);
    if (id !== '') disks.set(id, { id, size: Number(properties.size) });
  }
  return [...disks.values()];
}
