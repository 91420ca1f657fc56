/** A hart stops before the instruction a breakpoint or watchpoint wants, exactly, and runs on as if it had not stopped. */
import { describe, expect, test } from 'vitest';
import type { DebugPoint, WatchKind } from '../../src/cpu/debug-points.ts';
import { PRIVILEGE } from '../../src/cpu/hart.ts';
import { assemble, BareMachine, type Line, RAM_BASE } from '../support/bare-machine.ts';
import { DATA, PagedMachine, PTE, pte, ROOT, RWX, VIRTUAL } from '../support/paged-machine.ts';

const breakpoint = (address: number | bigint): DebugPoint => ({ kind: 'software', address: BigInt(address) });
const watchpoint = (kind: WatchKind, address: number | bigint, length = 8): DebugPoint => ({
  kind,
  address: BigInt(address),
  length,
});

function machine(...lines: Line[]): BareMachine {
  const m = new BareMachine();
  m.load(assemble(...lines));
  return m;
}

/** Counts in x5 and x6. */
const COUNTING: Line[] = [
  ['addi', { rd: 5, rs1: 5, imm: 1 }],
  ['addi', { rd: 6, rs1: 6, imm: 1 }],
  ['jal', { rd: 0, imm: -8 }],
];

describe('breakpoints', () => {
  test('stop before their instruction, which has not counted', () => {
    const m = machine(...COUNTING);
    m.run(300);
    m.engine.points.insert(breakpoint(RAM_BASE + 4));
    expect(m.run(1000)).toBe(1);
    expect(m.engine.points.takeStop()).toEqual({ reason: 'breakpoint', hart: 0 });
    expect([m.hart.pc, m.hart.x(5), m.hart.x(6)]).toEqual([BigInt(RAM_BASE + 4), 101n, 100n]);
    expect(m.hart.csr('minstret')).toBe(301n);
    expect(m.engine.instructions).toBe(301);
  });

  test('a hart that goes on passes where it stopped, and stops there the next time', () => {
    const m = machine(...COUNTING);
    m.engine.points.insert(breakpoint(RAM_BASE));
    expect(m.run(1000)).toBe(0);
    for (let lap = 1; lap <= 5; lap++) {
      expect(m.engine.points.takeStop()).toBeDefined();
      expect(m.run(1000)).toBe(3);
      expect([m.hart.pc, m.hart.x(5)]).toEqual([BigInt(RAM_BASE), BigInt(lap)]);
    }
  });

  test('a hart whose pc is set to a breakpoint stops there at once', () => {
    const m = machine(...COUNTING);
    m.engine.points.insert(breakpoint(RAM_BASE));
    m.engine.points.insert(breakpoint(RAM_BASE + 4));
    m.run(1000);
    m.engine.points.takeStop();
    m.hart.pc = BigInt(RAM_BASE + 4);
    expect(m.run(1000)).toBe(0);
    expect(m.hart.pc).toBe(BigInt(RAM_BASE + 4));
  });

  test('stand at compressed instructions and at ones across two pages, too', () => {
    const m = machine(['c.addi', { rd: 5, imm: 1 }], ['jal', { rd: 0, imm: 0xffc }]);
    m.load(assemble(['addi', { rd: 6, rs1: 6, imm: 1 }], ['jal', { rd: 0, imm: -0x1002 }]), RAM_BASE + 0xffe);
    for (const offset of [0, 0xffe]) m.engine.points.insert(breakpoint(RAM_BASE + offset));
    const stops = Array.from({ length: 6 }, () => {
      const ran = m.run(1000);
      m.engine.points.takeStop();
      return [Number(m.hart.pc) - RAM_BASE, ran];
    });
    expect(stops.slice(0, 3)).toEqual([
      [0, 0],
      [0xffe, 2],
      [0, 2],
    ]);
    expect(stops.slice(2)).toContainEqual([0xffe, 2]);
    expect([m.hart.x(5), m.hart.x(6)]).toEqual([3n, 2n]);
  });

  test('stand where nothing can be fetched, too: a function that a debugger calls returns there', () => {
    const m = new PagedMachine();
    m.paging(PTE.v | PTE.r | PTE.w | PTE.a | PTE.d);
    m.load(assemble(['addi', { rd: 6, imm: 7 }], ['jalr', { rd: 0, rs1: 5, imm: 0 }]));
    m.engine.points.insert(breakpoint(VIRTUAL));
    m.hart.pc = BigInt(RAM_BASE);
    m.hart.setX(5, VIRTUAL);
    m.hart.privilege = PRIVILEGE.supervisor;
    expect(m.run(100)).toBe(2);
    expect(m.engine.points.takeStop()).toEqual({ reason: 'breakpoint', hart: 0 });
    expect([m.hart.pc, m.hart.x(6), m.hart.privilege]).toEqual([VIRTUAL, 7n, PRIVILEGE.supervisor]);
    // Going on, it faults.
    expect(m.run(1)).toBe(1);
    expect([m.hart.privilege, m.hart.csr('mepc'), m.hart.csr('mcause')]).toEqual([
      PRIVILEGE.machine,
      VIRTUAL,
      12n,
    ]);
  });

  test('a removed one, and one of another page at the same offset, change nothing', () => {
    const m = machine(...COUNTING);
    const elsewhere = breakpoint(RAM_BASE + 0x5000);
    const here = breakpoint(RAM_BASE + 4);
    m.engine.points.insert(elsewhere);
    m.engine.points.insert(here);
    m.run(1);
    m.engine.points.takeStop();
    m.engine.points.remove(here);
    expect(m.run(3000)).toBe(3000);
    expect(m.hart.x(5)).toBe(1001n);
    expect(m.engine.points.takeStop()).toBeUndefined();
  });

  test('software and hardware ones at one address are two', () => {
    const m = machine(...COUNTING);
    m.engine.points.insert(breakpoint(RAM_BASE));
    m.engine.points.insert({ kind: 'hardware', address: BigInt(RAM_BASE) });
    m.engine.points.insert(breakpoint(RAM_BASE));
    m.engine.points.remove(breakpoint(RAM_BASE));
    expect(m.run(10)).toBe(0);
    m.engine.points.takeStop();
    m.engine.points.clear();
    expect(m.run(10)).toBe(10);
  });

  test('are virtual: code at the same physical address runs elsewhere without a stop', () => {
    const m = new PagedMachine();
    m.paging(RWX);
    m.load(assemble(...COUNTING), DATA);
    m.engine.points.insert(breakpoint(VIRTUAL + 4n));
    // Both ways to the code are taken, the other one first.
    m.hart.pc = BigInt(DATA);
    m.hart.privilege = PRIVILEGE.supervisor;
    expect(m.run(300)).toBe(300);
    m.hart.pc = VIRTUAL;
    expect(m.run(300)).toBe(1);
    expect(m.hart.pc).toBe(VIRTUAL + 4n);
  });
});

