/**
 * The guest's memory as the host side sees it: RAM blocks by name, page flags, and the one way for everything outside
 * generated code to write, so that the dirty log and predecoded code always know.
 */
import { type Clear, clearOf } from './clear.ts';
import { DirtyLog, type Writer } from './dirty-log.ts';
import { type Layout, PAGE_FLAG, PAGE_SHIFT, PAGE_SIZE, type RamBlock } from './layout.ts';
import { MissingPages } from './missing-pages.ts';

export class GuestMemory {
  readonly memory: WebAssembly.Memory;
  readonly layout: Layout;
  readonly missing: MissingPages;
  readonly #bytes: Uint8Array;
  readonly #clear: Clear;
  readonly dirtyLog: DirtyLog;
  /** Told of every page that changed while predecoded code of it exists. */
  #onCodeWrite: (page: number, offset: number, length: number) => void = () => {};

  constructor(memory: WebAssembly.Memory, layout: Layout) {
    this.memory = memory;
    this.layout = layout;
    this.missing = new MissingPages(memory, layout);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#clear = clearOf(memory);
    this.dirtyLog = new DirtyLog(memory, layout);
  }

  set onCodeWrite(listener: (page: number, offset: number, length: number) => void) {
    this.#onCodeWrite = listener;
  }

  /** @throws Error if there is no such block: a defect, not a user's error. */
  block(name: string): RamBlock {
    const block = this.layout.blocks.find((candidate) => candidate.name === name);
    if (block === undefined) throw new Error(`no RAM block ${name}`);
    return block;
  }

  /** A view of `length` bytes at byte offset `at` of the shared memory; for reading. */
  view(at: number, length: number): Uint8Array {
    return this.#bytes.subarray(at, at + length);
  }

  /** Writes at byte offset `at` of the shared memory, inside one block. @param by the hart that does, if it is one. */
  write(at: number, bytes: Uint8Array, by?: Writer): void {
    this.#bytes.set(bytes, at);
    this.wrote(at, bytes.length, by);
  }

  /** Sets `length` bytes at `at` to zero. */
  clear(at: number, length: number, by?: Writer): void {
    this.#clear(at, length);
    this.wrote(at, length, by);
  }

  /** Marks a range that was written in place. */
  wrote(at: number, length: number, by?: Writer): void {
    if (length === 0) return;
    const { blocksBase, pageFlags } = this.layout;
    const first = (at - blocksBase) >>> PAGE_SHIFT;
    const last = (at + length - 1 - blocksBase) >>> PAGE_SHIFT;
    const logging = this.dirtyLog.on;
    for (let page = first; page <= last; page++) {
      if (logging) this.dirtyLog.mark(page, by);
      if (((this.#bytes[pageFlags + page] ?? 0) & PAGE_FLAG.code) !== 0) {
        const start = blocksBase + page * PAGE_SIZE;
        const from = Math.max(at - start, 0);
        this.#onCodeWrite(page, from, Math.min(at + length - start, PAGE_SIZE) - from);
      }
    }
  }

  pageFlags(page: number): number {
    return this.#bytes[this.layout.pageFlags + page] ?? 0;
  }

  setPageFlag(page: number, flag: number, on: boolean): void {
    const flags = this.pageFlags(page);
    this.#bytes[this.layout.pageFlags + page] = on ? flags | flag : flags & ~flag;
  }
}
