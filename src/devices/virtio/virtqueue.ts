/**
 * A split virtqueue as the device sees it. Virtual I/O Device 1.2, §2.6 and §2.7. All that stands in the rings comes
 * from the guest and may be a lie: what can't be is reported once, by `fail`, and no queue is served after that.
 */
import { bool, type StateOfFields, u16, u32, u64 } from '../../vmstate/fields.ts';
import type { DmaMemory } from '../dma.ts';

/** The most entries of a queue (QEMU's VIRTQUEUE_MAX_SIZE), and the most descriptors of a chain. */
export const MAX_QUEUE_SIZE = 1024;

const DESCRIPTOR_BYTES = 16;
/** §2.7.5: flags of a descriptor. */
const DESC_NEXT = 1;
const DESC_WRITE = 2;
const DESC_INDIRECT = 4;
/** §2.7.6: the driver wants no interrupts. */
const AVAIL_NO_INTERRUPT = 1;
/** Flags and index, which both rings begin with. */
const RING_HEAD_BYTES = 4;
const USED_ELEMENT_BYTES = 8;

/** §2.7.6 and §2.7.8: alignment of a used ring in the legacy interface, unless the driver says otherwise. */
export const LEGACY_ALIGN = 4096;

export const QUEUE_FIELDS = {
  /** Queue size: entries. */
  num: u16(),
  ready: bool(),
  /** Descriptor table. */
  desc: u64(),
  /** Driver area: the available ring. */
  avail: u64(),
  /** Device area: the used ring. */
  used: u64(),
  /** Legacy: alignment of the used ring. */
  align: u32(),
  /** Index of the next available entry to look at. */
  lastAvail: u16(),
  /** Index of the used ring as the driver sees it. */
  usedIndex: u16(),
  /** The used index at the last look at `used_event`; from the first look on. */
  signalled: u16(),
  signalledValid: bool(),
};
export type QueueState = StateOfFields<typeof QUEUE_FIELDS>;

/**
 * §2.7.2: the legacy layout, from its descriptors' address on: available ring, and at the next aligned address the used
 * ring.
 */
export function placeLegacy(state: QueueState): void {
  const align = BigInt(state.align);
  state.avail = state.desc + BigInt(DESCRIPTOR_BYTES * state.num);
  const end = state.avail + BigInt(6 + 2 * state.num);
  state.used = ((end + align - 1n) / align) * align;
}

/** A piece of guest memory. */
export interface Segment {
  readonly address: number;
  readonly length: number;
}

/** A chain of descriptors: what the device may read, then what it may write. */
export interface Chain {
  /** Index of its first descriptor, by which it is given back. */
  readonly head: number;
  readonly readable: readonly Segment[];
  readonly writable: readonly Segment[];
  /** Bytes. */
  readonly readableBytes: number;
  readonly writableBytes: number;
}

export interface VirtqueueOptions {
  readonly dma: DmaMemory;
  /** Whether the driver has taken this feature. */
  readonly eventIndex: () => boolean;
  readonly notifyOnEmpty: () => boolean;
  /** The rings can't be what the driver means: no queue of the device is to be served any more. */
  fail(reason: string): void;
}

/** Entries of a queue that was never set up. */
export function resetQueue(num: number): QueueState {
  return {
    ...{ num, ready: false, desc: 0n, avail: 0n, used: 0n, align: LEGACY_ALIGN },
    ...{ lastAvail: 0, usedIndex: 0, signalled: 0, signalledValid: false },
  };
}

export class Virtqueue {
  readonly #options: VirtqueueOptions;
  #state: QueueState;
  readonly #descriptor = new DataView(new ArrayBuffer(DESCRIPTOR_BYTES));
  readonly #word = new DataView(new ArrayBuffer(USED_ELEMENT_BYTES));
  readonly #two = new Uint8Array(this.#word.buffer, 0, 2);
  readonly #eight = new Uint8Array(this.#word.buffer);
  readonly #sixteen = new Uint8Array(this.#descriptor.buffer);

  constructor(state: QueueState, options: VirtqueueOptions) {
    this.#state = state;
    this.#options = options;
  }

  /** The live state. */
  get state(): QueueState {
    return this.#state;
  }

  load(state: QueueState): void {
    this.#state = state;
  }

  /** Whether an available chain waits; false too if the ring is not to be read. */
  get waiting(): boolean {
    return this.#state.ready && this.#availIndex() !== this.#state.lastAvail;
  }

  /**
   * Takes the next available chain; undefined if there is none, or the queue has failed. Its buffers and the rings have
   * arrived then (DmaMemory.attempt), so what is done with the chain does not wait.
   */
  pop(): Chain | undefined {
    const { num, ready, lastAvail, avail } = this.#state;
    if (!ready) return undefined;
    const index = this.#availIndex();
    if (index === undefined) return this.#fail('the available ring is not in memory');
    const count = (index - lastAvail) & 0xffff;
    if (count === 0) return undefined;
    if (count > num)
      return this.#fail(`the driver moved its index by ${count}, and the queue has ${num} entries`);
    const head = this.#u16(Number(avail) + RING_HEAD_BYTES + 2 * (lastAvail % num));
    if (head === undefined) return this.#fail('the available ring is not in memory');
    const chain = this.chainAt(head);
    if (chain === undefined) return undefined;
    const next = (lastAvail + 1) & 0xffff;
    this.#requireRings();
    this.#state.lastAvail = next;
    if (this.#options.eventIndex()) this.#askFor(next);
    return chain;
  }

  #requireRings(): void {
    const { num, avail, used } = this.#state;
    this.#options.dma.require(Number(avail), RING_HEAD_BYTES + 2 * num + 2);
    this.#options.dma.require(Number(used), RING_HEAD_BYTES + USED_ELEMENT_BYTES * num + 2);
  }

