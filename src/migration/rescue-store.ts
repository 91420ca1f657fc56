/**
 * The source's part of a rescue: gathers checkpoints of the guest that runs at the destination (rescue-stream.ts), and
 * brings each into its own memory when all of it is there. What stands in memory is so always of one instant: that of the
 * hand-over, or that of the last whole checkpoint.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { type Layout, PAGE_SIZE } from '../memory/layout.ts';
import { type CheckpointPage, decodeCheckpointPages } from './checkpoint-frame.ts';
import type { Frame } from './frame-reader.ts';
import type { SourceVm } from './migratable-vm.ts';
import { PageBitmap } from './page-bitmap.ts';
import { decodeMessage } from './protocol.ts';
import type { RescueStatistics } from './statistics.ts';
import type { Timers } from './timers.ts';

/** Pages put in place at a time: the destination's requests are served in between. */
const AT_ONCE = 256;

export interface RescueStoreOptions {
  readonly vm: SourceVm;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Whether a page has yet to be sent: the destination can't have written to it. */
  readonly isPending: (page: number) => boolean;
}

/** What the guest goes on from. */
export interface RescuePoint {
  /** 0: the hand-over. */
  readonly number: number;
  readonly ageMs: number;
  /** Undefined at the hand-over: the machine has it. */
  readonly state: Uint8Array | undefined;
}

export class RescueStore {
  readonly #options: RescueStoreOptions;
  readonly #bytes: Uint8Array;
  readonly #layout: Layout;
  /** Of the checkpoint that is arriving. */
  #pages: CheckpointPage[] = [];
  readonly #seen: PageBitmap;
  #size = 0;
  #number = 0;
  #state: Uint8Array | undefined;
  #atNs: number;
  /** The completion that is under way; never rejects. */
  #completing: Promise<void> = Promise.resolve();
  readonly #figures = { checkpoints: 0, pages: 0, bytes: 0 };

  /** At the hand-over. */
  constructor(options: RescueStoreOptions) {
    this.#options = options;
    this.#layout = options.vm.layout;
    this.#bytes = new Uint8Array(options.vm.memory.buffer);
    this.#seen = PageBitmap.create(this.#layout.pages);
    this.#atNs = options.clock.nowNs();
  }

  get statistics(): RescueStatistics {
    return { ...this.#figures, age: Math.round((this.#options.clock.nowNs() - this.#atNs) / 1e6) };
  }

  /** Pages of a checkpoint. @throws GodwitError kind "format". */
  take({ payload, offset }: Frame): void {
    const pages = decodeCheckpointPages(payload, this.#layout.pages, offset);
    for (const { page } of pages) {
      if (this.#seen.has(page) || this.#options.isPending(page)) {
        const what = this.#seen.has(page) ? 'has had before' : 'has not been sent';
        throw GodwitError.unexpected(
          'format',
          'frame "rescuePages"',
          'pages that the destination has, once',
          `page ${page}, which it ${what}`,
          offset,
        );
      }
      this.#seen.add(page);
    }
    this.#pages.push(...pages);
    this.#size += payload.length;
  }

  /**
   * The checkpoint is complete: it takes the place of the one before. Resolves with its number.
   * @throws GodwitError kind "format"; then the one before stands.
   */
  async complete({ payload, offset }: Frame): Promise<number> {
    const { number, pages, state } = decodeMessage('checkpoint', payload, offset);
    if (pages !== this.#pages.length) {
      const got = String(this.#pages.length);
      throw GodwitError.unexpected('format', 'frame "checkpoint", pages', `${pages}`, got, offset);
    }
    const taken = this.#pages;
    const atNs = this.#options.clock.nowNs();
    const bytes = this.#size + payload.length;
    this.forget();
    const completion = this.#bringIn(taken, state);
    this.#completing = completion.catch(() => {});
    await completion;
    this.#atNs = atNs;
    this.#figures.checkpoints++;
    this.#figures.pages += pages;
    this.#figures.bytes += bytes;
    return number;
  }

  /** Once the first page is in place, all will be, and the state with them. */
  async #bringIn(pages: readonly CheckpointPage[], state: Uint8Array): Promise<void> {
    await this.#options.vm.checkState(state);
    this.#state = state;
    this.#number++;
    for (const [i, { page, bytes }] of pages.entries()) {
      const at = this.#layout.blocksBase + page * PAGE_SIZE;
      if (bytes === undefined) this.#bytes.fill(0, at, at + PAGE_SIZE);
      else this.#bytes.set(bytes, at);
      if (i % AT_ONCE === AT_ONCE - 1) await this.#options.timers.turn();
    }
  }

  /** What has come of a checkpoint that is not complete is worth nothing. */
  forget(): void {
    this.#pages = [];
    this.#seen.clear();
    this.#size = 0;
  }

  /** What stands in memory now. */
  async point(): Promise<RescuePoint> {
    await this.#completing;
    const ageMs = (this.#options.clock.nowNs() - this.#atNs) / 1e6;
    return { number: this.#number, ageMs, state: this.#state };
  }
}
