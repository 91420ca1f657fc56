/**
 * snapshot=on: what is written goes to a temporary file, sparse and without a name, and the image stays as it is. A bit
 * per sector says which of the two has it.
 */
import { fdatasync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SECTOR_BYTES } from '../devices/block.ts';
import { type BlockStore, readFully, writeFully } from './block-file.ts';

const sync = promisify(fdatasync);

/** Sectors whose bits are kept together; most of a large disk has none. */
const SECTORS_PER_MAP = 32768;

class SectorSet {
  readonly #maps = new Map<number, Uint8Array>();

  add(first: number, count: number): void {
    for (let sector = first; sector < first + count; sector++) {
      const key = Math.floor(sector / SECTORS_PER_MAP);
      let map = this.#maps.get(key);
      if (map === undefined) {
        map = new Uint8Array(SECTORS_PER_MAP / 8);
        this.#maps.set(key, map);
      }
      const bit = sector % SECTORS_PER_MAP;
      map[bit >> 3] = (map[bit >> 3] as number) | (1 << (bit & 7));
    }
  }

  has(sector: number): boolean {
    const bit = sector % SECTORS_PER_MAP;
    const byte = this.#maps.get(Math.floor(sector / SECTORS_PER_MAP))?.[bit >> 3] ?? 0;
    return ((byte >> (bit & 7)) & 1) !== 0;
  }
}

/** @param base the image, for reading. @throws Error if the host has no room for temporary files. */
export function blockOverlay(base: number): BlockStore {
  const written = new SectorSet();
  const top = temporaryFile();
  return {
    async read(offset, target) {
      const first = offset / SECTOR_BYTES;
      const count = target.length / SECTOR_BYTES;
      for (let at = 0; at < count; ) {
        const inTop = written.has(first + at);
        let end = at + 1;
        while (end < count && written.has(first + end) === inTop) end++;
        const part = target.subarray(at * SECTOR_BYTES, end * SECTOR_BYTES);
        await readFully(inTop ? top : base, offset + at * SECTOR_BYTES, part);
        at = end;
      }
    },
    async write(offset, bytes) {
      await writeFully(top, offset, bytes);
      written.add(offset / SECTOR_BYTES, bytes.length / SECTOR_BYTES);
    },
    flush: () => sync(top),
    cut: async () => false,
  };
}

/** Gone when it is closed, however the process ends. */
function temporaryFile(): number {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-'));
  try {
    return openSync(join(folder, 'snapshot'), 'wx+', 0o600);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
