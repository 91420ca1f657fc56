/**
 * The source's side of disks: walks the pending chunks of all disks upwards, reads them and packs them into payloads of
 * `disk` frames.
 *
 * The guest writes while this reads. As with RAM that is harmless: a chunk is marked dirty when a write to it has ended,
 * before the guest hears of that, so whatever was read too early is read again. What the disks' files had no data for, and
 * nobody has written since, is not read.
 */
import { GodwitError } from '../error.ts';
import {
  chunksOf,
  DISK_BLOCK,
  DISK_CHUNK,
  DISK_PIECE,
  DISK_RUN,
  type DiskRun,
  type DiskRunKind,
  MAX_DISK_RUNS,
  MAX_DISK_SIZE,
  MAX_DISK_TABLE,
  writeDiskTable,
} from './disk-stream.ts';
import type { Kernels } from './kernels.ts';
import type { SourceDisk } from './migratable-vm.ts';
import { PageBitmap } from './page-bitmap.ts';

/** A payload that stands in the shared memory. */
export interface DiskPayload {
  /** Byte offset in the memory. */
  readonly at: number;
  readonly length: number;
  /** Bytes of the disk that it is about. */
  readonly covered: number;
}

/** What one payload is to hold: chunks to read, and holes between them. */
interface Plan {
  readonly disk: number;
  readonly parts: { readonly kind: 'read' | 'zero'; readonly chunk: number; count: number }[];
}

const CHUNK_BLOCKS = DISK_CHUNK / DISK_BLOCK;
const PIECE_CHUNKS = DISK_PIECE / DISK_CHUNK;
/** Parts of a plan: the runs of as many blocks as fit, and these, are no more than a table holds. */
const MAX_PARTS = MAX_DISK_RUNS - DISK_PIECE / DISK_BLOCK;

/** One disk on its way. */
class DiskOnTheWay {
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

export class DiskSave {
  readonly #kernels: Kernels;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #disks: readonly DiskOnTheWay[];
  /** Digests of what the destination has, by disk; absent if nothing is known. */
  #bases: readonly Uint8Array[] | undefined;
  #pass = 0;
  #disk = 0;
  #chunk = 0;
  #left = 0;

  /** @throws GodwitError kind "state" for a disk that is too large. */
  constructor(kernels: Kernels, disks: readonly SourceDisk[]) {
    this.#kernels = kernels;
    const { buffer } = kernels.memory;
    this.#view = new DataView(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#disks = disks.map((disk) => new DiskOnTheWay(disk));
  }

  /** Bytes of the disks that are pending. */
  get remaining(): number {
    return this.#left;
  }

  get total(): number {
    return this.#disks.reduce((sum, { disk }) => sum + disk.size, 0);
  }

