/** A migration over a socket or one end of a pipe. */
import type { OnReadOpts, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { GodwitError } from '../error.ts';
import type { LentConnection, Transport } from '../migration/transport.ts';

/** What Node keeps to itself of a socket: net.Socket can't be told to leave reading to somebody else. */
interface PlainHandle {
  /** Below 0 if there is none. */
  readonly fd: number;
  readStart(): void;
  readStop(): void;
}

/** Reads with `onread` from a socket that was made without it. */
export function readInto(socket: Socket, onread: OnReadOpts): Socket {
  socket.on('data', (chunk: Uint8Array) => {
    if (!onread.callback(chunk.length, chunk)) socket.pause();
  });
  return socket;
}

/**
 * Bytes are read into a ring of fixed buffers, which halves the cost of receiving: a fresh buffer per read is fresh
 * memory to be found by the system. A buffer is used again only after the reader has asked for the next.
 */
const RING_BUFFERS = 4;
const BUFFER_SIZE = 256 * 1024;

export class SocketTransport implements Transport {
  readonly duplex: boolean;
  readonly live = true;
  readonly #socket: Socket;
  /** Names the other side in errors. */
  readonly #peer: string;
  readonly #ring: readonly Uint8Array[];
  /** What was read into the ring and not asked for yet, oldest first. */
  readonly #chunks: Uint8Array[] = [];
  /** Buffer that the next read goes to. */
  #next = 0;
  /** Buffers that the reader may be looking at: 0 or 1. */
  #lent = 0;
  #full = false;
  #ended = false;
  #error: GodwitError | undefined;
  readonly #readers: (() => void)[] = [];

  /**
   * @param connect makes the socket, which must read with the `onread` that it is given. It may still be connecting.
   * @param peer names the other side in errors.
   * @param duplex false for a pipe.
   */
  constructor(connect: (onread: OnReadOpts) => Socket, peer: string, duplex = true) {
    this.duplex = duplex;
    this.#peer = peer;
    this.#ring = Array.from({ length: RING_BUFFERS }, () => new Uint8Array(BUFFER_SIZE));
    const socket = connect({
      buffer: () => this.#ring[this.#next] as Uint8Array,
      callback: (length, buffer) => this.#received(buffer.subarray(0, length)),
    });
    this.#socket = socket;
    // Never removed: an error after `destroy` is nobody's business, and must not end the process.
    socket.on('error', (error) => this.#fail(this.#broken(error)));
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
    this.#lent = 0;
    this.#resume();
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#lent = 1;
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

  /** Of a plain socket: what TLS or a pipe brings, this thread alone can read. */
  lend(): LentConnection | undefined {
    const handle = (this.#socket as unknown as { _handle: PlainHandle | null })._handle;
    const plain = this.duplex && !(this.#socket instanceof TLSSocket) && handle !== null && handle.fd >= 0;
    if (!plain || this.#socket.writableLength > 0) return undefined;
    handle.readStop();
    if (this.#chunks.length > 0 || this.#ended || this.#error !== undefined) {
      handle.readStart();
      return undefined;
    }
    return { fd: handle.fd, peer: this.#peer };
  }

  destroy(): void {
    this.#chunks.length = 0;
    this.#fail(new GodwitError('transport', `${this.#peer}: the connection was dropped here`));
    this.#socket.destroy();
  }

  /** Returns whether there is a buffer to read more into. */
  #received(chunk: Uint8Array): boolean {
    this.#chunks.push(chunk);
    this.#next = (this.#next + 1) % RING_BUFFERS;
    this.#full = this.#chunks.length + this.#lent >= RING_BUFFERS - 1;
    this.#wake();
    return !this.#full;
  }

  #resume(): void {
    if (!this.#full || this.#chunks.length >= RING_BUFFERS - 1) return;
    this.#full = false;
    this.#socket.resume();
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
