/** A machine's disks in its thread: their back ends, and what a migration that takes them along wants of them. */
import type { BlockBackend } from '../devices/block.ts';
import { GodwitError } from '../error.ts';
import type { BlockCounters } from '../monitor/block.ts';
import { type BlockError, type BlockFile, blockFile } from './block-file.ts';
import { BlockLog } from './block-log.ts';
import type { Drive } from './drive.ts';

export class MachineDisks {
  readonly #files: ReadonlyMap<string, BlockFile>;

  constructor(drives: readonly Drive[], onError: (error: BlockError) => void) {
    this.#files = new Map(drives.map((drive) => [drive.id, blockFile(drive, onError)]));
  }

  /** By the drive's id. */
  backend(id: string): BlockBackend {
    return this.#file(id);
  }

  /** By the drives' ids. */
  counters(): ReadonlyMap<string, BlockCounters> {
    return new Map([...this.#files].map(([id, { counters }]) => [id, counters]));
  }

  /** Begins to flush all of them; what fails now will fail when it matters. */
  flushSoon(): void {
    for (const file of this.#files.values()) void file.flush().catch(() => {});
  }

  /** Lets all requests go on that a limit holds up. */
  release(): void {
    for (const { log } of this.#files.values()) log?.release();
  }

  startLog(bitmaps: ReadonlyMap<string, Int32Array>): void {
    for (const [id, bits] of bitmaps) this.#file(id).log = new BlockLog(bits);
  }

  stopLog(): void {
    this.release();
    for (const file of this.#files.values()) file.log = undefined;
  }

  /** Bytes per second that each disk with a log may write; 0 for no limit. */
  limitWrites(bytesPerSecond: number): void {
    for (const { log } of this.#files.values()) log?.setLimit(bytesPerSecond);
  }

  #file(id: string): BlockFile {
    const file = this.#files.get(id);
    if (file === undefined) throw new GodwitError('internal', `no drive ${id}`);
    return file;
  }
}
