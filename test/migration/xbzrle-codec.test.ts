import { expect, test } from 'vitest';
import type { GodwitError } from '../../src/error.ts';
import { PAGE_SIZE } from '../../src/memory/layout.ts';
import { explainDeltas, MAX_DELTA, SLACK, XbzrleCodec } from '../../src/migration/xbzrle-codec.ts';
import { Random } from '../support/random.ts';

const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
const bytes = new Uint8Array(memory.buffer);
const codec = new XbzrleCodec(memory);
const BEFORE = 4096;
const AFTER = 3 * 4096;
const OUT = 5 * 4096;
const TARGET = 8 * 4096;

/** The format byte by byte, as its description has it. Undefined if the delta is longer than MAX_DELTA. */
function reference(before: Uint8Array, after: Uint8Array): number[] | undefined {
  const out: number[] = [];
  const uleb = (value: number) => (value < 128 ? [value] : [(value & 127) | 128, value >> 7]);
  for (let at = 0; ; ) {
    const start = at;
    while (at < PAGE_SIZE && before[at] === after[at]) at++;
    if (at === PAGE_SIZE) break;
    const changed = at;
    while (at < PAGE_SIZE && before[at] !== after[at]) at++;
    out.push(...uleb(changed - start), ...uleb(at - changed), ...after.subarray(changed, at));
  }
  return out.length > MAX_DELTA ? undefined : out;
}

function encode(before: Uint8Array, after: Uint8Array): number[] | undefined {
  bytes.set(before, BEFORE);
  bytes.set(after, AFTER);
  // What stands behind the pages must not matter.
  bytes.fill(0x55, BEFORE + PAGE_SIZE, BEFORE + PAGE_SIZE + SLACK);
  bytes.fill(0xaa, AFTER + PAGE_SIZE, AFTER + PAGE_SIZE + SLACK);
  bytes.fill(0xee, OUT - 64, OUT + 2 * PAGE_SIZE);
  const length = codec.encode(BEFORE, AFTER, OUT);
  expect(bytes.subarray(OUT - 64, OUT).every((byte) => byte === 0xee)).toBe(true);
  const behind = bytes.subarray(OUT + MAX_DELTA + SLACK, OUT + 2 * PAGE_SIZE);
  expect(behind.every((byte) => byte === 0xee)).toBe(true);
  expect(Buffer.compare(bytes.subarray(BEFORE, BEFORE + PAGE_SIZE), before)).toBe(0);
  expect(Buffer.compare(bytes.subarray(AFTER, AFTER + PAGE_SIZE), after)).toBe(0);
  return length < 0 ? undefined : [...bytes.subarray(OUT, OUT + length)];
}

/** Puts deltas, each with its length, where `check` finds them; returns the address behind them. */
function put(deltas: readonly (readonly number[])[]): number {
  const all = deltas.flatMap((delta) => [delta.length & 255, delta.length >> 8, ...delta]);
  bytes.set(all, OUT);
  return OUT + all.length;
}

/** Applies one delta to a copy of `before`; guards around the page stay as they were. */
function applied(before: Uint8Array, delta: readonly number[]): Uint8Array {
  const end = put([delta]);
  expect(codec.check(OUT, end, 1)).toBe(end);
  bytes.fill(0x77, TARGET - 64, TARGET + PAGE_SIZE + 64);
  bytes.set(before, TARGET);
  codec.apply(OUT, 1, TARGET);
  const guards = [
    bytes.subarray(TARGET - 64, TARGET),
    bytes.subarray(TARGET + PAGE_SIZE, TARGET + PAGE_SIZE + 64),
  ];
  expect(guards.every((guard) => guard.every((byte) => byte === 0x77))).toBe(true);
  return bytes.slice(TARGET, TARGET + PAGE_SIZE);
}

function randomPage(random: Random): Uint8Array {
  return Uint8Array.from({ length: PAGE_SIZE }, () => random.below(256));
}

