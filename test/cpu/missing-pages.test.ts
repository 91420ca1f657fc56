/** Post-copy as harts see it: a run with pages that come late is the run with all of them there, to the instruction. */
import { describe, expect, test } from 'vitest';
import type { EngineOptions } from '../../src/cpu/engine.ts';
import type { Hart } from '../../src/cpu/hart.ts';
import { cpuModel } from '../../src/machine/cpu-models.ts';
import { HART, HART_CSRS, PAGE_SIZE } from '../../src/memory/layout.ts';
import { generate } from '../differential/generator.ts';
import { blockAddress, buildImage, RAM_SIZE } from '../differential/image.ts';
import { assemble, BareMachine, type Line, RAM_BASE } from '../support/bare-machine.ts';
import { LatePages } from '../support/late-pages.ts';
import { DATA, PagedMachine, PTE, ROOT, RWX, VIRTUAL } from '../support/paged-machine.ts';
import { Random } from '../support/random.ts';

const SEED = Number(process.env.GODWIT_SEED ?? Date.now() % 2 ** 31);
const EAGER = { accel: 'jit', jit: { eager: true, heat: 1, patience: 0 } } as const;
const HOT = { accel: 'jit', jit: { heat: 3, patience: 0 } } as const;

function stateOf({ memory, hart }: BareMachine): bigint[] {
  const words = new BigUint64Array(memory.memory.buffer, hart.offset, (HART.csr + 8 * HART_CSRS.length) / 8);
  const registers = [...words.subarray(0, 32), ...words.subarray(HART.f / 8, HART.f / 8 + 32), hart.pc];
  return [...registers, hart.reservation, BigInt(hart.privilege), ...words.subarray(HART.csr / 8)];
}

/** Runs `count` instructions, bringing each page that is missing when the hart has stopped for it. */
function runWith(late: LatePages, m: BareMachine, count: number, hart: Hart = m.hart): number {
  let ran = 0;
  for (;;) {
    ran += m.engine.run(hart, count - ran);
    if (hart.missing === undefined || ran === count) return ran;
    expect(late.wanted).toContain(hart.missing);
    // Not yet: nothing happens.
    expect(m.engine.run(hart, 100)).toBe(0);
    late.place(hart.missing);
  }
}

test.each([
  ['the interpreter', { dispatch: 'table' }],
  ['eager translation', EAGER],
  ['translation of what is hot', HOT],
] as const)(
  'random sequences with pages that come late, in %s: equal at every stop',
  (_, options: EngineOptions) => {
    const sequences = new Map(
      Array.from({ length: 8 }, (_unused, i) => [i, generate(new Random(SEED, i), blockAddress(i), 300)]),
    );
    const image = buildImage(sequences);
    const slices = new Random(SEED, 99);
    const [whole, m] = [{ dispatch: 'table' } as const, options].map((of) => {
      const machine = new BareMachine(1, 'table', cpuModel('rv64').isa, RAM_SIZE, of);
      machine.load(image.bytes);
      return machine;
    }) as [BareMachine, BareMachine];
    const late = new LatePages(m.memory);
    for (let stop = 0; whole.device.written.length === 0; stop++) {
      const slice = slices.between(1, stop % 2 === 0 ? 12 : 400);
      expect(runWith(late, m, slice)).toBe(whole.run(slice));
      const [wanted, got] = [stateOf(whole), stateOf(m)];
      if (wanted.some((word, i) => word !== got[i])) {
        expect({ seed: SEED, stop, state: got }).toEqual({ seed: SEED, stop, state: wanted });
      }
    }
    expect(late.placed).toBeGreaterThan(10);
    late.placeAll();
    const ramOf = (of: BareMachine): Buffer =>
      Buffer.from(of.memory.memory.buffer, of.at(RAM_BASE), image.bytes.length);
    expect(ramOf(m).equals(ramOf(whole))).toBe(true);
  },
);

