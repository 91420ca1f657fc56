/**
 * A socket that is read when it is looked at, without an event loop: by a thread that has something else to do, and that
 * waits for nothing but what comes here. The descriptor is another thread's; nothing here closes it.
 */
import { readSync, writeSync } from 'node:fs';
import { GodwitError } from '../error.ts';
import type { LentConnection, Transport } from '../migration/transport.ts';
import { socketReason } from './socket.ts';

/** What one look reads at most: what is done with it is not to take long. */
const BUFFER_SIZE = 64 * 1024;

interface Reader {
  readonly resolve: (bytes: Uint8Array | undefined) => void;
  readonly reject: (error: GodwitError) => void;
}

export class PolledSocket implements Transport {
  readonly duplex = true;
  readonly live = true;
  readonly #fd: number;
  readonly #peer: string;
  readonly #buffer = new Uint8Array(BUFFER_SIZE);
  /** What the system did not take, oldest first, and whom to tell when it has. */
  #unsent: {
    readonly bytes: Uint8Array;
    readonly done: () => void;
    readonly fail: (error: GodwitError) => void;
  }[] = [];
  #reader: Reader | undefined;
  #error: GodwitError | undefined;

  constructor({ fd, peer }: LentConnection) {
    this.#fd = fd;
    this.#peer = peer;
  }

  /** Writes what can be written and reads what is there, if somebody wants it. @returns whether anything has come. */
  poll(): boolean {
    this.#flush();
    const reader = this.#reader;
    if (reader === undefined) return false;
    const count = this.#attempt(() => readSync(this.#fd, this.#buffer, 0, BUFFER_SIZE, null));
    if (count === undefined) return this.#error !== undefined;
    this.#reader = undefined;
    reader.resolve(count === 0 ? undefined : this.#buffer.subarray(0, count));
    return true;
  }

  write(chunks: readonly Uint8Array[]): Promise<void> {
    const whole = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const chunk of chunks) {
      whole.set(chunk, at);
      at += chunk.length;
    }
    return new Promise((done, fail) => {
      if (this.#error !== undefined) fail(this.#error);
      else {
        this.#unsent.push({ bytes: whole, done, fail });
        this.#flush();
      }
    });
  }

  /** Resolves in a `poll`. */
  read(): Promise<Uint8Array | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined) reject(this.#error);
      else this.#reader = { resolve, reject };
    });
  }

  /** Whoever has the descriptor ends the connection. */
  end(): Promise<void> {
    return Promise.resolve();
  }

  destroy(): void {
    this.#fail(new GodwitError('transport', `${this.#peer}: the connection was dropped here`));
  }

  #flush(): void {
    for (let next = this.#unsent[0]; next !== undefined; next = this.#unsent[0]) {
      const { bytes } = next;
      const count = this.#attempt(() => writeSync(this.#fd, bytes));
      if (count === undefined) return;
      if (count < bytes.length) this.#unsent[0] = { ...next, bytes: bytes.subarray(count) };
      else {
        this.#unsent.shift();
        next.done();
      }
    }
  }

  /** Undefined if it would have to wait, or has failed for good. */
  #attempt(call: () => number): number | undefined {
    if (this.#error !== undefined) return undefined;
    try {
      return call();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') {
        const why = `${this.#peer}: the connection broke (${socketReason(error)})`;
        this.#fail(new GodwitError('transport', why, {}, error));
      }
      return undefined;
    }
  }

  #fail(error: GodwitError): void {
    this.#error ??= error;
    this.#reader?.reject(this.#error);
    this.#reader = undefined;
    for (const { fail } of this.#unsent.splice(0)) fail(this.#error);
  }
}
