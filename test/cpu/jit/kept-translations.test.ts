/** Translations that one machine has made, in another one. */
import { expect, test } from 'vitest';
import type { EngineOptions } from '../../../src/cpu/engine.ts';
import type { TranslationStore } from '../../../src/cpu/jit/kept-translations.ts';
import type { Translation } from '../../../src/cpu/jit/translation.ts';
import { cpuModel } from '../../../src/machine/cpu-models.ts';
import { generate } from '../../differential/generator.ts';
import { blockAddress, buildImage, RAM_SIZE } from '../../differential/image.ts';
import { assemble, BareMachine, type Line, RAM_BASE } from '../../support/bare-machine.ts';
import { Random } from '../../support/random.ts';

const SEED = Number(process.env.GODWIT_SEED ?? Date.now() % 2 ** 31);

/** Keeps them in memory. */
class Shelf implements TranslationStore {
  readonly #modules = new Map<Translation, WebAssembly.Module>();

  get translations(): Translation[] {
    return [...this.#modules.keys()];
  }

  find(hash: number): [Translation, number][] {
    return this.translations.flatMap((translation) =>
      translation.hashes.flatMap((other, i): [Translation, number][] =>
        this.finds(other, hash) ? [[translation, translation.pages[i] as number]] : [],
      ),
    );
  }

  finds(one: number, other: number): boolean {
    return one === other;
  }

  compile(translation: Translation): WebAssembly.Module {
    return this.#modules.get(translation) as WebAssembly.Module;
  }

  keep(translation: Translation, module: WebAssembly.Module): void {
    this.#modules.set(translation, module);
  }
}

/** All pages have the same hash here. */
class CarelessShelf extends Shelf {
  override finds(): boolean {
    return true;
  }
}

/** One that translates soon, and one that does so late, but uses what is known after 100 jumps. */
const maker = (translations: TranslationStore): EngineOptions => ({
  accel: 'jit',
  jit: { heat: 3, patience: 0, translations },
});
const user = (translations: TranslationStore): EngineOptions => ({
  accel: 'jit',
  jit: { heat: 6400, patience: 0, translations },
});

function machine(options: EngineOptions, lines: readonly Line[], address = RAM_BASE): BareMachine {
  const m = new BareMachine(1, 'table', undefined, undefined, options);
  m.load(assemble(...lines), address);
  m.hart.pc = BigInt(address);
  return m;
}

function run(m: BareMachine, slices = 20): BareMachine {
  for (let i = 0; i < slices; i++) expect(m.run(103)).toBe(103);
  return m;
}

const recalled = (m: BareMachine): number | undefined => m.engine.jit?.statistics.recalled;

const LOOP: Line[] = [
  ['addi', { rd: 5, rs1: 5, imm: 1 }],
  ['addi', { rd: 6, rs1: 6, imm: 2 }],
  ['addi', { rd: 7, rs1: 7, imm: 3 }],
  ['jal', { rd: 0, imm: -12 }],
];

test('random sequences do the same with translations of another machine as interpreted', () => {
  const sequences = new Map(
    Array.from({ length: 12 }, (_unused, i) => [i, generate(new Random(SEED, i), blockAddress(i), 300)]),
  );
  const image = buildImage(sequences);
  const shelf = new Shelf();
  const built = (options: EngineOptions): BareMachine => {
    const m = new BareMachine(1, 'table', cpuModel('rv64').isa, RAM_SIZE, options);
    m.load(image.bytes);
    return m;
  };
  const registers = (m: BareMachine): bigint[] => [
    ...Array.from({ length: 32 }, (_, i) => m.hart.x(i)),
    m.hart.pc,
    m.hart.csr('minstret'),
  ];
  const first = built(maker(shelf));
  while (first.device.written.length === 0) first.run(400);
  const eager = { accel: 'jit', jit: { heat: 64, patience: 0, translations: shelf } } as const;
  const [a, b] = [built({}), built(eager)];
  for (let stop = 0; a.device.written.length === 0; stop++) {
    const slice = stop % 2 === 0 ? 7 : 391;
    expect(b.run(slice)).toBe(a.run(slice));
    expect({ seed: SEED, stop, state: registers(b) }).toEqual({ seed: SEED, stop, state: registers(a) });
  }
  const ramOf = (m: BareMachine): Buffer =>
    Buffer.from(m.memory.memory.buffer, m.at(RAM_BASE), image.bytes.length);
  expect(ramOf(b).equals(ramOf(a))).toBe(true);
  expect(recalled(b)).toBeGreaterThan(0);
});

test.each([
  ['on one page', RAM_BASE + 0x100, RAM_BASE + 0x100],
  ['across two pages', RAM_BASE + 4096 - 6, RAM_BASE + 4096 - 6],
  ['across two pages that are elsewhere', RAM_BASE + 4096 - 6, RAM_BASE + 9 * 4096 - 6],
])('a loop %s runs in the translation that another machine has made', (_, address, other) => {
  const shelf = new Shelf();
  run(machine(maker(shelf), LOOP, address), 100);
  const [a, b] = [machine({}, LOOP, other), machine(user(shelf), LOOP, other)];
  for (const m of [a, b]) run(m, 100);
  expect(recalled(b)).toBe(1);
  expect(b.engine.jit?.statistics.translated).toBe(0);
  expect(b.hart.translated.instructions).toBeGreaterThan(8000);
  for (const register of [5, 6, 7]) expect(b.hart.x(register)).toBe(a.hart.x(register));
});

test('a translation of code that is not there is not used', () => {
  const shelf = new CarelessShelf();
  run(machine(maker(shelf), LOOP));
  const others = LOOP.map((line, i): Line => (i === 2 ? ['addi', { rd: 7, rs1: 7, imm: 4 }] : line));
  const m = run(machine(user(shelf), others), 100);
  expect(shelf.translations.length).toBeGreaterThan(0);
  expect(recalled(m)).toBe(0);
  expect(m.hart.x(7)).toBe(4n * 2575n);
});

test('one that would lie outside of memory is not used', () => {
  const shelf = new CarelessShelf();
  run(machine(maker(shelf), LOOP, RAM_BASE + 4096 - 6), 100);
  // On the last page of memory there is no second page.
  const last = RAM_BASE + 1024 * 1024 - 16;
  const m = run(machine(user(shelf), LOOP, last), 100);
  expect(recalled(m)).toBe(0);
  expect(m.hart.x(5)).toBe(2575n);
});

test('a breakpoint in it keeps a translation away, or drops it', () => {
  const shelf = new Shelf();
  run(machine(maker(shelf), LOOP));
  const m = machine(user(shelf), LOOP);
  const { points } = m.engine;
  const breakpoint = { kind: 'software', address: BigInt(RAM_BASE + 8) } as const;
  points.insert(breakpoint);
  for (let turn = 1; turn <= 300; turn++) {
    m.run(10_000);
    expect(points.takeStop()).toBeDefined();
    expect(m.hart.x(5)).toBe(BigInt(turn));
  }
  expect(recalled(m)).toBe(0);
  points.clear();
  run(m, 300);
  expect(recalled(m)).toBe(1);
  const turns = m.hart.x(5);
  points.insert(breakpoint);
  m.run(10_000);
  expect(m.hart.pc).toBe(BigInt(RAM_BASE + 8));
  expect(m.hart.x(5) - turns).toBeLessThanOrEqual(1n);
});

test('a store to its code drops it', () => {
  const shelf = new Shelf();
  run(machine(maker(shelf), LOOP));
  const m = run(machine(user(shelf), LOOP), 100);
  expect(recalled(m)).toBe(1);
  const before = m.hart.x(7);
  m.load(assemble(['addi', { rd: 7, rs1: 7, imm: 100 }]), RAM_BASE + 8);
  run(m, 40);
  expect(m.engine.jit?.statistics.invalidated).toBe(1);
  expect(m.hart.x(7) - before).toBe(103_000n);
});

test('what is translated anew has what a kept translation had', () => {
  /** Two loops on a page: the second is run while x10 is 0. */
  const lines: Line[] = [
    ['addi', { rd: 5, rs1: 5, imm: 1 }],
    ['bne', { rs1: 10, rs2: 0, imm: 8 }],
    ['jal', { rd: 0, imm: 8 }],
    ['jal', { rd: 0, imm: -12 }],
    ['addi', { rd: 6, rs1: 6, imm: 1 }],
    ['beq', { rs1: 10, rs2: 0, imm: -4 }],
    ['jal', { rd: 0, imm: -24 }],
  ];
  const shelf = new Shelf();
  const first = machine(maker(shelf), lines);
  first.hart.setX(10, 1n);
  run(first);
  const m = machine(user(shelf), lines);
  m.hart.setX(10, 1n);
  run(m, 40);
  expect(recalled(m)).toBe(1);
  const [kept] = shelf.translations;
  m.hart.setX(10, 0n);
  for (let slice = 0; slice < 2000 && m.engine.jit?.statistics.translated === 0; slice++) m.run(103);
  expect(m.engine.jit?.statistics.translated).toBe(1);
  const all = shelf.translations.at(-1);
  const addresses = (translation: Translation | undefined): number[] =>
    [...(translation?.code ?? [])].filter((_, i) => i % 2 === 0);
  expect(addresses(all)).toEqual(expect.arrayContaining(addresses(kept)));
  expect(addresses(all)).toContain(16);
});

test('a page whose slot has gone is as cold as a new one', () => {
  const shelf = new Shelf();
  const m = machine(user(shelf), LOOP);
  // Some 250 jumps: lukewarm, and far from hot.
  run(m, 10);
  for (let times = 0; times < 10; times++) {
    m.engine.forgetMemory();
    run(m, 10);
  }
  expect(m.engine.jit?.statistics.translated).toBe(0);
  run(m, 300);
  expect(m.engine.jit?.statistics.translated).toBe(1);
});