/** `page`, changed in one of many ways. */
function changedPage(random: Random, page: Uint8Array): Uint8Array {
  const after = page.slice();
  const change = (at: number) => {
    after[at] = ((page[at] ?? 0) + 1 + random.below(255)) & 255;
  };
  switch (random.below(6)) {
    case 0:
      for (let i = random.below(20); i > 0; i--) change(random.below(PAGE_SIZE));
      break;
    case 1: {
      const start = random.below(PAGE_SIZE);
      for (let at = start; at < Math.min(PAGE_SIZE, start + random.below(2000)); at++) change(at);
      break;
    }
    case 2: {
      const stride = 1 + random.below(300);
      for (let at = random.below(stride); at < PAGE_SIZE; at += stride) change(at);
      break;
    }
    case 3: {
      // Runs of lengths about those where a length or a step changes its size.
      const lengths = [1, 2, 15, 16, 17, 63, 64, 65, 126, 127, 128, 129];
      for (let at = random.below(70); at < PAGE_SIZE; ) {
        const run = lengths[random.below(lengths.length)] ?? 1;
        for (let end = Math.min(PAGE_SIZE, at + run); at < end; at++) change(at);
        at += lengths[random.below(lengths.length)] ?? 1;
      }
      break;
    }
    case 4:
      for (let at = 0; at < PAGE_SIZE; at++) if (random.below(4) > 0) change(at);
      break;
    default:
      return randomPage(random);
  }
  return after;
}

test('deltas of random and adversarial pages are the reference’s to the byte, and give the page back', () => {
  const random = new Random(1);
  const kinds = { equal: 0, delta: 0, overflow: 0 };
  for (let round = 0; round < 1000; round++) {
    const before = round % 3 === 0 ? new Uint8Array(PAGE_SIZE) : randomPage(random);
    const after = changedPage(random, before);
    const delta = encode(before, after);
    const expected = reference(before, after);
    if (delta?.toString() !== expected?.toString()) expect(delta).toEqual(expected);
    if (delta === undefined) kinds.overflow++;
    else if (delta.length === 0) kinds.equal++;
    else {
      kinds.delta++;
      expect(Buffer.compare(applied(before, delta), after)).toBe(0);
    }
  }
  expect(Math.min(kinds.equal, kinds.delta, kinds.overflow)).toBeGreaterThan(5);
});

test.each([
  ['nothing', [], []],
  ['the first byte', [0], [0, 1, 1]],
  ['the last byte', [4095], [0xff, 0x1f, 1, 1]],
  ['both', [0, 4095], [0, 1, 1, 0xfe, 0x1f, 1, 1]],
  ['two neighbours', [127, 128], [0x7f, 2, 1, 1]],
  ['behind 128 equal bytes', [128], [0x80, 1, 1, 1]],
])('a page with %s changed', (_, places, expected) => {
  const before = new Uint8Array(PAGE_SIZE);
  const after = before.slice();
  for (const at of places) after[at] = 1;
  expect(encode(before, after)).toEqual(expected);
});

test('a page that is all different goes whole, up to the last byte that fits', () => {
  const before = new Uint8Array(PAGE_SIZE);
  for (const [changed, fits] of [
    [4096, false],
    [4092, false],
    [4091, true],
  ] as const) {
    const after = before.slice().fill(1, 0, changed);
    expect(encode(before, after)?.length, `${changed}`).toBe(fits ? changed + 3 : undefined);
  }
});

/** What is wrong with deltas, as both checks say. */
function refusal(end: number, count: number): string | undefined {
  const snapshot = bytes.slice(0, TARGET);
  const checked = codec.check(OUT, end, count);
  expect(Buffer.compare(bytes.subarray(0, TARGET), snapshot), 'a check writes nothing').toBe(0);
  try {
    explainDeltas(bytes.slice(OUT, end), count, 'frame "ram", run 3', 1000);
  } catch (error) {
    expect(checked).toBe(0);
    expect((error as GodwitError).kind).toBe('format');
    return (error as Error).message;
  }
  expect(checked).not.toBe(0);
  return undefined;
}

