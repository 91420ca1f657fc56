/** The quick ways of privileged instructions, interpreted and translated. Privileged ISA (20240411) §12.1.1, §12.2.1. */
import { describe, expect, test } from 'vitest';
import type { EngineOptions } from '../../src/cpu/engine.ts';
import { INTERRUPT, INTERRUPT_FLAG, MSTATUS, PRIVILEGE } from '../../src/cpu/hart.ts';
import { assemble, type Line, RAM_BASE } from '../support/bare-machine.ts';
import { DATA, PagedMachine, PTE, pte, RWX, SUPERVISOR_HANDLER, VIRTUAL } from '../support/paged-machine.ts';

const SSTATUS = 0x100;
const EAGER = { accel: 'jit', jit: { eager: true, heat: 1, patience: 0 } } as const;

describe.each<[string, EngineOptions]>([
  ['interpreted', {}],
  ['translated', EAGER],
])('%s', (_, options) => {
  function machine(...lines: Line[]): PagedMachine {
    const m = new PagedMachine(undefined, options);
    m.load(assemble(...lines));
    m.hart.pc = BigInt(RAM_BASE);
    m.hart.privilege = PRIVILEGE.supervisor;
    return m;
  }

  const IRQ_LOOP: Line[] = [
    ['csrrci', { rd: 7, imm: SSTATUS, zimm: 2 }],
    ['csrrs', { rd: 8, imm: SSTATUS, rs1: 7 }],
    ['jal', { rd: 0, imm: -8 }],
  ];

  function interruptible(): PagedMachine {
    const m = machine(...IRQ_LOOP);
    m.hart.setCsr('mideleg', 1n << BigInt(INTERRUPT.supervisorSoftware));
    m.hart.setCsr('mie', 1n << BigInt(INTERRUPT.supervisorSoftware));
    m.hart.setCsr('mstatus', m.hart.csr('mstatus') | MSTATUS.sie);
    return m;
  }

  test('SIE goes off and on, and reads as it was before', () => {
    const m = interruptible();
    expect(m.run(3001)).toBe(3001);
    expect(m.hart.csr('mstatus') & MSTATUS.sie).toBe(0n);
    expect(m.hart.x(7)).toBe(MSTATUS.uxl | MSTATUS.sie);
    expect(m.hart.x(8)).toBe(MSTATUS.uxl);
    m.run(1);
    expect(m.hart.csr('mstatus') & MSTATUS.sie).toBe(MSTATUS.sie);
    expect(m.hart.csr('minstret')).toBe(3002n);
  });

  test('an interrupt that is pending waits for SIE, and is taken behind the instruction that sets it', () => {
    const m = interruptible();
    m.run(3001);
    m.hart.setInterrupt(INTERRUPT.supervisorSoftware, true);
    m.run(2);
    expect(m.hart.csr('sepc')).toBe(BigInt(RAM_BASE + 8));
    expect(m.hart.csr('scause')).toBe(INTERRUPT_FLAG | BigInt(INTERRUPT.supervisorSoftware));
    expect(m.hart.pc).toBe(BigInt(SUPERVISOR_HANDLER));
  });

  test('user mode has no sstatus', () => {
    const m = interruptible();
    m.hart.privilege = PRIVILEGE.user;
    m.run(1);
    expect(m.hart.csr('mcause')).toBe(2n);
  });

  test('with other bits it changes the context: SUM opens user pages', () => {
    const m = machine(
      ['csrrs', { imm: SSTATUS, rs1: 9 }],
      ['ld', { rd: 7, rs1: 5 }],
      ['csrrc', { imm: SSTATUS, rs1: 9 }],
      ['ld', { rd: 8, rs1: 5 }],
    );
    m.paging(RWX | PTE.u);
    m.write64(DATA, 42n);
    m.hart.setX(5, VIRTUAL);
    m.hart.setX(9, MSTATUS.sum | MSTATUS.sie);
    m.run(4);
    expect(m.hart.x(7)).toBe(42n);
    expect([m.hart.csr('mcause'), m.hart.csr('mtval')]).toEqual([13n, VIRTUAL]);
    expect(m.hart.csr('mstatus') & (MSTATUS.sum | MSTATUS.sie)).toBe(0n);
  });

  test('behind a fence for its address a changed entry counts, for loads, stores and fetches', () => {
    const other = DATA + 0x1000;
    const m = machine(
      ['ld', { rd: 7, rs1: 5 }],
      ['sd', { rs1: 5, rs2: 6 }],
      ['sd', { rs1: 9, rs2: 10 }],
      ['sfence.vma', { rs1: 5 }],
      ['ld', { rd: 8, rs1: 5 }],
      ['sd', { rs1: 5, rs2: 7 }],
    );
    const entry = m.paging(RWX);
    m.write64(DATA, 1n);
    m.write64(other, 2n);
    for (const [register, value] of [
      [5, VIRTUAL],
      [6, 3n],
      [9, BigInt(entry)],
      [10, pte(other, RWX)],
    ] as const) {
      m.hart.setX(register, value);
    }
    m.run(6);
    expect([m.hart.x(7), m.hart.x(8)]).toEqual([1n, 2n]);
    expect([m.read64(DATA), m.read64(other)]).toEqual([3n, 1n]);
  });

  test('behind a fence for the page that runs, what follows comes from the new page', () => {
    const other = DATA + 0x1000;
    const m = machine();
    const entry = m.paging(RWX);
    const code = (result: number): Uint8Array =>
      assemble(['sd', { rs1: 9, rs2: 10 }], ['sfence.vma', { rs1: 5 }], ['addi', { rd: 7, imm: result }]);
    m.load(code(1), DATA);
    m.load(code(2), other);
    m.hart.setX(5, VIRTUAL);
    m.hart.setX(9, BigInt(entry));
    m.hart.setX(10, pte(other, RWX));
    m.hart.pc = VIRTUAL;
    m.run(3);
    expect(m.hart.x(7)).toBe(2n);
  });

  test('a fence traps where mstatus.TVM says so', () => {
    const m = machine(['sfence.vma', { rs1: 5 }]);
    m.hart.setCsr('mstatus', m.hart.csr('mstatus') | MSTATUS.tvm);
    m.run(1);
    expect(m.hart.csr('mcause')).toBe(2n);
  });
});
