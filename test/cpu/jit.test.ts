/** The JIT against the interpreter: the same registers, memory, counts and traps at every stop. */
import { expect, test } from 'vitest';
import type { EngineOptions } from '../../src/cpu/engine.ts';
import { cpuModel } from '../../src/machine/cpu-models.ts';
import { HART, HART_CSRS } from '../../src/memory/layout.ts';
import { generate } from '../differential/generator.ts';
import { blockAddress, buildImage, RAM_SIZE } from '../differential/image.ts';
import { assemble, BareMachine, type Line, RAM_BASE } from '../support/bare-machine.ts';
import { PagedMachine, pte, ROOT, RWX } from '../support/paged-machine.ts';
import { Random } from '../support/random.ts';

const SEED = Number(process.env.GODWIT_SEED ?? Date.now() % 2 ** 31);
const EAGER = { accel: 'jit', jit: { eager: true, heat: 1, patience: 0 } } as const;
const HOT = { accel: 'jit', jit: { heat: 3, patience: 0 } } as const;

function machine(options: EngineOptions, ...lines: Line[]): BareMachine {
  const m = new BareMachine(1, 'table', undefined, undefined, options);
  m.load(assemble(...lines));
  m.hart.setCsr('mtvec', BigInt(RAM_BASE + 0x800));
  m.load(assemble(['jal', { rd: 0, imm: 0 }]), RAM_BASE + 0x800);
  return m;
}

/** The state of hart 0 that a program can see, as words of its block. */
function stateOf(m: BareMachine): bigint[] {
  const words = new BigUint64Array(
    m.memory.memory.buffer,
    m.hart.offset,
    (HART.csr + 8 * HART_CSRS.length) / 8,
  );
  const seen = [...words.subarray(0, 32), ...words.subarray(HART.f / 8, HART.f / 8 + 32), m.hart.pc];
  return [...seen, m.hart.reservation, BigInt(m.hart.privilege), ...words.subarray(HART.csr / 8)];
}

test.each([
  ['interpreter', { dispatch: 'table' }, EAGER, 500],
  ['JIT that waits until code is hot', EAGER, HOT, 500],
  // Random code seldom comes back, so little of it is translated then.
  ['JIT that looks at hot code while it waits', EAGER, { accel: 'jit', jit: { heat: 8, patience: 8 } }, 0],
] as const)(
  'random sequences: the %s and eager translation agree at every stop',
  (_, one, other, translated) => {
    const sequences = new Map(
      Array.from({ length: 12 }, (_unused, i) => [i, generate(new Random(SEED, i), blockAddress(i), 300)]),
    );
    const image = buildImage(sequences);
    const slices = new Random(SEED, 99);
    const machines = [one, other].map((options) => {
      const m = new BareMachine(1, 'table', cpuModel('rv64').isa, RAM_SIZE, options);
      m.load(image.bytes);
      return m;
    });
    const [a, b] = machines as [BareMachine, BareMachine];
    for (let stop = 0; a.device.written.length === 0; stop++) {
      const slice = slices.between(1, stop % 2 === 0 ? 12 : 400);
      expect(b.run(slice)).toBe(a.run(slice));
      const [wanted, got] = [stateOf(a), stateOf(b)];
      if (wanted.some((word, i) => word !== got[i])) {
        expect({ seed: SEED, stop, state: got }).toEqual({ seed: SEED, stop, state: wanted });
      }
    }
    expect(b.device.written).toEqual(a.device.written);
    const ramOf = (m: BareMachine): Buffer =>
      Buffer.from(m.memory.memory.buffer, m.at(RAM_BASE), image.bytes.length);
    expect(ramOf(b).equals(ramOf(a))).toBe(true);
    expect(b.hart.translated.instructions).toBeGreaterThan(translated);
  },
);

const LOOP: Line[] = [
  ['addi', { rd: 5, rs1: 5, imm: 1 }],
  ['ld', { rd: 6, rs1: 7, imm: 0 }],
  ['add', { rd: 8, rs1: 8, rs2: 6 }],
  ['jal', { rd: 0, imm: -12 }],
];

test('a hot loop runs translated, and a slice still ends at its exact instruction', () => {
  const m = machine(HOT, ...LOOP);
  m.hart.setX(7, BigInt(RAM_BASE));
  for (let i = 0; i < 50; i++) expect(m.run(103)).toBe(103);
  expect(m.hart.translated.instructions).toBeGreaterThan(4000);
  expect(m.hart.x(5)).toBe(BigInt(Math.ceil(5150 / 4)));
  expect(m.hart.csr('minstret')).toBe(5150n);
});