  /** The chain of a descriptor that was taken before; undefined if the queue has failed. Its buffers have arrived. */
  chainAt(head: number): Chain | undefined {
    const { num, desc } = this.#state;
    if (head >= num) return this.#fail(`descriptor ${head} of ${num}`);
    return this.#walk(head, Number(desc), num, head, undefined);
  }

  /** Gives a chain back, with how many bytes of its writable part were written. */
  push(head: number, written: number): void {
    const { num, used, usedIndex, ready } = this.#state;
    if (!ready) return;
    this.#word.setUint32(0, head, true);
    this.#word.setUint32(4, written, true);
    const element = Number(used) + RING_HEAD_BYTES + USED_ELEMENT_BYTES * (usedIndex % num);
    const next = (usedIndex + 1) & 0xffff;
    if (!this.#options.dma.write(element, this.#eight) || !this.#putU16(Number(used) + 2, next)) {
      this.#fail('the used ring is not in memory');
      return;
    }
    this.#state.usedIndex = next;
    // The index went around without anybody looking: what was signalled says nothing any more.
    if (this.#state.signalledValid && next === this.#state.signalled) this.#state.signalledValid = false;
  }

  /**
   * Whether the driver wants to hear of what was given back since it was asked last, §2.7.7 and §2.7.10.
   * @param outstanding how many chains were taken and are not given back.
   */
  wantsInterrupt(outstanding: () => number): boolean {
    const state = this.#state;
    if (!state.ready) return false;
    if (this.#options.notifyOnEmpty() && !this.waiting && outstanding() === 0) return true;
    if (!this.#options.eventIndex()) {
      const flags = this.#u16(Number(state.avail));
      return flags !== undefined && (flags & AVAIL_NO_INTERRUPT) === 0;
    }
    const { signalled, signalledValid, usedIndex } = state;
    const event = this.#u16(Number(state.avail) + RING_HEAD_BYTES + 2 * state.num);
    state.signalled = usedIndex;
    state.signalledValid = true;
    if (event === undefined) return false;
    return !signalledValid || ((usedIndex - event - 1) & 0xffff) < ((usedIndex - signalled) & 0xffff);
  }

  /** §2.7.10: `avail_event`, behind the used ring: the driver is to notify when its index passes it. */
  #askFor(index: number): void {
    this.#putU16(Number(this.#state.used) + RING_HEAD_BYTES + USED_ELEMENT_BYTES * this.#state.num, index);
  }

  #walk(
    head: number,
    table: number,
    entries: number,
    first: number,
    outer: Collected | undefined,
  ): Chain | undefined {
    const to: Collected = outer ?? { readable: [], writable: [], readableBytes: 0, writableBytes: 0 };
    let index = first;
    for (let seen = 0; ; seen++) {
      if (seen >= entries) return this.#fail('a chain of descriptors is a loop');
      if (!this.#options.dma.readInto(table + DESCRIPTOR_BYTES * index, this.#sixteen)) {
        return this.#fail('the descriptor table is not in memory');
      }
      const high = this.#descriptor.getUint32(4, true);
      const address = high * 2 ** 32 + this.#descriptor.getUint32(0, true);
      const length = this.#descriptor.getUint32(8, true);
      const flags = this.#descriptor.getUint16(12, true);
      const next = this.#descriptor.getUint16(14, true);
      if (flags & DESC_INDIRECT) {
        if (outer !== undefined || flags & DESC_NEXT)
          return this.#fail('an indirect descriptor inside a chain');
        if (length === 0 || length % DESCRIPTOR_BYTES !== 0) {
          return this.#fail(`an indirect table of ${length} bytes`);
        }
        return this.#walk(head, address, length / DESCRIPTOR_BYTES, 0, to);
      }
      if (!this.#collect(to, address, length, (flags & DESC_WRITE) !== 0)) return undefined;
      if ((flags & DESC_NEXT) === 0) return { head, ...to };
      if (next >= entries) return this.#fail(`descriptor ${next} of ${entries}`);
      index = next;
    }
  }

  #collect(to: Collected, address: number, length: number, writable: boolean): boolean {
    if (length === 0) return this.#refuse('a buffer of no bytes');
    if (!writable && to.writable.length > 0) return this.#refuse('a readable buffer behind a writable one');
    if (to.readable.length + to.writable.length >= MAX_QUEUE_SIZE)
      return this.#refuse('a chain that is too long');
    if (!this.#options.dma.holds(address, length, writable)) {
      return this.#refuse(`a buffer at 0x${address.toString(16)} of ${length} bytes, which is not memory`);
    }
    this.#options.dma.require(address, length);
    if (writable) {
      to.writable.push({ address, length });
      to.writableBytes += length;
    } else {
      to.readable.push({ address, length });
      to.readableBytes += length;
    }
    return true;
  }

  #refuse(reason: string): false {
    this.#options.fail(reason);
    return false;
  }

  #fail(reason: string): undefined {
    this.#options.fail(reason);
    return undefined;
  }

  #availIndex(): number | undefined {
    return this.#u16(Number(this.#state.avail) + 2);
  }

  #u16(address: number): number | undefined {
    return this.#options.dma.readInto(address, this.#two) ? this.#word.getUint16(0, true) : undefined;
  }

  #putU16(address: number, value: number): boolean {
    this.#word.setUint16(0, value, true);
    return this.#options.dma.write(address, this.#two);
  }
}

interface Collected {
  readonly readable: Segment[];
  readonly writable: Segment[];
  readableBytes: number;
  writableBytes: number;
}
