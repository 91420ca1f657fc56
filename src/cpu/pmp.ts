/**
 * Physical memory protection: sixteen entries with a granularity of a page, so that what holds for an address holds for
 * all of its page and TLB entries need no second check. RISC-V Privileged ISA (20240411), §3.7.
 */
import { PMP_ENTRIES } from '../memory/layout.ts';
import type { Hart } from './hart.ts';

export const PMP_COUNT = PMP_ENTRIES;

/** Bits of an entry's configuration (§3.7.1). */
const CFG = { permissions: 7, modeShift: 3, modeMask: 3, locked: 0x80, writable: 0x9f } as const;
/** Its address-matching modes; NA4 can't be chosen with a granularity above 4 bytes. */
const MODE = { off: 0, tor: 1, na4: 2, napot: 3 } as const;

/** pmpaddr holds bits 55:2 of an address. */
export const pmpaddrMask = (1n << 54n) - 1n;
/** 2^(G+2) bytes is the granularity: G = 10 makes it a page. */
const GRAIN = 10n;
const PAGE_SHIFT_OF_PMPADDR = 10n;

export class Pmp {
  readonly #hart: Hart;
  readonly #changed: () => void;
  readonly configurations = new Uint8Array(PMP_COUNT);
  readonly addresses = new BigUint64Array(PMP_COUNT);

  /** @param changed is told when permissions may have changed. */
  constructor(hart: Hart, changed: () => void) {
    this.#hart = hart;
    this.#changed = changed;
  }

  reset(): void {
    this.configurations.fill(0);
    this.addresses.fill(0n);
    this.update();
  }

  /** Eight configurations from entry `first` on, as pmpcfg shows them. */
  readConfigurations(first: number): bigint {
    let value = 0n;
    for (let i = 7; i >= 0; i--) value = (value << 8n) | BigInt(this.configurations[first + i] ?? 0);
    return value;
  }

  writeConfigurations(first: number, value: bigint): void {
    for (let i = 0; i < 8; i++) {
      const old = this.configurations[first + i];
      if (old === undefined || (old & CFG.locked) !== 0) continue;
      let byte = Number((value >> BigInt(8 * i)) & 0xffn) & CFG.writable;
      // §3.7.1: W without R is reserved; NA4 can't be chosen: both leave what was there.
      if ((byte & 3) === 2) byte = (byte & ~CFG.permissions) | (old & CFG.permissions);
      if (modeOf(byte) === MODE.na4) byte = (byte & ~0x18) | (old & 0x18);
      this.configurations[first + i] = byte;
    }
    this.update();
  }

  /** §3.7.1.1: below the granularity, NAPOT addresses read as ones and others as zeros. */
  readAddress(i: number): bigint {
    const address = this.addresses[i] ?? 0n;
    return modeOf(this.configurations[i] ?? 0) === MODE.napot
      ? address | ((1n << (GRAIN - 1n)) - 1n)
      : address & ~((1n << GRAIN) - 1n);
  }

  writeAddress(i: number, value: bigint): void {
    const next = this.configurations[i + 1] ?? 0;
    const nextLocks = (next & CFG.locked) !== 0 && modeOf(next) === MODE.tor;
    if (nextLocks || ((this.configurations[i] ?? 0) & CFG.locked) !== 0) return;
    this.addresses[i] = value;
    this.update();
  }

  /** Hands the ranges to the hart; to be called when the entries were set from outside. */
  update(): void {
    const ranges = [];
    for (let i = 0; i < PMP_COUNT; i++) {
      const range = this.#range(i);
      if (range !== undefined && range.first < range.end) ranges.push(range);
    }
    this.#hart.setPmp(ranges);
    this.#changed();
  }

  #range(i: number) {
    const configuration = this.configurations[i] ?? 0;
    const address = this.addresses[i] ?? 0n;
    const below = configuration & CFG.permissions;
    const machine = (configuration & CFG.locked) !== 0 ? below : CFG.permissions;
    switch (modeOf(configuration)) {
      case MODE.tor: {
        const start = i === 0 ? 0n : (this.addresses[i - 1] ?? 0n);
        return {
          first: start >> PAGE_SHIFT_OF_PMPADDR,
          end: address >> PAGE_SHIFT_OF_PMPADDR,
          below,
          machine,
        };
      }
      case MODE.napot: {
        // The ones at the end say the size: 2^(ones + 3) bytes, and a page at least.
        const filled = address | ((1n << (GRAIN - 1n)) - 1n);
        const size = (filled ^ (filled + 1n)) + 1n;
        const start = filled & ~(size - 1n);
        return {
          first: start >> PAGE_SHIFT_OF_PMPADDR,
          end: (start + size) >> PAGE_SHIFT_OF_PMPADDR,
          below,
          machine,
        };
      }
      default:
        return undefined;
    }
  }
}

function modeOf(configuration: number): number {
  return (configuration >> CFG.modeShift) & CFG.modeMask;
}
