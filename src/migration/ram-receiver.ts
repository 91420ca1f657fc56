/**
 * Memory as it arrives, over one connection or several: gives each frame a slot, and hands it to a thread that checks it
 * and puts its pages in place while the next one is read. Without such threads it is done here.
 */
import { GodwitError } from '../error.ts';
import type { Frame, LandingSlots, Proof } from './frame-reader.ts';
import type { Interrupt } from './interrupt.ts';
import { asGodwitError } from './interrupt.ts';
import { type Kernels, type Piece, sizeOf } from './kernels.ts';
import type { DestinationVm } from './migratable-vm.ts';
import {
  arrivalSlots,
  checkProof,
  frameOver,
  RAM_FRAMES,
  RamApplier,
  type RamFrame,
  type RamJob,
} from './ram-applier.ts';
import type { RamCounts, RamLoad } from './ram-load.ts';
import { MAX_RUNS, RAM_HEADER_SIZE, RUN_SIZE } from './ram-stream.ts';

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
  readonly #kernels: Kernels;
  readonly #view: DataView;
  /** Slots of frames whose pages are being read to where they belong. */
  readonly #placing = new Set<number>();
  #finished = false;

  /**
   * @param kernels of this thread, over the VM's memory.
   * @param deltas whether the stream may have any.
   */
  constructor(vm: DestinationVm, kernels: Kernels, ram: RamLoad, interrupt: Interrupt, deltas: boolean) {
    const { memory, layout } = vm;
    this.#kernels = kernels;
    this.#view = new DataView(memory.buffer);
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
    this.slots = {
      types: RAM_FRAMES,
      memory,
      acquire: () => this.#acquire(),
      pieces: (type, slot, length) => this.#pieces(type as RamFrame, slot, length),
    };
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
      const where = `${frameOver(channel, type)}, pass`;
      throw GodwitError.unexpected('format', where, 'none after the final one', 'another', offset);
    }
    if (this.#placing.delete(at)) {
      this.#takePlaced(frame, proof, channel);
      this.#release(at);
      return;
    }
    const job: RamJob = {
      type: type as RamFrame,
      at,
      length: payload.length,
      seed: proof.seed,
      checksum: proof.checksum,
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

  /**
   * No more memory comes in passes: the guest may run here.
   * @throws GodwitError kind "format" if some is on the way.
   */
  finish(): void {
    this.#finished = true;
    if (this.#placing.size > 0)
      throw new GodwitError(
        'format',
        'migration stream: the passes have ended before all of their memory was here',
      );
  }

  /**
   * From the second pass on the host has found memory for all pages. So what comes is read straight to where it belongs, and
   * checked there: as long as the guest has never run here, a frame that is not right is the end of what was there before, too.
   */
  *#pieces(type: RamFrame, slot: number, length: number): Generator<Piece> {
    let at = slot;
    if (type === 'ram' && this.#ram.counts.passes > 0 && !this.#finished && length > RAM_HEADER_SIZE) {
      yield { at, length: RAM_HEADER_SIZE };
      at += RAM_HEADER_SIZE;
      const runs = Math.min(this.#view.getUint32(slot + 4, true), MAX_RUNS);
      const table = Math.min(runs * RUN_SIZE, length - RAM_HEADER_SIZE);
      yield { at, length: table };
      at += table;
      const pages = this.#finished ? undefined : this.#ram.placement(slot, length);
      if (pages !== undefined) {
        this.#placing.add(slot);
        yield* pages;
        return;
      }
    }
    yield { at, length: length - (at - slot) };
  }

  /** @throws GodwitError kind "format". */
  #takePlaced(frame: Frame, proof: Proof, channel: number): void {
    checkProof(this.#kernels, proof, frameOver(channel, frame.type), frame.offset);
    this.#ram.apply(frame, sizeOf(proof.pieces) - frame.payload.length);
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
