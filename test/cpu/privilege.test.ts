/** Privilege modes, address translation and memory protection. Privileged ISA (20240411); sections by test. */
import { beforeEach, describe, expect, test } from 'vitest';
import { CAUSE, INTERRUPT, MSTATUS, PRIVILEGE } from '../../src/cpu/hart.ts';
import { TLB_ENTRIES } from '../../src/memory/layout.ts';
import { assemble, type Line, RAM_BASE } from '../support/bare-machine.ts';
import {
  DATA,
  PagedMachine,
  PTE,
  pte,
  ROOT,
  RWX,
  SUPERVISOR_HANDLER,
  VIRTUAL,
} from '../support/paged-machine.ts';

let m: PagedMachine;

beforeEach(() => {
  m = new PagedMachine();
});

const write64 = (address: number, value: bigint): void => m.write64(address, value);
const paging = (bits: bigint, ramBits?: bigint): number => m.paging(bits, ramBits);
const step = (privilege: number, ...lines: Line[]) => m.step(privilege, ...lines);

const LOAD: Line = ['ld', { rd: 7, rs1: 5 }];
const STORE: Line = ['sd', { rs1: 5, rs2: 6 }];

describe('translation (§12.4)', () => {
  test('a supervisor reaches a page through its tables, and hardware sets A and D', () => {
    const entry = paging(PTE.v | PTE.r | PTE.w);
    write64(DATA, 42n);
    expect(step(PRIVILEGE.supervisor, LOAD)).toEqual({});
    expect(m.hart.x(7)).toBe(42n);
    expect(m.read64(entry)).toBe(pte(DATA, PTE.v | PTE.r | PTE.w | PTE.a));
    expect(step(PRIVILEGE.supervisor, STORE)).toEqual({});
    expect(m.read64(DATA)).toBe(0x55n);
    expect(m.read64(entry)).toBe(pte(DATA, PTE.v | PTE.r | PTE.w | PTE.a | PTE.d));
  });

  test.each([
    ['not valid', 0n, LOAD, CAUSE.loadPageFault],
    ['not readable', PTE.v | PTE.x | PTE.a, LOAD, CAUSE.loadPageFault],
    ['not writable', PTE.v | PTE.r | PTE.a, STORE, CAUSE.storePageFault],
    ['writable but not readable (reserved)', PTE.v | PTE.w | PTE.a, STORE, CAUSE.storePageFault],
    ['a user page', RWX | PTE.u, LOAD, CAUSE.loadPageFault],
    ['a reserved bit', RWX | (1n << 60n), LOAD, CAUSE.loadPageFault],
    [
      'an atomic to a page that is not writable',
      PTE.v | PTE.r | PTE.a,
      ['amoadd.d', { rs1: 5 }] as Line,
      CAUSE.storePageFault,
    ],
  ])('a page that is %s faults with its address', (_what, bits, line, cause) => {
    paging(bits);
    expect(step(PRIVILEGE.supervisor, line)).toEqual({ cause: BigInt(cause), tval: VIRTUAL });
  });

  test('an address whose upper bits are not its sign faults, and so does a misaligned superpage', () => {
    paging(RWX);
    m.load(assemble(LOAD));
    m.hart.setX(5, 1n << 40n);
    m.hart.pc = BigInt(RAM_BASE);
    m.hart.privilege = PRIVILEGE.supervisor;
    m.run(1);
    expect([m.hart.csr('mcause'), m.hart.csr('mtval')]).toEqual([13n, 1n << 40n]);
    write64(ROOT + 8, pte(DATA, RWX));
    m.engine.tlbs.flushAll();
    expect(step(PRIVILEGE.supervisor, LOAD).cause).toBe(BigInt(CAUSE.loadPageFault));
  });

  test('page tables outside memory are an access fault', () => {
    paging(RWX);
    write64(ROOT + 8, pte(0x4000_0000, PTE.v));
    m.engine.tlbs.flushAll();
    expect(step(PRIVILEGE.supervisor, LOAD).cause).toBe(BigInt(CAUSE.loadAccessFault));
  });

  test('a fetch from a page that is not executable faults at the target', () => {
    paging(PTE.v | PTE.r | PTE.a);
    expect(step(PRIVILEGE.supervisor, ['jalr', { rd: 0, rs1: 5 }], ['addi', {}])).toEqual({
      cause: BigInt(CAUSE.instructionPageFault),
      tval: VIRTUAL,
    });
  });

  test('a store across two pages changes nothing if the second one faults', () => {
    paging(RWX);
    m.load(assemble(['sd', { rs1: 5, rs2: 6 }]));
    m.hart.setX(5, VIRTUAL + 4092n);
    m.hart.setX(6, -1n);
    m.hart.pc = BigInt(RAM_BASE);
    m.hart.privilege = PRIVILEGE.supervisor;
    m.run(1);
    expect([m.hart.csr('mcause'), m.hart.csr('mtval')]).toEqual([15n, VIRTUAL + 4096n]);
    expect(m.read64(DATA + 4088)).toBe(0n);
  });

  test('Sv48 has one level more', () => {
    paging(RWX);
    const root = ROOT + 0x4000;
    write64(root, pte(ROOT, PTE.v));
    m.hart.setCsr('satp', (9n << 60n) | BigInt(root >>> 12));
    m.engine.tlbs.flushAll();
    write64(DATA, 7n);
    expect(step(PRIVILEGE.supervisor, LOAD)).toEqual({});
    expect(m.hart.x(7)).toBe(7n);
  });

  test('after sfence.vma a changed entry counts', () => {
    const entry = paging(RWX);
    write64(DATA, 1n);
    write64(DATA + 0x1000, 2n);
    step(PRIVILEGE.supervisor, LOAD);
    write64(entry, pte(DATA + 0x1000, RWX));
    step(PRIVILEGE.supervisor, ['sfence.vma'], LOAD);
    expect(m.hart.x(7)).toBe(2n);
  });

  test('after sfence.vma for an address its entry counts, and those of other pages stay (§12.2.1)', () => {
    const entry = paging(RWX);
    write64(entry + 8, pte(DATA, RWX));
    write64(DATA, 1n);
    write64(DATA + 0x1000, 2n);
    const far: Line = ['ld', { rd: 28, rs1: 29 }];
    const next: Line[] = [
      ['lui', { rd: 29, imm: 0x1000 }],
      ['add', { rd: 29, rs1: 29, rs2: 5 }],
    ];
    step(PRIVILEGE.supervisor, ...next, LOAD, far);
    for (const at of [entry, entry + 8]) write64(at, pte(DATA + 0x1000, RWX));
    step(PRIVILEGE.supervisor, ...next, ['sfence.vma', { rs1: 5 }], LOAD, far);
    expect(m.hart.x(7)).toBe(2n);
    // The specification lets a hart forget more than it was told to; this one does not.
    expect(m.hart.x(28)).toBe(1n);
    step(PRIVILEGE.supervisor, ...next, ['sfence.vma', { rs1: 29 }], far);
    expect(m.hart.x(28)).toBe(2n);
  });

  describe('two pages that need the same entry of a TLB', () => {
    const FAR = BigInt(TLB_ENTRIES) << 12n;
    /** x29 ← the second page's address. */
    const far: Line[] = [
      ['lui', { rd: 29, imm: Number(FAR) }],
      ['add', { rd: 29, rs1: 29, rs2: 5 }],
    ];
    const loadFar: Line = ['ld', { rd: 28, rs1: 29 }];
    const storeFar: Line = ['sd', { rs1: 29, rs2: 6 }];
    let entry: number;

    beforeEach(() => {
      entry = paging(RWX);
      write64(entry + TLB_ENTRIES * 8, pte(DATA + 0x1000, RWX));
      write64(DATA, 1n);
      write64(DATA + 0x1000, 2n);
      write64(DATA + 0x2000, 3n);
    });

    test('both stay', () => {
      step(PRIVILEGE.supervisor, ...far, LOAD, loadFar);
      expect([m.hart.x(7), m.hart.x(28)]).toEqual([1n, 2n]);
      for (const at of [entry, entry + TLB_ENTRIES * 8]) write64(at, 0n);
      expect(step(PRIVILEGE.supervisor, ...far, LOAD, loadFar, LOAD, loadFar)).toEqual({});
      expect([m.hart.x(7), m.hart.x(28)]).toEqual([1n, 2n]);
    });

    test.each([
      ['first', 5, 0],
      ['second', 29, TLB_ENTRIES * 8],
    ] as const)('a fence for the %s reaches it', (_which, rs1, at) => {
      step(PRIVILEGE.supervisor, ...far, LOAD, loadFar);
      write64(entry + at, pte(DATA + 0x2000, RWX));
      step(PRIVILEGE.supervisor, ...far, ['sfence.vma', { rs1 }], LOAD, loadFar);
      expect([m.hart.x(7), m.hart.x(28)]).toEqual(rs1 === 5 ? [3n, 2n] : [1n, 3n]);
    });

    test('both are marked again after each flush of the dirty log', () => {
      m.memory.dirtyLog.on = true;
      m.engine.tlbs.flush('write');
      const first = m.memory.block('ram').firstPage + (DATA - RAM_BASE) / 4096;
      for (let round = 0; round < 3; round++) {
        expect(step(PRIVILEGE.supervisor, ...far, STORE, storeFar, STORE, storeFar)).toEqual({});
        m.memory.dirtyLog.collect();
        m.engine.tlbs.flush('write');
        const pending = new Uint8Array(m.memory.memory.buffer, m.memory.layout.pendingBitmap);
        for (const page of [first, first + 1]) {
          expect((pending[page >> 3] ?? 0) & (1 << (page & 7))).not.toBe(0);
        }
        pending.fill(0, first >> 3, ((first + 1) >> 3) + 1);
      }
    });
  });

  test('sfence.vma for one address of a superpage reaches all of it (§12.2.1)', () => {
    paging(RWX);
    // 1 GiB: VIRTUAL is the start of RAM, and 20 KiB on is fenced.
    write64(ROOT + 8, pte(RAM_BASE, RWX));
    m.engine.tlbs.flushAll();
    const fence: Line[] = [
      ['lui', { rd: 29, imm: 0x5000 }],
      ['add', { rd: 29, rs1: 29, rs2: 5 }],
      ['sfence.vma', { rs1: 29 }],
    ];
    expect(step(PRIVILEGE.supervisor, LOAD)).toEqual({});
    write64(ROOT + 8, 0n);
    expect(step(PRIVILEGE.supervisor, ...fence, LOAD).cause).toBe(BigInt(CAUSE.loadPageFault));
  });

  test('… and of one that is larger than a gigapage', () => {
    paging(RWX);
    // Sv48's root: 512 GiB onto themselves, through which RAM is reached; VIRTUAL, in another gigapage, is fenced.
    const root = ROOT + 0x4000;
    write64(root, pte(0, RWX));
    m.hart.setCsr('satp', (9n << 60n) | BigInt(root >>> 12));
    m.engine.tlbs.flushAll();
    const load: Line[] = [
      ['addi', { rd: 29, imm: 1 }],
      ['slli', { rd: 29, rs1: 29, imm: 31 }],
      ['ld', { rd: 7, rs1: 29 }],
    ];
    expect(step(PRIVILEGE.supervisor, ...load)).toEqual({});
    write64(root, 0n);
    // The page that runs is gone as well.
    const { cause } = step(PRIVILEGE.supervisor, ['sfence.vma', { rs1: 5 }], ...load);
    expect(cause === undefined ? m.hart.csr('scause') : cause).toBe(BigInt(CAUSE.instructionPageFault));
  });

  describe.each(['sinval.vma', 'sfence.w.inval', 'sfence.inval.ir'])('%s (Svinval, §15)', (name) => {
    beforeEach(() => {
      m = new PagedMachine('rv64ima_zicsr_zifencei_svinval');
    });

    test('is for supervisor mode and above', () => {
      expect(step(PRIVILEGE.user, [name]).cause).toBe(BigInt(CAUSE.illegalInstruction));
      expect(step(PRIVILEGE.supervisor, [name])).toEqual({});
      expect(step(PRIVILEGE.machine, [name])).toEqual({});
    });

    test('only an invalidation is trapped by TVM', () => {
      m.hart.setCsr('mstatus', MSTATUS.tvm);
      const trapped = step(PRIVILEGE.supervisor, [name]).cause === BigInt(CAUSE.illegalInstruction);
      expect(trapped).toBe(name === 'sinval.vma');
    });

    test('does not exist without the extension', () => {
      m = new PagedMachine();
      expect(step(PRIVILEGE.machine, [name]).cause).toBe(BigInt(CAUSE.illegalInstruction));
    });
  });

  test('between sfence.w.inval and sfence.inval.ir, sinval.vma makes a changed entry count (Svinval, §15)', () => {
    m = new PagedMachine('rv64ima_zicsr_zifencei_svinval');
    const entry = paging(RWX);
    write64(DATA, 1n);
    write64(DATA + 0x1000, 2n);
    step(PRIVILEGE.supervisor, LOAD);
    write64(entry, pte(DATA + 0x1000, RWX));
    const invalidate: Line[] = [['sfence.w.inval'], ['sinval.vma', { rs1: 5 }], ['sfence.inval.ir']];
    step(PRIVILEGE.supervisor, ...invalidate, LOAD);
    expect(m.hart.x(7)).toBe(2n);
  });

  describe('menvcfg.ADUE (Svadu, §16)', () => {
    const ADUE = 1n << 61n;
    const setAdue = (name: string): void => {
      m.hart.setX(8, ADUE);
      step(PRIVILEGE.machine, [name, { imm: 0x30a, rs1: 8 }]);
    };
    beforeEach(() => {
      m = new PagedMachine('rv64ima_zicsr_zifencei_svadu');
    });

    test('is set by a reset: the device tree names Svadu without Svade, which means "always on"', () => {
      expect(m.hart.csr('menvcfg')).toBe(ADUE);
      paging(PTE.v | PTE.r | PTE.w);
      expect(step(PRIVILEGE.supervisor, STORE)).toEqual({});
    });

    test.each([
      ['A is clear', PTE.v | PTE.r | PTE.w, LOAD, CAUSE.loadPageFault],
      ['D is clear and a store comes', PTE.v | PTE.r | PTE.w | PTE.a, STORE, CAUSE.storePageFault],
    ])('while it is 0 a page faults when %s, and its entry stays as it is', (_what, bits, line, cause) => {
      const entry = paging(bits);
      setAdue('csrrc');
      expect(step(PRIVILEGE.supervisor, line)).toEqual({ cause: BigInt(cause), tval: VIRTUAL });
      expect(m.read64(entry)).toBe(pte(DATA, bits));
      setAdue('csrrs');
      expect(step(PRIVILEGE.supervisor, line)).toEqual({});
      expect(m.read64(entry) & PTE.a).toBe(PTE.a);
    });

    test('without Svadu it is always 0, and hardware sets A and D all the same', () => {
      m = new PagedMachine();
      paging(PTE.v | PTE.r | PTE.w);
      setAdue('csrrs');
      expect(m.hart.csr('menvcfg')).toBe(0n);
      expect(step(PRIVILEGE.supervisor, STORE)).toEqual({});
    });
  });

  test("a page walk that sets A or D marks the table's page dirty", () => {
    paging(PTE.v | PTE.r | PTE.w);
    m.memory.dirtyLog.on = true;
    m.engine.tlbs.flushAll();
    step(PRIVILEGE.supervisor, LOAD);
    m.memory.dirtyLog.collect();
    const { layout } = m.memory;
    const page = (m.at(ROOT + 0x2000) - layout.blocksBase) / 4096;
    const word = new Uint32Array(m.memory.memory.buffer, layout.pendingBitmap, layout.bitmapSize / 4)[
      page >> 5
    ];
    expect(((word ?? 0) >>> (page & 31)) & 1).toBe(1);
  });
});

