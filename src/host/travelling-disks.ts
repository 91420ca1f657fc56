/** The source's disks as a migration sees them: reads go to the images, past the guest and its back ends. */
import { createHash } from 'node:crypto';
import { GodwitError } from '../error.ts';
import { chunksOf } from '../migration/disk-stream.ts';
import { DIGEST_SIZE, type SourceDisk, type SourceDisks } from '../migration/migratable-vm.ts';
import { readFully } from './block-file.ts';
import { dataExtents } from './data-extents.ts';
import { reasonOf } from './drive.ts';
import type { MachineApi } from './machine-api.ts';
import type { Remote } from './rpc.ts';

/** A disk that is to travel; plain data. */
export interface TravellingDisk {
  readonly id: string;
  /** The image, open in this process. */
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
}

export interface TravellingDisks {
  readonly disks: readonly TravellingDisk[];
  readonly incremental: boolean;
}

/** What equal pieces of two images are known by. */
export function pieceDigest(bytes: Uint8Array): Uint8Array {
  return createHash('sha256').update(bytes).digest().subarray(0, DIGEST_SIZE);
}

export function sourceDisks(
  { disks, incremental }: TravellingDisks,
  machine: Remote<MachineApi>,
): SourceDisks {
  const logs = new Map(disks.map(({ id, size }) => [id, emptyLog(size)]));
  return {
    disks: disks.map((disk) => sourceDisk(disk, logs.get(disk.id) as Int32Array)),
    incremental,
    startLog: () => machine.startBlockLog(logs),
    stopLog: () => machine.stopBlockLog(),
    limitWrites: (bytesPerSecond) => machine.limitBlockWrites(bytesPerSecond),
  };
}

function sourceDisk({ id, fd, size }: TravellingDisk, dirty: Int32Array): SourceDisk {
  return {
    id,
    size,
    dirty,
    extents: () => dataExtents(fd, size),
    async read(offset, target) {
      try {
        await readFully(fd, offset, target);
      } catch (error) {
        throw new GodwitError(
          'file',
          `drive '${id}' can't be read: ${reasonOf(error)}`,
          { where: id },
          error,
        );
      }
    },
    digest: pieceDigest,
  };
}

function emptyLog(size: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(Math.ceil(chunksOf(size) / 32) * 4));
}
