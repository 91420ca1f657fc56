/** What the engine guarantees beyond single instructions: exact counts, precise traps, coherent code, fair memory. */
import { describe, expect, test } from 'vitest';
import { CAUSE, INTERRUPT, MSTATUS } from '../../src/cpu/hart.ts';
import { assemble, BareMachine, type Line, RAM_BASE, ROM_BASE } from '../support/bare-machine.ts';

const HANDLER = RAM_BASE + 0x800;
const DATA = RAM_BASE + 0x2_0000;

function machine(...lines: Line[]): BareMachine {
  const m = new BareMachine();
  m.load(assemble(...lines));
  m.load(assemble(['jal', { rd: 0, imm: 0 }]), HANDLER);
  m.hart.setCsr('mtvec', BigInt(HANDLER));
  return m;
}

describe('counting', () => {
  test('a slice runs exactly as many instructions as it may', () => {
    const m = machine(['addi', { rd: 5, rs1: 5, imm: 1 }], ['jal', { rd: 0, imm: -4 }]);
    expect(m.run(1001)).toBe(1001);
    expect(m.hart.x(5)).toBe(501n);
    expect(m.hart.pc).toBe(BigInt(RAM_BASE + 4));
    expect(m.hart.csr('minstret')).toBe(1001n);
  });

  test('TLB refills, decoding and page changes do not count', () => {
    const m = machine(['ld', { rd: 6, rs1: 7, imm: 0 }], ['jal', { rd: 0, imm: 4092 }]);
    m.load(assemble(['sd', { rs1: 7, rs2: 6, imm: 8 }], ['jal', { rd: 0, imm: -8 }]), RAM_BASE + 4096);
    m.load(assemble(['jal', { rd: 0, imm: -4092 }]), RAM_BASE + 4092);
    m.hart.setX(7, BigInt(DATA));
    m.run(3);
    expect(m.hart.pc).toBe(BigInt(RAM_BASE + 4100));
  });

  test('minstret reads the instructions before it, and a written value is what the next one reads', () => {
    const m = machine(
      ['addi', { rd: 5, imm: 1 }],
      ['csrrs', { rd: 6, imm: 0xb02 }],
      ['csrrwi', { zimm: 20, imm: 0xb02 }],
      ['csrrs', { rd: 7, imm: 0xb02 }],
    );
    m.run(4);
    expect([m.hart.x(6), m.hart.x(7)]).toEqual([1n, 20n]);
  });

  test('an instruction that traps does not retire, but uses up the slice', () => {
    const m = machine(['ecall']);
    expect(m.run(5)).toBe(5);
    expect(m.hart.csr('minstret')).toBe(4n);
  });

  test('a trap handler that faults itself does not hang the host', () => {
    const m = machine(['ecall']);
    m.hart.setCsr('mtvec', 0x4000n);
    expect(m.run(1000)).toBe(1000);
  });
});

