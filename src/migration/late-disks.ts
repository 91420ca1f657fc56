/**
 * The destination's disks in post-copy: asks for chunks that the guest waits for, writes what arrives, and confirms. A
 * connection may go and another one come, as with memory.
 */
import { GodwitError } from '../error.ts';
import { encodeRequest, readChunkList } from './chunk-list.ts';
import type { DiskLoad } from './disk-load.ts';
import type { ChunkRun } from './disk-stream.ts';
import type { Frame } from './frame-reader.ts';
import { asGodwitError } from './interrupt.ts';
import { LateChunks } from './late-chunks.ts';
import type { DestinationDisk, PostcopyVm } from './migratable-vm.ts';
import { PageBitmap } from './page-bitmap.ts';
import type { ReceiverLink } from './receiver-link.ts';

export interface LateDisksOptions {
  readonly disks: readonly DestinationDisk[];
  readonly load: DiskLoad;
  readonly postcopy: PostcopyVm;
  /** Something was asked for. */
  readonly onAsked: (link: ReceiverLink) => void;
}

export class LateDisks {
  readonly #options: LateDisksOptions;
  readonly #chunks: LateChunks;
  /** Chunks of each disk that the guest waits for; those that have come since are left in it until somebody looks. */
  readonly #wanted: readonly PageBitmap[];
  #link: ReceiverLink | undefined;
  /** Frames that were written. */
  placed = 0;
  /** Whether anything was missing when the guest started. */
  late = false;

  constructor(options: LateDisksOptions) {
    this.#options = options;
    this.#chunks = new LateChunks(options.disks);
    this.#wanted = this.#chunks.chunks.map((chunks) => PageBitmap.create(chunks));
  }

  /** Chunks that are not here. */
  get missing(): number {
    return this.#chunks.missing;
  }

  get missingBytes(): number {
    return this.#chunks.missingBytes;
  }

  /** @throws GodwitError kind "format". */
  discard({ type, payload, offset }: Frame): void {
    this.#chunks.discard(readChunkList(payload, this.#chunks.chunks, { where: `frame "${type}"`, offset }));
  }

  /** Makes the machine ready to run without what is missing. @throws GodwitError kind "format" if anything else is. */
  async begin(offset: number): Promise<void> {
    const { load, postcopy } = this.#options;
    await load.settlePasses();
    load.verifyComplete(offset, this.#chunks);
    this.late = this.missing > 0;
    if (this.late) {
      await postcopy.beginDisks(this.#chunks.here, (disk, run) => this.#want(disk, run));
    } else await load.endPass();
  }

  /** From now on chunks are asked for over this connection. */
  attach(link: ReceiverLink): void {
    this.#link = link;
    for (const [disk, wanted] of this.#wanted.entries()) {
      for (const run of [...wanted.runs()]) {
        wanted.deleteRange(run.first, run.count);
        this.#ask(disk, run);
      }
    }
  }

  detach(): void {
    this.#link = undefined;
  }

  /** Begins to write a frame; resolves when there is room for another. @throws GodwitError kind "format" or "file". */
  async place(frame: Frame): Promise<void> {
    const link = this.#link;
    const orEnd = (error: unknown): void => link?.interrupt.fire(asGodwitError(error));
    await this.#options.load.applyLate(frame, this.#chunks, (error) => {
      if (error !== undefined) {
        orEnd(error);
        return;
      }
      this.placed++;
      this.#options.postcopy.disksArrived();
      link?.writer.send('diskPlaced').catch(orEnd);
    });
  }

  /** The payloads of `diskMissing`, over a new connection; what the old one brought has been written before. */
  async lists(): Promise<Uint8Array[]> {
    await this.#options.load.settle();
    return [...this.#chunks.lists()];
  }

  /** The source has sent everything: all of it is on disk then. @throws GodwitError kind "format" or "file". */
  async finish(offset: number): Promise<void> {
    const { load, postcopy } = this.#options;
    await load.settle();
    if (this.missing > 0) {
      const got = `${this.missing}`;
      throw GodwitError.unexpected('format', 'frame "swept"', 'no chunk of a disk missing', got, offset);
    }
    await load.endPass();
    await postcopy.endDisks();
  }

  /** Whether the guest waits for something. */
  get awaited(): boolean {
    return this.#wanted.some((wanted, disk) => {
      for (let chunk = wanted.next(0); chunk >= 0; chunk = wanted.next(chunk + 1)) {
        if (this.#chunks.isMissing(disk, chunk)) return true;
        wanted.delete(chunk);
      }
      return false;
    });
  }

  #want(disk: number, run: ChunkRun): void {
    if (this.#ask(disk, run)) return;
    // It came while this was on its way, or is asked for.
    this.#options.postcopy.disksArrived();
  }

  /** Asks for what of these is missing, and was not asked for over this connection. @returns whether anything was. */
  #ask(disk: number, { first, count }: ChunkRun): boolean {
    const wanted = this.#wanted[disk] as PageBitmap;
    const link = this.#link;
    let some = false;
    for (let chunk = first; chunk < first + count; ) {
      let end = chunk;
      while (end < first + count && this.#chunks.isMissing(disk, end) && !wanted.has(end)) end++;
      if (end === chunk) {
        chunk++;
        continue;
      }
      some = true;
      wanted.addRange(chunk, end - chunk);
      const payload = encodeRequest(disk, { first: chunk, count: end - chunk });
      link?.writer.send('diskRequest', payload).catch((error) => link.interrupt.fire(asGodwitError(error)));
      chunk = end;
    }
    if (some && link !== undefined) this.#options.onAsked(link);
    return some;
  }
}
