/** Guest memory to a file: `memsave` and `pmemsave`. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { errorMessage, GodwitError } from '../error.ts';

const CHUNK = 1 << 20;
const PAGE = 4096n;

/**
 * Writes `size` bytes from `start` on to `file`.
 * @param read gives the bytes there, up to the first that is no memory.
 * @param holes such bytes are written as zeros, page by page; otherwise they are an error.
 * @throws GodwitError kind "file" or "usage".
 */
export async function saveMemory(
  file: string,
  start: bigint,
  size: bigint,
  read: (address: bigint, length: number) => Promise<Uint8Array>,
  holes: boolean,
): Promise<void> {
  let fd: number;
  try {
    fd = openSync(file, 'w');
  } catch (error) {
    throw new GodwitError('file', `Could not open '${file}': ${errorMessage(error)}`, {}, error);
  }
  try {
    for (let done = 0n; done < size; ) {
      const address = BigInt.asUintN(64, start + done);
      const length = Number(size - done < CHUNK ? size - done : CHUNK);
      let bytes = await read(address, length);
      if (bytes.length === 0) {
        if (!holes) {
          const place = BigInt.asUintN(64, start).toString(16).padStart(16, '0');
          throw new GodwitError('usage', `Invalid addr 0x${place}/size ${size} specified`);
        }
        bytes = new Uint8Array(Math.min(length, Number(PAGE - (address % PAGE))));
      }
      writeAll(fd, bytes, file);
      done += BigInt(bytes.length);
    }
  } finally {
    closeSync(fd);
  }
}

function writeAll(fd: number, bytes: Uint8Array, file: string): void {
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  } catch (error) {
    throw new GodwitError('file', `${file}: can't be written: ${errorMessage(error)}`, {}, error);
  }
}
