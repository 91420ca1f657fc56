/**
 * Breakpoints and watchpoints of a debugger, at virtual addresses and for all harts. A hart stops *before* the
 * instruction that a breakpoint stands at, or whose access a watchpoint wants: that instruction has neither run nor
 * counted, and a run that was stopped and resumed is the same, to the instruction, as one that was not.
 *
 * They cost nothing while there are none. A breakpoint's instruction is never kept predecoded, so that each pass over it
 * comes to the slow path, and no translation contains it; a page with a watchpoint gets no TLB entry for loads and stores,
 * so that translated code, too, leaves them to the slow path.
 */
import type { GuestMemory } from '../memory/guest-memory.ts';
import { CONTROL, PAGE_SIZE } from '../memory/layout.ts';
import type { Tlbs } from '../memory/tlb.ts';
import type { CodeCache } from './code-cache.ts';
import type { Hart } from './hart.ts';

/** Software and hardware breakpoints are the same here, but each is inserted and removed by itself. */
export type BreakpointKind = 'software' | 'hardware';
export type WatchKind = 'write' | 'read' | 'access';

export interface Breakpoint {
  readonly kind: BreakpointKind;
  readonly address: bigint;
}

export interface Watchpoint {
  readonly kind: WatchKind;
  readonly address: bigint;
  /** Bytes, at least 1. */
  readonly length: number;
}

export type DebugPoint = Breakpoint | Watchpoint;

/** Why a hart stands still. */
export type PointStop =
  | { readonly reason: 'breakpoint'; readonly hart: number }
  | { readonly reason: 'watchpoint'; readonly hart: number; readonly watchpoint: Watchpoint };

/** Where a hart was stopped and has not moved since: it passes what it was stopped for. */
interface Held {
  readonly pc: bigint;
  readonly reasons: Set<PointStop['reason']>;
}

const PAGE_MASK = BigInt(PAGE_SIZE - 1);
const pageOf = (address: bigint): bigint => address & ~PAGE_MASK;

export class DebugPoints {
  readonly #control: Int32Array;
  readonly #code: CodeCache;
  readonly #tlbs: Tlbs;
  readonly #breakpoints = new Map<string, Breakpoint>();
  readonly #watchpoints = new Map<string, Watchpoint>();
  /** Addresses with a breakpoint, and their offsets in a page: a virtual address can lead to any page. */
  #addresses: ReadonlySet<bigint> = new Set();
  #offsets: ReadonlySet<number> = new Set();
  readonly #held = new Map<number, Held>();
  #stop: PointStop | undefined;

  constructor(memory: GuestMemory, code: CodeCache, tlbs: Tlbs) {
    this.#control = new Int32Array(memory.memory.buffer, memory.layout.control + CONTROL.watching, 1);
    this.#code = code;
    this.#tlbs = tlbs;
  }

  /** Without effect if the same point is there. */
  insert(point: DebugPoint): void {
    if ('length' in point) this.#watchpoints.set(keyOf(point), point);
    else this.#breakpoints.set(keyOf(point), point);
    this.#changed();
  }

  /** Without effect if there is no such point. */
  remove(point: DebugPoint): void {
    this.#watchpoints.delete(keyOf(point));
    this.#breakpoints.delete(keyOf(point));
    this.#changed();
  }

  clear(): void {
    this.#watchpoints.clear();
    this.#breakpoints.clear();
    this.#changed();
  }

  /** Whether any data is watched. */
  get watching(): boolean {
    return this.#watchpoints.size > 0;
  }

  /** Whether data on the page of `address` is watched: it gets no TLB entry. */
  watchesPage(address: bigint): boolean {
    return this.#hit(pageOf(address), PAGE_SIZE, () => true) !== undefined;
  }

  /** Whether code at this offset in a page may stand at a breakpoint, wherever it was fetched from. */
  mayBreakAt(inPage: number): boolean {
    return this.#offsets.has(inPage);
  }

  /** Stops the hart if a breakpoint stands at its pc, unless it has been stopped there by it. */
  breaks(hart: Hart): boolean {
    if (!this.#addresses.has(hart.pc) || this.#heldHere(hart)?.reasons.has('breakpoint')) return false;
    return this.#stopFor(hart, { reason: 'breakpoint', hart: hart.id });
  }

  /** Stops the hart if the access that its instruction is about to make is watched, unless it has been stopped by it. */
  watches(hart: Hart, address: bigint, size: number, access: 'load' | 'store' | 'amo'): boolean {
    if (!this.watching) return false;
    const watchpoint = this.#hit(
      address,
      size,
      ({ kind }) => kind === 'access' || access === 'amo' || (kind === 'read') === (access === 'load'),
    );
    if (watchpoint === undefined || this.#heldHere(hart)?.reasons.has('watchpoint')) return false;
    return this.#stopFor(hart, { reason: 'watchpoint', hart: hart.id, watchpoint });
  }

  /** Whether a hart has been stopped; `Engine.run` returns then. */
  get stopped(): boolean {
    return this.#stop !== undefined;
  }

  /** What a hart has been stopped for, once. */
  takeStop(): PointStop | undefined {
    const stop = this.#stop;
    this.#stop = undefined;
    return stop;
  }

  /** The hart has run on: it passes nothing any more. */
  moved(hart: Hart): void {
    if (this.#held.size > 0) this.#held.delete(hart.id);
  }

  #stopFor(hart: Hart, stop: PointStop): true {
    this.#stop = stop;
    const reasons = this.#heldHere(hart)?.reasons ?? new Set();
    this.#held.set(hart.id, { pc: hart.pc, reasons: reasons.add(stop.reason) });
    return true;
  }

  /** Where the hart was stopped, if that is this instruction: only the first one of a slice can be, counted or not. */
  #heldHere(hart: Hart): Held | undefined {
    const held = this.#held.get(hart.id);
    return held?.pc === hart.pc && hart.remaining >= hart.budget - 1 ? held : undefined;
  }

  #hit(address: bigint, size: number, wants: (watchpoint: Watchpoint) => boolean): Watchpoint | undefined {
    for (const watchpoint of this.#watchpoints.values()) {
      const overlaps =
        address < watchpoint.address + BigInt(watchpoint.length) &&
        watchpoint.address < address + BigInt(size);
      if (overlaps && wants(watchpoint)) return watchpoint;
    }
    return undefined;
  }

  #changed(): void {
    this.#addresses = new Set(Array.from(this.#breakpoints.values(), ({ address }) => address));
    this.#offsets = new Set(Array.from(this.#addresses, (address) => Number(address & PAGE_MASK)));
    for (const offset of this.#offsets) this.#code.forgetOffset(offset);
    this.#control[0] = this.watching ? 1 : 0;
    this.#tlbs.flush('read');
    this.#tlbs.flush('write');
  }
}

function keyOf(point: DebugPoint): string {
  return `${point.kind} ${point.address} ${'length' in point ? point.length : ''}`;
}
