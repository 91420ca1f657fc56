/**
 * What the steps of a sequence are made with: the code so far, the block with its constants, registers that may be
 * overwritten, random instances of a line with some operands given.
 */
import { decode } from '../../src/isa/decode.ts';
import { encode, type OperandName, type Operands } from '../../src/isa/encoding.ts';
import type { Random } from '../support/random.ts';
import { randomWord, type TableLine } from '../support/random-word.ts';
import { AT, BLOCK_SIZE, CONTEXT, CSRS, MAX_CONSTANTS } from './block.ts';
import { Code } from './code.ts';
import { floatValue, value } from './values.ts';

/** Constants of a kind that one sequence has; 2 if not named. */
const MAX_OF_KIND: Readonly<Record<string, number>> = { pointer: 24, aligned: 6 };
const DEFAULT_MAX = 2;

export class Draft {
  protected readonly random: Random;
  /** Guest address of the context. */
  protected readonly context: bigint;
  protected readonly contextRegister: number;
  protected readonly block: DataView;
  /** Registers that must keep their values: the context register, counters of loops, bases set up for an access. */
  protected readonly kept = new Set<number>();
  protected code = new Code();
  /** Value → offset from the context. */
  readonly #constants = new Map<bigint, number>();
  readonly #byKind = new Map<string, number[]>();

  /** @param size bytes of the block. */
  constructor(random: Random, at: bigint, size: number = BLOCK_SIZE) {
    this.random = random;
    this.context = at + BigInt(CONTEXT);
    this.contextRegister = random.between(1, 31);
    this.kept.add(this.contextRegister);
    this.block = new DataView(new ArrayBuffer(size));
    for (let i = 0; i < CONTEXT + AT.arenaEnd; i += 4) this.block.setUint32(i, random.u32());
    for (let i = 1; i < 32; i++) this.put(AT.registers + i * 8, value(random));
    for (let i = 0; i < 32; i++) this.put(AT.floats + i * 8, floatValue(random));
    for (const [i, csr] of CSRS.entries()) {
      this.put(AT.csrs + i * 8, value(random) & ~1n & csr.compared);
    }
    this.put(AT.logPointer, this.context + BigInt(AT.log));
  }

  /** Appends a random instance of a line; nothing if it would write a register that must keep its value. */
  protected place(line: TableLine, given: Operands = {}, mayWrite?: number): void {
    const word = this.instance(line, given, mayWrite);
    if (word !== undefined) this.code.raw(word);
  }

  /** A random instance; `given` operands of the written form replace the random ones. */
  protected instance(
    line: TableLine,
    given: Operands = {},
    mayWrite?: number,
  ): { bits: number; length: 2 | 4; operands: Operands } | undefined {
    for (let attempt = 0; attempt < 20; attempt++) {
      const bits = this.#encoded(line, randomWord(this.random, line), given);
      if (bits === undefined) return undefined;
      const decoded = decode(bits);
      const rd = decoded?.operands.rd;
      if (decoded === undefined || (rd !== undefined && rd !== mayWrite && this.kept.has(rd))) continue;
      return { bits, length: line.encoding.length, operands: decoded.operands };
    }
    return undefined;
  }

  /** Appends the word with some operands replaced, if they fit. */
  protected with(line: TableLine, bits: number, given: Operands): boolean {
    const word = this.#encoded(line, bits, given);
    if (word === undefined) return false;
    this.code.raw({ bits: word, length: line.encoding.length });
    return true;
  }

  #encoded(line: TableLine, bits: number, given: Operands): number | undefined {
    if (Object.keys(given).length === 0) return bits;
    const written = decode(bits);
    if (written === undefined) return undefined;
    const operands: Operands = {};
    for (const { operand } of line.encoding.fields) {
      const to = Object.entries(line.compressed?.operands ?? {}).find(([, from]) => from === operand)?.[0];
      operands[operand] = written.operands[(to ?? operand) as OperandName] ?? 0;
    }
    try {
      return encode(line.encoding, { ...operands, ...given });
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  }

  protected hasOperand(line: TableLine, operand: OperandName): boolean {
    return line.encoding.fields.some((field) => field.operand === operand);
  }

  /** A register that may be overwritten. */
  protected free(...except: number[]): number {
    for (;;) {
      const register = this.random.between(1, 31);
      if (!this.kept.has(register) && !except.includes(register)) return register;
    }
  }

  /** A register that may be overwritten and that the line can name as rs1. */
  protected baseFor(line: TableLine): number | undefined {
    const short = line.encoding.fields.some((field) => field.operand === 'rs1' && field.short);
    const choice = Array.from({ length: short ? 8 : 31 }, (_, i) => i + (short ? 8 : 1));
    const free = choice.filter((register) => !this.kept.has(register));
    return free.length === 0 ? undefined : this.random.pick(free);
  }

  /** From where an immediate of 12 bits and 8 bytes stay inside the arena. */
  protected arenaAddress(): bigint {
    return this.context + BigInt(this.random.between(AT.arena + 0x800, AT.arenaEnd - 0x808));
  }

  /** So that address + offset lies a few bytes before the page boundary in the middle of the arena. */
  protected nearPageEnd(offset: number): bigint {
    return this.context - 0x1000n - BigInt(offset + this.random.between(-2, 8));
  }

  /** rd ← a constant of this kind: a new one while there are less than `max`, else one made before. */
  protected loadConstant(rd: number, kind: string, make: () => bigint, max = MAX_OF_KIND[kind]): void {
    const known = this.#byKind.get(kind) ?? [];
    let slot: number | undefined;
    if (known.length < (max ?? DEFAULT_MAX)) {
      const wanted = BigInt.asUintN(64, make());
      slot = this.#constants.get(wanted);
      if (slot === undefined) {
        if (this.#constants.size === MAX_CONSTANTS) {
          this.#constantHere(rd, wanted);
          return;
        }
        slot = AT.constants + this.#constants.size * 8;
        this.#constants.set(wanted, slot);
        this.put(slot, wanted);
      }
      this.#byKind.set(kind, [...known, slot]);
    } else {
      slot = this.random.pick(known);
    }
    this.code.emit('ld', { rd, rs1: this.contextRegister, imm: slot });
  }

  /** The block is full: the constant stands in the code. */
  #constantHere(rd: number, wanted: bigint): void {
    this.code.emit('auipc', { rd }).emit('ld', { rd, rs1: rd, imm: 12 }).emit('jal', { imm: 12 });
    for (const half of [wanted & 0xffff_ffffn, wanted >> 32n])
      this.code.raw({ bits: Number(half), length: 4 });
  }

  /** Puts 8 bytes into the block, at an offset from the context. */
  protected put(offset: number, wanted: bigint): void {
    this.block.setBigUint64(CONTEXT + offset, BigInt.asUintN(64, wanted), true);
  }
}
