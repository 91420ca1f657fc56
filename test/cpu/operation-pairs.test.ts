/** Pairs of instructions that one dispatch serves are still two instructions. */
import { describe, expect, test } from 'vitest';
import { CAUSE } from '../../src/cpu/hart.ts';
import type { Dispatch } from '../../src/cpu/interpreter.ts';
import { END_WORD, ENTRY, OPERATIONS, pairWord } from '../../src/cpu/operations.ts';
import { assemble, BareMachine, type Line, RAM_BASE } from '../support/bare-machine.ts';

const HANDLER = RAM_BASE + 0x800;
const DATA = RAM_BASE + 0x2_0000;
/** Nothing is there. */
const NOWHERE = 0x2000_0000n;

describe.each<Dispatch>(['table', 'tree'])('dispatched by a %s', (dispatch) => {
  function machine(...lines: Line[]): BareMachine {
    const m = new BareMachine(1, dispatch);
    m.load(assemble(...lines));
    m.load(assemble(['jal', { rd: 0, imm: 0 }]), HANDLER);
    m.hart.setCsr('mtvec', BigInt(HANDLER));
    return m;
  }

  const COUNTERS: Line[] = [
    ['addi', { rd: 5, rs1: 5, imm: 1 }],
    ['addi', { rd: 6, rs1: 6, imm: 1 }],
    ['jal', { rd: 0, imm: -8 }],
  ];

  test('a slice may end between the two', () => {
    const m = machine(...COUNTERS);
    m.run(300);
    for (let lap = 100n; lap < 110n; lap++) {
      expect(m.run(1)).toBe(1);
      expect([m.hart.pc, m.hart.x(5), m.hart.x(6)]).toEqual([BigInt(RAM_BASE + 4), lap + 1n, lap]);
      expect(m.run(2)).toBe(2);
      expect([m.hart.pc, m.hart.x(5), m.hart.x(6)]).toEqual([BigInt(RAM_BASE), lap + 1n, lap + 1n]);
    }
    expect(m.hart.csr('minstret')).toBe(330n);
  });

  test('a jump may lead to the second', () => {
    const m = machine(...COUNTERS);
    m.run(300);
    m.load(assemble(['jal', { rd: 0, imm: -4 }]), RAM_BASE + 8);
    m.run(200);
    expect([m.hart.x(5), m.hart.x(6)]).toEqual([101n, 200n]);
  });

  test('the second traps by itself, behind the first', () => {
    const m = machine(
      ['ld', { rd: 8, rs1: 5, imm: 0 }],
      ['ld', { rd: 9, rs1: 6, imm: 0 }],
      ['jal', { rd: 0, imm: -8 }],
    );
    m.hart.setX(5, BigInt(DATA));
    m.hart.setX(6, BigInt(DATA));
    m.run(300);
    m.load(Uint8Array.of(7), DATA);
    m.hart.setX(6, NOWHERE);
    m.run(2);
    expect(m.hart.csr('mcause')).toBe(BigInt(CAUSE.loadAccessFault));
    expect([m.hart.csr('mepc'), m.hart.csr('mtval')]).toEqual([BigInt(RAM_BASE + 4), NOWHERE]);
    expect([m.hart.x(8), m.hart.x(9)]).toEqual([7n, 0n]);
  });

  test('the first may overwrite the second', () => {
    const m = machine(
      ['sd', { rs1: 5, rs2: 6, imm: 0 }],
      ['sd', { rs1: 7, rs2: 6, imm: 0 }],
      ['jal', { rd: 0, imm: -8 }],
    );
    const patch = assemble(['addi', { rd: 8, imm: 77 }], ['jal', { rd: 0, imm: -8 }]);
    m.hart.setX(5, BigInt(DATA));
    m.hart.setX(7, BigInt(DATA + 8));
    m.hart.setX(6, new DataView(patch.buffer).getBigUint64(0, true));
    m.run(300);
    m.hart.setX(5, BigInt(RAM_BASE + 4));
    m.run(2);
    expect(m.hart.x(8)).toBe(77n);
  });

  test('a breakpoint at the second stops', () => {
    const m = machine(...COUNTERS);
    m.run(300);
    m.engine.points.insert({ kind: 'software', address: BigInt(RAM_BASE + 4) });
    expect(m.run(300)).toBe(1);
    expect(m.hart.pc).toBe(BigInt(RAM_BASE + 4));
  });
});

test('to all but the interpreter a pair is its first instruction', () => {
  const pairs = OPERATIONS.filter((operation) => operation.kind === 'instruction' && 'first' in operation);
  expect(pairs.length).toBeGreaterThan(0);
  for (const pair of pairs) {
    if (pair.kind !== 'instruction' || pair.second === undefined) throw new Error('no pair');
    const single = OPERATIONS[pair.first];
    expect(single).toMatchObject({ instruction: pair.instruction, length: pair.length });
    const operands = (1 << ENTRY.operationShift) - 1;
    const [first, second] = [pair.first, pair.second.code].map((code) => code << ENTRY.operationShift);
    expect(pairWord((first as number) | operands, second as number)).toBe(
      (pair.code << ENTRY.operationShift) | operands,
    );
  }
  expect(pairWord(END_WORD, END_WORD)).toBeUndefined();
});
