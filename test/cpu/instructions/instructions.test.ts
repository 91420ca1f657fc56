/**
 * Every instruction of the ISA table, by the section that defines it: by hand chosen operands and what they give, in the
 * interpreter with either dispatcher and in code that the JIT has translated. A line of the table without cases fails.
 */
import { expect, test } from 'vitest';
import type { EngineOptions } from '../../../src/cpu/engine.ts';
import { PRIVILEGE } from '../../../src/cpu/hart.ts';
import { decode } from '../../../src/isa/decode.ts';
import { encode } from '../../../src/isa/encoding.ts';
import { COMPRESSED, HINTS, INSTRUCTIONS } from '../../../src/isa/table.ts';
import { cpuModel } from '../../../src/machine/cpu-models.ts';
import { HART_CSRS, type HartCsr } from '../../../src/memory/layout.ts';
import { assemble, BareMachine, RAM_BASE } from '../../support/bare-machine.ts';
import { ATOMIC_CASES } from './atomic-cases.ts';
import { BIT_CASES } from './bit-cases.ts';
import { COMPRESSED_CASES } from './compressed-cases.ts';
import { FLOAT_CASES } from './float-cases.ts';
import {
  type Cases,
  DATA,
  HANDLER,
  type InstructionCase,
  MSTATUS_BEFORE,
  PC,
  type State,
  u64,
} from './instruction-case.ts';
import { INTEGER_CASES } from './integer-cases.ts';
import { SYSTEM_CASES } from './system-cases.ts';

const CASES: Cases = {
  ...INTEGER_CASES,
  ...ATOMIC_CASES,
  ...FLOAT_CASES,
  ...COMPRESSED_CASES,
  ...BIT_CASES,
  ...SYSTEM_CASES,
};
const LINES = [...INSTRUCTIONS, ...COMPRESSED, ...HINTS];

/** What a state leaves out. */
const NOTHING: Required<State> = {
  x: {},
  f: {},
  csr: {},
  memory: [],
  pc: PC,
  privilege: PRIVILEGE.machine,
  reservation: DATA + 32n,
  waiting: false,
};
/** Those that only count. */
const COUNTERS: readonly HartCsr[] = ['mcycle', 'minstret'];
const WORDS = 8;

const MAX_WARM_UP = 64;
/** Where a jump to the instruction stands, on another page: the JIT translates what such jumps lead to. */
const JUMP = BigInt(RAM_BASE + 0x3000);
/** A page that changes often gets hot later and later, so the JIT has a new machine after so many cases. */
const CASES_PER_MACHINE = 2;

class Subject {
  readonly name: string;
  readonly #options: EngineOptions;
  #m: BareMachine;
  #cases = 0;
  /** Words that were run in a region. */
  readonly translated = new Set<number>();

  constructor(name: string, options: EngineOptions) {
    this.name = name;
    this.#options = options;
    this.#m = this.#machine();
  }

  #machine(): BareMachine {
    const { dispatch = 'table' } = this.#options;
    return new BareMachine(1, dispatch, cpuModel('max').isa, undefined, this.#options);
  }

  /** Runs the jump and one instruction. @returns all state before and after. */
  run(word: number, length: 2 | 4, given: State): { before: Required<State>; after: Required<State> } {
    const isJit = this.#options.accel === 'jit';
    if (isJit && this.#cases++ % CASES_PER_MACHINE === 0) this.#m = this.#machine();
    const m = this.#m;
    // Wherever it jumps on its page, there is a c.j to itself.
    m.load(new Uint8Array(new Uint16Array(2048).fill(0xa001).buffer), RAM_BASE);
    m.load(assemble(['jal', { rd: 0, imm: Number(PC - JUMP) }]), Number(JUMP));
    const bytes = Uint8Array.from({ length }, (_, i) => word >>> (8 * i));
    m.load(bytes, Number(PC));
    if (isJit) this.#warmUp(word, given);
    this.#reset(given);
    const before = this.#state();
    m.run(2);
    return { before, after: this.#state() };
  }

  /** Until the page is translated, or would have been if it could be. */
  #warmUp(word: number, given: State): void {
    const regions = (): number => this.#m.engine.jit?.statistics.regions ?? 0;
    for (let i = 0; i < MAX_WARM_UP && regions() === 0; i++) {
      this.#reset(given);
      this.#m.run(2);
    }
    if (regions() > 0) this.translated.add(word);
  }

  #reset(given: State): void {
    const m = this.#m;
    m.engine.reset(JUMP);
    // Everybody may reach everything.
    m.engine.pmps[0]?.writeAddress(0, (1n << 54n) - 1n);
    m.engine.pmps[0]?.writeConfigurations(0, 0x1fn);
    const { hart } = m;
    const { x, f, csr, memory, privilege, reservation } = { ...NOTHING, ...given };
    const csrs = { mtvec: HANDLER, mstatus: MSTATUS_BEFORE, ...csr };
    for (const [name, value] of Object.entries(csrs)) hart.setCsr(name as HartCsr, value);
    for (let i = 1; i < 32; i++) hart.setX(i, x[i] ?? 0n);
    for (let i = 0; i < 32; i++) hart.setF(i, f[i] ?? 0n);
    const words = BigUint64Array.from({ length: WORDS }, (_, i) => memory[i] ?? 0n);
    m.memory.write(m.at(Number(DATA)), new Uint8Array(words.buffer));
    hart.reservation = reservation;
    hart.privilege = privilege;
  }

