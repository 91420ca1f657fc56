/** The destination's disks as a migration sees them: writes go to new images, which the machine has, too, but stopped. */
import { GodwitError } from '../error.ts';
import { DISK_BLOCK, DISK_PIECE } from '../migration/disk-stream.ts';
import { type DestinationDisk, DIGEST_SIZE, type Extent } from '../migration/migratable-vm.ts';
import { fileStore, occupied, readFully, writeZeros } from './block-file.ts';
import { dataExtents } from './data-extents.ts';
import { reasonOf } from './drive.ts';
import { pieceDigest } from './travelling-disks.ts';

/** A disk that is to arrive; plain data. */
export interface ArrivingDisk {
  readonly id: string;
  /** The new image, and the one from before, open in this process. */
  readonly fd: number;
  readonly baseFd: number;
  /** Bytes. */
  readonly size: number;
}

export function destinationDisk({ id, fd, baseFd, size }: ArrivingDisk): DestinationDisk {
  const store = fileStore(fd);
  const attempt = async (what: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      const why = `drive '${id}' can't be ${what}: ${reasonOf(error)}`;
      throw new GodwitError('file', why, { where: id }, error);
    }
  };
  let extents: Promise<readonly Extent[]> | undefined;
  return {
    id,
    size,
    async baseDigests(first, pieces) {
      extents ??= dataExtents(baseFd, size);
      const data = await extents;
      const digests = new Uint8Array(pieces * DIGEST_SIZE);
      const piece = new Uint8Array(DISK_PIECE);
      await attempt('read', async () => {
        for (let i = 0; i < pieces; i++) {
          const offset = (first + i) * DISK_PIECE;
          // Nobody asks for what is in a hole: its digest stays zero.
          if (!data.some(({ from, to }) => from < offset + DISK_PIECE && to > offset)) continue;
          const bytes = piece.subarray(0, Math.min(DISK_PIECE, size - offset));
          await readFully(baseFd, offset, bytes);
          digests.set(pieceDigest(bytes), i * DIGEST_SIZE);
        }
      });
      return digests;
    },
    copyBase: (offset, length) =>
      attempt('copied', async () => {
        for (let done = 0; done < length; done += DISK_PIECE) {
          const bytes = new Uint8Array(Math.min(DISK_PIECE, length - done));
          await readFully(baseFd, offset + done, bytes);
          for (const [from, to] of occupied(bytes)) {
            await store.write(offset + done + from, bytes.subarray(from, to));
          }
        }
      }),
    write: (offset, bytes) => attempt('written', () => store.write(offset, bytes)),
    zero: (offset, length) =>
      attempt('written', async () => {
        if (length >= DISK_BLOCK && (await store.cut(offset, length))) return;
        await writeZeros(store, offset, length);
      }),
    flush: () => attempt('flushed', () => store.flush()),
  };
}
