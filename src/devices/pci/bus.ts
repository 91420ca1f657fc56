/**
 * The one PCI bus: which function is in which slot, which of them answers an address, and how their interrupt pins
 * share four lines. PCI Local Bus Specification 3.0, §2.2.6, §3.2.2 and §6.2.5; PCI-to-PCI Bridge 1.2, §9.1 (swizzle).
 */
import { GodwitError } from '../../error.ts';
import type { AccessSize, MmioHandler } from '../../memory/mmio.ts';
import type { InterruptLine, MsiSink } from '../device.ts';
import type { DmaMemory } from '../dma.ts';
import type { MappedBar, PciFunction } from './function.ts';

/** INTA# to INTD#. */
export const INTX_LINES = 4;
const SLOTS = 32;
const FUNCTIONS = 8;

/** Where a function is: slot and function number. */
export interface PciAddress {
  readonly slot: number;
  readonly function: number;
}

/** "01.0", as QEMU writes it. */
export function pciAddressText({ slot, function: number }: PciAddress): string {
  return `${slot.toString(16).padStart(2, '0')}.${number}`;
}

/** The line of an interrupt pin (1 for INTA#) of a slot. */
export function swizzle(slot: number, pin: number): number {
  return (slot + pin - 1) % INTX_LINES;
}

export interface PciBusOptions {
  readonly interrupts: readonly InterruptLine[];
  readonly dma: DmaMemory;
  readonly msi: MsiSink;
}

export class PciBus {
  readonly #options: PciBusOptions;
  /** By slot * FUNCTIONS + function. */
  readonly #functions = new Map<number, PciFunction>();
  /** Who asserts each line. */
  readonly #asserted = Array.from({ length: INTX_LINES }, () => new Set<PciFunction>());
  readonly #mapped: Record<MappedBar['space'], Mapped[]> = { memory: [], io: [] };

  constructor(options: PciBusOptions) {
    this.#options = options;
  }

  /**
   * Puts a function into a slot: the one that is asked for, or the first free one.
   * @throws GodwitError kind "machine" if it is taken, or none is left.
   */
  attach(pci: PciFunction, wanted?: PciAddress): PciAddress {
    const address = wanted ?? this.#firstFree(pci.name);
    const { slot, function: number } = address;
    const key = slot * FUNCTIONS + number;
    const other = this.#functions.get(key);
    if (other !== undefined) {
      throw new GodwitError(
        'machine',
        `PCI: slot ${slot} function ${number} not available for ${pci.name}, in use by ${other.name}`,
        { where: pci.name, expected: 'a free slot', got: pciAddressText(address) },
      );
    }
    this.#functions.set(key, pci);
    const inSlot = [...this.#functions].filter(([at]) => Math.floor(at / FUNCTIONS) === slot);
    for (const [, one] of inSlot) one.multifunction = inSlot.length > 1;
    const { dma, msi } = this.#options;
    pci.connect({
      dma,
      msi,
      remap: () => this.#remap(),
      interrupt: (level) => this.#interrupt(pci, slot, level),
    });
    return address;
  }

  /** Configuration space of all functions, as the enhanced access mechanism lays it out (PCI Express 2.0, §7.2.2). */
  readonly ecam: MmioHandler = {
    read: (offset, size) => {
      const pci = this.#functionAt(offset);
      const register = offset & 0xfff;
      if (pci === undefined || register >= 0x100) return allOnes(size);
      return pci.config.read(register, size);
    },
    write: (offset, size, value) => {
      const register = offset & 0xfff;
      if (register < 0x100) this.#functionAt(offset)?.config.write(register, size, value);
    },
  };

  /**
   * A window of the processors' addresses onto one of the bus's spaces. What no function answers reads as all ones and
   * swallows writes.
   * @param base bus address of the window's first byte.
   */
  window(space: MappedBar['space'], base: number): Required<MmioHandler> {
    const find = (offset: number, size: number): Mapped | undefined => {
      const address = base + offset;
      return this.#mapped[space].find((bar) => address >= bar.base && address + size <= bar.base + bar.size);
    };
    return {
      read(offset, size) {
        const bar = find(offset, size);
        return bar === undefined ? allOnes(size) : bar.handler.read(base + offset - bar.base, size);
      },
      write(offset, size, value) {
        const bar = find(offset, size);
        bar?.handler.write(base + offset - bar.base, size, value);
      },
      read64(offset) {
        const bar = find(offset, 8);
        if (bar === undefined) return 0xffff_ffff_ffff_ffffn;
        const at = base + offset - bar.base;
        if (bar.handler.read64 !== undefined) return bar.handler.read64(at);
        const low = BigInt(bar.handler.read(at, 4));
        return low | (BigInt(bar.handler.read(at + 4, 4)) << 32n);
      },
      write64(offset, value) {
        const bar = find(offset, 8);
        if (bar === undefined) return;
        const at = base + offset - bar.base;
        if (bar.handler.write64 !== undefined) bar.handler.write64(at, value);
        else {
          bar.handler.write(at, 4, Number(BigInt.asUintN(32, value)));
          bar.handler.write(at + 4, 4, Number(value >> 32n));
        }
      },
    };
  }

  /** All functions by address. */
  list(): readonly { readonly address: PciAddress; readonly pci: PciFunction }[] {
    return [...this.#functions]
      .sort(([a], [b]) => a - b)
      .map(([key, pci]) => ({
        address: { slot: Math.floor(key / FUNCTIONS), function: key % FUNCTIONS },
        pci,
      }));
  }

  #firstFree(name: string): PciAddress {
    for (let slot = 0; slot < SLOTS; slot++) {
      const taken = Array.from({ length: FUNCTIONS }, (_, n) => this.#functions.has(slot * FUNCTIONS + n));
      if (!taken.includes(true)) return { slot, function: 0 };
    }
    throw new GodwitError('machine', `PCI: no slot/function available for ${name}, all in use`);
  }

  /** Of bus 0, the only one. */
  #functionAt(offset: number): PciFunction | undefined {
    return this.#functions.get(Math.floor(offset / 0x1000));
  }

  #interrupt(pci: PciFunction, slot: number, level: boolean): void {
    if (pci.interruptPin === 0) return;
    const index = swizzle(slot, pci.interruptPin);
    const asserted = this.#asserted[index] as Set<PciFunction>;
    if (level) asserted.add(pci);
    else asserted.delete(pci);
    this.#options.interrupts[index]?.(asserted.size > 0);
  }

  #remap(): void {
    for (const space of ['memory', 'io'] as const) {
      this.#mapped[space] = this.list().flatMap(({ pci }) =>
        pci
          .mapped()
          .flatMap(({ base, ...bar }) =>
            bar.space === space && base !== undefined ? [{ ...bar, base }] : [],
          ),
      );
    }
  }
}

type Mapped = MappedBar & { readonly base: number };

function allOnes(size: AccessSize): number {
  return 2 ** (8 * size) - 1;
}