  #state(): Required<State> {
    const m = this.#m;
    const { hart } = m;
    const csrs = HART_CSRS.filter((name) => !COUNTERS.includes(name));
    return {
      x: Object.fromEntries(Array.from({ length: 32 }, (_, i) => [i, hart.x(i)])),
      f: Object.fromEntries(Array.from({ length: 32 }, (_, i) => [i, hart.f(i)])),
      csr: Object.fromEntries(csrs.map((name) => [name, hart.csr(name)])),
      memory: Array.from({ length: WORDS }, (_, i) => m.read64(Number(DATA) + 8 * i)),
      pc: hart.pc,
      privilege: hart.privilege,
      reservation: u64(hart.reservation),
      waiting: hart.waiting,
    };
  }
}

/** The state before, with what the case changes. */
function expected({ gives = {}, trap }: InstructionCase, length: number, before: Required<State>): State {
  if (trap !== undefined) {
    const mpp = BigInt(before.privilege) << 11n;
    const mstatus = (before.csr.mstatus ?? 0n) | mpp;
    const csr = { mcause: BigInt(trap.cause), mepc: PC, mtval: trap.tval ?? 0n, mstatus };
    return {
      ...before,
      csr: { ...before.csr, ...csr },
      pc: HANDLER,
      privilege: PRIVILEGE.machine,
      reservation: u64(-1n),
    };
  }
  return {
    ...before,
    pc: PC + BigInt(length),
    ...gives,
    x: { ...before.x, ...gives.x },
    f: { ...before.f, ...gives.f },
    csr: { ...before.csr, ...gives.csr },
    memory: before.memory.map((word, i) => gives.memory?.[i] ?? word),
  };
}

const SUBJECTS = [
  new Subject('interpreter, tree', { dispatch: 'tree' }),
  new Subject('interpreter, table', { dispatch: 'table' }),
  new Subject('JIT', { dispatch: 'table', accel: 'jit', jit: { heat: 1, patience: 0 } }),
];

test.each(LINES.map((line) => [`${line.name} (${line.section})`, line] as const))('%s', (_title, line) => {
  const cases = CASES[line.name] ?? [];
  expect(cases, 'has no cases').not.toHaveLength(0);
  for (const subject of SUBJECTS) {
    for (const one of cases) {
      const operands = Object.fromEntries(line.encoding.fields.map(({ operand }) => [operand, 0]));
      const word = encode(line.encoding, { ...operands, ...one.operands });
      const { before, after } = subject.run(word, line.encoding.length, one.given ?? {});
      const what = { by: subject.name, operands: one.operands };
      expect({ ...what, ...after }).toEqual({ ...what, ...expected(one, line.encoding.length, before) });
    }
  }
});

test('no cases are of an instruction that is not in the table', () => {
  const names = new Set(LINES.map(({ name }) => name));
  expect(Object.keys(CASES).filter((name) => !names.has(name))).toEqual([]);
});

test('the JIT has translated all but what it leaves to the interpreter', () => {
  const translated = new Set(
    [...(SUBJECTS.at(-1)?.translated ?? [])].map((word) => decode(word)?.instruction.name),
  );
  const left = INSTRUCTIONS.filter(({ name }) => !translated.has(name));
  const others = left.filter(
    ({ action }) => action.kind !== 'helper' && !(action.kind === 'float' && action.fast === undefined),
  );
  expect(others.map(({ name }) => name)).toEqual([]);
  expect(left.length).toBeLessThan(INSTRUCTIONS.length / 4);
});
