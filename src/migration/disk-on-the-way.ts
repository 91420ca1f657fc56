/** One disk on its way: what of it is still to be sent, and what of that has no data. */
import { GodwitError } from '../error.ts';
import { chunksOf, DISK_CHUNK, MAX_DISK_SIZE } from './disk-stream.ts';
import type { SourceDisk } from './migratable-vm.ts';
import { PageBitmap } from './page-bitmap.ts';

export class DiskOnTheWay {
  readonly disk: SourceDisk;
  readonly chunks: number;
  readonly pending: PageBitmap;
  /** Chunks that had no data at the start, and were not written since. */
  readonly #holes: PageBitmap;

  constructor(disk: SourceDisk) {
    if (disk.size > MAX_DISK_SIZE) {
      const got = `${disk.size} bytes`;
      throw GodwitError.unexpected('state', `drive '${disk.id}'`, `at most ${MAX_DISK_SIZE} bytes`, got);
    }
    this.disk = disk;
    this.chunks = chunksOf(disk.size);
    this.pending = PageBitmap.create(this.chunks);
    this.#holes = PageBitmap.create(this.chunks);
  }

  /** Bytes that are pending. */
  get left(): number {
    const { pending, chunks, disk } = this;
    const cut = pending.has(chunks - 1) ? chunks * DISK_CHUNK - disk.size : 0;
    return pending.count() * DISK_CHUNK - cut;
  }

  /** Makes all chunks pending. Finds out where there are data, by the granule. */
  async start(granule: number): Promise<void> {
    this.pending.addRange(0, this.chunks);
    this.#holes.addRange(0, this.chunks);
    for (const { from, to } of await this.disk.extents()) {
      const first = Math.floor(from / granule) * (granule / DISK_CHUNK);
      const end = Math.min(this.chunks, Math.ceil(to / granule) * (granule / DISK_CHUNK));
      this.#holes.deleteRange(first, end - first);
    }
  }

  /** How many chunks from `from` on, `limit` at most, are all in holes or all not. */
  around(from: number, limit: number): { readonly hole: boolean; readonly count: number } {
    const hole = this.#holes.has(from);
    if (hole) return { hole, count: this.#holes.runLength(from, limit) };
    const next = this.#holes.next(from);
    return { hole, count: next < 0 ? limit : Math.min(limit, next - from) };
  }

  /** ORs in, and clears, what was written since. */
  collect(): void {
    const { dirty } = this.disk;
    for (let word = 0; word < dirty.length; word++) {
      if (Atomics.load(dirty, word) === 0) continue;
      const written = Atomics.exchange(dirty, word, 0);
      this.pending.addWord(word, written);
      this.#holes.deleteWord(word, written);
    }
  }
}
