/** Registers as debuggers reach them: all, whatever the mode, with what follows from a write. */
import { expect, test } from 'vitest';
import { DebugRegisters } from '../../src/cpu/debug-registers.ts';
import { MSTATUS, PRIVILEGE } from '../../src/cpu/hart.ts';
import { extensionsOf } from '../../src/isa/isa-string.ts';
import { assemble, BareMachine, RAM_BASE } from '../support/bare-machine.ts';
import { DATA, PagedMachine, ROOT, RWX, VIRTUAL } from '../support/paged-machine.ts';

const ISA = 'rv64imafdc_zicsr_zifencei_zba_zbb_zbs';
const registersOf = (m: BareMachine, isa = ISA): DebugRegisters =>
  new DebugRegisters(m.engine, extensionsOf(isa));

/** The numbers that gdb is told: x0 first, then pc, f0, priv and the CSRs (as in QEMU). */
const PC = 32;
const F = 33;
const PRIV = 65;
const CSR = 66;
const MSTATUS_CSR = CSR + 0x300;

test('every register stands in one feature, under a number and a name of its own', () => {
  const { features } = registersOf(new BareMachine());
  expect(features.map(({ name }) => name)).toEqual([
    'org.gnu.gdb.riscv.cpu',
    'org.gnu.gdb.riscv.fpu',
    'org.gnu.gdb.riscv.virtual',
    'org.gnu.gdb.riscv.csr',
  ]);
  const all = features.flatMap(({ registers }) => registers);
  expect(new Set(all.map(({ name }) => name)).size).toBe(all.length);
  expect(new Set(all.map(({ number }) => number)).size).toBe(all.length);
  const number = (name: string): number | undefined => all.find((one) => one.name === name)?.number;
  expect(['zero', 't6', 'pc', 'ft0', 'ft11', 'priv', 'mstatus', 'cycle'].map(number)).toEqual([
    ...[0, 31, PC, F, F + 31, PRIV, MSTATUS_CSR, CSR + 0xc00],
  ]);
});

test('without F there is no FPU', () => {
  const registers = registersOf(new BareMachine(1, 'tree', 'rv64imac'), 'rv64imac');
  expect(registers.features.map(({ name }) => name)).not.toContain('org.gnu.gdb.riscv.fpu');
  const csrs = registers.features.at(-1)?.registers.map(({ name }) => name);
  expect(csrs).not.toContain('fcsr');
  expect(csrs).toContain('mstatus');
});

test('integer and floating-point registers, pc and mode', () => {
  const m = new BareMachine();
  const registers = registersOf(m);
  const writes: readonly [number, bigint, bigint][] = [
    [0, 5n, 0n],
    [5, 0x1234n, 0x1234n],
    [31, (1n << 64n) - 1n, (1n << 64n) - 1n],
    [PC, BigInt(RAM_BASE + 7), BigInt(RAM_BASE + 6)],
    [F + 3, 0x3ff0n << 48n, 0x3ff0n << 48n],
    [PRIV, 1n, 1n],
  ];
  for (const [number, value, read] of writes) {
    expect(registers.write(m.hart, number, value)).toBe(true);
    expect(registers.read(m.hart, number)).toBe(read);
  }
  expect(m.hart.privilege).toBe(PRIVILEGE.supervisor);
  expect(registers.write(m.hart, PRIV, 2n)).toBe(false);
  expect(registers.read(m.hart, 9999)).toBeUndefined();
  expect(registers.write(m.hart, 9999, 0n)).toBe(false);
});

test('CSRs of machine mode can be read and written from user mode; read-only ones can not be written', () => {
  const m = new BareMachine();
  const registers = registersOf(m);
  m.hart.privilege = PRIVILEGE.user;
  expect(registers.write(m.hart, CSR + 0x340, 0x55n)).toBe(true);
  expect(registers.read(m.hart, CSR + 0x340)).toBe(0x55n);
  expect(registers.write(m.hart, CSR + 0xf14, 1n)).toBe(false);
  expect(registers.read(m.hart, CSR + 0xf14)).toBe(0n);
});

test('counters read what has run, and run on from what is written', () => {
  const m = new BareMachine();
  const registers = registersOf(m);
  m.load(assemble(['addi', { rd: 5, rs1: 5, imm: 1 }], ['jal', { rd: 0, imm: -4 }]));
  m.run(100);
  expect(registers.read(m.hart, CSR + 0xb02)).toBe(100n);
  expect(registers.read(m.hart, CSR + 0xc02)).toBe(100n);
  registers.write(m.hart, CSR + 0xb02, 5000n);
  expect(registers.read(m.hart, CSR + 0xb02)).toBe(5000n);
  m.run(10);
  expect(registers.read(m.hart, CSR + 0xb02)).toBe(5010n);
});

test('a written satp means other addresses at once', () => {
  const m = new PagedMachine();
  m.paging(RWX);
  const satp = m.hart.csr('satp');
  m.hart.setCsr('satp', 0n);
  m.hart.privilege = PRIVILEGE.supervisor;
  registersOf(m).write(m.hart, CSR + 0x180, satp);
  m.memory.write(m.at(DATA), Uint8Array.of(0x77));
  m.load(assemble(['lbu', { rd: 6, rs1: 5 }]));
  m.hart.pc = BigInt(RAM_BASE);
  m.hart.setX(5, VIRTUAL);
  m.run(1);
  expect(m.hart.x(6)).toBe(0x77n);
  expect(ROOT).toBe(Number(satp & 0xfffffn) * 4096);
});

test('floating-point state that is written is dirty, unless it is off, and then it stays off', () => {
  const m = new BareMachine();
  const registers = registersOf(m);
  for (const number of [F, CSR + 1, CSR + 2, CSR + 3]) {
    expect(registers.write(m.hart, number, 1n)).toBe(true);
    expect(m.hart.csr('mstatus') & MSTATUS.fs).toBe(0n);
  }
  expect(registers.read(m.hart, CSR + 3)).toBe(1n);
  registers.write(m.hart, MSTATUS_CSR, 1n << 13n);
  registers.write(m.hart, F, 5n);
  expect(m.hart.csr('mstatus') & MSTATUS.fs).toBe(MSTATUS.fs);
});