/** A jump makes code hot, and it is translated at the next slice. */
const eager = { accel: 'jit', jit: { heat: 1, patience: 0 } } as const;

describe.each([
  ['a JIT', eager],
  ['a JIT that translates at once', { accel: 'jit', jit: { eager: true } }],
] as const)('with %s', (_name, options) => {
  function translated(...lines: Line[]): BareMachine {
    const m = new BareMachine(1, 'tree', 'rv64imafdc_zicsr_zifencei', 1 << 20, options);
    m.load(assemble(...lines));
    m.hart.setX(7, BigInt(DATA));
    for (let i = 0; i < 10; i++) m.run(3 * 100);
    expect(m.engine.jit?.statistics.instructions).toBeGreaterThan(0);
    return m;
  }

  test('a breakpoint in translated code stops each time, and its page is translated again around it', () => {
    const m = translated(...COUNTING);
    m.engine.points.insert(breakpoint(RAM_BASE + 4));
    for (let lap = 1001; lap < 1200; lap++) {
      expect(m.run(1000)).toBe(lap === 1001 ? 1 : 3);
      m.engine.points.takeStop();
      expect([m.hart.pc, m.hart.x(5)]).toEqual([BigInt(RAM_BASE + 4), BigInt(lap)]);
    }
    expect(m.engine.jit?.statistics.invalidated).toBeGreaterThan(0);
    m.engine.points.clear();
    expect(m.run(30_000)).toBe(30_000);
    expect(m.hart.x(5) - m.hart.x(6)).toBeLessThanOrEqual(1n);
  });

  test('one at an instruction across two pages stops, too', () => {
    const m = new BareMachine(1, 'tree', 'rv64imafdc_zicsr_zifencei', 1 << 20, options);
    m.load(assemble(['addi', { rd: 5, rs1: 5, imm: 1 }], ['c.addi', { rd: 5, imm: 0 }]), RAM_BASE + 0xff8);
    m.load(assemble(['addi', { rd: 6, rs1: 6, imm: 1 }], ['jal', { rd: 0, imm: -10 }]), RAM_BASE + 0xffe);
    m.hart.pc = BigInt(RAM_BASE + 0xff8);
    for (let i = 0; i < 10; i++) m.run(400);
    m.engine.points.insert(breakpoint(RAM_BASE + 0xffe));
    for (let lap = 1001; lap < 1100; lap++) {
      expect(m.run(1000)).toBe(lap === 1001 ? 2 : 4);
      m.engine.points.takeStop();
      expect([m.hart.pc, m.hart.x(6)]).toEqual([BigInt(RAM_BASE + 0xffe), BigInt(lap - 1)]);
    }
  });

  test('one that is there before the code is translated stops', () => {
    const m = new BareMachine(1, 'tree', 'rv64imafdc_zicsr_zifencei', 1 << 20, options);
    m.load(assemble(...COUNTING));
    m.engine.points.insert(breakpoint(RAM_BASE + 4));
    for (let lap = 1; lap < 100; lap++) {
      expect(m.run(1000)).toBe(lap === 1 ? 1 : 3);
      m.engine.points.takeStop();
      expect(m.hart.x(5)).toBe(BigInt(lap));
    }
  });

  test('a watchpoint stops translated code, and what it does beside it stays fast and right', () => {
    const m = translated(
      ['sd', { rs1: 7, rs2: 5, imm: 8 }],
      ['addi', { rd: 5, rs1: 5, imm: 1 }],
      ['jal', { rd: 0, imm: -8 }],
    );
    m.engine.points.insert(watchpoint('write', DATA));
    expect(m.run(3000)).toBe(3000);
    expect(m.read64(DATA + 8)).toBe(1999n);
    m.engine.points.insert(watchpoint('write', DATA + 15, 1));
    expect(m.run(3000)).toBe(0);
    expect([m.hart.pc, m.read64(DATA + 8)]).toEqual([BigInt(RAM_BASE), 1999n]);
    expect(m.engine.points.takeStop()).toMatchObject({ reason: 'watchpoint' });
    expect(m.run(3000)).toBe(3);
  });
});

