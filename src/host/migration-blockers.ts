/** Why a machine can't be moved to another process, if it can't. */
import type { DeviceConfiguration } from '../devices/model.ts';
import { snapshotsInUse } from './block-info.ts';
import type { Drive } from './drive.ts';

/** For `blocked-reasons`; the first one is why `migrate` is refused. */
export function migrationBlockers(
  drives: readonly Drive[],
  devices: readonly DeviceConfiguration[],
): string[] {
  return snapshotsInUse(drives, devices).map(
    (id) =>
      `the drive '${id}' has snapshot=on: what the guest wrote to it is in a temporary file of this process`,
  );
}