  /**
   * Makes all chunks pending; the disks' logs are on. Finds out where there are data.
   * @param bases digests of the pieces of each disk that the destination has already (`SourceDisk.digest`).
   */
  async start(bases?: readonly Uint8Array[]): Promise<void> {
    this.#bases = bases;
    for (const disk of this.#disks) await disk.start(bases === undefined ? DISK_CHUNK : DISK_PIECE);
    this.#left = this.total;
  }

  /** Adds what the guest has written since the last call, and counts bytes that are pending. */
  collect(): number {
    this.#left = 0;
    for (const each of this.#disks) {
      each.collect();
      this.#left += Math.min(each.pending.count() * DISK_CHUNK, each.disk.size);
    }
    return this.#left;
  }

  clear(): void {
    for (const { pending } of this.#disks) pending.clear();
    this.#left = 0;
  }

  /** The next payloads are those of pass `pass`, from the first chunk of the first disk on. */
  beginPass(pass: number): void {
    this.#pass = pass;
    this.#disk = 0;
    this.#chunk = 0;
  }

  /** Whether the pass has more. */
  get more(): boolean {
    for (; this.#disk < this.#disks.length; this.#disk++, this.#chunk = 0) {
      const next = (this.#disks[this.#disk] as DiskOnTheWay).pending.next(this.#chunk);
      if (next >= 0) {
        this.#chunk = next;
        return true;
      }
    }
    return false;
  }

  /**
   * Reads and packs the next chunks of a pass that has `more`; several calls may be under way.
   * @param slot byte offset of MAX_DISK_PAYLOAD bytes to work in.
   * @throws GodwitError kind "file" if the disk can't be read.
   */
  async pack(slot: number): Promise<DiskPayload> {
    const plan = this.#plan();
    const { disk, chunks } = this.#disks[plan.disk] as DiskOnTheWay;
    const dataAt = slot + MAX_DISK_TABLE;
    const runs: DiskRun[] = [];
    let covered = 0;
    let dataBlocks = 0;
    const add = (block: number, count: number, kind: DiskRunKind): void => {
      const last = runs.at(-1);
      if (last !== undefined && last.kind === kind && last.block + last.count === block) last.count += count;
      else runs.push({ block, count, kind });
    };
    for (const { kind, chunk, count } of plan.parts) {
      const offset = chunk * DISK_CHUNK;
      const length = Math.min(count * DISK_CHUNK, disk.size - offset);
      const blocks = Math.ceil(length / DISK_BLOCK);
      covered += length;
      this.#left = Math.max(0, this.#left - length);
      if (kind === 'zero') {
        add(chunk * CHUNK_BLOCKS, blocks, DISK_RUN.zero);
        continue;
      }
      const at = dataAt + dataBlocks * DISK_BLOCK;
      const target = this.#bytes.subarray(at, at + blocks * DISK_BLOCK);
      await disk.read(offset, target.subarray(0, length));
      target.fill(0, length);
      if (this.#asBase(plan.disk, chunk, count, chunks, target.subarray(0, length))) {
        add(chunk * CHUNK_BLOCKS, blocks, DISK_RUN.base);
        continue;
      }
      for (let done = 0; done < blocks; ) {
        const zero = this.#kernels.zeroPages(at + done * DISK_BLOCK, blocks - done);
        if (zero > 0) {
          add(chunk * CHUNK_BLOCKS + done, zero, DISK_RUN.zero);
          done += zero;
          continue;
        }
        const to = dataAt + dataBlocks * DISK_BLOCK;
        const from = at + done * DISK_BLOCK;
        if (to !== from) this.#kernels.copy(to, from, DISK_BLOCK);
        add(chunk * CHUNK_BLOCKS + done, 1, DISK_RUN.data);
        dataBlocks++;
        done++;
      }
    }
    const table = writeDiskTable(this.#view, dataAt, { pass: this.#pass, disk: plan.disk, runs });
    return { at: dataAt - table, length: table + dataBlocks * DISK_BLOCK, covered };
  }

  /** Takes the next chunks from what is pending. */
  #plan(): Plan {
    if (!this.more) throw new GodwitError('internal', 'a pass over disks has no more');
    const each = this.#disks[this.#disk] as DiskOnTheWay;
    const plan: Plan = { disk: this.#disk, parts: [] };
    let room = PIECE_CHUNKS;
    while (room > 0 && plan.parts.length < MAX_PARTS) {
      const chunk = each.pending.next(this.#chunk);
      if (chunk < 0) break;
      const { hole, count: alike } = each.around(chunk, each.chunks - chunk);
      // A piece is read in one go, so that its digest can be taken.
      const whole = this.#bases === undefined ? Infinity : PIECE_CHUNKS - (chunk % PIECE_CHUNKS);
      const count = each.pending.runLength(chunk, hole ? alike : Math.min(alike, room, whole));
      const kind = hole ? 'zero' : 'read';
      plan.parts.push({ kind, chunk, count });
      each.pending.deleteRange(chunk, count);
      this.#chunk = chunk + count;
      if (!hole) room -= count;
    }
    return plan;
  }

  /** Whether the destination has had this piece before. */
  #asBase(disk: number, chunk: number, count: number, chunks: number, bytes: Uint8Array): boolean {
    const base = this.#pass === 1 ? this.#bases?.[disk] : undefined;
    if (base === undefined || chunk % PIECE_CHUNKS !== 0) return false;
    if (count !== PIECE_CHUNKS && chunk + count !== chunks) return false;
    const digest = (this.#disks[disk] as DiskOnTheWay).disk.digest(bytes);
    const at = (chunk / PIECE_CHUNKS) * digest.length;
    return digest.every((byte, i) => base[at + i] === byte);
  }
}
