/**
 * Slots of the shared scratch memory that frames are built and sent from. A slot is used again only when its write has
 * completed, because the operating system reads it until then.
 */
import { SCRATCH_SIZE } from '../memory/layout.ts';
import { HEADER_SIZE } from './frame.ts';
import { KERNEL_SCRATCH } from './kernels.ts';
import { MAX_RAM_PAYLOAD } from './ram-stream.ts';

/** A header, a payload, and padding to a multiple of 4 KiB. */
const SLOT_SIZE = Math.ceil((HEADER_SIZE + MAX_RAM_PAYLOAD) / 4096) * 4096;
const MAX_SLOTS = Math.floor((SCRATCH_SIZE - KERNEL_SCRATCH) / SLOT_SIZE);

export class SendRing {
  readonly #free: number[] = [];
  readonly #writes: Promise<void>[] = [];
  #failure: { readonly error: unknown } | undefined;

  /** @param scratch byte offset of the scratch area. */
  constructor(scratch: number, slots = Math.min(4, MAX_SLOTS)) {
    for (let i = 0; i < slots; i++) this.#free.push(scratch + KERNEL_SCRATCH + i * SLOT_SIZE + HEADER_SIZE);
  }

  /**
   * Waits for a slot and takes it.
   * @returns address of a payload of up to MAX_RAM_PAYLOAD bytes; HEADER_SIZE bytes before it are the slot's too.
   * @throws what an earlier write threw.
   */
  async acquire(): Promise<number> {
    this.#check();
    while (this.#free.length === 0) {
      await this.#writes[0];
      this.#check();
    }
    return this.#free.pop() as number;
  }

  /** Gives a slot back unused. */
  release(slot: number): void {
    this.#free.push(slot);
  }

  /** The slot is free again when `write` resolves; what it rejects with, the next `acquire` or `drain` throws. */
  submit(slot: number, write: Promise<void>): void {
    const settled: Promise<void> = write
      .then(
        () => {
          this.#free.push(slot);
        },
        (error: unknown) => {
          this.#failure ??= { error };
        },
      )
      .then(() => {
        this.#writes.splice(this.#writes.indexOf(settled), 1);
      });
    this.#writes.push(settled);
  }

  /** Resolves when all writes have completed. */
  async drain(): Promise<void> {
    await Promise.all(this.#writes);
    this.#check();
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
