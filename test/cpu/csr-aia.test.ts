/**
 * The CSRs of Smaia and Ssaia. RISC-V Advanced Interrupt Architecture 1.0, chapters 2, 3 and 5; sections by test.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import { INTERRUPT, PRIVILEGE } from '../../src/cpu/hart.ts';
import { Imsic } from '../../src/devices/imsic.ts';
import { assemble, BareMachine, RAM_BASE } from '../support/bare-machine.ts';

const HANDLER = RAM_BASE + 0x800;
const CSR = {
  ...{ miselect: 0x350, mireg: 0x351, mtopei: 0x35c, mtopi: 0xfb0, mvien: 0x308, mvip: 0x309 },
  ...{ siselect: 0x150, sireg: 0x151, stopei: 0x15c, stopi: 0xdb0, mip: 0x344 },
} as const;
const ILLEGAL = 'illegal';
const ALL = 2n ** 64n - 1n;

let m: BareMachine;

function build(isa: string): void {
  m = new BareMachine(1, 'tree', isa);
  m.load(assemble(['jal', { rd: 0, imm: 0 }]), HANDLER);
  m.hart.setCsr('mtvec', BigInt(HANDLER));
  m.engine.pmps[0]?.writeAddress(0, (1n << 54n) - 1n);
  m.engine.pmps[0]?.writeConfigurations(0, 0x1fn);
}

/** A CSR instruction in a mode; what rd gets, or "illegal". */
function csr(name: string, number: number, operand: bigint, privilege: number): bigint | typeof ILLEGAL {
  m.load(assemble([name, { rd: 7, rs1: operand === 0n ? 0 : 8, imm: number }]));
  m.hart.setX(7, 0n);
  m.hart.setX(8, operand);
  m.hart.pc = BigInt(RAM_BASE);
  m.hart.setCsr('mcause', 99n);
  m.hart.privilege = privilege;
  m.run(1);
  return m.hart.csr('mcause') === 2n ? ILLEGAL : m.hart.x(7);
}

const read = (number: number, privilege: number = PRIVILEGE.machine) => csr('csrrs', number, 0n, privilege);
const write = (number: number, value: bigint, privilege: number = PRIVILEGE.machine) =>
  csr('csrrw', number, value, privilege);

const LEVELS = [
  ['machine', PRIVILEGE.machine, CSR.miselect, CSR.mireg, CSR.mtopei, INTERRUPT.machineExternal],
  ['supervisor', PRIVILEGE.supervisor, CSR.siselect, CSR.sireg, CSR.stopei, INTERRUPT.supervisorExternal],
] as const;

test('without the extensions there is none of them', () => {
  build('rv64imac_zicsr');
  for (const number of Object.values(CSR).filter((n) => n !== CSR.mip)) expect(read(number)).toBe(ILLEGAL);
});

describe.each(LEVELS)('%s level', (level, privilege, select, register, topei, external) => {
  let imsic: Imsic;

  beforeEach(() => {
    build('rv64imac_zicsr_smaia_ssaia');
    const lines = [(on: boolean) => m.hart.setInterrupt(external, on)];
    imsic = new Imsic({ level, base: 0x2400_0000, lines });
    m.interruptFiles.set(privilege, imsic.file(0));
  });

  const message = (identity: number) => imsic.regions[0]?.handler.write(0, 4, identity);

  test('*iselect holds every number of a register (§2.1, §2.2)', () => {
    write(select, ALL, privilege);
    const kept = read(select, privilege) as bigint;
    expect(kept & 0xffn).toBe(0xffn);
  });

  test('of iprio, eip and eie the even numbers are there, iprio as zeros; others are illegal (§3.8, §5.2.1)', () => {
    for (const [number, expected] of [
      [0x2f, ILLEGAL],
      [0x30, 0n],
      [0x31, ILLEGAL],
      [0x3e, 0n],
      [0x3f, ILLEGAL],
      [0x40, ILLEGAL],
      [0x6f, ILLEGAL],
      [0x70, 1n],
      [0x71, 0n],
      [0x80, 0n],
      [0x81, ILLEGAL],
      [0xbe, 0n],
      [0xc0, ALL - 1n],
      [0xc1, ILLEGAL],
      [0xff, ILLEGAL],
    ] as const) {
      write(select, BigInt(number), privilege);
      if (number !== 0x80) write(register, ALL, privilege);
      expect(read(register, privilege), number.toString(16)).toBe(expected);
    }
  });

  test('a message is pending in *topei and mip until csrrw claims it (§3.9, §3.10)', () => {
    for (const [number, value] of [
      [0x70, 1n],
      [0xc0, ALL],
    ] as const) {
      write(select, BigInt(number), privilege);
      write(register, value, privilege);
    }
    message(9);
    message(5);
    const pending = () => ((m.hart.csr('mip') >> BigInt(external)) & 1n) === 1n;
    expect([read(topei, privilege), pending()]).toEqual([0x5_0005n, true]);
    expect(write(topei, 0n, privilege), 'csrrw with x0 reads, and claims what it read').toBe(0x5_0005n);
    expect(read(topei, privilege)).toBe(0x9_0009n);
    write(topei, 0n, privilege);
    expect([read(topei, privilege), pending()]).toEqual([0n, false]);
  });

  test('the level below can’t reach them', () => {
    for (const number of [select, register, topei]) expect(read(number, privilege - 1)).toBe(ILLEGAL);
  });
});

describe('top interrupts (§5.2.2, §5.4.2)', () => {
  beforeEach(() => build('rv64imac_zicsr_smaia_ssaia'));

  test('name what would trap to their level first, whatever the global enables say', () => {
    const raise = (...numbers: number[]) => {
      for (const number of numbers) m.hart.setInterrupt(number, true);
    };
    m.hart.setCsr('mideleg', 0x222n);
    raise(INTERRUPT.supervisorTimer, INTERRUPT.supervisorSoftware, INTERRUPT.machineTimer);
    expect([read(CSR.mtopi), read(CSR.stopi)]).toEqual([0n, 0n]);
    m.hart.setCsr('mie', 0xaaan);
    expect([read(CSR.mtopi), read(CSR.stopi)]).toEqual([0x7_0001n, 0x1_0001n]);
    raise(INTERRUPT.machineSoftware, INTERRUPT.supervisorExternal);
    expect([read(CSR.mtopi), read(CSR.stopi, PRIVILEGE.machine)]).toEqual([0x3_0001n, 0x9_0001n]);
    expect(write(CSR.mtopi, 1n)).toBe(ILLEGAL);
  });
});

describe('virtual interrupts (§5.3)', () => {
  beforeEach(() => build('rv64imac_zicsr_smaia_ssaia'));

  test('mvien is zero, and mvip another name for the writable bits of mip', () => {
    write(CSR.mvien, ALL);
    expect(read(CSR.mvien)).toBe(0n);
    write(CSR.mvip, ALL);
    expect([read(CSR.mvip), read(CSR.mip)]).toEqual([0x222n, 0x222n]);
    m.hart.setInterrupt(INTERRUPT.supervisorExternal, true);
    csr('csrrc', CSR.mvip, 0x202n, PRIVILEGE.machine);
    expect([read(CSR.mvip), read(CSR.mip)], 'the line is none of it').toEqual([0x20n, 0x220n]);
  });

  test('with menvcfg.STCE, STIP is not among them', () => {
    m.hart.setCsr('menvcfg', 1n << 63n);
    m.hart.setCsr('stimecmp', ALL);
    write(CSR.mvip, ALL);
    expect(read(CSR.mvip)).toBe(0x202n);
  });
});
