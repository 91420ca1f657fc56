/** Who made a page dirty is known, however the store was run. */
import { expect, test } from 'vitest';
import type { EngineOptions } from '../../src/cpu/engine.ts';
import { type DirtySite, dirtiedPages } from '../../src/memory/dirty-log.ts';
import { DIRTY_SITES } from '../../src/memory/layout.ts';
import { assemble, BareMachine, type Line, RAM_BASE } from '../support/bare-machine.ts';

const ENGINES: [string, EngineOptions][] = [
  ['interpreter', {}],
  ['eager translation', { accel: 'jit', jit: { eager: true, heat: 1, patience: 0 } }],
  ['translation of what is hot', { accel: 'jit', jit: { heat: 3, patience: 0 } }],
];
const DATA = RAM_BASE + 0x2_0000;

const PROGRAM: Line[] = [
  ['sd', { rs1: 5 }],
  ['amoadd.w', { rs1: 6, rs2: 5 }],
  ['sd', { rs1: 7 }],
  ['sb', { rs1: 8, imm: 0x700 }],
  ['fsd', { rs1: 9 }],
  ['jal', { rd: 0, imm: -20 }],
];

function machine(options: EngineOptions): BareMachine {
  const m = new BareMachine(2, 'table', undefined, undefined, options);
  m.load(assemble(...PROGRAM));
  for (const [i, hart] of m.engine.harts.entries()) {
    hart.setX(5, BigInt(DATA + 0x4_0000 * i));
    hart.setX(6, BigInt(DATA + 0x4_0000 * i + 0x3000));
    hart.setX(7, BigInt(DATA + 0x4_0000 * i + 0x7ffc)); // across two pages
    hart.setX(8, BigInt(RAM_BASE)); // beside the code
    hart.setX(9, BigInt(DATA + 0x4_0000 * i + 0x9000));
    hart.setCsr('mstatus', hart.csr('mstatus') | (3n << 13n));
    hart.updateContext();
  }
  return m;
}

const page = (m: BareMachine, address: number): number =>
  m.memory.block('ram').firstPage + (address - RAM_BASE) / 4096;

test.each(ENGINES)('%s: hart, instruction and page of every page that becomes dirty', (_, options) => {
  const m = machine(options);
  const log = m.memory.dirtyLog;
  const [first, second] = m.engine.harts as [typeof m.hart, typeof m.hart];
  // In pieces: a translation is made between two.
  for (let i = 0; i < 20; i++) for (const hart of [first, second]) m.engine.run(hart, 60);
  expect(log.counts()).toEqual({ harts: [0, 0], devices: 0 });
  expect(log.siteCount).toBe(0);
  log.on = true;
  m.engine.tlbs.flush('write');
  const before = log.counts();
  if (options.accel === 'jit') expect(first.translated.instructions).toBeGreaterThan(100);
  m.engine.run(first, 600);
  m.engine.run(second, 600);
  const site = (hart: number | undefined, pc: number, at: number): DirtySite => ({
    hart,
    pc: hart === undefined ? 0n : BigInt(RAM_BASE + pc),
    page: page(m, at),
  });
  const own = (hart: number, base: number): DirtySite[] => [
    site(hart, 0x00, base),
    site(hart, 0x04, base + 0x3000),
    site(hart, 0x08, base + 0x7000),
    site(hart, 0x08, base + 0x8000),
    // The page of code is dirty already when the second hart writes it.
    ...(hart === 0 ? [site(hart, 0x0c, RAM_BASE)] : []),
    site(hart, 0x10, base + 0x9000),
  ];
  expect(log.sites(0)).toEqual([...own(0, DATA), ...own(1, DATA + 0x4_0000)]);
  expect(dirtiedPages(before, log.counts())).toEqual({ harts: [6, 5], total: 11 });
  m.memory.write(m.at(DATA + 0x1000), new Uint8Array(1));
  expect(log.sites(11)).toEqual([site(undefined, 0, DATA + 0x1000)]);
  expect(dirtiedPages(before, log.counts()).total).toBe(12);
  // A reset of the harts takes nothing of it away.
  m.engine.reset(BigInt(RAM_BASE));
  expect(dirtiedPages(before, log.counts()).harts).toEqual([6, 5]);
});

test('the latest sites are kept, and counts wrap', () => {
  const m = machine({});
  const log = m.memory.dirtyLog;
  const control = new Uint32Array(m.memory.memory.buffer, m.memory.layout.control, 16);
  control[4] = 0xffff_fff0;
  control[5] = 0xffff_fff0;
  const before = log.counts();
  const since = log.siteCount;
  log.on = true;
  for (let i = 0; i < DIRTY_SITES + 100; i++) {
    log.mark(i % 200);
    if (i % 200 === 199) log.clear();
  }
  expect(dirtiedPages(before, log.counts()).total).toBe(DIRTY_SITES + 100);
  const sites = log.sites(since);
  expect(sites.length).toBe(DIRTY_SITES);
  expect(sites[0]?.page).toBe(100);
  expect(log.sites(log.siteCount)).toEqual([]);
});