test('a store to translated code takes effect at once', () => {
  // x10 holds an instruction that the loop writes over its first one after 40 rounds.
  const m = machine(
    HOT,
    ['addi', { rd: 5, rs1: 5, imm: 1 }],
    ['addi', { rd: 9, rs1: 9, imm: 1 }],
    ['bne', { rs1: 9, rs2: 11, imm: 8 }],
    ['sw', { rs1: 12, rs2: 10, imm: 0 }],
    ['jal', { rd: 0, imm: -16 }],
  );
  m.hart.setX(
    10,
    BigInt(new DataView(assemble(['addi', { rd: 5, rs1: 5, imm: 100 }]).buffer).getUint32(0, true)),
  );
  m.hart.setX(11, 40n);
  m.hart.setX(12, BigInt(RAM_BASE));
  for (let i = 0; i < 17; i++) m.run(10);
  expect(m.engine.jit?.statistics.invalidated).toBeGreaterThan(0);
  // 40 rounds of four instructions and a fifth in the last, then nine instructions of the next rounds.
  expect(m.hart.x(5)).toBe(40n + 300n);
});

test('a store beside translated code on its page leaves it alone', () => {
  const m = machine(
    HOT,
    ['addi', { rd: 5, rs1: 5, imm: 1 }],
    ['sd', { rs1: 12, rs2: 5, imm: 0 }],
    ['jal', { rd: 0, imm: -8 }],
  );
  m.hart.setX(12, BigInt(RAM_BASE + 0x400));
  for (let i = 0; i < 50; i++) m.run(300);
  expect(m.engine.jit?.statistics.invalidated).toBe(0);
  expect(m.read64(RAM_BASE + 0x400)).toBe(5000n);
  expect(m.hart.translated.instructions).toBeGreaterThan(14_000);
});

test('a loop across two pages, with an instruction across the boundary, stays in one region', () => {
  const m = new BareMachine(1, 'table', undefined, undefined, HOT);
  const at = RAM_BASE + 4096 - 6;
  m.load(
    assemble(
      ['addi', { rd: 5, rs1: 5, imm: 1 }],
      ['addi', { rd: 6, rs1: 6, imm: 2 }],
      ['addi', { rd: 7, rs1: 7, imm: 3 }],
      ['jal', { rd: 0, imm: -12 }],
    ),
    at,
  );
  m.hart.pc = BigInt(at);
  for (let i = 0; i < 100; i++) expect(m.run(401)).toBe(401);
  const { instructions, entered } = m.hart.translated;
  expect(instructions).toBeGreaterThan(30_000);
  expect(entered).toBeLessThan(1000);
  expect(m.hart.x(5)).toBe(10025n);
  expect(m.hart.x(7)).toBe(3n * 10025n);
});

test('slices that end in a loop inside another come back into it', () => {
  const lines: Line[] = [
    ['addi', { rd: 6, rs1: 0, imm: 100 }],
    ['addi', { rd: 7, rs1: 7, imm: 1 }],
    ['addi', { rd: 6, rs1: 6, imm: -1 }],
    ['bne', { rs1: 6, rs2: 0, imm: -8 }],
    ['addi', { rd: 8, rs1: 8, imm: 1 }],
    ['jal', { rd: 0, imm: -20 }],
  ];
  const [a, b] = [machine({ dispatch: 'table' }, ...lines), machine(HOT, ...lines)];
  for (let i = 0; i < 500; i++) {
    expect(b.run(37)).toBe(a.run(37));
    expect(stateOf(b)).toEqual(stateOf(a));
  }
  expect(b.hart.translated.instructions).toBeGreaterThan(0.75 * 500 * 37);
});

test('what ran only before a page got hot is no part of its region', () => {
  const m = machine(
    { accel: 'jit', jit: { heat: 20, patience: 2 } },
    ...Array.from({ length: 50 }, (): Line => ['addi', { rd: 9, rs1: 9, imm: 1 }]),
    ...LOOP,
  );
  m.hart.setX(7, BigInt(RAM_BASE));
  for (let i = 0; i < 50; i++) expect(m.run(103)).toBe(103);
  expect(m.hart.x(9)).toBe(50n);
  expect(m.hart.translated.instructions).toBeGreaterThan(4000);
  expect(m.engine.jit?.statistics.instructions).toBeLessThanOrEqual(LOOP.length + 1);
});

test.each([
  ['that runs once while a page is hot and waits is no part of its region', 1],
  ['that runs again while a page is hot and waits is part of its region', 100],
])('code %s', (_, turns) => {
  /** The loop counts x5 up, and takes the long way while x10 is not 0. */
  const lines: Line[] = [
    ['addi', { rd: 5, rs1: 5, imm: 1 }],
    ['bne', { rs1: 10, rs2: 0, imm: 8 }],
    ['jal', { rd: 0, imm: -8 }],
    ['addi', { rd: 10, rs1: 10, imm: -1 }],
    ...Array.from({ length: 50 }, (): Line => ['addi', { rd: 9, rs1: 9, imm: 1 }]),
    ['jal', { rd: 0, imm: -4 * 54 }],
  ];
  const options = { accel: 'jit', jit: { heat: 80, patience: 30 } } as const;
  const [a, b] = [machine({ dispatch: 'table' }, ...lines), machine(options, ...lines)];
  for (let slice = 0; slice < 60; slice++) {
    if (slice === 10) for (const m of [a, b]) m.hart.setX(10, BigInt(turns));
    expect(b.run(103)).toBe(a.run(103));
    expect(stateOf(b)).toEqual(stateOf(a));
  }
  expect(b.hart.x(9)).toBeGreaterThanOrEqual(turns === 1 ? 50n : 1000n);
  expect(b.engine.jit?.statistics.translated).toBe(1);
  expect(b.hart.translated.instructions).toBeGreaterThan(0);
  const { instructions = 0 } = b.engine.jit?.statistics ?? {};
  if (turns === 1) expect(instructions).toBeLessThan(50);
  else expect(instructions).toBeGreaterThan(50);
});

