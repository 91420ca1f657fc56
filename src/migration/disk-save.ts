/**
 * The source's side of disks: walks the pending chunks of all disks upwards, reads them and packs them into payloads of
 * `disk` frames.
 *
 * The guest writes while this reads. As with RAM that is harmless: a chunk is marked dirty when a write to it has ended,
 * before the guest hears of that, so whatever was read too early is read again. What the disks' files had no data for, and
 * nobody has written since, is not read.
 */
import { GodwitError } from '../error.ts';
import type { ChunkList } from './chunk-list.ts';
import { DiskOnTheWay } from './disk-on-the-way.ts';
import {
  type ChunkRun,
  DISK_BLOCK,
  DISK_CHUNK,
  DISK_PIECE,
  DISK_RUN,
  type DiskRun,
  type DiskRunKind,
  LATE_PASS,
  MAX_DISK_RUNS,
  MAX_DISK_TABLE,
  writeDiskTable,
} from './disk-stream.ts';
import type { Kernels } from './kernels.ts';
import type { SourceDisk } from './migratable-vm.ts';
import type { PageBitmap } from './page-bitmap.ts';

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
/** The most chunks with data in a payload. */
export const PIECE_CHUNKS = DISK_PIECE / DISK_CHUNK;
/** Parts of a plan: the runs of as many blocks as fit, and these, are no more than a table holds. */
const MAX_PARTS = MAX_DISK_RUNS - DISK_PIECE / DISK_BLOCK;

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
      this.#left += each.left;
    }
    return this.#left;
  }

  /** Chunks of each disk. */
  get chunks(): number[] {
    return this.#disks.map(({ chunks }) => chunks);
  }

  /** What of a disk is pending. */
  pending(disk: number): PageBitmap {
    return (this.#disks[disk] as DiskOnTheWay).pending;
  }

  /** From now on exactly these chunks of each disk are pending. */
  setPending(lists: readonly ChunkList[]): void {
    this.clear();
    for (const { disk, runs } of lists) {
      for (const { first, count } of runs) this.pending(disk).addRange(first, count);
    }
    this.#left = this.#disks.reduce((sum, { left }) => sum + left, 0);
  }

  /** Post-copy, of a guest that stands still: the walk goes on behind what is asked for, round and round. */
  beginSweep(): void {
    this.beginPass(LATE_PASS);
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
    if (this.#ahead()) return true;
    if (this.#pass !== LATE_PASS || this.#left === 0) return false;
    this.beginSweep();
    return this.#ahead();
  }

  /** Whether anything is pending from where the walk is to the end; the walk is there then. */
  #ahead(): boolean {
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
   * @param room the most chunks with data.
   * @throws GodwitError kind "file" if the disk can't be read.
   */
  async pack(slot: number, room = PIECE_CHUNKS): Promise<DiskPayload> {
    const plan = this.#plan(room);
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

  /**
   * Moves the walk to the first of these chunks that is pending.
   * @returns how many of them are left from there on; 0 if none is pending, and nothing has moved.
   */
  seek(disk: number, { first, count }: ChunkRun): number {
    const next = this.pending(disk).next(first);
    if (next < 0 || next >= first + count) return 0;
    [this.#disk, this.#chunk] = [disk, next];
    return first + count - next;
  }

  /** Takes the next chunks from what is pending. */
  #plan(most: number): Plan {
    if (!this.more) throw new GodwitError('internal', 'a pass over disks has no more');
    const each = this.#disks[this.#disk] as DiskOnTheWay;
    const plan: Plan = { disk: this.#disk, parts: [] };
    let room = Math.min(most, PIECE_CHUNKS);
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
    const base = this.#pass === 1 || this.#pass === LATE_PASS ? this.#bases?.[disk] : undefined;
    if (base === undefined || chunk % PIECE_CHUNKS !== 0) return false;
    if (count !== PIECE_CHUNKS && chunk + count !== chunks) return false;
    const digest = (this.#disks[disk] as DiskOnTheWay).disk.digest(bytes);
    const at = (chunk / PIECE_CHUNKS) * digest.length;
    return digest.every((byte, i) => base[at + i] === byte);
  }
}
