/**
 * The destination's side of disks: validates the payload of a `disk` frame completely, then writes it. Several frames are
 * being written at a time; no two of one pass are about the same chunk, and a pass ends when all are on disk.
 */
import { GodwitError } from '../error.ts';
import { diskSlots } from './disk-slots.ts';
import {
  chunkRuns,
  chunksOf,
  DISK_BLOCK,
  DISK_CHUNK,
  DISK_RUN,
  type DiskRun,
  type DiskTable,
  LATE_PASS,
  piecesOf,
  readDiskTable,
} from './disk-stream.ts';
import type { Frame } from './frame-reader.ts';
import type { LateChunks } from './late-chunks.ts';
import type { DestinationDisk, Extent } from './migratable-vm.ts';
import { PageBitmap } from './page-bitmap.ts';
import type { Message } from './protocol.ts';
import type { DiskStatistics } from './statistics.ts';

/** Pieces in a `diskDigests`: half a GiB, so that a slow disk does not take longer than the source's patience. */
const DIGEST_PIECES = 2048;
/** What is written is on its way to the disk after so many bytes, so that the end of a pass has little left to do. */
const FLUSH_BYTES = 64 * 1024 * 1024;
/** Bytes that are made zero at a time. */
const ZERO_BYTES = 2 ** 30;

export class DiskLoad {
  readonly #disks: readonly DestinationDisk[];
  readonly #sizes: readonly number[];
  readonly #incremental: boolean;
  /** Where no frame is being written from; the first is where the next one is read to. */
  readonly #slots: number[];
  /** Chunks of each disk that have arrived at least once. */
  readonly #received: readonly PageBitmap[];
  /** The same, in this pass. */
  readonly #inPass: readonly PageBitmap[];
  /** What is being written, oldest first. */
  readonly #writes: Promise<void>[] = [];
  /** Bytes of frames. */
  #transferred = 0;
  #failure: { readonly error: unknown } | undefined;
  #unflushed = 0;
  #flushing: Promise<void> | undefined;

  /**
   * @param scratch byte offset of the scratch area.
   * @param offset of the message in the stream, for errors.
   * @throws GodwitError kind "mismatch" if these are not the disks that the source sends.
   */
  constructor(disks: readonly DestinationDisk[], scratch: number, message: Message<'disks'>, offset: number) {
    const list = (of: readonly { id: string; size: number | bigint }[]): string =>
      of.map(({ id, size }) => `${id} ${size}`).join(', ') || 'none';
    const [here, there] = [list(disks), list(message.disks)];
    if (here !== there) throw GodwitError.unexpected('mismatch', 'disks', here, there, offset);
    this.#disks = disks;
    this.#sizes = disks.map(({ size }) => size);
    this.#incremental = message.incremental;
    this.#slots = diskSlots(scratch);
    this.#received = this.#sizes.map((size) => PageBitmap.create(chunksOf(size)));
    this.#inPass = this.#sizes.map((size) => PageBitmap.create(chunksOf(size)));
  }

