/**
 * Drives: the disk images that -drive names. The main thread opens them, so that what is wrong is known before there is
 * a machine; the machine's thread reads and writes them.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { type BlockErrorAction, SECTOR_BYTES } from '../devices/block.ts';
import type { BackendFacts } from '../devices/model.ts';
import { GodwitError } from '../error.ts';

/** What to do about an error: QEMU's werror= and rerror=. "enospc" stops at a full disk and reports the rest. */
export type ErrorPolicy = BlockErrorAction | 'enospc';

/** A drive as a user describes it. */
export interface DriveSpec {
  readonly id: string;
  readonly file: string;
  /** The format was given: an image that looks like another format's is taken as it is. */
  readonly raw: boolean;
  readonly readonly: boolean;
  /** What is written goes to a temporary file that ends with the process. */
  readonly snapshot: boolean;
  /** A flush is needed to make what was written survive; otherwise every write does. */
  readonly writeback: boolean;
  /** Flushes are ignored. */
  readonly noFlush: boolean;
  /** Discarded ranges may be given back to the host. */
  readonly unmap: boolean;
  readonly werror: ErrorPolicy;
  readonly rerror: ErrorPolicy;
  /** The option as it was written, for errors. */
  readonly where: string;
}

/** An open drive; it can be handed to another thread. */
export interface Drive extends DriveSpec {
  readonly fd: number;
  /** Bytes, in whole sectors: the last one may reach beyond the file's end. */
  readonly size: number;
  /** Bytes that the host keeps for it. */
  readonly allocated: number;
}

const QCOW2_MAGIC = Uint8Array.of(0x51, 0x46, 0x49, 0xfb);

/**
 * Opens them all. The same file may be in several of them if no more than one writes.
 * @throws GodwitError kind "file".
 */
export function openDrives(specs: readonly DriveSpec[]): Drive[] {
  const drives = specs.map(openDrive);
  /** Ids, by file. */
  const writers = new Map<string, string>();
  for (const { fd, file, readonly, snapshot, where, id } of drives) {
    if (readonly || snapshot) continue;
    const { dev, ino } = fstatSync(fd);
    const other = writers.get(`${dev}:${ino}`);
    if (other !== undefined) {
      const why = `'${file}' is the drive '${other}', too`;
      throw new GodwitError('file', `${where}: Failed to get "write" lock: ${why}`, { where: file, got: id });
    }
    writers.set(`${dev}:${ino}`, id);
  }
  return drives;
}

/** @throws GodwitError kind "file". */
export function openDrive(spec: DriveSpec): Drive {
  const { file, where } = spec;
  const failed = (why: string, cause?: unknown): GodwitError =>
    new GodwitError('file', `${where}: Could not open '${file}': ${why}`, { where: file }, cause);
  let fd: number;
  try {
    fd = openSync(file, spec.readonly || spec.snapshot ? 'r' : 'r+');
  } catch (error) {
    throw failed(reasonOf(error), error);
  }
  const refuse = (why: string): GodwitError => {
    closeSync(fd);
    return failed(why);
  };
  const stat = fstatSync(fd);
  if (!stat.isFile()) throw refuse('it is no regular file');
  const start = new Uint8Array(QCOW2_MAGIC.length);
  readSync(fd, start, 0, start.length, 0);
  if (!spec.raw && start.every((byte, i) => byte === QCOW2_MAGIC[i])) {
    throw refuse('it is a qcow2 image, and only raw ones are read (format=raw takes it as it is)');
  }
  const size = Math.ceil(stat.size / SECTOR_BYTES) * SECTOR_BYTES;
  return { ...spec, fd, size, allocated: stat.blocks * 512 };
}

/** What the machine's configuration holds of a drive. */
export function driveFacts({ id, size, readonly, writeback }: Drive): BackendFacts {
  return { kind: 'drive', id, facts: { size, readonly, writeback } };
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'No such file or directory',
  EACCES: 'Permission denied',
  EPERM: 'Operation not permitted',
  EISDIR: 'Is a directory',
  EROFS: 'Read-only file system',
  ENOSPC: 'No space left on device',
  EIO: 'Input/output error',
};

/** Why a system call failed, in the system's words. */
export function reasonOf(error: unknown): string {
  const { code = '', message = String(error) } = error as NodeJS.ErrnoException;
  return REASONS[code] ?? message;
}
