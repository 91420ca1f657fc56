/**
 * The image that a disk arrives in. It is made beside the drive's file under the name FILE.partial and takes the file's
 * place when the guest is here, so that under its own name there is always a whole image: the one from before, or the one
 * that the guest goes on with. In post-copy the guest runs before: the image gets its name when all of it is here. A
 * migration that fails removes it; one that is killed leaves it behind, and the next makes it anew.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { GodwitError } from '../error.ts';
import { type Drive, reasonOf } from './drive.ts';
import { keepAtExit, removeAtExit } from './socket-open.ts';

const { O_RDWR, O_CREAT, O_EXCL } = constants;

export class ArrivingImage {
  /** The drive that the machine has: the new image, open. */
  readonly drive: Drive;
  readonly #old: Drive;
  readonly #file: string;
  readonly #partial: string;
  #kept = false;

  /** @throws GodwitError kind "file". */
  constructor(old: Drive) {
    this.#old = old;
    this.#file = realpathSync(old.file);
    this.#partial = `${this.#file}.partial`;
    this.drive = { ...old, fd: this.#create(), allocated: 0 };
  }

  /** The image from before. */
  get baseFd(): number {
    return this.#old.fd;
  }

  #create(): number {
    let fd: number | undefined;
    try {
      rmSync(this.#partial, { force: true });
      const { mode, uid, gid } = fstatSync(this.#old.fd);
      fd = openSync(this.#partial, O_RDWR | O_CREAT | O_EXCL, mode & 0o777);
      removeAtExit(this.#partial);
      const made = fstatSync(fd);
      if (made.uid !== uid || made.gid !== gid) fchownSync(fd, uid, gid);
      fchmodSync(fd, mode & 0o7777);
      ftruncateSync(fd, this.#old.size);
      return fd;
    } catch (error) {
      if (fd !== undefined) this.#remove(fd);
      throw this.#failure(`'${this.#partial}' can't be made`, error);
    }
  }

  /** The guest is here: its image gets its name. @throws GodwitError kind "file". */
  commit(): void {
    keepAtExit(this.#partial);
    try {
      if (!this.#isOurs()) throw new Error('somebody else has replaced it');
      if (this.drive.snapshot) {
        // The user's file is to stay as it is: this one ends with the process.
        rmSync(this.#partial);
        return;
      }
      renameSync(this.#partial, this.#file);
      // The new name is on the disk when its folder is.
      const folder = openSync(dirname(this.#file), 'r');
      fsyncSync(folder);
      closeSync(folder);
    } catch (error) {
      throw this.#failure(`'${this.#partial}' could not take the place of '${this.#file}'`, error);
    }
    closeSync(this.#old.fd);
  }

  /** The guest is here, and its image is not whole yet: what it has written stays, whatever happens. */
  keep(): void {
    this.#kept = true;
    keepAtExit(this.#partial);
  }

  /** The guest is not coming. */
  discard(): void {
    if (this.#kept) return;
    if (this.#isOurs()) this.#remove(this.drive.fd);
    else closeSync(this.drive.fd);
  }

  /** Whether the file of that name is the one that was made here. */
  #isOurs(): boolean {
    const [ours, there] = [fstatSync(this.drive.fd), statSync(this.#partial, { throwIfNoEntry: false })];
    return ours.dev === there?.dev && ours.ino === there.ino;
  }

  #remove(fd: number): void {
    closeSync(fd);
    rmSync(this.#partial, { force: true });
    keepAtExit(this.#partial);
  }

  #failure(what: string, error: unknown): GodwitError {
    return new GodwitError('file', `drive '${this.#old.id}': ${what}: ${reasonOf(error)}`, {}, error);
  }
}
