/** Compression of memory on its way: zlib, and zstd where Node has it (from 22.15 and 23.8 on). */
import * as zlib from 'node:zlib';
import { GodwitError } from '../error.ts';
import type { Unpack } from '../migration/ram-applier.ts';
import type { Compression } from '../migration/sender-channels.ts';

export type CompressionName = 'none' | 'zlib' | 'zstd';

type Callback = (error: Error | null, result: Uint8Array) => void;

/** What of node:zlib older versions don't have. */
interface Zstd {
  zstdCompress(bytes: Uint8Array, callback: Callback): void;
  zstdDecompressSync(bytes: Uint8Array, options: { maxOutputLength: number }): Uint8Array;
}

function zstd(): Zstd {
  if (typeof (zlib as Partial<Zstd>).zstdCompress === 'function') return zlib as unknown as Zstd;
  throw GodwitError.unexpected('usage', 'zstd', 'Node 22.15 or 23.8, or newer', process.version);
}

/**
 * Compresses in the host's thread pool. Undefined for "none".
 * @param zlibLevel 0 to 9.
 * @throws GodwitError kind "usage" for what this Node can't do.
 */
export function compressionOf(name: CompressionName, zlibLevel: number): Compression | undefined {
  switch (name) {
    case 'none':
      return undefined;
    case 'zlib':
      return {
        frame: 'zlibRam',
        compress: (payload) => promised((done) => zlib.deflate(payload, { level: zlibLevel }, done)),
      };
    case 'zstd': {
      const { zstdCompress } = zstd();
      return { frame: 'zstdRam', compress: (payload) => promised((done) => zstdCompress(payload, done)) };
    }
  }
}

function promised(start: (done: Callback) => void): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    start((error, result) => {
      if (error === null) resolve(result);
      else
        reject(new GodwitError('internal', `memory could not be compressed (${error.message})`, {}, error));
    });
  });
}

export const unpackRam: Unpack = (type, packed, length, where) => {
  let bytes: Uint8Array;
  try {
    const options = { maxOutputLength: length };
    bytes =
      type === 'zlibRam' ? zlib.inflateSync(packed, options) : zstd().zstdDecompressSync(packed, options);
  } catch (error) {
    if (error instanceof GodwitError) throw error;
    throw GodwitError.unexpected('format', where, `${length} compressed bytes`, (error as Error).message);
  }
  if (bytes.length === length) return bytes;
  throw GodwitError.unexpected('format', where, `${length} bytes when unpacked`, `${bytes.length}`);
};
