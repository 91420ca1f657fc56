/**
 * Memory as it arrives, over one connection or several: gives each frame a slot, and hands it to a thread that checks it
 * and puts its pages in place while the next one is read. Without such threads it is done here.
 */
import { GodwitError } from '../error.ts';
import type { Frame, LandingSlots } from './frame-reader.ts';
import type { Interrupt } from './interrupt.ts';
import { asGodwitError } from './interrupt.ts';
import type { DestinationVm } from './migratable-vm.ts';
import { arrivalSlots, RAM_FRAMES, RamApplier, type RamFrame, type RamJob } from './ram-applier.ts';
import type { RamCounts, RamLoad } from './ram-load.ts';

export class RamReceiver {
  readonly #ram: RamLoad;
  readonly #interrupt: Interrupt;
  readonly #deltas: boolean;
  readonly #apply: (job: RamJob) => RamCounts | Promise<RamCounts>;
  readonly #free: number[];
  readonly #base: number;
  readonly #slotSize: number;
  readonly #waiters: ((slot: number) => void)[] = [];
  readonly #pending = new Set<Promise<void>>();
  readonly slots: LandingSlots;

  /** @param deltas whether the stream may have any. */
  constructor(vm: DestinationVm, ram: RamLoad, interrupt: Interrupt, deltas: boolean) {
    const { memory, layout } = vm;
    this.#ram = ram;
    this.#interrupt = interrupt;
    this.#deltas = deltas;
    if (vm.applyRam === undefined) {
      const applier = new RamApplier(memory, layout, 0, vm.unpackRam);
      this.#apply = (job) => applier.apply(job);
    } else this.#apply = vm.applyRam;
    this.#free = arrivalSlots(layout);
    const [first = 0, second = 0] = this.#free;
    this.#base = first;
    this.#slotSize = second - first;
    this.slots = { types: RAM_FRAMES, memory, acquire: () => this.#acquire() };
  }

  /**
   * Takes a frame that stands in a slot. What is wrong with it is thrown here, or fired at the interrupt later.
   * @param channel it came over.
   */
  take(frame: Frame, channel: number): void {
    const { type, at, payload, proof, offset } = frame;
    if (at === undefined || proof === undefined) {
      throw new GodwitError('internal', 'a frame of memory was read to the wrong place');
    }
    if (this.#ram.complete) {
      this.#release(at);
      const where = `${channel === 0 ? '' : `channel ${channel}, `}frame "${type}", pass`;
      throw GodwitError.unexpected('format', where, 'none after the final one', 'another', offset);
    }
    const job: RamJob = {
      type: type as RamFrame,
      at,
      length: payload.length,
      ...proof,
      pass: this.#ram.counts.passes + 1,
      deltas: this.#deltas,
      offset,
      channel,
    };
    let result: RamCounts | Promise<RamCounts>;
    try {
      result = this.#apply(job);
    } catch (error) {
      this.#release(at);
      throw error;
    }
    if (!(result instanceof Promise)) {
      this.#ram.add(result);
      this.#release(at);
      return;
    }
    const done: Promise<void> = result
      .then(
        (counts) => this.#ram.add(counts),
        (error: unknown) => this.#interrupt.fire(asGodwitError(error)),
      )
      .then(() => {
        this.#pending.delete(done);
        this.#release(at);
      });
    this.#pending.add(done);
  }

  /** Waits until all that was taken is in place. @throws what was wrong with any of it. */
  async settled(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending);
    this.#interrupt.check();
  }

  #acquire(): Promise<number> {
    const slot = this.#free.pop();
    return slot === undefined ? new Promise((resolve) => this.#waiters.push(resolve)) : Promise.resolve(slot);
  }

  #release(at: number): void {
    const slot = at - ((at - this.#base) % this.#slotSize);
    const waiter = this.#waiters.shift();
    if (waiter === undefined) this.#free.push(slot);
    else waiter(slot);
  }
}
