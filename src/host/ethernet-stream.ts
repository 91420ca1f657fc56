/**
 * Ethernet frames on a stream socket, as QEMU's `-netdev stream` and `-netdev socket` carry them: each behind its length
 * in bytes, 32 bits in network order.
 */
import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { MAX_FRAME_BYTES } from '../devices/network.ts';
import { GodwitError } from '../error.ts';

const LENGTH_BYTES = 4;
/** What the other side does not read waits here; beyond that, frames are dropped. */
const MAX_BACKLOG = 4 * 1024 * 1024;

/** Takes a stream apart into frames. */
export class FrameSplitter {
  #parts: Uint8Array[] = [];
  #bytes = 0;

  /**
   * The frames that are complete with this piece; each is its receiver's own.
   * @throws GodwitError kind 'format' for a length that no frame has: the stream can't be followed any further.
   */
  push(piece: Uint8Array): Uint8Array[] {
    this.#parts.push(piece);
    this.#bytes += piece.length;
    if (this.#bytes < LENGTH_BYTES) return [];
    const all = this.#joined();
    const frames: Uint8Array[] = [];
    let at = 0;
    while (all.length - at >= LENGTH_BYTES) {
      const length = all.readUInt32BE(at);
      if (length > MAX_FRAME_BYTES) {
        throw GodwitError.unexpected(
          'format',
          'network stream',
          `frames of at most ${MAX_FRAME_BYTES} bytes`,
          `${length}`,
        );
      }
      const end = at + LENGTH_BYTES + length;
      if (end > all.length) break;
      frames.push(Uint8Array.from(all.subarray(at + LENGTH_BYTES, end)));
      at = end;
    }
    this.#parts = [all.subarray(at)];
    this.#bytes = all.length - at;
    return frames;
  }

  #joined(): Buffer {
    const [first] = this.#parts;
    if (this.#parts.length === 1 && first !== undefined) {
      return Buffer.from(first.buffer, first.byteOffset, first.byteLength);
    }
    return Buffer.concat(this.#parts);
  }
}

export interface FrameSocketOptions {
  frame(frame: Uint8Array): void;
  /** The connection has gone; `reason` if it was no ordinary end. */
  closed(reason: string | undefined): void;
}

/** Frames both ways over a connected socket. */
export class FrameSocket {
  readonly #socket: Socket;
  #corked = false;

  constructor(socket: Socket, { frame, closed }: FrameSocketOptions) {
    this.#socket = socket;
    const splitter = new FrameSplitter();
    let reason: string | undefined;
    socket.setNoDelay(true);
    socket.on('data', (piece: Buffer) => {
      try {
        for (const one of splitter.push(piece)) frame(one);
      } catch (error) {
        reason = (error as Error).message;
        socket.destroy();
      }
    });
    socket.on('error', (error) => {
      reason = error.message;
    });
    socket.on('end', () => socket.destroy());
    socket.on('close', () => closed(reason));
  }

  /** Sends a frame, which is the socket's from now on; false if the other side does not read what was sent before. */
  send(frame: Uint8Array): boolean {
    const socket = this.#socket;
    if (socket.writableLength > MAX_BACKLOG || !socket.writable) return false;
    if (!this.#corked) {
      this.#corked = true;
      socket.cork();
      setImmediate(() => this.flush());
    }
    const length = Buffer.allocUnsafe(LENGTH_BYTES);
    length.writeUInt32BE(frame.length);
    socket.write(length);
    socket.write(frame);
    return true;
  }

  /**
   * Hands what has been sent to the system, in one call; it happens by itself when the event loop goes round, for those
   * who don't block it meanwhile.
   */
  flush(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket.uncork();
  }

  /** Whether frames are to come. */
  flow(open: boolean): void {
    if (open) this.#socket.resume();
    else this.#socket.pause();
  }

  close(): void {
    this.#socket.destroy();
  }
}
