/**
 * A migration to or from a file. A file being written has the name PATH.partial; it gets its own name when all of it is
 * on the disk, so that a file under that name is always whole.
 */
import { type FileHandle, open, rename, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorMessage, GodwitError } from '../error.ts';
import type { Transport } from '../migration/transport.ts';

const READ_SIZE = 1024 * 1024;

/** @throws GodwitError kind "transport" if the file can't be made. */
export async function createFileTransport(path: string): Promise<Transport> {
  const there = await stat(path).catch(() => undefined);
  // A rename would put the file in the place of a device, a pipe or a socket.
  if (there !== undefined && !there.isFile()) {
    throw GodwitError.unexpected('transport', `file:${path}`, 'a regular file or nothing', 'something else');
  }
  const partial = `${path}.partial`;
  return new FileWriter(path, partial, await opened(partial, 'w', path));
}

/** @throws GodwitError kind "transport" if there is no such file. */
export async function openFileTransport(path: string): Promise<Transport> {
  const handle = await opened(path, 'r', path);
  if (!(await handle.stat()).isFile()) {
    await handle.close();
    throw GodwitError.unexpected('transport', `file:${path}`, 'a regular file', 'something else');
  }
  return new FileReader(path, handle);
}

async function opened(path: string, flags: 'w' | 'r', name: string): Promise<FileHandle> {
  try {
    return await open(path, flags);
  } catch (error) {
    throw failure(name, 'opened', error);
  }
}

function failure(path: string, what: string, error: unknown): GodwitError {
  return new GodwitError('transport', `file:${path}: can't be ${what} (${errorMessage(error)})`, {}, error);
}

class FileWriter implements Transport {
  readonly duplex = false;
  readonly live = false;
  readonly #path: string;
  readonly #partial: string;
  readonly #handle: FileHandle;
  /** Writes and the end, one after the other. */
  #last: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(path: string, partial: string, handle: FileHandle) {
    this.#path = path;
    this.#partial = partial;
    this.#handle = handle;
  }

  write(chunks: readonly Uint8Array[]): Promise<void> {
    return this.#then('written', async () => {
      for (const chunk of chunks) {
        for (let at = 0; at < chunk.length; ) {
          at += (await this.#handle.write(chunk, at, chunk.length - at)).bytesWritten;
        }
      }
    });
  }

  read(): Promise<never> {
    return Promise.reject(new GodwitError('internal', `file:${this.#path}: nothing can be read back`));
  }

  end(): Promise<void> {
    return this.#then('completed', async () => {
      await this.#handle.sync();
      await this.#handle.close();
      if (this.#closed) throw new GodwitError('transport', 'dropped');
      this.#closed = true;
      await rename(this.#partial, this.#path);
      // The new name is on the disk when its folder is.
      const folder = await open(dirname(this.#path), 'r');
      await folder.sync().finally(() => folder.close());
    });
  }

  destroy(): void {
    if (this.#closed) return;
    this.#closed = true;
    const drop = async (): Promise<void> => {
      await this.#handle.close().catch(() => {});
      await unlink(this.#partial).catch(() => {});
    };
    this.#last = this.#last.then(drop, drop);
  }

  #then(what: string, work: () => Promise<void>): Promise<void> {
    const next = this.#last.then(async () => {
      if (this.#closed) throw new GodwitError('transport', `file:${this.#path}: was dropped here`);
      try {
        await work();
      } catch (error) {
        throw failure(this.#path, what, error);
      }
    });
    this.#last = next;
    next.catch(() => {});
    return next;
  }
}

class FileReader implements Transport {
  readonly duplex = false;
  readonly live = false;
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #buffer = new Uint8Array(READ_SIZE);
  #closed = false;

  constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  write(): Promise<never> {
    return Promise.reject(new GodwitError('internal', `file:${this.#path}: nothing can be written back`));
  }

  async read(): Promise<Uint8Array | undefined> {
    if (this.#closed) throw new GodwitError('transport', `file:${this.#path}: was closed here`);
    try {
      const { bytesRead } = await this.#handle.read(this.#buffer, 0, READ_SIZE);
      return bytesRead === 0 ? undefined : this.#buffer.subarray(0, bytesRead);
    } catch (error) {
      throw failure(this.#path, 'read', error);
    }
  }

  end(): Promise<void> {
    return Promise.resolve();
  }

  destroy(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#handle.close().catch(() => {});
  }
}