  /** What was here before, if the source wants to know. */
  async *digests(): AsyncGenerator<Message<'diskDigests'>> {
    if (!this.#incremental) return;
    for (const [index, disk] of this.#disks.entries()) {
      const pieces = piecesOf(disk.size);
      for (let first = 0; first < pieces; first += DIGEST_PIECES) {
        const digests = await disk.baseDigests(first, Math.min(DIGEST_PIECES, pieces - first));
        yield { disk: index, first, digests };
      }
    }
  }

  /** Where the payload of the next frame is to be read to. */
  landing(): number {
    return this.#slots[0] as number;
  }

  /**
   * Begins to write a frame that was read to `landing`, and resolves when there is room for another.
   * @param pass the number of the pass that arrives.
   * @throws GodwitError kind "format", when nothing of the frame was written; kind "file" if writing fails, this or an
   * earlier frame.
   */
  async apply({ payload, offset }: Frame, pass: number): Promise<void> {
    const base = this.#incremental && pass === 1;
    const table = readDiskTable(payload, { pass, base, sizes: this.#sizes }, offset);
    // A pass that ends early for post-copy may come back to a chunk: then it is to be written behind what it had.
    const stale = this.#stale(table);
    this.#transferred += payload.length;
    if (this.#mark(table)) await Promise.all(this.#writes);
    await this.#begin(this.#write(table, payload, stale), (failure) => {
      this.#failure ??= failure;
    });
    this.#check();
  }

  /**
   * The same in post-copy, of chunks that are missing.
   * @param written is told when they are in place, or why they can't be.
   * @throws GodwitError kind "format", when nothing of the frame was written.
   */
  async applyLate(
    { payload, offset }: Frame,
    late: LateChunks,
    written: (error?: unknown) => void,
  ): Promise<void> {
    const base = this.#incremental;
    const table = readDiskTable(payload, { pass: LATE_PASS, base, sizes: this.#sizes }, offset);
    const [{ disk }, runs] = [table, chunkRuns(table)];
    late.take(disk, runs, offset);
    this.#transferred += payload.length;
    const stale = this.#stale(table);
    this.#mark(table);
    await this.#begin(this.#write(table, payload, stale), (failure) => {
      if (failure === undefined) late.arrived(disk, runs);
      else late.giveBack(disk, runs);
      written(failure?.error);
    });
  }

  /** Resolves when there is room for another frame. @param ended is told when `writing` has, and how. */
  async #begin(
    writing: Promise<void>,
    ended: (failure?: { readonly error: unknown }) => void,
  ): Promise<void> {
    const slot = this.#slots.shift() as number;
    const write: Promise<void> = writing
      .then(
        () => ended(),
        (error: unknown) => ended({ error }),
      )
      .then(() => {
        this.#slots.push(slot);
        this.#writes.splice(this.#writes.indexOf(write), 1);
      });
    this.#writes.push(write);
    // They may end in any order.
    while (this.#slots.length === 0) await Promise.race(this.#writes);
  }

  /** Resolves when nothing is being written. */
  async settle(): Promise<void> {
    await Promise.all(this.#writes);
  }

  /** The same before post-copy begins. @throws GodwitError kind "file" if a pass could not be written. */
  async settlePasses(): Promise<void> {
    await this.settle();
    this.#check();
  }

  /** What has arrived; `remaining` is what has not at all. */
  get statistics(): DiskStatistics {
    const total = this.#sizes.reduce((sum, size) => sum + size, 0);
    const arrived = this.#received.reduce((sum, received) => sum + received.count() * DISK_CHUNK, 0);
    return { transferred: this.#transferred, remaining: Math.max(0, total - arrived), total };
  }

  /** Resolves when all that has arrived survives the host's end. @throws GodwitError kind "file". */
  async endPass(): Promise<void> {
    await Promise.all(this.#writes);
    this.#check();
    await this.#flushing;
    this.#unflushed = 0;
    for (const inPass of this.#inPass) inPass.clear();
    for (const disk of this.#disks) await disk.flush();
    this.#check();
  }

  /** @throws GodwitError kind "format" if anything has not arrived, but for what is known to come `late`. */
  verifyComplete(offset: number, late?: LateChunks): void {
    for (const [index, received] of this.#received.entries()) {
      const missing = late?.unaccounted(index, received) ?? received.nextAbsent(0);
      if (missing < 0) continue;
      const got = `nothing for chunk ${missing} of disk ${index}`;
      throw GodwitError.unexpected('format', 'frame "end"', 'every disk to have arrived', got, offset);
    }
  }

  /**
   * What is zero now, or begins as zero because only what is not is copied, and has been something else: the image had
   * nothing but zeros at first.
   */
  #stale({ disk, runs }: DiskTable): Extent[] {
    const received = this.#received[disk] as PageBitmap;
    const stale: Extent[] = [];
    for (const run of runs) {
      if (run.kind === DISK_RUN.data) continue;
      const { from, to } = bytesOf(run);
      for (let at = from; ; ) {
        const chunk = received.next(Math.floor(at / DISK_CHUNK));
        const start = Math.max(at, chunk * DISK_CHUNK);
        if (chunk < 0 || start >= to) break;
        const end = (chunk + received.runLength(chunk, Math.ceil(to / DISK_CHUNK) - chunk)) * DISK_CHUNK;
        stale.push({ from: start, to: Math.min(end, to) });
        at = end;
      }
    }
    return stale;
  }

  /** Notes what arrives. Returns whether some of it has arrived in this pass already. */
  #mark({ disk, runs }: DiskTable): boolean {
    const inPass = this.#inPass[disk] as PageBitmap;
    let again = false;
    const ranges = runs.map((run) => {
      const { from, to } = bytesOf(run);
      const first = Math.floor(from / DISK_CHUNK);
      const end = Math.ceil(to / DISK_CHUNK);
      const next = inPass.next(first);
      if (next >= 0 && next < end) again = true;
      return { first, count: end - first };
    });
    for (const { first, count } of ranges) {
      inPass.addRange(first, count);
      this.#received[disk]?.addRange(first, count);
    }
    return again;
  }

  async #write(
    { disk: index, runs, length }: DiskTable,
    payload: Uint8Array,
    stale: readonly Extent[],
  ): Promise<void> {
    const disk = this.#disks[index] as DestinationDisk;
    for (const { from: start, to } of stale) await zero(disk, start, Math.min(to, disk.size) - start);
    let from = length;
    for (const { block, count, kind } of runs) {
      const offset = block * DISK_BLOCK;
      const bytes = Math.min(count * DISK_BLOCK, disk.size - offset);
      if (kind === DISK_RUN.data) {
        const data = payload.subarray(from, from + bytes);
        from += count * DISK_BLOCK;
        await disk.write(offset, data);
        this.#wrote(bytes);
      } else if (kind === DISK_RUN.base) await disk.copyBase(offset, bytes);
    }
  }

  #wrote(bytes: number): void {
    this.#unflushed += bytes;
    if (this.#unflushed < FLUSH_BYTES || this.#flushing !== undefined) return;
    this.#unflushed = 0;
    const flushes = this.#disks.map((disk) => disk.flush());
    this.#flushing = Promise.all(flushes).then(
      () => {
        this.#flushing = undefined;
      },
      (error: unknown) => {
        this.#failure ??= { error };
      },
    );
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

const bytesOf = ({ block, count }: DiskRun): Extent => ({
  from: block * DISK_BLOCK,
  to: (block + count) * DISK_BLOCK,
});

async function zero(disk: DestinationDisk, offset: number, bytes: number): Promise<void> {
  for (let done = 0; done < bytes; done += ZERO_BYTES) {
    await disk.zero(offset + done, Math.min(ZERO_BYTES, bytes - done));
  }
}
