/** A machine with nothing but RAM and what a test puts on the bus: for tests of the CPU engine alone. */
import type { Bus, BusMemory } from '../../src/cpu/bus.ts';
import { Engine, type EngineOptions } from '../../src/cpu/engine.ts';
import { type Hart, INTERRUPT } from '../../src/cpu/hart.ts';
import type { Dispatch } from '../../src/cpu/interpreter.ts';
import type { InterruptFile } from '../../src/cpu/interrupt-file.ts';
import { encode, type Operands } from '../../src/isa/encoding.ts';
import { extensionsOf } from '../../src/isa/isa-string.ts';
import { COMPRESSED, INSTRUCTIONS } from '../../src/isa/table.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { createLayout, createSharedMemory } from '../../src/memory/layout.ts';

export const RAM_BASE = 0x8000_0000;
export const ROM_BASE = 0x1000;
/** The ACLINT's software interrupts: a word for each hart, that can be written. */
export const MSIP_BASE = 0x200_0000;
const RAM_SIZE = 1024 * 1024;
const ROM_SIZE = 4096;

/** A device register for tests: what was written, and what reads answer. */
export interface TestDevice {
  readonly base: number;
  readonly written: { offset: number; size: number; value: bigint }[];
  value: bigint;
}

export class BareMachine {
  readonly memory: GuestMemory;
  readonly engine: Engine;
  readonly bus: Bus;
  readonly device: TestDevice = { base: 0x1000_0000, written: [], value: 0n };
  time = 0n;
  /** The interrupt files of an IMSIC, by privilege; the same for all harts. */
  readonly interruptFiles = new Map<number, InterruptFile>();

  /** @param ramSize bytes; a multiple of 4096. */
  constructor(
    harts = 1,
    dispatch: Dispatch = 'tree',
    isa = 'rv64imafdc_zicsr_zifencei_zba_zbb_zbs',
    ramSize = RAM_SIZE,
    options: EngineOptions = {},
  ) {
    const layout = createLayout(harts, [
      { name: 'rom', size: ROM_SIZE },
      { name: 'ram', size: ramSize },
    ]);
    this.memory = new GuestMemory(createSharedMemory(layout), layout);
    const ram = this.memory.block('ram');
    const rom = this.memory.block('rom');
    const main = { base: RAM_BASE, size: ramSize, offset: ram.offset, firstPage: ram.firstPage };
    this.bus = {
      memoryAt: (address): BusMemory | undefined => {
        if (address >= RAM_BASE && address < RAM_BASE + ramSize) {
          return { base: RAM_BASE, hostOffset: ram.offset, readonly: false };
        }
        if (address >= ROM_BASE && address < ROM_BASE + ROM_SIZE) {
          return { base: ROM_BASE, hostOffset: rom.offset, readonly: true };
        }
        return undefined;
      },
      read: (address, size) =>
        this.#onDevice(address) ? BigInt.asUintN(size * 8, this.device.value) : undefined,
      write: (address, size, value) => {
        if (address >= MSIP_BASE && address < MSIP_BASE + 4 * harts && size === 4) {
          const hart = this.engine.harts[(address - MSIP_BASE) / 4];
          hart?.setInterrupt(INTERRUPT.machineSoftware, (value & 1n) !== 0n);
          return true;
        }
        if (!this.#onDevice(address)) return false;
        this.device.written.push({ offset: address - this.device.base, size, value });
        return true;
      },
    };
    this.engine = new Engine(
      this.memory,
      main,
      this.bus,
      {
        time: () => this.time,
        extensions: extensionsOf(isa),
        interruptFile: (_, privilege) => this.interruptFiles.get(privilege),
      },
      { dispatch, ...options },
    );
    this.engine.reset(BigInt(RAM_BASE));
  }

  get hart(): Hart {
    return this.engine.harts[0] as Hart;
  }

  /** Puts code at a guest address of RAM. */
  load(code: Uint8Array, address = RAM_BASE): void {
    this.memory.write(this.at(address), code);
  }

  /** Byte offset in the shared memory of a guest address in RAM. */
  at(address: number): number {
    return address - RAM_BASE + this.memory.block('ram').offset;
  }

  read64(address: number): bigint {
    return new DataView(this.memory.memory.buffer).getBigUint64(this.at(address), true);
  }

  /** Runs hart 0 for exactly `count` instructions (fewer if it waits). */
  run(count: number): number {
    return this.engine.run(this.hart, count);
  }

  #onDevice(address: number): boolean {
    return address >= this.device.base && address < this.device.base + 0x100;
  }
}

/** One line of assembly: a name of the ISA table and its operands; operands not given are 0. */
export type Line = readonly [name: string, operands?: Operands];

/** Assembles lines one after another. */
export function assemble(...lines: readonly Line[]): Uint8Array {
  return Uint8Array.from(
    lines.flatMap(([name, given]) => {
      const line = [...INSTRUCTIONS, ...COMPRESSED].find((candidate) => candidate.name === name);
      if (line === undefined) throw new Error(`no instruction ${name}`);
      const operands = Object.fromEntries(line.encoding.fields.map(({ operand }) => [operand, 0]));
      const word = encode(line.encoding, { ...operands, ...given });
      return Array.from({ length: line.encoding.length }, (_, i) => (word >>> (8 * i)) & 0xff);
    }),
  );
}
