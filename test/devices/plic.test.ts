/** The PLIC as a driver sees it. RISC-V PLIC Specification 1.0.0; chapters by test. */
import { beforeEach, expect, describe as suite, test } from 'vitest';
import { Plic } from '../../src/devices/plic.ts';

const [MACHINE_0, SUPERVISOR_0, MACHINE_1, SUPERVISOR_1] = [0, 1, 2, 3];
const CONTEXTS = 4;

let plic: Plic;
/** By context. */
let outputs: boolean[];

beforeEach(() => {
  outputs = new Array(CONTEXTS).fill(false);
  const output = (context: number) => (level: boolean) => {
    outputs[context] = level;
  };
  const lines = [0, 1].map((hart) => ({ meip: output(2 * hart), seip: output(2 * hart + 1) }));
  plic = new Plic({ base: 0xc00_0000, lines });
});

const handler = () => (plic.regions[0] as (typeof plic.regions)[0]).handler;
const read = (offset: number): number => handler().read(offset, 4);
const write = (offset: number, value: number): void => handler().write(offset, 4, value);

const priority = (source: number, value: number) => write(4 * source, value);
const isPending = (source: number) => ((read(0x1000 + 4 * (source >> 5)) >>> (source & 31)) & 1) === 1;
const enableWord = (context: number, source: number) => 0x2000 + 0x80 * context + 4 * (source >> 5);
const enable = (context: number, ...sources: number[]) => {
  for (const source of sources) {
    const at = enableWord(context, source);
    write(at, read(at) | (1 << (source & 31)));
  }
};
const threshold = (context: number, value: number) => write(0x20_0000 + 0x1000 * context, value);
const claim = (context: number) => read(0x20_0004 + 0x1000 * context);
const complete = (context: number, source: number) => write(0x20_0004 + 0x1000 * context, source);

suite('chapters 4 to 6: priorities, pending bits, enables', () => {
  test('priorities and thresholds have three bits, there is no source 0, and pending bits are read-only', () => {
    for (const source of [0, 1, 96, 97]) priority(source, 0xffff_ffff);
    expect([0, 1, 96, 97].map((source) => read(4 * source))).toEqual([0, 7, 7, 0]);
    threshold(SUPERVISOR_1, 0xffff_ffff);
    expect(read(0x20_3000)).toBe(7);
    for (const word of [0, 1, 2, 3, 4]) write(0x2080 + 4 * word, 0xffff_ffff);
    expect([0, 1, 2, 3, 4].map((word) => read(0x2080 + 4 * word))).toEqual([
      0xffff_fffe, 0xffff_ffff, 0xffff_ffff, 1, 0,
    ]);
    write(0x1000, 0xffff_ffff);
    expect(read(0x1000)).toBe(0);
  });

  test('a source is pending whether or not anybody has enabled it', () => {
    plic.line(33)(true);
    expect([isPending(33), isPending(32), isPending(1)]).toEqual([true, false, false]);
    expect(outputs).toEqual([false, false, false, false]);
  });

  test('each context has its own enables; priority 0 never interrupts', () => {
    enable(SUPERVISOR_0, 10);
    enable(MACHINE_1, 10);
    plic.line(10)(true);
    expect(outputs).toEqual([false, false, false, false]);
    priority(10, 1);
    expect(outputs).toEqual([false, true, true, false]);
    priority(10, 0);
    expect(outputs).toEqual([false, false, false, false]);
    expect(claim(SUPERVISOR_0)).toBe(0);
  });
});

suite('chapter 7: thresholds', () => {
  test('mask priorities up to and with their own, for the notification and not for the claim', () => {
    priority(10, 3);
    enable(SUPERVISOR_0, 10);
    threshold(SUPERVISOR_0, 3);
    plic.line(10)(true);
    expect(outputs[SUPERVISOR_0]).toBe(false);
    threshold(SUPERVISOR_0, 2);
    expect(outputs[SUPERVISOR_0]).toBe(true);
    threshold(SUPERVISOR_0, 7);
    expect(outputs[SUPERVISOR_0]).toBe(false);
    expect(claim(SUPERVISOR_0)).toBe(10);
  });
});

