/** A migration over a socket or one end of a pipe. */
import { readvSync } from 'node:fs';
import type { OnReadOpts, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { GodwitError } from '../error.ts';
import type { LentConnection, Transport } from '../migration/transport.ts';
import { libc, loadedLibc } from './libc.ts';

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
 * The event loop reads into a ring of fixed buffers: a fresh buffer per read is fresh memory to be found by the system. A
 * buffer is used again only after the reader has asked for the next.
 *
 * That wakes the reader, and is all that comes by way of the loop if he has a place for the bytes: the rest he gets from the
 * system right there, as long as there is more, and what stands behind it, the next header, with the same call.
 */
const RING_BUFFERS = 4;
const BUFFER_SIZE = 4096;
const AHEAD_SIZE = 512;
/**
 * A unix socket holds 208 KiB, so that writer and reader take turns: each waits to be woken some five times for each frame of
 * pages. Who writes more asks for room for a frame; that takes the system's word by way of a library, and if that is not
 * loaded yet, small migrations are over before it is. What TCP holds, the system adapts by itself, unless it is told.
 */
const SOME_BYTES = 1024 * 1024;
const MUCH_BYTES = 16 * 1024 * 1024;
const SEND_BUFFER = 1024 * 1024;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
/** Bytes that are read in a turn of the loop before everybody else in this thread has one. */
const TURN_BYTES = 4 * 1024 * 1024;

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
  /** For what stands behind the place that is filled. */
  readonly #ahead = new Uint8Array(AHEAD_SIZE);
  /** What may be read before the loop has said again that there is something. */
  #allowed = 0;
  /** Bytes written, until the system has been asked for a larger buffer. */
  #written = 0;
  #enlarged = false;
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
      this.#enlarge(chunks);
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

  async read(into?: Uint8Array): Promise<Uint8Array | undefined> {
    this.#lent = 0;
    this.#resume();
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#lent = 1;
        return chunk;
      }
      const filled = into === undefined ? 0 : this.#fill(into);
      if (filled > 0) return into?.subarray(0, filled);
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
    const handle = this.#plainHandle;
    if (!this.duplex || handle === undefined || this.#socket.writableLength > 0) return undefined;
    handle.readStop();
    if (this.#chunks.length > 0 || this.#ended || this.#error !== undefined) {
      handle.readStart();
      return undefined;
    }
    return { fd: handle.fd, peer: this.#peer };
  }

  hurry(): void {
    this.#enlarged = true;
  }

  destroy(): void {
    this.#chunks.length = 0;
    this.#fail(new GodwitError('transport', `${this.#peer}: the connection was dropped here`));
    this.#socket.destroy();
  }

  /** What can be read past Node: the system's own descriptor, without TLS or buffers of a stream before it. */
  get #plainHandle(): PlainHandle | undefined {
    const handle = (this.#socket as unknown as { _handle: PlainHandle | null })._handle;
    const plain = !(this.#socket instanceof TLSSocket) && this.#socket.listenerCount('data') === 0;
    return plain && handle !== null && handle.fd >= 0 ? handle : undefined;
  }

  /** Asks for a larger buffer, once. Nothing depends on whether it is given. */
  #enlarge(chunks: readonly Uint8Array[]): void {
    if (this.#enlarged) return;
    for (const { length } of chunks) this.#written += length;
    if (this.#written < SOME_BYTES) return;
    const library = this.#written < MUCH_BYTES ? loadedLibc() : libc();
    this.#enlarged = library !== undefined || this.#written >= MUCH_BYTES;
    const handle = this.#plainHandle;
    if (handle === undefined || this.#socket.remoteFamily !== undefined) return;
    library?.setsockopt(handle.fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER);
  }

  /** Reads what has come; 0 if the loop is to say when there is more. */
  #fill(into: Uint8Array): number {
    const handle = this.#allowed > 0 && this.#error === undefined ? this.#plainHandle : undefined;
    if (handle === undefined) return 0;
    try {
      const count = readvSync(handle.fd, [into, this.#ahead]);
      // A call that brings less than it could has brought all. The end is the loop's to tell.
      this.#allowed = count < into.length + AHEAD_SIZE ? 0 : this.#allowed - count;
      if (count > into.length) this.#chunks.push(this.#ahead.subarray(0, count - into.length));
      return Math.min(count, into.length);
    } catch (error) {
      this.#allowed = 0;
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') this.#fail(this.#broken(error as Error));
      return 0;
    }
  }

  /** Returns whether there is a buffer to read more into. */
  #received(chunk: Uint8Array): boolean {
    this.#allowed = chunk.length < BUFFER_SIZE ? 0 : TURN_BYTES;
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
