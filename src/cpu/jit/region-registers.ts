/** The guest's registers in a region: those that it names are locals, read at its start and written back at its end. */
import type { Instruction } from '../../isa/instruction.ts';
import { HART } from '../../memory/layout.ts';
import type { FunctionBuilder, Local } from '../../wasm/function.ts';
import { ENTRY } from '../operations.ts';
import type { RegionInstruction } from './block.ts';

type RegisterFile = (Local | undefined)[];

export class RegionRegisters {
  readonly #f: FunctionBuilder;
  readonly #integers: RegisterFile = [];
  readonly #floats: RegisterFile = [];
  readonly #written = new Set<Local>();
  /** i32: the low halves of those registers that ways with different words in them lead together. */
  readonly #words: RegisterFile = [];

  constructor(f: FunctionBuilder) {
    this.#f = f;
  }

  /** Gives the registers that an instruction names locals. */
  declare({ instruction, rd, rs1, rs2, immediate }: RegionInstruction): void {
    const names = operandsOf(instruction);
    const x = (register: number): Local => this.#local(this.#integers, register);
    const f = (register: number): Local => this.#local(this.#floats, register);
    if (names.has('rs1') && rs1 !== 0) x(rs1);
    if (names.has('rs2') && rs2 !== 0) x(rs2);
    if (names.has('frs1')) f(rs1);
    if (names.has('frs2')) f(rs2);
    if (names.has('frs3')) f((immediate >> ENTRY.frs3Shift) & 31);
    if (names.has('rd') && rd !== 0) this.#written.add(x(rd));
    if (names.has('frd')) this.#written.add(f(rd));
  }

  /** The local of x[register], which is not x0, or f[register]; declared before. */
  x(register: number): Local {
    return this.#integers[register] as Local;
  }

  f(register: number): Local {
    return this.#floats[register] as Local;
  }

  /** Gives the registers that several ways bring a word to a second local. @param registers bit r for x[r]. */
  declareWords(registers: number): void {
    for (const register of bits(registers)) this.#words[register] = this.#f.local('i32');
  }

  /** x[register] ← the i64 on the stack. */
  emitSetX(register: number, isWord: boolean): void {
    const f = this.#f;
    const word = isWord ? this.#words[register] : undefined;
    if (word === undefined) {
      f.set(this.x(register));
      return;
    }
    f.tee(this.x(register));
    f.op('i32.wrap_i64');
    f.set(word);
  }

  /**
   * Where ways come together: the compiler behind us would carry on 64 bits, and extend each word for it; this way it
   * carries on 32, and extends them where that is needed. @param registers bit r for x[r].
   */
  emitMergedWords(registers: number): void {
    const f = this.#f;
    for (const register of bits(registers)) {
      f.get(this.#words[register] as Local);
      f.op('i64.extend_i32_s');
      f.set(this.x(register));
    }
  }

  /** Pushes what is not 0 if one of several registers is no word. @param registers bit r for x[r]: at least one. */
  emitCheckWords(registers: number): void {
    const f = this.#f;
    for (const [i, register] of bits(registers).entries()) {
      f.get(this.x(register));
      f.op('i32.wrap_i64');
      f.tee(this.#words[register] as Local);
      f.op('i64.extend_i32_s');
      f.get(this.x(register));
      f.op('i64.ne');
      if (i > 0) f.op('i32.or');
    }
  }

  emitRead(hart: Local): void {
    const f = this.#f;
    this.#each((local, offset) => {
      f.get(hart);
      f.load('i64.load', offset);
      f.set(local);
    });
  }

  emitWriteBack(hart: Local): void {
    const f = this.#f;
    this.#each((local, offset) => {
      if (!this.#written.has(local)) return;
      f.get(hart);
      f.get(local);
      f.store('i64.store', offset);
    });
  }

  /** @param of called with each local and its register's offset in the hart block. */
  #each(of: (local: Local, offset: number) => void): void {
    for (const [file, base] of [
      [this.#integers, HART.x],
      [this.#floats, HART.f],
    ] as const) {
      for (const [i, local] of file.entries()) if (local !== undefined) of(local, base + 8 * i);
    }
  }

  #local(file: RegisterFile, register: number): Local {
    const known = file[register];
    if (known !== undefined) return known;
    const local = this.#f.local('i64');
    file[register] = local;
    return local;
  }
}

function bits(mask: number): number[] {
  return Array.from({ length: 32 }, (_, i) => i).filter((i) => (mask & (1 << i)) !== 0);
}

const operands = new Map<Instruction, ReadonlySet<string>>();

/** The names of an instruction's operands. */
export function operandsOf(instruction: Instruction): ReadonlySet<string> {
  const known = operands.get(instruction);
  if (known !== undefined) return known;
  const names = new Set<string>(instruction.encoding.fields.map(({ operand }) => operand));
  operands.set(instruction, names);
  return names;
}