suite('chapters 8 and 9: claim and completion', () => {
  test('claims come by priority, and by number among equals', () => {
    for (const [source, its] of [
      [40, 1],
      [7, 2],
      [96, 2],
      [3, 1],
    ] as const) {
      priority(source, its);
      enable(MACHINE_0, source);
      plic.line(source)(true);
    }
    expect([1, 2, 3, 4, 5].map(() => claim(MACHINE_0))).toEqual([7, 96, 3, 40, 0]);
    expect(outputs[MACHINE_0]).toBe(false);
  });

  test('of two contexts that are notified, one gets it', () => {
    priority(10, 1);
    enable(SUPERVISOR_0, 10);
    enable(SUPERVISOR_1, 10);
    plic.line(10)(true);
    expect([outputs[SUPERVISOR_0], outputs[SUPERVISOR_1]]).toEqual([true, true]);
    expect(claim(SUPERVISOR_1)).toBe(10);
    expect([outputs[SUPERVISOR_0], outputs[SUPERVISOR_1]]).toEqual([false, false]);
    expect(claim(SUPERVISOR_0)).toBe(0);
  });

  test('a line that is still raised at completion interrupts again, one that is not does not', () => {
    priority(10, 1);
    enable(SUPERVISOR_0, 10);
    plic.line(10)(true);
    expect(claim(SUPERVISOR_0)).toBe(10);
    plic.line(10)(true);
    expect([outputs[SUPERVISOR_0], isPending(10)]).toEqual([false, false]);
    complete(SUPERVISOR_0, 10);
    expect([outputs[SUPERVISOR_0], isPending(10)]).toEqual([true, true]);
    expect(claim(SUPERVISOR_0)).toBe(10);
    plic.line(10)(false);
    complete(SUPERVISOR_0, 10);
    expect([outputs[SUPERVISOR_0], isPending(10)]).toEqual([false, false]);
  });

  test('a request is not taken back when the line falls (Interrupt Gateways)', () => {
    priority(10, 1);
    enable(SUPERVISOR_0, 10);
    plic.line(10)(true);
    plic.line(10)(false);
    expect(outputs[SUPERVISOR_0]).toBe(true);
    expect(claim(SUPERVISOR_0)).toBe(10);
  });

  test('a completion is ignored for a source that the context has not enabled, or that there is not', () => {
    priority(10, 1);
    enable(SUPERVISOR_0, 10);
    plic.line(10)(true);
    claim(SUPERVISOR_0);
    for (const source of [0, 97, 0xffff_ffff]) complete(SUPERVISOR_0, source);
    complete(MACHINE_0, 10);
    expect(isPending(10)).toBe(false);
    complete(SUPERVISOR_0, 10);
    expect(isPending(10)).toBe(true);
  });
});

test('describes what is configured, raised and under way', () => {
  priority(10, 1);
  priority(33, 2);
  enable(SUPERVISOR_0, 10);
  enable(SUPERVISOR_1, 10);
  threshold(SUPERVISOR_1, 3);
  plic.line(10)(true);
  claim(SUPERVISOR_0);
  plic.line(33)(true);
  expect(plic.describe()).toEqual([
    'plic',
    '  source 10: priority 1, raised, claimed; enabled: hart 0 supervisor, hart 1 supervisor',
    '  source 33: priority 2, raised, pending; enabled: nowhere',
    '  hart 0 machine: threshold 0, first none',
    '  hart 0 supervisor: threshold 0, first none',
    '  hart 1 machine: threshold 0, first none',
    '  hart 1 supervisor: threshold 3, first none',
  ]);
});

suite('state', () => {
  test('an interrupt that was claimed at the source is completed at the destination', () => {
    priority(10, 1);
    enable(SUPERVISOR_0, 10);
    plic.line(10)(true);
    claim(SUPERVISOR_0);
    const saved = plic.state.save();
    const lines = [0, 1].map(() => ({ meip() {}, seip: (level: boolean) => outputs.push(level) }));
    plic = new Plic({ base: 0xc00_0000, lines });
    plic.state.prepare(saved)();
    outputs = [];
    complete(SUPERVISOR_0, 10);
    expect(outputs).toContain(true);
  });

  test.each([
    ['pending', [1, 0, 0, 0]],
    ['enable', new Array(16).fill(0xffff_ffff)],
    ['claimed', [0, 0, 0, 2]],
    ['priority', new Array(96).fill(8)],
  ])('%s beyond what there is is refused', (field, value) => {
    const saved = plic.state.save();
    const damaged = { ...saved, fields: { ...saved.fields, [field]: value } };
    expect(() => plic.state.prepare(damaged)).toThrow(expect.objectContaining({ kind: 'format' }));
    expect(() => plic.state.prepare(damaged)).toThrow(new RegExp(`^plic.${field}: `));
  });
});
