/** A disk's back end in memory whose requests a test lets end, or fail, when it likes. */
import { type BlockBackend, type BlockErrorAction, SECTOR_BYTES } from '../../src/devices/block.ts';

export type DiskCall = 'read' | 'write' | 'zero' | 'discard' | 'flush';

export class FakeDisk implements BlockBackend {
  readonly id = 'x0';
  readonly readonly: boolean = false;
  readonly contents: Uint8Array;
  /** What was asked for, in order: "write 512+1024". */
  readonly calls: string[] = [];
  /** While set, requests wait for `release`. */
  held = false;
  /** The next call of this kind fails with this code. */
  failNext: { readonly call: DiskCall; readonly code: string } | undefined;
  action: BlockErrorAction = 'report';
  readonly failures: string[] = [];
  #waiting: (() => void)[] = [];

  /** @param sectors of the disk. */
  constructor(sectors: number) {
    this.contents = new Uint8Array(sectors * SECTOR_BYTES);
  }

  get size(): number {
    return this.contents.length;
  }

  /** How many requests wait. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Lets all that wait end, or the first `count`. */
  async release(count = this.#waiting.length): Promise<void> {
    for (const go of this.#waiting.splice(0, count)) go();
    await settled();
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    await this.#turn('read', offset, target.length);
    target.set(this.contents.subarray(offset, offset + target.length));
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#turn('write', offset, bytes.length);
    this.contents.set(bytes, offset);
  }

  async zero(offset: number, length: number, unmap: boolean): Promise<void> {
    await this.#turn('zero', offset, length, unmap ? ' unmap' : '');
    this.contents.fill(0, offset, offset + length);
  }

  async discard(offset: number, length: number): Promise<void> {
    await this.#turn('discard', offset, length);
  }

  async flush(): Promise<void> {
    await this.#turn('flush', 0, 0);
  }

  failed(operation: 'read' | 'write', error: unknown): BlockErrorAction {
    this.failures.push(`${operation} ${(error as NodeJS.ErrnoException).code}`);
    return this.action;
  }

  async #turn(call: DiskCall, offset: number, length: number, note = ''): Promise<void> {
    this.calls.push(call === 'flush' ? 'flush' : `${call} ${offset}+${length}${note}`);
    const fails = this.failNext?.call === call ? this.failNext.code : undefined;
    if (fails !== undefined) this.failNext = undefined;
    if (this.held) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (fails !== undefined) throw Object.assign(new Error(fails), { code: fails });
  }
}

/** When every promise that could be settled by now is. */
export async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
