import { expect, test } from 'vitest';
import { KERNEL_SCRATCH, Kernels } from '../../src/migration/kernels.ts';

const PRIME32 = 2654435761;
const MASK = (1n << 64n) - 1n;
const P = [
  0x9e3779b185ebca87n,
  0xc2b2ae3d27d4eb4fn,
  0x165667b19e3779f9n,
  0x85ebca77c2b2ae63n,
  0x27d4eb2f165667c5n,
];
const [P1, P2, P3, P4, P5] = P as [bigint, bigint, bigint, bigint, bigint];

/** xxh64 word by word from the specification, in bigints. */
function reference(bytes: Uint8Array, seed: number): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const rotl = (x: bigint, n: bigint) => ((x << n) | (x >> (64n - n))) & MASK;
  const round = (acc: bigint, lane: bigint) => (rotl((acc + lane * P2) & MASK, 31n) * P1) & MASK;
  const s = BigInt(seed);
  let at = 0;
  let h: bigint;
  if (bytes.length >= 32) {
    const v = [s + P1 + P2, s + P2, s, s - P1].map((x) => BigInt.asUintN(64, x));
    for (; at + 32 <= bytes.length; at += 32) {
      for (let i = 0; i < 4; i++) v[i] = round(v[i] as bigint, view.getBigUint64(at + 8 * i, true));
    }
    const [a, b, c, d] = v as [bigint, bigint, bigint, bigint];
    h = (rotl(a, 1n) + rotl(b, 7n) + rotl(c, 12n) + rotl(d, 18n)) & MASK;
    for (const x of v) h = ((h ^ round(0n, x)) * P1 + P4) & MASK;
  } else {
    h = (s + P5) & MASK;
  }
  h = (h + BigInt(bytes.length)) & MASK;
  for (; at + 8 <= bytes.length; at += 8) {
    h = (rotl(h ^ round(0n, view.getBigUint64(at, true)), 27n) * P1 + P4) & MASK;
  }
  if (at + 4 <= bytes.length) {
    h = (rotl(h ^ ((BigInt(view.getUint32(at, true)) * P1) & MASK), 23n) * P2 + P3) & MASK;
    at += 4;
  }
  for (; at < bytes.length; at++) h = (rotl(h ^ ((BigInt(bytes[at] ?? 0) * P5) & MASK), 11n) * P1) & MASK;
  h = ((h ^ (h >> 33n)) * P2) & MASK;
  h = ((h ^ (h >> 29n)) * P3) & MASK;
  return h ^ (h >> 32n);
}

const unsigned = (value: bigint): bigint => BigInt.asUintN(64, value);

function pattern(length: number): Uint8Array {
  let x = 12345;
  return Uint8Array.from({ length }, () => {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    return x >>> 16;
  });
}

test('xxh64 gives the published vectors', () => {
  // xxHash's own sanity check (cli/xsum_sanity_check.c): a buffer filled from a generator, prefixes of it hashed.
  const prime64 = 11400714785074694797n;
  const buffer = new Uint8Array(2243);
  let generator = BigInt(PRIME32);
  for (let i = 0; i < buffer.length; i++) {
    buffer[i] = Number(generator >> 56n);
    generator = (generator * prime64) & MASK;
  }
  const kernels = Kernels.standalone();
  for (const [length, seed, expected] of [
    [0, 0, 0xef46db3751d8e999n],
    [0, PRIME32, 0xac75fda2929b17efn],
    [1, 0, 0xe934a84adb052768n],
    [1, PRIME32, 0x5014607643a9b4c3n],
    [4, 0, 0x9136a0dca57457een],
    [14, 0, 0x8282dcc4994e35c8n],
    [14, PRIME32, 0xc3bd6bf63deb6df0n],
    [222, 0, 0xb641ae8cb691c174n],
    [222, PRIME32, 0x20cb8ab7ae10c14an],
  ] as const) {
    expect(unsigned(kernels.hash(buffer.subarray(0, length), seed)), `length ${length}`).toBe(expected);
  }
  const text = (s: string): bigint => unsigned(kernels.hash(new TextEncoder().encode(s), 0));
  expect(text('a')).toBe(0xd24ec4f1a98c6e5bn);
  expect(text('abc')).toBe(0x44bc2cf5ad770999n);
});

