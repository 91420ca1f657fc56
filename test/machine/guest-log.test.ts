/** What the harts do, as lines of the log. */
import { beforeEach, describe, expect, test } from 'vitest';
import { DebugAccess } from '../../src/cpu/debug-access.ts';
import { PRIVILEGE } from '../../src/cpu/hart.ts';
import { GuestLog } from '../../src/machine/guest-log.ts';
import { registerLines } from '../../src/machine/register-dump.ts';
import { assemble, type Line, RAM_BASE } from '../support/bare-machine.ts';
import { DATA, PagedMachine, PTE, RWX, VIRTUAL } from '../support/paged-machine.ts';

let m: PagedMachine;
let log: GuestLog;
let text = '';

/** What is logged while these run in machine mode. */
function logged(items: readonly string[], count: number, ...lines: Line[]): string {
  m.load(assemble(...lines));
  log.setItems(new Set(items));
  m.run(count);
  return text;
}

beforeEach(() => {
  m = new PagedMachine();
  text = '';
  log = new GuestLog(m.engine, new DebugAccess(m.memory, m.bus), (lines) => {
    text += lines;
  });
});

describe('in_asm', () => {
  test('shows each instruction once, under a heading for each run of code', () => {
    const shown = logged(
      ['in_asm'],
      7,
      ['addi', { rd: 5, imm: 1 }],
      ['c.j', { imm: 4 }],
      ['c.addi', {}],
      ['jal', { imm: -8 }],
    );
    expect(shown).toBe(
      [
        '----------------',
        'IN: ',
        'Priv: 3; Virt: 0',
        '0x0000000080000000:  00100293          addi                    t0,zero,1',
        '0x0000000080000004:  a011              c.j                     0x80000008',
        '',
        '----------------',
        'IN: ',
        'Priv: 3; Virt: 0',
        '0x0000000080000008:  ff9ff06f          jal                     zero,0x80000000',
        '',
      ].join('\n'),
    );
  });

  test('code that was written over is shown again', () => {
    logged(['in_asm'], 2, ['addi', { rd: 5, imm: 1 }], ['jal', { imm: -4 }]);
    text = '';
    m.load(assemble(['addi', { rd: 5, imm: 2 }]));
    m.run(2);
    expect(text).toContain('0x0000000080000000:  00200293          addi                    t0,zero,2\n');
    expect(text).not.toContain('jal');
  });

  test('an instruction across two pages is decoded each time, and shown once', () => {
    m.load(assemble(['addi', { rd: 5, imm: 7 }], ['jal', { imm: -4 }]), RAM_BASE + 4094);
    m.hart.pc = BigInt(RAM_BASE + 4094);
    log.setItems(new Set(['in_asm']));
    m.run(20);
    expect(m.hart.pc).toBe(BigInt(RAM_BASE + 4094));
    expect(text.match(/addi/g)).toHaveLength(1);
  });
});

describe('cpu', () => {
  const LOOP: readonly Line[] = [
    ['addi', { rd: 5, rs1: 5, imm: 1 }],
    ['addi', { rd: 6, rs1: 6, imm: 2 }],
    ['jal', { imm: -8 }],
  ];

  test('shows the registers before each run of code, floating point only with fpu', () => {
    const before = registerLines(m.hart, { floats: false }).join('\n');
    const shown = logged(['cpu'], 6, ...LOOP);
    expect(shown.startsWith(`${before}\n pc`)).toBe(true);
    expect(shown.match(/^ pc .*/gm)).toEqual([
      ' pc            0000000080000000',
      ' pc            0000000080000000',
    ]);
    expect(shown.match(/x5\/t0 +\w+/g)).toEqual(['x5/t0    0000000000000000', 'x5/t0    0000000000000001']);
    expect(shown).not.toContain('f0/ft0');
    log.setItems(new Set(['cpu', 'fpu']));
    m.run(3);
    expect(text).toContain('f0/ft0');
  });

  test('changes nothing: counts and state are as without it', () => {
    const run = (items: readonly string[]) => {
      const other = new PagedMachine();
      other.load(assemble(...LOOP, ['ecall']));
      const counted = new GuestLog(other.engine, new DebugAccess(other.memory, other.bus), () => {});
      counted.setItems(new Set(items));
      const ran = [other.run(1), other.run(1000)];
      return [ran, other.hart.pc, other.hart.x(5), other.hart.csr('minstret'), other.engine.instructions];
    };
    expect(run(['cpu', 'in_asm', 'int', 'mmu'])).toEqual(run([]));
  });
});

