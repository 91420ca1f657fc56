/** What monitors show of the drives. */
import { fstatSync } from 'node:fs';
import type { DeviceConfiguration } from '../devices/model.ts';
import { deviceModel } from '../machine/device-models.ts';
import type { BlockInfo, BlockIoStatus } from '../monitor/block.ts';
import type { Drive } from './drive.ts';

/** @param ioStatus what stopped the VM, by the drive's id. */
export function blockInfo(
  drives: readonly Drive[],
  devices: readonly DeviceConfiguration[],
  ioStatus: ReadonlyMap<string, BlockIoStatus>,
): BlockInfo[] {
  return drives.map(({ id, file, fd, readonly, snapshot, writeback, noFlush, size }) => {
    const user = userOf(id, devices);
    return {
      device: id,
      ...(user === undefined ? {} : { attachedTo: user.id === '' ? `${user.bus}/${user.driver}` : user.id }),
      ...{ file, readonly, snapshot, writeback, noFlush: noFlush || snapshot, size },
      allocated: fstatSync(fd).blocks * 512,
      ioStatus: ioStatus.get(id) ?? 'ok',
    };
  });
}

/** The device that has this drive. */
function userOf(id: string, devices: readonly DeviceConfiguration[]): DeviceConfiguration | undefined {
  return devices.find((device) => {
    const { backend } = deviceModel('-device', device.driver);
    return backend?.kind === 'drive' && device.properties[backend.property] === id;
  });
}

/** Drives whose contents would be lost in a migration: what the guest wrote to them is in a temporary file. */
export function snapshotsInUse(drives: readonly Drive[], devices: readonly DeviceConfiguration[]): string[] {
  return drives
    .filter(({ id, snapshot, readonly }) => snapshot && !readonly && userOf(id, devices) !== undefined)
    .map(({ id }) => id);
}
