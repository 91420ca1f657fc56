/**
 * Drives whose contents arrive while the machine runs (post-copy), as its thread has them: a request waits until all
 * chunks that it touches are here. While the machine stands still none waits, for that might take long: it is begun again
 * when the machine goes on.
 */
import type { MessagePort } from 'node:worker_threads';
import { type ChunkRun, DISK_CHUNK } from '../migration/disk-stream.ts';

/** What is posted to the migration thread; it answers, with anything, when there may be something new. */
export interface WantedChunks {
  /** Index among the disks that arrive. */
  readonly disk: number;
  readonly run: ChunkRun;
}

/** Why a request ended before it was done: the machine was stopped meanwhile. */
export class NotHereYet extends Error {}

interface Waiter {
  readonly arrived: () => boolean;
  readonly resolve: () => void;
  readonly reject: (error: NotHereYet) => void;
}

export class LateDrives {
  #port: MessagePort | undefined;
  readonly #waiting = new Set<Waiter>();
  #held = false;

  /** @param port leads to the migration thread. */
  constructor(port: MessagePort) {
    this.#port = port;
    port.on('message', () => this.#deliver());
  }

  /** Ends all waits, and those to come, with NotHereYet. */
  hold(): void {
    this.#held = true;
    for (const { reject } of [...this.#waiting]) reject(notHereYet());
    this.#waiting.clear();
  }

  /** Undoes that. */
  release(): void {
    this.#held = false;
  }

  /** All chunks are here. */
  end(): void {
    this.#deliver();
    this.#port?.close();
    this.#port = undefined;
  }

  /**
   * Resolves when this range of a drive is here; undefined if it is.
   * @param here a bit for each chunk (PostcopyVm.beginDisks).
   */
  require(disk: number, here: Int32Array, offset: number, length: number): Promise<void> | undefined {
    const arrived = (): boolean => isHere(here, offset, length);
    if (arrived()) return undefined;
    if (this.#held) return Promise.reject(notHereYet());
    return new Promise((resolve, reject) => {
      this.#waiting.add({ arrived, resolve, reject });
      const first = Math.floor(offset / DISK_CHUNK);
      const run = { first, count: Math.ceil((offset + length) / DISK_CHUNK) - first };
      this.#port?.postMessage({ disk, run } satisfies WantedChunks);
    });
  }

  #deliver(): void {
    for (const waiter of [...this.#waiting]) {
      if (!waiter.arrived()) continue;
      this.#waiting.delete(waiter);
      waiter.resolve();
    }
  }
}

const notHereYet = (): NotHereYet => new NotHereYet('the drive has not arrived yet');

function isHere(here: Int32Array, offset: number, length: number): boolean {
  const end = Math.ceil((offset + length) / DISK_CHUNK);
  for (let chunk = Math.floor(offset / DISK_CHUNK); chunk < end; chunk++) {
    if (((Atomics.load(here, chunk >>> 5) >>> (chunk & 31)) & 1) === 0) return false;
  }
  return true;
}