describe('mmu', () => {
  test('shows the walk of a fill, and that a page which is not dirty yet can not be written', () => {
    m.paging(PTE.v | PTE.r | PTE.w);
    log.setItems(new Set(['mmu']));
    m.step(PRIVILEGE.supervisor, ['ld', { rd: 7, rs1: 5, imm: 8 }], ['sd', { rs1: 5, rs2: 6 }]);
    expect(text).toBe(
      [
        'riscv_cpu_tlb_fill ad 80000000 rw 2 mmu_idx 1',
        'riscv_cpu_tlb_fill address=80000000 ret 0 physical 0000000080000000 prot 7',
        'riscv_cpu_tlb_fill ad 40000008 rw 0 mmu_idx 1',
        'riscv_cpu_tlb_fill address=40000008 ret 0 physical 0000000080020008 prot 1',
        'riscv_cpu_tlb_fill ad 40000000 rw 1 mmu_idx 1',
        'riscv_cpu_tlb_fill address=40000000 ret 0 physical 0000000080020000 prot 3',
        '',
      ].join('\n'),
    );
  });

  test.each([
    ['page fault', 0n, 1],
    ['access fault', RWX, 2],
  ])('a %s is one outcome, though two parts of the engine meet it', (_what, bits, outcome) => {
    m.paging(bits);
    if (outcome === 2) {
      m.engine.pmps[0]?.writeConfigurations(0, 0n);
      m.engine.pmps[0]?.writeAddress(0, BigInt(DATA) >> 2n);
      m.engine.pmps[0]?.writeConfigurations(0, 0x0fn); // TOR: everything below DATA
    }
    log.setItems(new Set(['mmu']));
    m.step(PRIVILEGE.supervisor, ['ld', { rd: 7, rs1: 5 }]);
    const about = text.split('\n').filter((line) => line.includes('address=40000000'));
    expect(about).toEqual([
      `riscv_cpu_tlb_fill address=40000000 ret ${outcome} physical 0000000000000000 prot 0`,
    ]);
  });

  test('hits are no news, and nothing is shown once it is off', () => {
    logged(['mmu'], 20, ['addi', {}], ['jal', { imm: -4 }]);
    expect(text.split('\n')).toHaveLength(3);
    log.setItems(new Set());
    m.engine.tlbs.flushAll();
    m.run(20);
    expect(text.split('\n')).toHaveLength(3);
  });
});

test('int shows traps in the words of QEMU', () => {
  m.hart.setInterrupt(7, true);
  m.hart.setCsr('mie', 0x80n);
  logged(['int'], 2, ['ecall']);
  expect(text).toBe(
    'riscv_cpu_do_interrupt: hart:0, async:0, cause:000000000000000b, epc:0x0000000080000000, ' +
      'tval:0x0000000000000000, desc=machine_ecall\n',
  );
  text = '';
  m.hart.setCsr('mstatus', 8n);
  m.run(1);
  expect(text).toMatch(/async:1, cause:0000000000000007, epc:0x[0-9a-f]{16}, tval:0x0{16}, desc=m_timer\n$/);
});

test('virtual addresses of supervisor code are shown as the hart has them', () => {
  m.paging(RWX);
  m.load(assemble(['addi', { rd: 7, imm: 3 }]), DATA);
  m.hart.pc = VIRTUAL;
  m.hart.privilege = PRIVILEGE.supervisor;
  log.setItems(new Set(['in_asm']));
  m.run(1);
  expect(text).toContain('Priv: 1; Virt: 0\n0x0000000040000000:  00300393');
});