describe('traps', () => {
  const trapped = (m: BareMachine): unknown[] => {
    m.run(1);
    return [m.hart.csr('mcause'), m.hart.csr('mtval'), m.hart.csr('mepc'), m.hart.pc];
  };
  const at = (cause: number, tval: bigint): unknown[] => [
    BigInt(cause),
    tval,
    BigInt(RAM_BASE),
    BigInt(HANDLER),
  ];

  test('an unknown word is an illegal instruction, its bits in mtval', () => {
    const m = machine();
    m.load(Uint8Array.of(0xff, 0xff, 0xff, 0xff));
    expect(trapped(m)).toEqual(at(CAUSE.illegalInstruction, 0xffff_ffffn));
  });

  test('mtval of a 16-bit illegal instruction has its 16 bits', () => {
    const m = machine(['c.fldsp', { frd: 1, imm: 8 }], ['c.li', { rd: 1, imm: 1 }]);
    expect(trapped(m)).toEqual(at(CAUSE.illegalInstruction, 0x20a2n));
  });

  test('an unknown or read-only CSR is an illegal instruction', () => {
    expect(trapped(machine(['csrrw', { rd: 1, rs1: 1, imm: 0x7c0 }]))).toEqual(
      at(CAUSE.illegalInstruction, 0x7c0090f3n),
    );
    expect(trapped(machine(['csrrw', { rd: 1, rs1: 1, imm: 0xf14 }]))[0]).toBe(2n);
  });

  test('reading a read-only CSR with csrrs x0 is no write', () => {
    const m = machine(['csrrs', { rd: 1, rs1: 0, imm: 0xf14 }]);
    m.run(1);
    expect(m.hart.pc).toBe(BigInt(RAM_BASE + 4));
  });

  test.each([
    ['ld', CAUSE.loadAccessFault],
    ['sd', CAUSE.storeAccessFault],
    ['amoadd.d', CAUSE.storeAccessFault],
    ['lr.d', CAUSE.loadAccessFault],
  ])('%s where nothing is: access fault with the address', (name, cause) => {
    const m = machine([name, { rs1: 5 }]);
    m.hart.setX(5, 0xdead_0000_0000_0000n);
    expect(trapped(m)).toEqual(at(cause, 0xdead_0000_0000_0000n));
  });

  test.each([
    ['lr.w', 4n, CAUSE.loadMisaligned],
    ['amoswap.d', 4n, CAUSE.storeMisaligned],
    ['amoor.w', 2n, CAUSE.storeMisaligned],
  ])('%s at a misaligned address traps', (name, off, cause) => {
    const m = machine([name, { rs1: 5 }]);
    const address = BigInt(DATA) + (name === 'lr.w' ? 2n : off);
    m.hart.setX(5, address);
    expect(trapped(m)).toEqual(at(cause, address));
  });

  test('a fetch from nowhere faults at the target', () => {
    const m = machine(['jalr', { rd: 1, rs1: 0, imm: 0x100 }]);
    m.run(2);
    expect([m.hart.csr('mcause'), m.hart.csr('mepc'), m.hart.csr('mtval')]).toEqual([1n, 0x100n, 0x100n]);
    expect(m.hart.x(1)).toBe(BigInt(RAM_BASE + 4));
  });

  test('mret restores what the trap saved', () => {
    const m = machine(['ecall'], ['addi', { rd: 5, imm: 7 }]);
    m.load(
      assemble(
        ['csrrs', { rd: 6, imm: 0x341 }],
        ['addi', { rd: 6, rs1: 6, imm: 4 }],
        ['csrrw', { rs1: 6, imm: 0x341 }],
        ['mret'],
      ),
      HANDLER,
    );
    m.hart.setCsr('mstatus', MSTATUS.mie | MSTATUS.mpp);
    m.run(6);
    expect(m.hart.x(5)).toBe(7n);
    // §3.1.6.1: MPP becomes the least privileged mode.
    expect(m.hart.csr('mstatus')).toBe(MSTATUS.mie | MSTATUS.mpie);
  });
});

describe('interrupts', () => {
  test('a pending interrupt is taken when it is enabled, by priority, and vectored', () => {
    const m = machine(['csrrsi', { zimm: 8, imm: 0x300 }], ['addi', { rd: 5, imm: 1 }]);
    m.hart.setCsr('mtvec', BigInt(HANDLER) | 1n);
    m.hart.setCsr('mie', 0x888n);
    m.hart.setInterrupt(INTERRUPT.machineTimer, true);
    m.hart.setInterrupt(INTERRUPT.machineSoftware, true);
    m.load(assemble(['addi', { rd: 6, imm: 1 }]), HANDLER + 4 * INTERRUPT.machineSoftware);
    m.run(2);
    expect(m.hart.x(6)).toBe(1n);
    expect(m.hart.csr('mcause')).toBe((1n << 63n) | 3n);
    expect(m.hart.csr('mepc')).toBe(BigInt(RAM_BASE + 4));
    expect(m.hart.x(5)).toBe(0n);
  });

  test('wfi waits, and goes on when an enabled interrupt is pending even with mstatus.MIE off', () => {
    const m = machine(['wfi'], ['addi', { rd: 5, imm: 1 }]);
    expect(m.run(100)).toBe(1);
    expect(m.run(100)).toBe(0);
    m.hart.setCsr('mie', 0x80n);
    m.hart.setInterrupt(INTERRUPT.machineTimer, true);
    expect(m.run(1)).toBe(1);
    expect(m.hart.x(5)).toBe(1n);
    expect(m.hart.csr('mcause')).toBe(0n);
  });
});

