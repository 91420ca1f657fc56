/**
 * The destination's part of a rescue (capability `postcopy-rescue`): while the guest runs here without all of its memory,
 * checkpoints of it go back to the source, which can take it up from the last one if this process dies. A checkpoint is
 * what the guest has written since the one before and the device state, both of one instant; the source uses it only when
 * all of it is there.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import { encodeCheckpointPages, MAX_CHECKPOINT_PAGES } from './checkpoint-frame.ts';
import { asGodwitError } from './interrupt.ts';
import type { Checkpoint, PostcopyVm } from './migratable-vm.ts';
import { encodeMessage } from './protocol.ts';
import type { ReceiverLink } from './receiver-link.ts';
import type { RescueStatistics } from './statistics.ts';

/** How soon it is tried again when a checkpoint can't be taken. */
const AGAIN_MS = 5;

export interface RescueStreamOptions {
  readonly vm: PostcopyVm;
  readonly clock: Clock;
  /** From one checkpoint to the next. */
  readonly intervalMs: number;
  /** How long the source may take to confirm one. */
  readonly patienceMs: () => number;
}

export class RescueStream {
  readonly #options: RescueStreamOptions;
  /** Over which checkpoints go now. */
  #link: ReceiverLink | undefined;
  #wake: () => void = () => {};
  #number = 0;
  /** Of a checkpoint that the source has not confirmed: the next one has them again. */
  #unconfirmed: Uint32Array = new Uint32Array(0);
  /** Told when the source has the checkpoint that has been sent; absent unless one has. */
  #confirmed: (() => void) | undefined;
  readonly #figures = { checkpoints: 0, pages: 0, bytes: 0, pausedNs: 0, longestNs: 0 };

  constructor(options: RescueStreamOptions) {
    this.#options = options;
  }

  get statistics(): RescueStatistics {
    const { checkpoints, pages, bytes, pausedNs, longestNs } = this.#figures;
    const mean = checkpoints === 0 ? 0 : pausedNs / checkpoints;
    return { checkpoints, pages, bytes, 'pause-mean': Math.round(mean), 'pause-max': Math.round(longestNs) };
  }

  /** From now on checkpoints go over this link, the first one an interval from now. */
  start(link: ReceiverLink): void {
    this.#link = link;
    this.#confirmed = undefined;
    this.#run(link).catch((error: unknown) => {
      if (this.#link === link) link.interrupt.fire(asGodwitError(error));
    });
  }

  /** Nothing more is sent. */
  stop(): void {
    this.#link = undefined;
    this.#wake();
  }

  /** The source has a checkpoint. @throws GodwitError kind "format" if it can't. */
  confirmed(number: number, offset: number): void {
    if (number !== this.#number || this.#confirmed === undefined) {
      throw GodwitError.unexpected(
        'format',
        'frame "checkpointed", number',
        `${this.#number}`,
        `${number}`,
        offset,
      );
    }
    this.#confirmed();
    this.#confirmed = undefined;
  }

  async #run(link: ReceiverLink): Promise<void> {
    const { vm, clock, intervalMs } = this.#options;
    for (let atNs = clock.nowNs(); ; ) {
      atNs = Math.max(atNs + intervalMs * 1e6, clock.nowNs());
      await this.#sleep(link, (atNs - clock.nowNs()) / 1e6);
      let checkpoint: Checkpoint | undefined;
      while (this.#link === link) {
        checkpoint = await vm.checkpoint(this.#unconfirmed);
        if (checkpoint !== undefined) break;
        await this.#sleep(link, AGAIN_MS);
      }
      if (checkpoint === undefined) return;
      this.#unconfirmed = checkpoint.pages;
      if (this.#link !== link) return;
      await this.#send(link, checkpoint);
      if (this.#link !== link) return;
    }
  }

  /** Returns when the source has it, or nothing is to be sent any more. */
  async #send(link: ReceiverLink, { pages, data, state, pausedNs }: Checkpoint): Promise<void> {
    const number = ++this.#number;
    const before = link.writer.bytes;
    for (let at = 0; at < pages.length; at += MAX_CHECKPOINT_PAGES) {
      const some = pages.subarray(at, at + MAX_CHECKPOINT_PAGES);
      const bytes = data.subarray(at * PAGE_SIZE, (at + some.length) * PAGE_SIZE);
      // One after the other: a page that is asked for meanwhile stands in line behind one frame.
      await this.#say(link, 'rescuePages', encodeCheckpointPages(some, bytes));
      if (this.#link !== link) return;
    }
    const confirmation = new Promise<void>((resolve) => {
      this.#confirmed = resolve;
      this.#wake = resolve;
    });
    const message = encodeMessage('checkpoint', { number, pages: pages.length, state });
    await this.#say(link, 'checkpoint', message);
    await link.interrupt.guard(confirmation, {
      ms: this.#options.patienceMs(),
      what: 'take a checkpoint',
    });
    if (this.#link !== link) return;
    this.#unconfirmed = new Uint32Array(0);
    const figures = this.#figures;
    figures.checkpoints++;
    figures.pages += pages.length;
    figures.bytes += link.writer.bytes - before;
    figures.pausedNs += pausedNs;
    figures.longestNs = Math.max(figures.longestNs, pausedNs);
  }

  async #say(link: ReceiverLink, type: 'rescuePages' | 'checkpoint', payload: Uint8Array): Promise<void> {
    const ms = this.#options.patienceMs();
    await link.interrupt.guard(link.writer.send(type, payload), { ms, what: `take "${type}"` });
  }

  async #sleep(link: ReceiverLink, ms: number): Promise<void> {
    if (this.#link !== link) return;
    await link.interrupt.sleep(ms, (wake) => {
      this.#wake = wake;
    });
  }
}