describe('watchpoints', () => {
  const lines: Record<string, Line> = {
    ld: ['ld', { rd: 6, rs1: 7, imm: 0 }],
    sd: ['sd', { rs1: 7, rs2: 6, imm: 0 }],
    sb: ['sb', { rs1: 7, rs2: 6, imm: 0 }],
    'amoadd.d': ['amoadd.d', { rd: 6, rs1: 7, rs2: 6 }],
    'lr.d': ['lr.d', { rd: 6, rs1: 7 }],
    fld: ['fld', { frd: 1, rs1: 7, imm: 0 }],
    fsd: ['fsd', { frs2: 1, rs1: 7, imm: 0 }],
    'c.ld': ['c.ld', { rd: 9, rs1: 8, imm: 0 }],
    'cbo.zero': ['cbo.zero', { rs1: 7 }],
  };
  const readers = ['ld', 'lr.d', 'fld', 'c.ld'];
  const both = ['amoadd.d'];

  function watched(line: Line): BareMachine {
    const isa = 'rv64imafdc_zicboz_zicsr_zifencei_zba_zbb_zbs';
    const m = new BareMachine(1, 'tree', isa);
    m.load(assemble(['addi', { rd: 5, rs1: 5, imm: 1 }], line, ['addi', { rd: 5, rs1: 5, imm: 1 }]));
    m.hart.setCsr('mstatus', m.hart.csr('mstatus') | (3n << 13n));
    m.hart.updateContext();
    m.hart.setX(7, BigInt(DATA));
    m.hart.setX(8, BigInt(DATA));
    m.hart.setX(6, 0xabcdn);
    return m;
  }

  for (const [name, line] of Object.entries(lines)) {
    const reads = readers.includes(name) || both.includes(name);
    const writes = !readers.includes(name);
    test.each([
      ['read', reads],
      ['write', writes],
      ['access', true],
    ] as const)(`${name} and a watchpoint of kind %s: stops %s`, (kind, stops) => {
      const m = watched(line);
      const point = watchpoint(kind, DATA, 1);
      m.engine.points.insert(point);
      const before = m.read64(DATA);
      const plain = watched(line);
      plain.run(3);
      expect(m.run(3)).toBe(stops ? 1 : 3);
      if (stops) {
        expect(m.engine.points.takeStop()).toEqual({ reason: 'watchpoint', hart: 0, watchpoint: point });
        expect(m.hart.pc).toBe(BigInt(RAM_BASE + 4));
        expect(m.read64(DATA)).toBe(before);
        expect(m.run(2)).toBe(2);
      }
      expect(m.engine.points.takeStop()).toBeUndefined();
      for (const x of [5, 6, 9]) expect(m.hart.x(x)).toBe(plain.hart.x(x));
      expect(m.read64(DATA)).toBe(plain.read64(DATA));
      expect(m.hart.csr('minstret')).toBe(3n);
    });
  }

  test('accesses beside it, on its page and on others, are as ever', () => {
    const m = machine(
      ['sd', { rs1: 7, rs2: 6, imm: 8 }],
      ['ld', { rd: 8, rs1: 7, imm: 8 }],
      ['sd', { rs1: 9, rs2: 8, imm: 0 }],
      ['addi', { rd: 6, rs1: 6, imm: 1 }],
      ['jal', { rd: 0, imm: -16 }],
    );
    m.hart.setX(7, BigInt(DATA));
    m.hart.setX(9, BigInt(DATA + 0x3000));
    m.engine.points.insert(watchpoint('access', DATA));
    expect(m.run(500)).toBe(500);
    expect([m.read64(DATA + 8), m.read64(DATA + 0x3000)]).toEqual([99n, 99n]);
  });

  test('an access across two pages stops if either half is watched', () => {
    const m = machine(['sd', { rs1: 7, rs2: 6, imm: 0 }]);
    m.hart.setX(7, BigInt(DATA + 0xffc));
    m.engine.points.insert(watchpoint('write', DATA + 0x1003, 1));
    expect(m.run(1)).toBe(0);
  });

  test('a watched page that was in a TLB before is watched at once', () => {
    const m = machine(['sd', { rs1: 7, rs2: 6, imm: 0 }], ['jal', { rd: 0, imm: -4 }]);
    m.hart.setX(7, BigInt(DATA));
    m.run(100);
    m.engine.points.insert(watchpoint('write', DATA));
    expect(m.run(100)).toBe(0);
  });

  test('stores to code and to logged pages are seen by code and log while data is watched', () => {
    const m = machine(
      ['sw', { rs1: 7, rs2: 6, imm: 8 }],
      ['jal', { rd: 0, imm: 4 }],
      ['addi', { rd: 5, rs1: 5, imm: 1 }],
    );
    const code = (imm: number): bigint =>
      BigInt(new Uint32Array(assemble(['addi', { rd: 5, rs1: 5, imm }]).buffer)[0] ?? 0);
    m.hart.setX(6, code(1));
    m.hart.setX(7, BigInt(RAM_BASE));
    m.run(3);
    expect(m.hart.x(5)).toBe(1n);
    m.memory.dirtyLog.on = true;
    m.engine.tlbs.flush('write');
    m.engine.points.insert(watchpoint('write', DATA));
    m.hart.setX(6, code(5));
    m.hart.pc = BigInt(RAM_BASE);
    m.run(3);
    expect(m.hart.x(5)).toBe(6n);
    m.memory.dirtyLog.collect();
    const page = m.memory.block('ram').firstPage;
    const pending = new DataView(m.memory.memory.buffer).getUint8(
      m.memory.layout.pendingBitmap + (page >> 3),
    );
    expect((pending >> (page & 7)) & 1).toBe(1);
  });

  test('are virtual, too', () => {
    const m = new PagedMachine();
    m.paging(RWX);
    m.engine.points.insert(watchpoint('write', VIRTUAL));
    m.load(assemble(['sd', { rs1: 7, rs2: 6, imm: 0 }], ['sd', { rs1: 5, rs2: 6, imm: 0 }]));
    m.hart.pc = BigInt(RAM_BASE);
    m.hart.setX(5, VIRTUAL);
    m.hart.setX(7, BigInt(DATA));
    m.hart.privilege = PRIVILEGE.supervisor;
    expect(m.run(10)).toBe(1);
    expect(m.engine.points.takeStop()).toMatchObject({ watchpoint: { address: VIRTUAL } });
  });

  test('the page tables of a watched machine get their A and D bits', () => {
    const m = new PagedMachine();
    const entry = m.paging(PTE.v | PTE.r | PTE.w);
    m.engine.points.insert(watchpoint('write', VIRTUAL + 0x800n));
    expect(m.step(PRIVILEGE.supervisor, ['sd', { rs1: 5, rs2: 6, imm: 0 }])).toEqual({});
    expect(m.read64(entry)).toBe(pte(DATA, PTE.v | PTE.r | PTE.w | PTE.a | PTE.d));
    expect(entry).toBeGreaterThan(ROOT);
  });
});