describe('an instruction whose page has not arrived stops before it has done anything', () => {
  const CROSSING = DATA + PAGE_SIZE - 4;
  const cases: readonly [string, Line, number, number[]][] = [
    ['load', ['ld', { rd: 6, rs1: 7, imm: 0 }], DATA, [DATA]],
    ['store', ['sd', { rs1: 7, rs2: 6, imm: 0 }], DATA, [DATA]],
    ['atomic', ['amoadd.d', { rd: 6, rs1: 7, rs2: 6 }], DATA, [DATA]],
    ['load-reserved', ['lr.d', { rd: 6, rs1: 7 }], DATA, [DATA]],
    ['float load', ['fld', { frd: 1, rs1: 7, imm: 0 }], DATA, [DATA]],
    ['float store', ['fsd', { rs1: 7, frs2: 1, imm: 0 }], DATA, [DATA]],
    ['load across pages', ['ld', { rd: 6, rs1: 7, imm: 0 }], CROSSING, [DATA, DATA + PAGE_SIZE]],
    ['store across pages', ['sd', { rs1: 7, rs2: 6, imm: 0 }], CROSSING, [DATA, DATA + PAGE_SIZE]],
    ['store across pages, second', ['sd', { rs1: 7, rs2: 6, imm: 0 }], CROSSING, [DATA + PAGE_SIZE]],
    ['jump', ['jalr', { rd: 1, rs1: 7, imm: 0 }], DATA, [DATA]],
  ];
  test.each(cases)('%s', (_, line, address, absent) => {
    const build = (): BareMachine => {
      const m = new BareMachine();
      m.load(assemble(line, ['addi', { rd: 9, rs1: 9, imm: 1 }]));
      m.load(assemble(['addi', { rd: 9, rs1: 9, imm: 1 }], ['addi', { rd: 9, rs1: 9, imm: 2 }]), DATA);
      m.hart.setX(6, 0x1234_5678_9abcn);
      m.hart.setX(7, BigInt(address));
      m.hart.setCsr('mstatus', m.hart.csr('mstatus') | (3n << 13n));
      m.hart.updateContext();
      return m;
    };
    const [whole, m] = [build(), build()];
    whole.run(2);
    const pages = absent.map((at) => m.memory.block('ram').firstPage + (at - RAM_BASE) / PAGE_SIZE);
    const late = new LatePages(m.memory, pages);
    const before = stateOf(m);
    for (const page of pages) {
      const ran = m.run(2);
      const jumped = line[0] === 'jalr';
      expect(ran).toBe(jumped ? 1 : 0);
      expect(m.hart.missing).toBe(page);
      if (!jumped) expect(stateOf(m)).toEqual(before);
      late.place(page);
      if (jumped) expect(m.run(1)).toBe(1);
    }
    if (line[0] !== 'jalr') expect(m.run(2)).toBe(2);
    expect(m.hart.missing).toBeUndefined();
    expect(stateOf(m)).toEqual(stateOf(whole));
    expect(m.read64(CROSSING)).toBe(whole.read64(CROSSING));
    expect(m.read64(DATA)).toBe(whole.read64(DATA));
  });
});

test('a page walk waits for each table, and then sets A and D in it', () => {
  const m = new PagedMachine();
  const entry = m.paging(PTE.v | PTE.r | PTE.w, RWX);
  m.load(assemble(['sd', { rs1: 5, rs2: 6, imm: 0 }]));
  m.hart.pc = BigInt(RAM_BASE);
  m.hart.setX(5, VIRTUAL);
  m.hart.setX(6, 0x55n);
  m.hart.privilege = 1;
  const page = (at: number): number => m.memory.block('ram').firstPage + (at - RAM_BASE) / PAGE_SIZE;
  const order = [ROOT, RAM_BASE, ROOT + 0x1000, ROOT + 0x2000, DATA].map(page);
  const late = new LatePages(m.memory, order);
  m.engine.tlbs.flushAll();
  for (const next of order) {
    expect(m.run(1)).toBe(0);
    expect(m.hart.missing).toBe(next);
    late.place(next);
  }
  expect(m.run(1)).toBe(1);
  expect(m.read64(DATA)).toBe(0x55n);
  expect(m.read64(entry) & (PTE.a | PTE.d)).toBe(PTE.a | PTE.d);
});

test('an instruction across two pages waits for the second', () => {
  const m = new BareMachine();
  const at = RAM_BASE + PAGE_SIZE - 2;
  m.load(assemble(['addi', { rd: 9, rs1: 9, imm: 5 }]), at);
  m.hart.pc = BigInt(at);
  const page = m.memory.block('ram').firstPage + 1;
  const late = new LatePages(m.memory, [page]);
  expect(m.run(1)).toBe(0);
  expect(m.hart.missing).toBe(page);
  late.place(page);
  expect(m.run(1)).toBe(1);
  expect(m.hart.x(9)).toBe(5n);
});

test.each([
  ['interpreted', {}],
  ['translated', HOT],
] as const)('one hart waits, the others run on, %s', (_, options) => {
  const m = new BareMachine(4, 'table', undefined, undefined, options);
  m.load(
    assemble(
      ['ld', { rd: 6, rs1: 7, imm: 0 }],
      ['addi', { rd: 5, rs1: 5, imm: 1 }],
      ['jal', { rd: 0, imm: -8 }],
    ),
  );
  const page = m.memory.block('ram').firstPage + (DATA - RAM_BASE) / PAGE_SIZE;
  for (const hart of m.engine.harts) hart.setX(7, BigInt(hart.id === 2 ? DATA : RAM_BASE));
  const late = new LatePages(m.memory, [page]);
  for (let round = 0; round < 20; round++) {
    for (const hart of m.engine.harts) expect(m.engine.run(hart, 300)).toBe(hart.id === 2 ? 0 : 300);
  }
  expect(late.wanted).toEqual([page]);
  late.place(page);
  expect(m.engine.run(m.engine.harts[2] as Hart, 300)).toBe(300);
  expect(m.engine.harts.map((hart) => hart.x(5))).toEqual([2000n, 2000n, 100n, 2000n]);
});
