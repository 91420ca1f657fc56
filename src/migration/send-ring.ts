/**
 * Slots of the shared scratch memory that frames are built and sent from. A slot is used again only when its write has
 * completed, because the operating system reads it until then.
 */
import { GodwitError } from '../error.ts';
import { DISK_SCRATCH } from './disk-slots.ts';
import { HEADER_SIZE } from './frame.ts';
import { KERNEL_SCRATCH } from './kernels.ts';
import { MAX_RAM_PAYLOAD } from './ram-stream.ts';

/** A header, a payload, and padding to a multiple of 4 KiB. */
const SLOT_SIZE = Math.ceil((HEADER_SIZE + MAX_RAM_PAYLOAD) / 4096) * 4096;
const SLOTS = 4;
if (KERNEL_SCRATCH + SLOTS * SLOT_SIZE > DISK_SCRATCH)
  throw new GodwitError('internal', 'the scratch area is too small');

/** Addresses of payloads of RAM. @param scratch byte offset of the scratch area. */
export function ramSlots(scratch: number): number[] {
  return Array.from({ length: SLOTS }, (_, i) => scratch + KERNEL_SCRATCH + i * SLOT_SIZE + HEADER_SIZE);
}

export class SendRing {
  readonly #free: number[];
  readonly #writes: Promise<void>[] = [];
  #failure: { readonly error: unknown } | undefined;

  /** @param slots addresses of payloads; HEADER_SIZE bytes before each are the slot's, too. */
  constructor(slots: readonly number[]) {
    this.#free = [...slots];
  }

  /**
   * Waits for a slot and takes it.
   * @returns address of a payload.
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

  /** A slot, if one is free. */
  take(): number | undefined {
    return this.#free.pop();
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
