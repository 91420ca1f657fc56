/**
 * A machine with our firmware and a supervisor that makes calls from a table: every hart runs the same loop over a table
 * of its own, so a test is data. SBI 2.0, §3: a7 extension, a6 function, a0 to a5 arguments; error in a0, value in a1.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock } from '../../src/clock.ts';
import { newMachine } from '../../src/host/new-machine.ts';
import { encode, type Operands } from '../../src/isa/encoding.ts';
import { instructionNamed } from '../../src/isa/table.ts';
import { installBoot } from '../../src/machine/boot-contents.ts';
import { Machine } from '../../src/machine/machine.ts';
import { machineLayout } from '../../src/machine/machine-layout.ts';
import { createSharedMemory } from '../../src/memory/layout.ts';

/** One call: extension, function, then a0, a1 and so on. */
export type Call = readonly [extension: number, fn: number, ...args: (number | bigint)[]];
export interface Answer {
  readonly error: number;
  readonly value: bigint;
}

export const RAM = 0x8000_0000;
export const KERNEL = 0x8020_0000;
/** Tables: 64 KiB for each hart; entries of 128 bytes: eight arguments, then the two answers. */
const TABLES = KERNEL + 0x10_0000;
const TABLE_BYTES = 0x1_0000;
const ENTRY_BYTES = 128;
const END = 0xffff_ffff_ffff_ffffn;
/** Free for a test's strings. */
export const SCRATCH = KERNEL + 0x8_0000;

const [zero, t0, t1, a0, a1, a6, a7, s0] = [0, 5, 6, 10, 11, 16, 17, 8];

/** a0 = hart id: walks its table until an entry whose extension is all ones, and sleeps. */
function supervisor(): Uint8Array {
  const load = (i: number): [string, Operands] => ['ld', { rd: a0 + i, rs1: s0, imm: 8 * i }];
  const code: [string, Operands][] = [
    ['lui', { rd: s0, imm: TABLES | 0 }],
    ['slli', { rd: s0, rs1: s0, imm: 32 }],
    ['srli', { rd: s0, rs1: s0, imm: 32 }],
    ['slli', { rd: t0, rs1: a0, imm: 16 }],
    ['add', { rd: s0, rs1: s0, rs2: t0 }],
    // Once round: 5.
    ['addi', { rd: t1, rs1: zero, imm: -1 }],
    ...Array.from({ length: 8 }, (_, i) => load(i)),
    ['beq', { rs1: a7, rs2: t1, imm: 24 }],
    ['ecall', {}],
    ['sd', { rs1: s0, rs2: a0, imm: 64 }],
    ['sd', { rs1: s0, rs2: a1, imm: 72 }],
    ['addi', { rd: s0, rs1: s0, imm: ENTRY_BYTES }],
    ['jal', { rd: zero, imm: -4 * 14 }],
    // Behind the table: nothing wakes it.
    ['csrrw', { rd: zero, rs1: zero, imm: 0x104 }], // sie
    ['wfi', {}],
    ['jal', { rd: zero, imm: -4 }],
  ];
  if (a6 !== a0 + 6) throw new Error('arguments are in a row');
  const words = code.map(([name, operands]) => encode(instructionNamed(name).encoding, operands));
  return new Uint8Array(Uint32Array.from(words).buffer);
}

export class SbiMachine {
  readonly machine: Machine;
  readonly clock = new ManualClock();
  console = '';
  poweredOff: number | undefined;
  resetWanted = false;

  constructor(harts: number, cpu = 'rv64') {
    const dir = mkdtempSync(join(tmpdir(), 'godwit-'));
    const kernel = join(dir, 'kernel');
    writeFileSync(kernel, supervisor());
    const { configuration, boot } = newMachine({
      bios: { kind: 'default' },
      harts,
      ram: 16 * 1024 * 1024,
      cpu,
      kernel,
    });
    rmSync(dir, { recursive: true });
    this.machine = new Machine(configuration, createSharedMemory(machineLayout(configuration)), {
      clock: this.clock,
      random: (bytes) => new Uint8Array(bytes),
      transmit: (byte) => {
        this.console += String.fromCharCode(byte);
      },
      interrupted() {},
      powerOff: (code) => {
        this.poweredOff = code;
      },
      resetRequested: () => {
        this.resetWanted = true;
      },
      debugStopped() {},
    });
    installBoot(this.machine.memory, boot);
    this.machine.reset();
    for (let hart = 0; hart < harts; hart++) this.#table(hart, []);
  }

  /** Runs until every hart sleeps, or the machine halts, with these calls in the tables of the harts. */
  run(...tables: readonly (readonly Call[])[]): void {
    for (const [hart, calls] of tables.entries()) this.#table(hart, calls);
    this.machine.start();
    for (let i = 0; this.machine.burst(() => true).kind === 'busy'; i++) {
      if (i > 10_000) throw new Error('the harts do not come to rest');
    }
  }

  /** The hart, in supervisor mode already, walks its table from the start. */
  again(hart: number): void {
    const it = this.machine.engine.harts[hart];
    if (it === undefined) throw new Error(`no hart ${hart}`);
    it.waiting = false;
    it.pc = BigInt(KERNEL);
    it.setX(a0, BigInt(hart));
  }

  /** What the hart's call number `index` answered. */
  answer(hart: number, index: number): Answer {
    const view = this.#view();
    const at = TABLES - RAM + hart * TABLE_BYTES + index * ENTRY_BYTES + 64;
    return { error: Number(view.getBigInt64(at, true)), value: view.getBigInt64(at + 8, true) };
  }

  write(address: number, text: string): void {
    const ram = this.machine.memory.block('ram');
    this.machine.memory.write(ram.offset + address - RAM, new TextEncoder().encode(text));
  }

  read(address: number, length: number): string {
    const ram = this.machine.memory.block('ram');
    return Buffer.from(this.machine.memory.view(ram.offset + address - RAM, length)).toString();
  }

  #table(hart: number, calls: readonly Call[]): void {
    const view = this.#view();
    const at = TABLES - RAM + hart * TABLE_BYTES;
    for (const [i, [extension, fn, ...args]] of [...calls, [0, 0] as Call].entries()) {
      const entry = at + i * ENTRY_BYTES;
      for (let j = 0; j < 6; j++)
        view.setBigUint64(entry + 8 * j, BigInt.asUintN(64, BigInt(args[j] ?? 0)), true);
      view.setBigUint64(entry + 48, BigInt(fn), true);
      view.setBigUint64(entry + 56, i === calls.length ? END : BigInt(extension), true);
    }
  }

  #view(): DataView {
    const ram = this.machine.memory.block('ram');
    return new DataView(this.machine.memory.memory.buffer, ram.offset, ram.size);
  }
}
