/** Zicbom and Zicboz. Unprivileged ISA (20240411), chapter 19; the enables also in Privileged ISA §3.1.18 and §12.1.10. */
import { beforeEach, describe, expect, test } from 'vitest';
import { CAUSE, ENVCFG, PRIVILEGE } from '../../src/cpu/hart.ts';
import { assemble, type Line, RAM_BASE } from '../support/bare-machine.ts';
import { DATA, PagedMachine, PTE, RWX, VIRTUAL } from '../support/paged-machine.ts';

const { user, supervisor, machine } = PRIVILEGE;
const ILLEGAL = BigInt(CAUSE.illegalInstruction);
const ZERO: Line = ['cbo.zero', { rs1: 5 }];
const MANAGEMENT = ['cbo.inval', 'cbo.clean', 'cbo.flush'];

let m: PagedMachine;

beforeEach(() => {
  m = new PagedMachine('rv64imac_zicbom_zicboz_zicsr_zifencei');
});

function enable(bits: bigint): void {
  m.hart.setCsr('menvcfg', bits);
  m.hart.setCsr('senvcfg', bits);
  m.hart.updateContext();
}

describe('enables (§19.4)', () => {
  test.each([
    ['cbo.zero', ENVCFG.cbze],
    ['cbo.clean', ENVCFG.cbcfe],
    ['cbo.flush', ENVCFG.cbcfe],
    ['cbo.inval', 1n << 4n],
    ['cbo.inval', ENVCFG.cbie],
  ])(
    '%s is for machine mode; menvcfg opens it to the modes below, senvcfg to user mode (%i)',
    (name, bit) => {
      m.paging(RWX | PTE.u, RWX | PTE.u);
      m.hart.setCsr('mstatus', 0n);
      const at = (privilege: number, menvcfg: bigint, senvcfg: bigint): bigint | undefined => {
        m.hart.setCsr('menvcfg', menvcfg);
        m.hart.setCsr('senvcfg', senvcfg);
        // Supervisor mode runs without paging: the page is the user's.
        m.hart.setCsr('satp', privilege === user ? (8n << 60n) | BigInt((RAM_BASE + 0x1_0000) >>> 12) : 0n);
        m.load(assemble([name, { rs1: 9 }]));
        m.hart.setX(9, privilege === user ? VIRTUAL : BigInt(DATA));
        m.hart.pc = BigInt(RAM_BASE);
        m.hart.setCsr('mcause', 99n);
        m.hart.privilege = privilege;
        m.engine.tlbs.flushAll();
        m.run(1);
        return m.hart.csr('mcause') === 99n ? undefined : m.hart.csr('mcause');
      };
      expect(at(machine, 0n, 0n)).toBeUndefined();
      expect(at(supervisor, 0n, bit)).toBe(ILLEGAL);
      expect(at(supervisor, bit, 0n)).toBeUndefined();
      expect(at(user, bit, 0n)).toBe(ILLEGAL);
      expect(at(user, 0n, bit)).toBe(ILLEGAL);
      expect(at(user, bit, bit)).toBeUndefined();
      const others = ENVCFG.cbie | ENVCFG.cbcfe | ENVCFG.cbze;
      expect(at(user, others & ~(name === 'cbo.inval' ? ENVCFG.cbie : bit), others)).toBe(ILLEGAL);
    },
  );

  test('CBIE can not be 2, which is reserved: it stays as it was', () => {
    m.hart.setX(8, 3n << 4n);
    m.step(machine, ['csrrw', { imm: 0x30a, rs1: 8 }]);
    m.hart.setX(8, (2n << 4n) | ENVCFG.cbze);
    m.step(machine, ['csrrw', { imm: 0x30a, rs1: 8 }]);
    expect(m.hart.csr('menvcfg')).toBe((3n << 4n) | ENVCFG.cbze);
  });

  test('a write to menvcfg counts for the next instruction', () => {
    m.paging(RWX);
    m.hart.setX(8, ENVCFG.cbze);
    expect(m.step(supervisor, ZERO).cause).toBe(ILLEGAL);
    m.step(machine, ['csrrs', { imm: 0x30a, rs1: 8 }]);
    expect(m.step(supervisor, ZERO)).toEqual({});
  });

  test('without the extensions they are illegal everywhere', () => {
    m = new PagedMachine();
    for (const name of [...MANAGEMENT, 'cbo.zero']) {
      expect(m.step(machine, [name, { rs1: 5 }]).cause, name).toBe(ILLEGAL);
    }
  });
});

