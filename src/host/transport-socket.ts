/** A migration over a tcp or unix socket. */
import type { Socket } from 'node:net';
import { GodwitError } from '../error.ts';
import type { Transport } from '../migration/transport.ts';

/** Bytes that may wait here for the reader before the other side is held up. */
const READ_AHEAD = 1024 * 1024;

export class SocketTransport implements Transport {
  readonly duplex = true;
  readonly #socket: Socket;
  /** Names the other side in errors. */
  readonly #peer: string;
  readonly #chunks: Uint8Array[] = [];
  #waiting = 0;
  #ended = false;
  #error: GodwitError | undefined;
  readonly #readers: (() => void)[] = [];

  /** @param socket connected. */
  constructor(socket: Socket, peer: string) {
    this.#socket = socket;
    this.#peer = peer;
    // Never removed: an error after `destroy` is nobody's business, and must not end the process.
    socket.on('error', (error) => this.#fail(this.#broken(error)));
    socket.on('data', (chunk: Uint8Array) => {
      this.#chunks.push(chunk);
      this.#waiting += chunk.length;
      if (this.#waiting >= READ_AHEAD) socket.pause();
      this.#wake();
    });
    socket.on('end', () => {
      this.#ended = true;
      this.#wake();
    });
    socket.on('close', () => this.#fail(new GodwitError('transport', `${peer}: the connection is closed`)));
  }

  write(chunks: readonly Uint8Array[]): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined) {
        reject(this.#error);
        return;
      }
      const last = chunks.length - 1;
      if (last > 0) this.#socket.cork();
      chunks.forEach((chunk, i) => {
        if (i < last) this.#socket.write(chunk);
        else {
          this.#socket.write(chunk, (error) => {
            if (error) reject(this.#error ?? this.#broken(error));
            else resolve();
          });
        }
      });
      if (last > 0) this.#socket.uncork();
      if (last < 0) resolve();
    });
  }

  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#waiting -= chunk.length;
        if (this.#waiting < READ_AHEAD / 2 && this.#socket.isPaused()) this.#socket.resume();
        return chunk;
      }
      if (this.#ended) return undefined;
      if (this.#error !== undefined) throw this.#error;
      await new Promise<void>((resolve) => this.#readers.push(resolve));
    }
  }

  /** Resolves when there is something to read (true), or will never be (false). Takes nothing. */
  async speaks(): Promise<boolean> {
    while (this.#chunks.length === 0) {
      if (this.#ended || this.#error !== undefined) return false;
      await new Promise<void>((resolve) => this.#readers.push(resolve));
    }
    return true;
  }

  end(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined) {
        reject(this.#error);
        return;
      }
      const onClose = (): void => reject(this.#error);
      this.#socket.once('close', onClose);
      this.#socket.end(() => {
        this.#socket.off('close', onClose);
        resolve();
      });
    });
  }

  destroy(): void {
    this.#chunks.length = 0;
    this.#waiting = 0;
    this.#fail(new GodwitError('transport', `${this.#peer}: the connection was dropped here`));
    this.#socket.destroy();
  }

  #fail(error: GodwitError): void {
    this.#error ??= error;
    this.#wake();
  }

  #wake(): void {
    for (const go of this.#readers.splice(0)) go();
  }

  #broken(error: Error): GodwitError {
    return new GodwitError('transport', `${this.#peer}: the connection broke (${error.message})`, {}, error);
  }
}