describe('memory', () => {
  test('a device sees the width and value of each access, and loads sign-extend', () => {
    const m = machine(
      ['sh', { rs1: 5, rs2: 6, imm: 4 }],
      ['lb', { rd: 7, rs1: 5 }],
      ['lwu', { rd: 8, rs1: 5 }],
    );
    m.hart.setX(5, BigInt(m.device.base));
    m.hart.setX(6, 0x12345n);
    m.device.value = 0xffff_fff0n;
    m.run(3);
    expect(m.device.written).toEqual([{ offset: 4, size: 2, value: 0x2345n }]);
    expect([m.hart.x(7), m.hart.x(8)]).toEqual([0xffff_ffff_ffff_fff0n, 0xffff_fff0n]);
  });

  test('loads and stores across two pages are whole', () => {
    const m = machine(['sd', { rs1: 5, rs2: 6 }], ['ld', { rd: 7, rs1: 5 }], ['lw', { rd: 8, rs1: 5 }]);
    m.hart.setX(5, BigInt(DATA + 4093));
    m.hart.setX(6, 0x8877_6655_4433_2211n);
    m.run(3);
    expect([m.hart.x(7), m.hart.x(8)]).toEqual([0x8877_6655_4433_2211n, 0x4433_2211n]);
  });

  test('a store to ROM is lost, a load from it is not', () => {
    const m = machine(['sd', { rs1: 5, rs2: 5 }], ['ld', { rd: 7, rs1: 5 }]);
    m.memory.write(m.memory.block('rom').offset, Uint8Array.of(42));
    m.hart.setX(5, BigInt(ROM_BASE));
    m.run(2);
    expect(m.hart.x(7)).toBe(42n);
  });

  test('sc succeeds once after lr to the same address, and fails otherwise', () => {
    const m = machine(
      ['lr.d', { rd: 6, rs1: 5 }],
      ['sc.d', { rd: 7, rs1: 5, rs2: 5 }],
      ['sc.d', { rd: 8, rs1: 5, rs2: 6 }],
    );
    m.hart.setX(5, BigInt(DATA));
    m.run(3);
    expect([m.hart.x(7), m.hart.x(8), m.read64(DATA)]).toEqual([0n, 1n, BigInt(DATA)]);
  });

  test('results for x0 vanish', () => {
    const m = machine(['addi', { rd: 0, imm: 5 }], ['addi', { rd: 5, rs1: 0, imm: 1 }]);
    m.run(2);
    expect([m.hart.x(0), m.hart.x(5)]).toEqual([0n, 1n]);
  });
});