describe('mstatus (§3.1.6.3)', () => {
  test('SUM opens user pages to supervisor loads, not to fetches', () => {
    paging(RWX | PTE.u);
    m.hart.setCsr('mstatus', MSTATUS.sum);
    expect(step(PRIVILEGE.supervisor, LOAD)).toEqual({});
    expect(step(PRIVILEGE.supervisor, ['jalr', { rs1: 5 }], ['addi', {}]).cause).toBe(12n);
    m.hart.setCsr('mstatus', 0n);
    expect(step(PRIVILEGE.supervisor, LOAD).cause).toBe(13n);
  });

  test('MXR opens executable pages to loads, from the next instruction on', () => {
    paging(PTE.v | PTE.x | PTE.a);
    expect(step(PRIVILEGE.supervisor, LOAD).cause).toBe(13n);
    m.hart.setX(8, MSTATUS.mxr);
    const set: Line = ['csrrs', { imm: 0x100, rs1: 8 }];
    const clear: Line = ['csrrc', { imm: 0x100, rs1: 8 }];
    expect(step(PRIVILEGE.supervisor, set, LOAD)).toEqual({});
    expect(step(PRIVILEGE.supervisor, clear, LOAD).cause).toBe(13n);
  });

  test('MPRV lets machine mode load as the previous mode does, and fetch as itself', () => {
    paging(RWX | PTE.u);
    write64(DATA, 9n);
    m.hart.setCsr('mstatus', MSTATUS.mprv);
    expect(step(PRIVILEGE.machine, LOAD)).toEqual({});
    expect(m.hart.x(7)).toBe(9n);
  });

  test('TVM, TW and TSR trap what they say', () => {
    m.hart.setCsr('mstatus', MSTATUS.tvm | MSTATUS.tw | MSTATUS.tsr);
    for (const line of [['sfence.vma'], ['csrrs', { imm: 0x180 }], ['wfi'], ['sret']] as Line[]) {
      expect(step(PRIVILEGE.supervisor, line).cause, line[0]).toBe(BigInt(CAUSE.illegalInstruction));
    }
  });

  test.each(['mret', 'sret', 'wfi', 'sfence.vma'])('%s is illegal in user mode', (name) => {
    expect(step(PRIVILEGE.user, [name]).cause).toBe(BigInt(CAUSE.illegalInstruction));
  });
});