test.each([
  ['no length', [1], 1, 'delta 0, length: expected 2 bytes, got 1 (at byte 1000)'],
  ['an empty delta', [0, 0], 1, 'delta 0, length: expected 1 to 0, got 0 (at byte 1000)'],
  ['a delta past the end', [4, 0, 0, 1, 9], 1, 'delta 0, length: expected 1 to 3, got 4 (at byte 1000)'],
  ['one delta too few', [3, 0, 0, 1, 9], 2, 'delta 1, length: expected 2 bytes, got 0 (at byte 1005)'],
  ['an equal-run alone', [1, 0, 5], 1, 'delta 0, changed-run: expected a length, got 0 (at byte 1003)'],
  [
    'a second equal-run of 0',
    [6, 0, 0, 1, 9, 0, 1, 9],
    1,
    'equal-run: expected 1 to 4095, got 0 (at byte 1005)',
  ],
  ['a changed-run of 0', [2, 0, 5, 0], 1, 'changed-run: expected 1 to 4091, got 0 (at byte 1003)'],
  ['an equal-run past the page', [4, 0, 0x81, 0x20, 1, 9], 1, 'equal-run: expected 0 to 4096, got 4097'],
  [
    'a changed-run at its end',
    [4, 0, 0x80, 0x20, 1, 9],
    1,
    'changed-run: expected 1 to 0, got 1 (at byte 1004)',
  ],
  ['a changed-run past the page', [4, 0, 0xff, 0x1f, 2, 9], 1, 'changed-run: expected 1 to 1, got 2'],
  ['bytes that are missing', [3, 0, 0, 2, 9], 1, 'changed bytes: expected 2, got 1 (at byte 1004)'],
  ['a length cut in two', [1, 0, 0x81], 1, 'equal-run: expected ULEB128 of at most 14 bits, got 0'],
  ['a length of three bytes', [5, 0, 0x81, 0x80, 1, 1, 9], 1, 'ULEB128 of at most 14 bits, got 128'],
  ['a longer length than needed', [4, 0, 0x81, 0, 1, 9], 1, 'ULEB128 of at most 14 bits, got 0'],
])('%s is refused, with its place', (_, stream, count, message) => {
  bytes.fill(0, OUT, OUT + 100);
  bytes.set(stream, OUT);
  const said = refusal(OUT + stream.length, count);
  expect(said).toContain('frame "ram", run 3, ');
  expect(said).toContain(message);
});

test('a delta longer than a page is refused', () => {
  bytes.set([0xff, 0x0f], OUT);
  expect(refusal(OUT + 5000, 1)).toContain('length: expected 1 to 4094, got 4095');
});

test('whatever the bytes, both checks agree, and what passes writes to its page only', () => {
  const random = new Random(2);
  let passed = 0;
  for (let round = 0; round < 2000; round++) {
    // Valid deltas with a byte or two changed, or cut; and noise of small numbers, where much is nearly valid.
    let end: number;
    const count = 1 + random.below(3);
    if (round % 2 === 0) {
      const before = randomPage(random);
      const deltas: number[][] = [];
      while (deltas.length < count) {
        const delta = reference(before, changedPage(random, before));
        if (delta !== undefined && delta.length > 0) deltas.push(delta);
        if (round > 200 && (delta?.length ?? 0) > 100) deltas.pop();
      }
      end = put(deltas);
      for (let i = random.below(3); i > 0; i--) bytes[OUT + random.below(end - OUT)] = random.below(256);
      if (random.below(4) === 0) end -= random.below(Math.min(10, end - OUT));
    } else {
      const length = random.below(40);
      for (let i = 0; i < length; i++) bytes[OUT + i] = random.below(random.below(2) === 0 ? 4 : 256);
      end = OUT + length;
    }
    if (refusal(end, count) !== undefined) continue;
    passed++;
    bytes.fill(0x77, TARGET - 64, TARGET + count * PAGE_SIZE + 64);
    codec.apply(OUT, count, TARGET);
    for (const at of [TARGET - 64, TARGET + count * PAGE_SIZE]) {
      expect(bytes.subarray(at, at + 64).every((byte) => byte === 0x77)).toBe(true);
    }
  }
  expect(passed).toBeGreaterThan(100);
});