describe('cbo.zero (§19.5.2)', () => {
  const fill = (): void => m.load(new Uint8Array(4096).fill(0xaa), DATA);
  const zeros = (): number[] => {
    const page = m.memory.view(m.at(DATA), 4096);
    return [page.indexOf(0), page.lastIndexOf(0), page.filter((byte) => byte === 0).length];
  };

  test.each([0n, 1n, 63n])(
    'zeroes the 64 bytes around its address (offset %i), and nothing else',
    (offset) => {
      fill();
      m.load(assemble(['cbo.zero', { rs1: 9 }]));
      m.hart.setX(9, BigInt(DATA) + 0x140n + offset);
      m.run(1);
      expect(zeros()).toEqual([0x140, 0x17f, 64]);
    },
  );

  test('through a page table it needs a page that can be written, and tval is rs1', () => {
    enable(ENVCFG.cbze);
    m.paging(PTE.v | PTE.r | PTE.a);
    expect(m.step(supervisor, ['addi', { rd: 5, rs1: 5, imm: 68 }], ZERO)).toEqual({
      cause: BigInt(CAUSE.storePageFault),
      tval: VIRTUAL + 68n,
    });
  });

  test('sets A and D, and marks the page in the dirty log', () => {
    enable(ENVCFG.cbze);
    const entry = m.paging(PTE.v | PTE.r | PTE.w);
    fill();
    m.memory.dirtyLog.on = true;
    m.engine.tlbs.flushAll();
    expect(m.step(supervisor, ZERO)).toEqual({});
    expect(zeros()).toEqual([0, 63, 64]);
    expect(m.read64(entry) & (PTE.a | PTE.d)).toBe(PTE.a | PTE.d);
    m.memory.dirtyLog.collect();
    const { layout } = m.memory;
    const page = (m.at(DATA) - layout.blocksBase) / 4096;
    const pending = new Uint32Array(m.memory.memory.buffer, layout.pendingBitmap, layout.bitmapSize / 4);
    expect(((pending[page >> 5] ?? 0) >>> (page & 31)) & 1).toBe(1);
  });

  test('over code it makes the processor forget what it had decoded', () => {
    const block = RAM_BASE + 0x40;
    m.load(assemble(['jal', { rd: 0, imm: 0x40 }]));
    m.load(assemble(['cbo.zero', { rs1: 9 }], ['addi', { rd: 7, imm: 1 }]), block);
    m.hart.setX(9, BigInt(block));
    m.run(3);
    expect([m.hart.csr('mcause'), m.hart.csr('mepc')]).toEqual([ILLEGAL, BigInt(block + 4)]);
  });

  test('where nothing is, and on a device, it is an access fault', () => {
    for (const address of [0x4000n, BigInt(m.device.base)]) {
      m.load(assemble(['addi', { rd: 5, rs1: 9 }], ZERO));
      m.hart.setX(9, address);
      m.hart.pc = BigInt(RAM_BASE);
      m.hart.privilege = machine;
      m.run(2);
      expect([m.hart.csr('mcause'), m.hart.csr('mtval')]).toEqual([BigInt(CAUSE.storeAccessFault), address]);
    }
    expect(m.device.written).toEqual([]);
  });
});

describe.each(MANAGEMENT)('%s (§19.5.1)', (name) => {
  const line: Line = [name, { rs1: 5 }];

  beforeEach(() => enable(ENVCFG.cbie | ENVCFG.cbcfe));

  test('is allowed where a load is, changes no byte, and sets A but not D', () => {
    const entry = m.paging(PTE.v | PTE.r);
    m.write64(DATA, 42n);
    expect(m.step(supervisor, line)).toEqual({});
    expect(m.read64(DATA)).toBe(42n);
    expect(m.read64(entry) & (PTE.a | PTE.d)).toBe(PTE.a);
  });

  test('raises the faults of a store', () => {
    m.paging(0n);
    expect(m.step(supervisor, line)).toEqual({ cause: BigInt(CAUSE.storePageFault), tval: VIRTUAL });
    m.engine.pmps[0]?.writeConfigurations(0, 0n);
    m.engine.pmps[0]?.writeAddress(0, 0n);
    m.engine.pmps[0]?.writeAddress(1, BigInt(DATA) >> 2n);
    m.engine.pmps[0]?.writeConfigurations(0, 0x0f00n); // TOR: everything below DATA
    m.paging(RWX);
    expect(m.step(supervisor, line)).toEqual({ cause: BigInt(CAUSE.storeAccessFault), tval: VIRTUAL });
  });
});
