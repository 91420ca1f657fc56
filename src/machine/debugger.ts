/**
 * What a debugger may do with a machine that stands still. Harts are counted from 0.
 */
import type { DebugPoint } from '../cpu/debug-points.ts';
import { DebugRegisters, type RegisterFeature } from '../cpu/debug-registers.ts';
import type { Hart } from '../cpu/hart.ts';
import { extensionsOf } from '../isa/isa-string.ts';
import type { Machine } from './machine.ts';

export interface DebuggedHart {
  /** It waits in WFI. */
  readonly waiting: boolean;
}

/** Looks at memory until all that it needs has arrived. */
export type Look = <T>(look: () => T) => Promise<T>;

export class MachineDebugger {
  readonly #machine: Machine;
  readonly #registers: DebugRegisters;
  readonly #look: Look;

  constructor(machine: Machine, look: Look) {
    this.#machine = machine;
    this.#look = look;
    this.#registers = new DebugRegisters(machine.engine, extensionsOf(machine.configuration.isa));
  }

  harts(): DebuggedHart[] {
    return this.#machine.engine.harts.map(({ waiting }) => ({ waiting }));
  }

  features(): readonly RegisterFeature[] {
    return this.#registers.features;
  }

  /** By number; undefined where there is no such register. */
  readRegisters(hart: number, numbers: readonly number[]): (bigint | undefined)[] {
    return numbers.map((number) => this.#registers.read(this.#hart(hart), number));
  }

  /** @returns false if one could not be written. */
  writeRegisters(hart: number, values: ReadonlyMap<number, bigint>): boolean {
    return [...values]
      .map(([number, value]) => this.#registers.write(this.#hart(hart), number, value))
      .every((written) => written);
  }

  /** Virtual memory of the hart, or physical memory without one; undefined if not all of it is mapped to memory. */
  async readMemory(
    hart: number | undefined,
    address: bigint,
    length: number,
  ): Promise<Uint8Array | undefined> {
    const bytes = await this.#look(() => this.#machine.debug.read(this.#space(hart), address, length));
    return bytes.length === length ? bytes : undefined;
  }

  /** @returns false, and nothing is written, if not all of it is mapped to memory. */
  writeMemory(hart: number | undefined, address: bigint, bytes: Uint8Array): Promise<boolean> {
    return this.#look(() => this.#machine.debug.write(this.#space(hart), address, bytes));
  }

  insertPoint(point: DebugPoint): void {
    this.#machine.engine.points.insert(point);
  }

  removePoint(point: DebugPoint): void {
    this.#machine.engine.points.remove(point);
  }

  removeAllPoints(): void {
    this.#machine.engine.points.clear();
  }

  #space(hart: number | undefined): Hart | undefined {
    return hart === undefined ? undefined : this.#hart(hart);
  }

  #hart(id: number): Hart {
    const hart = this.#machine.engine.harts[id];
    if (hart === undefined) throw new RangeError(`there is no hart ${id}`);
    return hart;
  }
}