test('xxh64 equals the specification for every length up to 130 and around the bounce size, wherever bytes lie', () => {
  const kernels = Kernels.standalone();
  const memory = new Uint8Array(kernels.memory.buffer);
  for (const length of [...Array(131).keys(), 65535, 65536, 65537, 131072, 140001]) {
    const bytes = pattern(length);
    const expected = reference(bytes, length);
    expect(unsigned(kernels.hash(bytes, length)), `length ${length}`).toBe(expected);
    if (length > 60000) continue;
    memory.set(bytes, KERNEL_SCRATCH + 3);
    expect(unsigned(kernels.hashAt(KERNEL_SCRATCH + 3, length, length)), `length ${length} in place`).toBe(
      expected,
    );
  }
});

test('xxh64 looks at nothing behind the last byte, which may be that of the memory', () => {
  const kernels = Kernels.standalone();
  const memory = new Uint8Array(kernels.memory.buffer);
  for (const length of [
    0, 1, 32, 127, 128, 1023, 1024, 1055, 1119, 1120, 1151, 1152, 1153, 1279, 1280, 2111, 4096,
  ]) {
    const at = memory.length - length;
    const bytes = pattern(length);
    memory.set(bytes, at);
    expect(unsigned(kernels.hashAt(at, length, 5)), `length ${length}`).toBe(reference(bytes, 5));
  }
});

test('pieces of memory have the hash of what they come to, wherever they are cut', () => {
  const kernels = Kernels.standalone();
  const memory = new Uint8Array(kernels.memory.buffer);
  const bytes = pattern(200);
  const expected = reference(bytes, 7);
  const places = [KERNEL_SCRATCH - 3000, KERNEL_SCRATCH - 2003, KERNEL_SCRATCH - 1009];
  for (let first = 0; first <= bytes.length; first++) {
    for (const second of [0, 1, 8, 31, 32, 33, bytes.length]) {
      const cuts = [0, first, Math.min(bytes.length, first + second), bytes.length];
      const pieces = places.map((at, i) => {
        const piece = bytes.subarray(cuts[i], cuts[i + 1]);
        memory.set(piece, at);
        return { at, length: piece.length };
      });
      expect(unsigned(kernels.hashPieces(pieces, 7)), cuts.join()).toBe(expected);
    }
  }
});

test('the zero tests find any one byte, at any place of a page', () => {
  const memory = new WebAssembly.Memory({ initial: 3, maximum: 3, shared: true });
  const kernels = new Kernels(memory, 0);
  const bytes = new Uint8Array(memory.buffer);
  const base = 72 * 1024;
  expect(kernels.zeroPages(base, 8)).toBe(8);
  expect(kernels.zeroPages(base, 0)).toBe(0);
  for (let at = 0; at < 4096; at++) {
    bytes[base + 2 * 4096 + at] = 1 << (at % 8);
    expect(kernels.zeroPages(base, 8), `byte ${at}`).toBe(2);
    expect(kernels.zeroPages(base + 3 * 4096, 1)).toBe(1);
    expect(kernels.dataPages(base + 2 * 4096, 2), `byte ${at}`).toBe(1);
    expect(kernels.dataPages(base + 4096, 2)).toBe(0);
    bytes[base + 2 * 4096 + at] = 0;
  }
  for (let page = 1; page < 6; page++) bytes[base + page * 4096 + page * 700] = 1;
  expect(kernels.dataPages(base + 4096, 7)).toBe(5);
  expect(kernels.dataPages(base + 4096, 3)).toBe(3);
  expect(kernels.dataPages(base + 4096, 0)).toBe(0);
});

test('copy moves bytes inside the memory', () => {
  const memory = new WebAssembly.Memory({ initial: 3, maximum: 3, shared: true });
  const kernels = new Kernels(memory, 0);
  const bytes = new Uint8Array(memory.buffer);
  const from = pattern(4096);
  bytes.set(from, 80 * 1024);
  kernels.copy(100 * 1024, 80 * 1024, 4096);
  expect(bytes.slice(100 * 1024, 104 * 1024)).toEqual(from);
  expect(bytes[104 * 1024]).toBe(0);
});