test('a register that is a word in every turn of a loop may be none when control comes back into it', () => {
  const lines: Line[] = [
    ['addi', { rd: 10, rs1: 9, imm: 1 }],
    ['xor', { rd: 11, rs1: 9, rs2: 5 }],
    ['addiw', { rd: 9, rs1: 5, imm: 0 }],
    ['addiw', { rd: 5, rs1: 5, imm: 1 }],
    ['bne', { rs1: 5, rs2: 0, imm: -16 }],
  ];
  const [a, b] = [{ dispatch: 'table' } as const, HOT].map((options) => machine(options, ...lines));
  for (let stop = 0; stop < 400; stop++) {
    for (const m of [a, b] as BareMachine[]) {
      m.run(200 + (stop % 7));
      if (stop % 3 === 0) m.hart.setX([5, 9][stop % 2] as number, (BigInt(stop) << 31n) + 7n);
    }
    for (let i = 0; i < 2; i++) {
      expect({ stop, state: stateOf(b as BareMachine) }).toEqual({ stop, state: stateOf(a as BareMachine) });
      for (const m of [a, b] as BareMachine[]) m.run(3);
    }
  }
  expect(b?.hart.translated.instructions).toBeGreaterThan(50_000);
});

test.each([
  ['most of them at their physical addresses', 8],
  ['most of them elsewhere', 1],
])('pages that share entries of the TLB, %s', (_, identical) => {
  const random = new Random(SEED, identical);
  const pages = 16;
  const first = RAM_BASE + 0x4_0000;
  const tables = ROOT + 0x3000;
  /** The first half are RAM's own addresses; the second half, 1 MiB behind, need the same entries. */
  const virtual = (i: number): number => first + (i % pages) * 0x1000 + (i < pages ? 0 : 0x10_0000);
  const lines: Line[] = [10, 11, 12, 13, 14, 15].flatMap((rs1): Line[] => [
    ['ld', { rd: 6, rs1, imm: 8 }],
    ['add', { rd: 7, rs1: 7, rs2: 6 }],
    ['sw', { rs1, rs2: 7, imm: 16 }],
    ['amoadd.d', { rd: 8, rs1, rs2: 7 }],
  ]);
  const machines = [{ dispatch: 'table' } as const, HOT].map((options) => {
    const m = new PagedMachine(undefined, options);
    m.paging(RWX);
    m.load(assemble(...lines, ['jal', { rd: 0, imm: -4 * lines.length }]));
    m.write64(ROOT + 8 * 2, pte(tables, 1n));
    m.write64(tables, pte(tables + 0x1000, 1n));
    for (let i = 0; i < 256; i++) m.write64(tables + 0x1000 + 8 * i, pte(RAM_BASE + i * 0x1000, RWX));
    m.hart.privilege = 1;
    m.hart.updateContext();
    return m;
  });
  const [a, b] = machines as [PagedMachine, PagedMachine];
  for (let stop = 0; stop < 600; stop++) {
    const remapped = stop % 20 === 0 ? Array.from({ length: 2 * pages }, (_unused, i) => i) : [];
    for (const i of remapped) {
      const isIdentical = random.below(9) < identical;
      const physical = first + (isIdentical ? i % pages : random.below(pages)) * 0x1000;
      const index = (virtual(i) - RAM_BASE) / 0x1000;
      for (const m of machines) m.write64(tables + 0x1000 + 8 * index, pte(physical, RWX));
    }
    if (remapped.length > 0) for (const m of machines) m.engine.tlbs.flushVirtual(0);
    for (let register = 10; register <= 15; register++) {
      const address = virtual(random.below(2 * pages)) + 8 * random.below(64);
      for (const m of machines) m.hart.setX(register, BigInt(address));
    }
    const slice = random.between(1, 200);
    for (const m of machines) m.run(slice);
    expect({ seed: SEED, stop, state: stateOf(b) }).toEqual({ seed: SEED, stop, state: stateOf(a) });
  }
  const ramOf = (m: BareMachine): Buffer => Buffer.from(m.memory.memory.buffer, m.at(first), pages * 0x1000);
  expect(ramOf(b).equals(ramOf(a))).toBe(true);
  expect(b.hart.translated.instructions).toBeGreaterThan(20_000);
});