describe('traps (§3.1.8, §12.1.1)', () => {
  test('a delegated exception goes to the supervisor, whose return goes back', () => {
    m.hart.setCsr('medeleg', 1n << BigInt(CAUSE.userEcall));
    m.load(assemble(['sret']), SUPERVISOR_HANDLER);
    expect(step(PRIVILEGE.user, ['ecall'])).toEqual({});
    expect([m.hart.csr('scause'), m.hart.csr('sepc'), m.hart.privilege]).toEqual([
      8n,
      BigInt(RAM_BASE),
      PRIVILEGE.supervisor,
    ]);
    m.run(1);
    expect([m.hart.pc, m.hart.privilege]).toEqual([BigInt(RAM_BASE), PRIVILEGE.user]);
  });

  test('an exception in machine mode is not delegated', () => {
    m.hart.setCsr('medeleg', -1n);
    expect(step(PRIVILEGE.machine, ['ebreak']).cause).toBe(3n);
  });

  test('a delegated interrupt waits for the supervisor to enable it, one for machine mode does not', () => {
    m.hart.setCsr('mideleg', 1n << BigInt(INTERRUPT.supervisorSoftware));
    m.hart.setCsr('mie', 0xaaan);
    m.hart.setInterrupt(INTERRUPT.supervisorSoftware, true);
    expect(step(PRIVILEGE.supervisor, ['addi', {}])).toEqual({});
    expect(m.hart.pc).toBe(BigInt(RAM_BASE + 4));
    m.hart.setCsr('mstatus', m.hart.csr('mstatus') | MSTATUS.sie);
    m.run(1);
    expect(m.hart.csr('scause')).toBe((1n << 63n) | 1n);
    m.hart.setInterrupt(INTERRUPT.machineTimer, true);
    m.run(1);
    expect([m.hart.csr('mcause'), m.hart.privilege]).toEqual([(1n << 63n) | 7n, PRIVILEGE.machine]);
  });

  test('mip.SEIP is a bit that machine mode writes, or the line; csrrs and csrrc see the bit alone (§3.1.9)', () => {
    const line = (level: boolean) => m.hart.setInterrupt(INTERRUPT.supervisorExternal, level);
    const SEIP = 1n << 9n;
    const mip = (name: string, operand: bigint): boolean => {
      m.hart.setX(8, operand);
      expect(step(PRIVILEGE.machine, [name, { rd: 7, imm: 0x344, rs1: 8 }])).toEqual({});
      return (m.hart.x(7) & SEIP) !== 0n;
    };
    const isPending = () => (m.hart.csr('mip') & SEIP) !== 0n;
    line(true);
    expect(mip('csrrs', 2n), 'reads as the line').toBe(true);
    line(false);
    expect(isPending(), 'the line was not written back').toBe(false);
    expect(mip('csrrs', SEIP)).toBe(false);
    line(true);
    line(false);
    expect(isPending(), 'the bit stays when the line falls').toBe(true);
    line(true);
    expect(mip('csrrc', SEIP)).toBe(true);
    expect(isPending(), 'the line stays when the bit is cleared').toBe(true);
    line(false);
    expect(isPending()).toBe(false);
  });

  test('stimecmp raises the supervisor timer as soon as it is written (Sstc)', () => {
    m.hart.setCsr('menvcfg', 1n << 63n);
    m.hart.setCsr('mcounteren', 2n);
    m.time = 100n;
    m.hart.setX(8, 50n);
    expect(step(PRIVILEGE.supervisor, ['csrrw', { imm: 0x14d, rs1: 8 }])).toEqual({});
    expect(m.hart.csr('mip') & 0x20n).toBe(0x20n);
    m.hart.setX(8, 101n);
    step(PRIVILEGE.supervisor, ['csrrw', { imm: 0x14d, rs1: 8 }]);
    expect(m.hart.csr('mip') & 0x20n).toBe(0n);
  });

  test('counters are closed to lower modes until they are opened (§3.1.11)', () => {
    const read: Line = ['csrrs', { rd: 7, imm: 0xc01 }];
    expect(step(PRIVILEGE.supervisor, read).cause).toBe(2n);
    m.hart.setCsr('mcounteren', 2n);
    expect(step(PRIVILEGE.supervisor, read)).toEqual({});
    expect(step(PRIVILEGE.user, read).cause).toBe(2n);
    m.hart.setCsr('scounteren', 2n);
    expect(step(PRIVILEGE.user, read)).toEqual({});
  });
});

