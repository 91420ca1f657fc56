/** An instruction across two pages is the one that both pages hold now, wherever the second one is. */
import { describe, expect, test } from 'vitest';
import type { EngineOptions } from '../../src/cpu/engine.ts';
import { CAUSE, PRIVILEGE } from '../../src/cpu/hart.ts';
import { assemble } from '../support/bare-machine.ts';
import { DATA, PagedMachine, PTE, pte, RWX, SUPERVISOR_HANDLER, VIRTUAL } from '../support/paged-machine.ts';

/** Physical pages for what follows VIRTUAL's page. */
const SECOND = DATA + 0x1_0000;
const THIRD = DATA + 0x2_0000;
const START = VIRTUAL + 0xffen;

describe.each<[string, EngineOptions]>([
  ['interpreted', {}],
  ['with a JIT', { accel: 'jit', jit: { heat: 40, patience: 0 } }],
])('%s', (_, options) => {
  /** Adds `imm` to x6 across the end of VIRTUAL's page, in a loop. */
  const loop = (imm: number): Uint8Array =>
    assemble(['addi', { rd: 6, rs1: 6, imm }], ['jal', { rd: 0, imm: -4 }]);

  function machine(): { m: PagedMachine; map: (physical: number, bits?: bigint) => void } {
    const m = new PagedMachine(undefined, options);
    const entry = m.paging(RWX) + 8;
    const map = (physical: number, bits = RWX): void => {
      m.write64(entry, pte(physical, bits));
      m.engine.tlbs.flushAll();
    };
    m.load(loop(1).subarray(0, 2), DATA + 0xffe);
    m.load(loop(1).subarray(2), SECOND);
    m.load(loop(16).subarray(2), THIRD);
    m.hart.setCsr('medeleg', 1n << BigInt(CAUSE.instructionPageFault));
    m.hart.privilege = PRIVILEGE.supervisor;
    m.hart.pc = START;
    return { m, map };
  }

  test('another second page', () => {
    const { m, map } = machine();
    map(SECOND);
    expect(m.run(100)).toBe(100);
    expect(m.hart.x(6)).toBe(50n);
    map(THIRD);
    expect(m.run(100)).toBe(100);
    expect(m.hart.x(6)).toBe(50n + 50n * 16n);
    map(SECOND);
    m.run(100);
    expect(m.hart.x(6)).toBe(100n + 50n * 16n);
  });

  test('another second half, and another first', () => {
    const { m, map } = machine();
    map(SECOND);
    m.run(100);
    m.load(loop(3).subarray(2), SECOND);
    m.run(100);
    expect(m.hart.x(6)).toBe(200n);
    m.load(assemble(['addi', { rd: 7, rs1: 6, imm: 3 }]).subarray(0, 2), DATA + 0xffe);
    m.run(100);
    expect([m.hart.x(6), m.hart.x(7)]).toEqual([200n, 203n]);
  });

  test('a second page that may not be fetched from any more', () => {
    const { m, map } = machine();
    map(SECOND);
    m.run(100);
    map(SECOND, RWX & ~PTE.x);
    m.run(1);
    expect(m.hart.pc).toBe(BigInt(SUPERVISOR_HANDLER));
    expect(m.hart.csr('scause')).toBe(BigInt(CAUSE.instructionPageFault));
    expect([m.hart.csr('sepc'), m.hart.csr('stval')]).toEqual([START, VIRTUAL + 0x1000n]);
    expect(m.hart.x(6)).toBe(50n);
  });

  test('a breakpoint there stops', () => {
    const { m, map } = machine();
    map(SECOND);
    m.run(100);
    m.engine.points.insert({ kind: 'software', address: START });
    expect(m.run(100)).toBe(0);
    m.engine.points.takeStop();
    expect(m.run(100)).toBe(2);
    expect(m.hart.x(6)).toBe(51n);
  });

  test('nothing but zeros is no instruction across two pages', () => {
    const { m, map } = machine();
    map(SECOND);
    m.load(new Uint8Array(2), DATA + 0xffe);
    m.load(new Uint8Array(2), SECOND);
    m.run(1);
    expect(m.hart.csr('mcause')).toBe(BigInt(CAUSE.illegalInstruction));
  });
});
