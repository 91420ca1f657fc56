/** A raw disk image as a disk's back end. Reads and writes go to the file at once, in Node's thread pool. */
import { fdatasync, read, write } from 'node:fs';
import { promisify } from 'node:util';
import type { BlockBackend, BlockErrorAction } from '../devices/block.ts';
import type { BlockCounters } from '../monitor/block.ts';
import type { BlockLog } from './block-log.ts';
import { blockOverlay } from './block-overlay.ts';
import { type Drive, type ErrorPolicy, reasonOf } from './drive.ts';
import { NotHereYet } from './late-drives.ts';
import { libc } from './libc.ts';

/** A failed request, as main tells of it. */
export interface BlockError {
  /** The drive's id. */
  readonly device: string;
  readonly operation: 'read' | 'write';
  readonly action: BlockErrorAction;
  readonly nospace: boolean;
  readonly reason: string;
}

const readAt = promisify(read);
const writeAt = promisify(write);
const sync = promisify(fdatasync);

/** Bytes that are made zero, or looked at, at a time. */
const CHUNK = 1024 * 1024;

/** Fills `target` from a file; beyond its end there are zeros. */
export async function readFully(fd: number, offset: number, target: Uint8Array): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const { bytesRead } = await readAt(fd, target, done, target.length - done, offset + done);
    if (bytesRead === 0) {
      target.fill(0, done);
      return;
    }
    done += bytesRead;
  }
}

export async function writeFully(fd: number, offset: number, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await writeAt(fd, bytes, done, bytes.length - done, offset + done);
    done += bytesWritten;
  }
}

/** A disk's back end that counts what it does. */
export interface BlockFile extends BlockBackend {
  readonly counters: BlockCounters;
  /** Hears of all writes, and may hold them up; while the disk travels. */
  log: BlockLog | undefined;
  /** Resolves when a range is here, or undefined if it is; while the disk arrives in post-copy. */
  late: ((offset: number, length: number) => Promise<void> | undefined) | undefined;
}

const NOTHING: BlockCounters = {
  ...{ rd_bytes: 0, wr_bytes: 0, unmap_bytes: 0, rd_operations: 0, wr_operations: 0, flush_operations: 0 },
  ...{ unmap_operations: 0, failed_rd_operations: 0, failed_wr_operations: 0 },
};

/** @param onError is told of every failed request. */
export function blockFile(drive: Drive, onError: (error: BlockError) => void): BlockFile {
  const { fd } = drive;
  const store = drive.snapshot ? blockOverlay(fd) : fileStore(fd);
  const counters = { ...NOTHING };
  const count = (kind: 'rd' | 'wr' | 'unmap', bytes: number): void => {
    counters[`${kind}_operations`]++;
    counters[`${kind}_bytes`] += bytes;
  };
  /** Does something that changes the range. */
  const change = async (offset: number, length: number, work: () => Promise<void>): Promise<void> => {
    await file.late?.(offset, length);
    await file.log?.mayWrite();
    try {
      await work();
    } finally {
      file.log?.mark(offset, length);
    }
  };
  const file: BlockFile = {
    counters,
    log: undefined,
    late: undefined,
    id: drive.id,
    size: drive.size,
    readonly: drive.readonly,
    async read(offset, target) {
      count('rd', target.length);
      await file.late?.(offset, target.length);
      return store.read(offset, target);
    },
    write(offset, bytes) {
      count('wr', bytes.length);
      return change(offset, bytes.length, () => store.write(offset, bytes));
    },
    zero(offset, length, unmap) {
      count('wr', length);
      return change(offset, length, async () => {
        if (unmap && drive.unmap && (await store.cut(offset, length))) return;
        await writeZeros(store, offset, length);
      });
    },
    async discard(offset, length) {
      count('unmap', length);
      if (drive.unmap) await change(offset, length, async () => void (await store.cut(offset, length)));
    },
    async flush() {
      counters.flush_operations++;
      // A temporary file survives nothing anyway.
      if (!drive.noFlush && !drive.snapshot) await store.flush();
    },
    failed(operation, error) {
      if (error instanceof NotHereYet) return 'stop';
      counters[operation === 'read' ? 'failed_rd_operations' : 'failed_wr_operations']++;
      const nospace = (error as NodeJS.ErrnoException).code === 'ENOSPC';
      const action = decide(operation === 'write' ? drive.werror : drive.rerror, nospace);
      onError({ device: drive.id, operation, action, nospace, reason: reasonOf(error) });
      return action;
    },
  };
  return file;
}

function decide(policy: ErrorPolicy, nospace: boolean): BlockErrorAction {
  if (policy !== 'enospc') return policy;
  return nospace ? 'stop' : 'report';
}

/** Where a drive's contents are. */
export interface BlockStore {
  read(offset: number, target: Uint8Array): Promise<void>;
  write(offset: number, bytes: Uint8Array): Promise<void>;
  flush(): Promise<void>;
  /** Gives the range's space back to the host, after which it reads as zero; false if it could not, and did nothing. */
  cut(offset: number, length: number): Promise<boolean>;
}

/** FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE (fallocate(2)). */
const PUNCH_HOLE = 0x03;

export function fileStore(fd: number): BlockStore {
  return {
    read: (offset, target) => readFully(fd, offset, target),
    write: (offset, bytes) => writeFully(fd, offset, bytes),
    flush: () => sync(fd),
    cut: async (offset, length) => (await libc()?.fallocate(fd, PUNCH_HOLE, offset, length)) === 0,
  };
}

/** Writes zeros only where there is something else, so that what takes no space in a sparse file goes on taking none. */
export async function writeZeros(store: BlockStore, offset: number, length: number): Promise<void> {
  const found = new Uint8Array(Math.min(length, CHUNK));
  for (let done = 0; done < length; done += CHUNK) {
    const part = found.subarray(0, Math.min(CHUNK, length - done));
    await store.read(offset + done, part);
    for (const [from, to] of occupied(part)) {
      await store.write(offset + done + from, ZEROS.subarray(0, to - from));
    }
  }
}

const ZEROS = new Uint8Array(CHUNK);
/** What a host's file system gives at a time. */
const BLOCK = 4096;

/** The runs of blocks in which there is something else than zeros. */
export function occupied(bytes: Uint8Array): [from: number, to: number][] {
  const runs: [number, number][] = [];
  for (let at = 0; at < bytes.length; at += BLOCK) {
    const end = Math.min(at + BLOCK, bytes.length);
    if (Buffer.compare(bytes.subarray(at, end), ZEROS.subarray(0, end - at)) === 0) continue;
    const last = runs.at(-1);
    if (last?.[1] === at) last[1] = end;
    else runs.push([at, end]);
  }
  return runs;
}
