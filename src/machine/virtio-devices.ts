/** From a device's configuration to what is plugged into a virtio transport. */
import type { DeviceConfiguration } from '../devices/model.ts';
import { VirtioBlk } from '../devices/virtio/blk.ts';
import { virtioRng } from '../devices/virtio/rng.ts';
import type { VirtioFunction } from '../devices/virtio/virtio.ts';
import { GodwitError } from '../error.ts';
import type { Backends } from './board.ts';

/** What virtio devices need of the host. */
export interface VirtioNeeds {
  readonly backends: Backends;
  readonly random: (bytes: number) => Uint8Array;
}

/** By what a driver's name begins with; the rest says how it is reached: "virtio-blk-device", "virtio-blk-pci". */
const KINDS: Readonly<Record<string, (device: DeviceConfiguration, needs: VirtioNeeds) => VirtioFunction>> = {
  'virtio-blk': ({ properties }, { backends }) =>
    new VirtioBlk({ backend: backends.drive(String(properties.drive)), properties }),
  'virtio-rng': (_device, { random }) => virtioRng(random),
};

export function virtioFunction(device: DeviceConfiguration, needs: VirtioNeeds): VirtioFunction {
  const make = KINDS[device.driver.replace(/-(device|pci)$/, '')];
  if (make === undefined) throw new GodwitError('internal', `${device.driver} is no virtio device`);
  return make(device, needs);
}
