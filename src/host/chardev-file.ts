/** `file:PATH`: what is written goes to a file, which is made empty first, as in QEMU; there is no input. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { GodwitError } from '../error.ts';
import { type Chardev, ChardevBase } from './chardev.ts';

export class FileChardev extends ChardevBase implements Chardev {
  readonly label: string;
  readonly connected = true;
  readonly backlogBytes = 0;
  #fd: number | undefined;

  /** @throws GodwitError kind 'transport'. */
  constructor(path: string) {
    super();
    this.label = `file:${path}`;
    try {
      this.#fd = openSync(path, 'w');
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new GodwitError('transport', `${this.label}: ${reason}`, { where: path }, error);
    }
  }

  write(bytes: Uint8Array): void {
    if (this.#fd === undefined) return;
    try {
      // Copied, because the file system's calls refuse shared memory.
      const chunk = Uint8Array.from(bytes);
      for (let at = 0; at < chunk.length; ) at += writeSync(this.#fd, chunk, at);
    } catch {
      // A full disk loses console output; it is no reason to lose the guest.
    }
  }

  hangup(): void {}
  pause(): void {}
  resume(): void {}

  async close(): Promise<void> {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}
