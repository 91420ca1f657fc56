/** Files that a machine starts from: firmware, kernel, initrd, device tree. */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { errorMessage, GodwitError } from '../error.ts';
import { type BootFile, bootFile, bytesOf } from '../machine/boot-file.ts';

/**
 * Opens a file, and keeps it open: its symbols may be wanted much later.
 * @throws GodwitError kind "file".
 */
export function openBootFile(file: string): BootFile {
  return attempt(file, 'read', () => {
    const fd = openSync(file, 'r');
    const stat = fstatSync(fd);
    // A pipe, or a file that the host's kernel makes up, has no size beforehand.
    if (stat.isFile() && stat.size > 0) {
      return { file, size: stat.size, read: (into, offset) => readWhole(file, fd, into, offset) };
    }
    try {
      return bootFile(file, readFileSync(fd));
    } finally {
      closeSync(fd);
    }
  });
}

function readWhole(file: string, fd: number, into: Uint8Array, offset: number): void {
  for (let done = 0; done < into.length; ) {
    const read = attempt(file, 'read', () => readSync(fd, into, done, into.length - done, offset + done));
    if (read === 0) {
      const expected = `${into.length} bytes from ${offset} on`;
      throw GodwitError.unexpected('file', file, expected, `${done}`, offset + done);
    }
    done += read;
  }
}

/** RFC 1952, §2.3.1: ID1, ID2 and CM = deflate. */
const GZIP = [0x1f, 0x8b, 8];

/**
 * What a kernel compressed with gzip holds; any other is as it is.
 * @param limit how many bytes it may come to.
 * @throws GodwitError kind "file".
 */
export function unpacked(packed: BootFile, limit: number): BootFile {
  const start = bytesOf(packed, 0, GZIP.length);
  if (GZIP.some((byte, i) => start[i] !== byte)) return packed;
  const { file } = packed;
  return bootFile(
    file,
    attempt(file, 'unpacked (gzip)', () => gunzipSync(bytesOf(packed), { maxOutputLength: limit })),
  );
}

function attempt<T>(file: string, what: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof GodwitError) throw error;
    throw new GodwitError(
      'file',
      `${file}: can't be ${what}: ${errorMessage(error)}`,
      { where: file },
      error,
    );
  }
}