describe('code', () => {
  test('an instruction across two pages runs, and sees a change of its second half', () => {
    const m = machine();
    const code = assemble(['addi', { rd: 5, rs1: 5, imm: 1 }], ['addi', { rd: 6, imm: 9 }]);
    m.load(code, RAM_BASE + 4094);
    m.hart.pc = BigInt(RAM_BASE + 4094);
    m.run(2);
    expect([m.hart.x(5), m.hart.x(6)]).toEqual([1n, 9n]);
    // imm[11:4] lies in the second halfword's upper bits.
    m.load(assemble(['addi', { rd: 5, rs1: 5, imm: 0x101 }]), RAM_BASE + 4094);
    m.hart.pc = BigInt(RAM_BASE + 4094);
    expect(m.run(1)).toBe(1);
    expect(m.hart.x(5)).toBe(0x102n);
  });

  test('a branch that lies across two pages arrives, however near its target is', () => {
    const m = machine();
    m.load(assemble(['beq', { imm: 20 }]), RAM_BASE + 4094);
    m.load(assemble(['addi', { rd: 5, imm: 7 }]), RAM_BASE + 4114);
    m.hart.pc = BigInt(RAM_BASE + 4094);
    m.run(2);
    expect([m.hart.x(5), m.hart.csr('mcause')]).toEqual([7n, 0n]);
  });

  test('a store to code that has run is seen by the next fetch, without fence.i', () => {
    const patch = assemble(['addi', { rd: 7, imm: 2 }]);
    const m = machine(['addi', { rd: 7, imm: 1 }], ['sw', { rs1: 5, rs2: 6 }], ['jal', { rd: 0, imm: -8 }]);
    m.hart.setX(5, BigInt(RAM_BASE));
    m.hart.setX(6, BigInt(new DataView(patch.buffer).getUint32(0, true)));
    m.run(4);
    expect(m.hart.x(7)).toBe(2n);
  });

  test('stores, atomics and sc beside code on the same page work', () => {
    const m = machine(
      ['amoadd.d', { rd: 6, rs1: 5, rs2: 7 }],
      ['amoadd.d', { rd: 6, rs1: 5, rs2: 7 }],
      ['lr.w', { rd: 8, rs1: 5 }],
      ['sc.w', { rd: 9, rs1: 5, rs2: 8 }],
      ['sb', { rs1: 5, rs2: 7, imm: 7 }],
      ['jal', { rd: 0, imm: -20 }],
    );
    m.hart.setX(5, BigInt(RAM_BASE + 0x400));
    m.hart.setX(7, 3n);
    expect(m.run(12)).toBe(12);
    expect(m.read64(RAM_BASE + 0x400)).toBe((3n << 56n) | 12n);
    expect(m.hart.x(9)).toBe(0n);
    expect(m.hart.csr('minstret')).toBe(12n);
  });

  test('more pages of code than the cache holds still run', () => {
    const m = machine();
    // A chain of jumps over every page of RAM, again and again, through a cache that keeps fewer slots than pages.
    for (let page = 0; page < 255; page++) {
      m.load(
        assemble(['addi', { rd: 5, rs1: 5, imm: 1 }], ['jal', { rd: 0, imm: 4092 }]),
        RAM_BASE + page * 4096,
      );
    }
    m.load(assemble(['jalr', { rd: 0, rs1: 6 }]), RAM_BASE + 255 * 4096);
    m.hart.setX(6, BigInt(RAM_BASE));
    m.run(511 * 20);
    expect(m.hart.x(5)).toBe(255n * 20n);
  });
});

describe('dirty log', () => {
  const dirtyPages = (m: BareMachine): number[] => {
    m.memory.dirtyLog.collect();
    m.engine.tlbs.flush('write');
    const { layout } = m.memory;
    const words = new Uint32Array(m.memory.memory.buffer, layout.pendingBitmap, layout.bitmapSize / 4);
    const pages = [...words].flatMap((word, i) =>
      Array.from({ length: 32 }, (_, bit) => ((word >>> bit) & 1 ? i * 32 + bit : -1)).filter((p) => p >= 0),
    );
    words.fill(0);
    return pages.map((page) => page - m.memory.block('ram').firstPage);
  };

  test('marks every page that stores, atomics and the host write, once the log is on', () => {
    const m = machine(
      ['sd', { rs1: 5 }],
      ['amoadd.w', { rs1: 6, rs2: 5 }],
      ['sd', { rs1: 7 }],
      ['sb', { rs1: 8, imm: 0x700 }],
      ['ld', { rs1: 9 }],
      ['jal', { rd: 0, imm: -20 }],
    );
    m.hart.setX(5, BigInt(DATA));
    m.hart.setX(6, BigInt(DATA + 0x3000));
    m.hart.setX(7, BigInt(DATA + 0x7ffc)); // across two pages
    m.hart.setX(8, BigInt(RAM_BASE)); // beside the code
    m.hart.setX(9, BigInt(DATA + 0x9000)); // only read
    m.run(6);
    expect(dirtyPages(m)).toEqual([]);
    m.memory.dirtyLog.on = true;
    m.engine.tlbs.flush('write');
    const expected = [0, 0x20, 0x23, 0x27, 0x28];
    m.run(6);
    expect(dirtyPages(m)).toEqual(expected);
    expect(dirtyPages(m)).toEqual([]);
    m.run(6);
    expect(dirtyPages(m)).toEqual(expected);
    m.memory.write(m.at(DATA + 0xb000), new Uint8Array(5000));
    expect(dirtyPages(m)).toEqual([0x2b, 0x2c]);
    m.memory.dirtyLog.on = false;
    m.run(6);
    expect(dirtyPages(m)).toEqual([]);
  });
});
