/** A machine's disks in its thread: their back ends, and what a migration that takes them along wants of them. */

import type { MessagePort } from 'node:worker_threads';
import type { BlockBackend } from '../devices/block.ts';
import { GodwitError } from '../error.ts';
import type { BlockCounters } from '../monitor/block.ts';
import { type BlockError, type BlockFile, blockFile } from './block-file.ts';
import { BlockLog } from './block-log.ts';
import type { Drive } from './drive.ts';
import { LateDrives } from './late-drives.ts';

export class MachineDisks {
  readonly #files: ReadonlyMap<string, BlockFile>;
  #late: LateDrives | undefined;

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

  /** The machine stops, and waits for its requests: nothing holds them up. */
  hold(): void {
    this.#late?.hold();
    for (const { log } of this.#files.values()) log?.release();
  }

  /** The machine runs. */
  release(): void {
    this.#late?.release();
  }

  /** From now on chunks without a bit are missing; those that are needed are told on the port. By the drives' ids. */
  beginLate(here: ReadonlyMap<string, Int32Array>, port: MessagePort): void {
    const late = new LateDrives(port);
    this.#late = late;
    for (const [disk, [id, bits]] of [...here].entries()) {
      this.#file(id).late = (offset, length) => late.require(disk, bits, offset, length);
    }
  }

  /** All chunks are here. */
  endLate(): void {
    this.#late?.end();
    this.#late = undefined;
    for (const file of this.#files.values()) file.late = undefined;
  }

  startLog(bitmaps: ReadonlyMap<string, Int32Array>): void {
    for (const [id, bits] of bitmaps) this.#file(id).log = new BlockLog(bits);
  }

  stopLog(): void {
    for (const file of this.#files.values()) file.log?.release();
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