describe('physical memory protection (§3.7)', () => {
  const pmp = () => m.engine.pmps[0] as NonNullable<(typeof m.engine.pmps)[0]>;

  test('the first entry that matches decides; machine mode is bound by locked ones only', () => {
    pmp().writeAddress(1, (1n << 54n) - 1n);
    pmp().writeAddress(0, (BigInt(DATA) >> 2n) | 0x1ffn); // NAPOT, 4 KiB
    pmp().writeConfigurations(0, 0x1f19n); // 0: read only; 1: everything
    m.hart.setX(5, BigInt(DATA));
    const at = (privilege: number, line: Line) => {
      m.load(assemble(['addi', { rd: 5, rs1: 9 }], line));
      m.hart.setX(9, BigInt(DATA));
      m.hart.pc = BigInt(RAM_BASE);
      m.hart.setCsr('mcause', 99n);
      m.hart.privilege = privilege;
      m.run(2);
      return m.hart.csr('mcause');
    };
    expect(at(PRIVILEGE.supervisor, LOAD)).toBe(99n);
    expect(at(PRIVILEGE.supervisor, STORE)).toBe(BigInt(CAUSE.storeAccessFault));
    expect(at(PRIVILEGE.machine, STORE)).toBe(99n);
    pmp().writeConfigurations(0, 0x1f99n);
    expect(at(PRIVILEGE.machine, STORE)).toBe(BigInt(CAUSE.storeAccessFault));
    pmp().writeConfigurations(0, 0x1f1fn);
    expect(pmp().readConfigurations(0) & 0xffn, 'locked').toBe(0x99n);
  });

  test('without a matching entry only machine mode may', () => {
    pmp().writeConfigurations(0, 0n);
    expect(step(PRIVILEGE.supervisor, ['addi', {}]).cause).toBe(BigInt(CAUSE.instructionAccessFault));
    expect(step(PRIVILEGE.machine, ['addi', {}])).toEqual({});
  });

  test('the granularity that firmware probes is a page (§3.7.1.1)', () => {
    pmp().writeConfigurations(0, 0n);
    pmp().writeAddress(0, (1n << 54n) - 1n);
    expect(pmp().readAddress(0) & 0xfffn).toBe(0xc00n);
  });
});

