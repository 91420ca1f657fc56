/**
 * Which chunks of the disks are at the destination in post-copy: a bit each in memory that is shared with the machine, set
 * behind the chunk's content, and never cleared. A chunk is placed once: what the guest has written to it since is never
 * overwritten.
 */
import { GodwitError } from '../error.ts';
import { type ChunkList, chunkLists } from './chunk-list.ts';
import { type ChunkRun, chunksOf, DISK_CHUNK } from './disk-stream.ts';
import type { DestinationDisk } from './migratable-vm.ts';
import { PageBitmap } from './page-bitmap.ts';

interface LateDisk {
  readonly size: number;
  readonly chunks: number;
  /** Shared; set for those that are here. */
  readonly here: Int32Array;
  /** Those that are neither here nor being written. */
  readonly due: PageBitmap;
}

export class LateChunks {
  readonly #disks: readonly LateDisk[];
  /** Chunks that are not here. */
  #missing = 0;

  /** All chunks are here. */
  constructor(disks: readonly DestinationDisk[]) {
    this.#disks = disks.map(({ size }) => {
      const chunks = chunksOf(size);
      const words = new SharedArrayBuffer(Math.ceil(chunks / 32) * 4);
      return { size, chunks, here: new Int32Array(words).fill(-1), due: PageBitmap.create(chunks) };
    });
  }

  /** A bit for each chunk of each disk. */
  get here(): readonly Int32Array[] {
    return this.#disks.map(({ here }) => here);
  }

  /** Chunks of each disk. */
  get chunks(): readonly number[] {
    return this.#disks.map(({ chunks }) => chunks);
  }

  get missing(): number {
    return this.#missing;
  }

  /** Bytes of what is missing, or a little more. */
  get missingBytes(): number {
    return this.#missing * DISK_CHUNK;
  }

  isMissing(disk: number, chunk: number): boolean {
    const { here } = this.#disks[disk] as LateDisk;
    return ((Atomics.load(here, chunk >>> 5) >>> (chunk & 31)) & 1) === 0;
  }

  /** These are missing; before the guest runs. */
  discard({ disk, runs }: ChunkList): void {
    const { here, due } = this.#disks[disk] as LateDisk;
    for (const { first, count } of runs) {
      const before = due.count();
      due.addRange(first, count);
      this.#missing += due.count() - before;
      for (let chunk = first; chunk < first + count; chunk++)
        Atomics.and(here, chunk >>> 5, ~(1 << (chunk & 31)));
    }
  }

  /** The first chunk of a disk that is not in `received` and not missing either: -1 if there is none. */
  unaccounted(disk: number, received: PageBitmap): number {
    const { due } = this.#disks[disk] as LateDisk;
    for (let chunk = received.nextAbsent(0); chunk >= 0; ) {
      if (!due.has(chunk)) return chunk;
      chunk = received.nextAbsent(chunk + due.runLength(chunk, due.pages - chunk));
    }
    return -1;
  }

  /** These are being written from now on. @throws GodwitError kind "format" if not all of them are due; then none is. */
  take(disk: number, runs: readonly ChunkRun[], offset: number): void {
    const { due } = this.#disks[disk] as LateDisk;
    for (const { first, count } of runs) {
      const chunk = first + due.runLength(first, count);
      if (chunk === first + count) continue;
      const got = `chunk ${chunk} of disk ${disk}, which is not`;
      throw GodwitError.unexpected('format', 'frame "disk"', 'chunks that are missing', got, offset);
    }
    for (const { first, count } of runs) due.deleteRange(first, count);
  }

  /** They could not be written. */
  giveBack(disk: number, runs: readonly ChunkRun[]): void {
    for (const { first, count } of runs) (this.#disks[disk] as LateDisk).due.addRange(first, count);
  }

  /** They are here. */
  arrived(disk: number, runs: readonly ChunkRun[]): void {
    const { here } = this.#disks[disk] as LateDisk;
    for (const { first, count } of runs) {
      this.#missing -= count;
      for (let chunk = first; chunk < first + count; chunk++)
        Atomics.or(here, chunk >>> 5, 1 << (chunk & 31));
    }
  }

  /** The payloads of `diskMissing`, while nothing is being written. */
  *lists(): Generator<Uint8Array> {
    for (const [disk, { due }] of this.#disks.entries()) yield* chunkLists(disk, due);
  }
}
