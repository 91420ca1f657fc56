/**
 * From a decoded instruction to a line of assembly, derived from the ISA table: the encoding says which operands there
 * are and how immediates are written, the action says in which order. Nothing is named twice, so a new line of the table
 * is disassembled as soon as it is there. No pseudo-instructions; a compressed instruction appears under its own name,
 * with the operands that its encoding holds. RISC-V Assembly Programmer's Manual; in doubt, as GNU objdump
 * (`-M no-aliases`) writes it.
 */
import { type Decoded, decode } from './decode.ts';
import type { OperandName } from './encoding.ts';

/** ABI names of x0 to x31 (RISC-V ABIs Specification 1.0, §1.1). */
export const REGISTER_NAMES: readonly string[] = [
  ...['zero', 'ra', 'sp', 'gp', 'tp', 't0', 't1', 't2', 's0', 's1', 'a0', 'a1', 'a2', 'a3', 'a4', 'a5'],
  ...['a6', 'a7', 's2', 's3', 's4', 's5', 's6', 's7', 's8', 's9', 's10', 's11', 't3', 't4', 't5', 't6'],
];

/** ABI names of f0 to f31 (RISC-V ABIs Specification 1.0, §1.2). */
export const FLOAT_REGISTER_NAMES: readonly string[] = [
  ...[
    'ft0',
    'ft1',
    'ft2',
    'ft3',
    'ft4',
    'ft5',
    'ft6',
    'ft7',
    'fs0',
    'fs1',
    'fa0',
    'fa1',
    'fa2',
    'fa3',
    'fa4',
  ],
  ...['fa5', 'fa6', 'fa7', 'fs2', 'fs3', 'fs4', 'fs5', 'fs6', 'fs7', 'fs8', 'fs9', 'fs10', 'fs11', 'ft8'],
  ...['ft9', 'ft10', 'ft11'],
];

/** By the number in an instruction (Unprivileged ISA §20.2); 5 and 6 are reserved. */
const ROUNDING_MODES = ['rne', 'rtz', 'rdn', 'rup', 'rmm', 'unknown', 'unknown'];
/** As frm says; not written. */
const DYNAMIC = 7;

/** Registers in the order in which they are written. */
const REGISTERS = ['rd', 'frd', 'rs1', 'frs1', 'rs2', 'frs2', 'frs3'] as const;

export interface DisassembleOptions {
  /** Name of a CSR by its number; without it, or if it gives undefined, CSRs appear as numbers. */
  readonly csrName?: (number: number) => string | undefined;
}

const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/** `word`'s text; of a word that is no instruction, a directive with its bits. @param pc the word's own address. */
export function disassembleWord(word: number, pc: bigint, options?: DisassembleOptions): string {
  const decoded = decode(word);
  if (decoded !== undefined) return disassemble(decoded, pc, options);
  return (word & 3) === 3 ? `.4byte ${hex(word >>> 0)}` : `.2byte ${hex(word & 0xffff)}`;
}

/** @param pc address of the instruction: targets of branches are written as absolute addresses. */
export function disassemble(decoded: Decoded, pc: bigint, options: DisassembleOptions = {}): string {
  const { instruction, compressed, hint } = decoded;
  if (hint !== undefined) return hint.name;
  const line = new Line(decoded, pc, options);
  const operands = line.operands();
  const name = (compressed ?? instruction).name + line.ordering();
  return operands.length === 0 ? name : `${name} ${operands.join(',')}`;
}

/** Bits of the immediate of FENCE (Unprivileged ISA §2.7): from the third on predecessors, below successors. */
const FENCE_SETS = ['w', 'r', 'o', 'i'];

class Line {
  readonly #decoded: Decoded;
  readonly #pc: bigint;
  readonly #options: DisassembleOptions;
  readonly #pattern: string;

  constructor(decoded: Decoded, pc: bigint, options: DisassembleOptions) {
    this.#decoded = decoded;
    this.#pc = pc;
    this.#options = options;
    this.#pattern = (decoded.compressed ?? decoded.instruction).encoding.pattern;
  }

  /** The suffix of an atomic (Unprivileged ISA §14.1). */
  ordering(): string {
    const { aq, rl } = this.#decoded.operands;
    const bits = (aq === 1 ? 'aq' : '') + (rl === 1 ? 'rl' : '');
    return bits === '' ? '' : `.${bits}`;
  }

