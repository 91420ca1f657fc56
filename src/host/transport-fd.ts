/**
 * A migration over a descriptor that this process was started with: a socket, one end of a pipe, or a file from where it
 * stands on.
 */
import { closeSync, fstatSync, fsync, read, type Stats, write } from 'node:fs';
import { Socket, type SocketConstructorOpts } from 'node:net';
import { promisify } from 'node:util';
import { errorMessage, GodwitError } from '../error.ts';
import type { Transport } from '../migration/transport.ts';
import { SocketTransport } from './transport-socket.ts';

const READ_SIZE = 1024 * 1024;

/**
 * @param writes whether this is the source's side.
 * @throws GodwitError kind "transport" for a descriptor that is not open, or nothing of the kind.
 */
export function openFdTransport(fd: number, writes: boolean): Transport {
  const name = `fd:${fd}`;
  const stat = statOf(fd);
  if (stat.isFile()) return new FdFile(fd);
  const socket = stat.isSocket();
  if (!socket && !stat.isFIFO()) {
    throw GodwitError.unexpected('transport', name, 'a socket, a pipe or a file', 'something else');
  }
  try {
    return new SocketTransport(
      (onread) =>
        new Socket({
          fd,
          allowHalfOpen: true,
          readable: socket || !writes,
          writable: socket || writes,
          onread,
        } as SocketConstructorOpts),
      name,
      socket,
    );
  } catch (error) {
    throw new GodwitError('transport', `${name}: can't be used (${errorMessage(error)})`, {}, error);
  }
}

/** @throws GodwitError kind "transport" if it is not open. */
export function statOf(fd: number): Stats {
  try {
    return fstatSync(fd);
  } catch {
    throw GodwitError.unexpected(
      'transport',
      `fd:${fd}`,
      'a descriptor that this process was started with',
      'none',
    );
  }
}

class FdFile implements Transport {
  readonly duplex = false;
  readonly live = false;
  readonly #fd: number;
  readonly #buffer = new Uint8Array(READ_SIZE);
  /** Reads, writes and the end, one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(chunks: readonly Uint8Array[]): Promise<void> {
    return this.#then('written', async () => {
      for (const chunk of chunks) {
        for (let at = 0; at < chunk.length; ) {
          at += (await promisify(write)(this.#fd, chunk, at, chunk.length - at, null)).bytesWritten;
        }
      }
    });
  }

  read(): Promise<Uint8Array | undefined> {
    return this.#then('read', async () => {
      const { bytesRead } = await promisify(read)(this.#fd, this.#buffer, 0, READ_SIZE, null);
      return bytesRead === 0 ? undefined : this.#buffer.subarray(0, bytesRead);
    });
  }

  end(): Promise<void> {
    return this.#then('completed', () => promisify(fsync)(this.#fd));
  }

  destroy(): void {
    if (this.#closed) return;
    this.#closed = true;
    const close = (): void => closeSync(this.#fd);
    this.#last = this.#last.then(close, close).catch(() => {});
  }

  #then<T>(what: string, work: () => Promise<T>): Promise<T> {
    const next = this.#last.then(async () => {
      if (this.#closed) throw new GodwitError('transport', `fd:${this.#fd}: was closed here`);
      try {
        return await work();
      } catch (error) {
        throw new GodwitError(
          'transport',
          `fd:${this.#fd}: can't be ${what} (${errorMessage(error)})`,
          {},
          error,
        );
      }
    });
    this.#last = next.catch(() => {});
    return next;
  }
}