describe('floating point state (§3.1.6.6)', () => {
  const ADD: Line = ['fadd.d', { frd: 1, frs1: 2, frs2: 3, rm: 7 }];

  test('with FS off every use is illegal; else a use makes it dirty', () => {
    expect(step(PRIVILEGE.machine, ADD).cause).toBe(2n);
    expect(step(PRIVILEGE.machine, ['fmv.x.d', { rd: 7 }]).cause).toBe(2n);
    expect(step(PRIVILEGE.machine, ['csrrs', { rd: 7, imm: 3 }]).cause).toBe(2n);
    m.hart.setCsr('mstatus', 1n << 13n);
    expect(step(PRIVILEGE.machine, ADD)).toEqual({});
    expect(m.hart.csr('mstatus') & (MSTATUS.fs | MSTATUS.sd)).toBe(MSTATUS.fs | MSTATUS.sd);
  });

  test('a reserved rounding mode is illegal, in the instruction or in frm', () => {
    m.hart.setCsr('mstatus', MSTATUS.fs);
    expect(step(PRIVILEGE.machine, ['fadd.d', { frd: 1, rm: 5 }]).cause).toBe(2n);
    m.hart.setCsr('fcsr', 5n << 5n);
    expect(step(PRIVILEGE.machine, ADD).cause).toBe(2n);
  });

  test('a model without F has neither the instructions nor FS', () => {
    m = new PagedMachine('rv64imac_zicsr_zifencei');
    m.hart.setX(8, MSTATUS.fs);
    step(PRIVILEGE.machine, ['csrrs', { imm: 0x300, rs1: 8 }]);
    expect(m.hart.csr('mstatus') & MSTATUS.fs).toBe(0n);
    expect(step(PRIVILEGE.machine, ADD).cause).toBe(2n);
    expect(step(PRIVILEGE.machine, ['sh1add', { rd: 1 }]).cause).toBe(2n);
  });
});