  operands(): string[] {
    const { action, name } = this.#decoded.instruction;
    switch (action.kind) {
      case 'load':
        return [...this.#written('rd', 'frd'), this.#memory()];
      case 'store':
        return [...this.#written('rs2', 'frs2'), this.#memory()];
      case 'lr':
        return [this.#register('rd'), `(${this.#register('rs1')})`];
      case 'sc':
      case 'amo':
        return [this.#register('rd'), this.#register('rs2'), `(${this.#register('rs1')})`];
      case 'branch':
        return [...this.#written('rs1', 'rs2'), this.#target()];
      case 'jump':
        if (!this.#has('rs1')) return [...this.#written('rd'), this.#target()];
        return this.#isFixed('imm') ? this.#written('rs1') : [...this.#written('rd'), this.#memory()];
      case 'zero':
        return [`(${this.#register('rs1')})`];
      case 'helper':
        if (action.helper.startsWith('csr')) return this.#csrOperands();
        if (action.helper.startsWith('cbo')) return [`(${this.#register('rs1')})`];
        // FENCE.I's registers are reserved (Unprivileged ISA §6); SFENCE.VMA has two.
        return this.#has('rs2') ? this.#written('rs1', 'rs2') : [];
      case 'nothing':
        return name === 'fence' ? this.#fenceSets() : [];
      default:
        return [...this.#computed(), ...(this.#has('imm') ? [this.#immediate()] : []), ...this.#rounding()];
    }
  }

  /** Registers of a computation. One that stands for two (c.add's rd and rs1) is written once, a fixed x0 never. */
  #computed(): string[] {
    const { compressed, operands } = this.#decoded;
    const registers = REGISTERS.filter((operand) => this.#has(operand));
    if (compressed === undefined) return registers.map((operand) => this.#register(operand));
    const { rd } = compressed.operands;
    return registers
      .filter((operand) => operand === 'rd' || compressed.operands[operand] !== rd)
      .filter((operand) => !(this.#isFixed(operand) && operands[operand] === 0))
      .map((operand) => this.#register(operand));
  }

  #immediate(): string {
    const value = this.#decoded.operands.imm ?? 0;
    if (this.#pattern.includes('shamt')) return hex(value);
    // lui and auipc: only the upper 20 bits are written.
    if (this.#decoded.instruction.encoding.pattern.includes('imm[31:12]'))
      return hex((value >>> 12) & 0xfffff);
    return String(value);
  }

  #rounding(): string[] {
    const { rm } = this.#decoded.operands;
    return rm === undefined || rm === DYNAMIC ? [] : [ROUNDING_MODES[rm] ?? 'unknown'];
  }

  #csrOperands(): string[] {
    const { imm: number = 0, zimm } = this.#decoded.operands;
    const csr = this.#options.csrName?.(number) ?? hex(number);
    return [this.#register('rd'), csr, zimm === undefined ? this.#register('rs1') : String(zimm)];
  }

  #fenceSets(): string[] {
    const imm = this.#decoded.operands.imm ?? 0;
    const set = (bits: number): string =>
      FENCE_SETS.filter((_, bit) => ((bits >> bit) & 1) === 1)
        .reverse()
        .join('') || 'unknown';
    return [set((imm >> 4) & 15), set(imm & 15)];
  }

  #memory(): string {
    return `${this.#decoded.operands.imm ?? 0}(${this.#register('rs1')})`;
  }

  #target(): string {
    return hex(BigInt.asUintN(64, this.#pc + BigInt(this.#decoded.operands.imm ?? 0)));
  }

  /** The given registers, as far as the instruction has them and its encoding does not fix them. */
  #written(...operands: OperandName[]): string[] {
    return operands
      .filter((operand) => this.#has(operand) && !this.#isFixed(operand))
      .map((operand) => this.#register(operand));
  }

  #register(operand: OperandName): string {
    const names = operand.startsWith('f') ? FLOAT_REGISTER_NAMES : REGISTER_NAMES;
    return names[this.#decoded.operands[operand] ?? 0] ?? '?';
  }

  #has(operand: OperandName): boolean {
    return this.#decoded.instruction.encoding.fields.some((field) => field.operand === operand);
  }

  /** Whether a compressed form leaves no choice of this operand. */
  #isFixed(operand: OperandName): boolean {
    return typeof this.#decoded.compressed?.operands[operand] === 'number';
  }
}
