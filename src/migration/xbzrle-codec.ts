/**
 * What changed in a page, as QEMU's xbzrle writes it (docs/xbzrle.txt of QEMU 7.2, "Format"), in WebAssembly SIMD.
 *
 * A delta is repeat(equal-run, changed-run, bytes): two lengths in ULEB128, then as many bytes of the new page as the
 * second says. The first equal-run may be 0, no other length is; an equal-run at the page's end is left out. So a page
 * is never more than 2048 pairs, a length never more than two bytes, and an equal page an empty delta.
 *
 * In the stream deltas stand one after the other, each behind its length (u16, little endian).
 */
import { GodwitError } from '../error.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import type { FunctionBuilder, Label, Local } from '../wasm/function.ts';
import { ModuleBuilder, WASM_PAGE } from '../wasm/module.ts';
import type { LoadOp, StoreOp } from '../wasm/opcodes.ts';

/** Bytes of the length before a delta. */
export const DELTA_HEADER = 2;
/** The longest delta: with its length it is no larger than the page. */
export const MAX_DELTA = PAGE_SIZE - DELTA_HEADER;
/** Bytes behind pages and deltas that `encode` may read, or write without meaning. */
export const SLACK = 16;

/** Bytes compared between two looks at the result. */
const EQUAL_STEP = 64;
const VECTOR = 16;

interface Exports {
  encode(before: number, after: number, out: number): number;
  check(at: number, end: number, count: number): number;
  apply(at: number, count: number, page: number): void;
}

export class XbzrleCodec {
  readonly #exports: Exports;

  constructor(memory: WebAssembly.Memory) {
    const module = new WebAssembly.Module(moduleBytes(memory.buffer.byteLength / WASM_PAGE));
    this.#exports = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Exports;
  }

  /**
   * Writes to `out` (MAX_DELTA + SLACK bytes) what turns the page at `before` into the one at `after`. SLACK bytes
   * behind either page must exist.
   * @returns bytes of the delta; 0 if the pages are equal; -1 if the delta would be longer than MAX_DELTA.
   */
  encode(before: number, after: number, out: number): number {
    return this.#exports.encode(before, after, out);
  }

  /**
   * Whether `count` deltas stand from `at` on, each with its length, all valid and none beyond `end`.
   * @returns the address behind the last of them; 0 if anything is wrong (`explainDeltas` says what).
   */
  check(at: number, end: number, count: number): number {
    return this.#exports.check(at, end, count);
  }

  /** Applies `count` deltas, which `check` has found valid, to the pages from `page` on. */
  apply(at: number, count: number, page: number): void {
    this.#exports.apply(at, count, page);
  }
}

/**
 * The same check in plain steps, for what `check` has refused.
 * @param bytes from the first delta's length on.
 * @param place of the deltas, for the error.
 * @param offset of `bytes` in the stream.
 * @throws GodwitError kind "format" that names the delta, and the byte in the stream.
 */
export function explainDeltas(bytes: Uint8Array, count: number, place: string, offset: number): void {
  let at = 0;
  for (let i = 0; i < count; i++) {
    const begin = at;
    const fail = (what: string, expected: string, got: number): never => {
      throw GodwitError.unexpected(
        'format',
        `${place}, delta ${i}, ${what}`,
        expected,
        `${got}`,
        offset + at,
      );
    };
    const left = bytes.length - at;
    if (left < DELTA_HEADER) fail('length', `${DELTA_HEADER} bytes`, left);
    const length = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
    if (length < 1 || length > Math.min(MAX_DELTA, left - DELTA_HEADER)) {
      fail('length', `1 to ${Math.min(MAX_DELTA, left - DELTA_HEADER)}`, length);
    }
    at += DELTA_HEADER;
    const end = begin + DELTA_HEADER + length;
    let position = 0;
    const run = (name: string, min: number): number => {
      if (at >= end) fail(name, 'a length', 0);
      const low = bytes[at] ?? 0;
      const high = low < 0x80 ? 0 : at + 1 < end ? (bytes[at + 1] ?? 0) : 0;
      if (low >= 0x80 && (high === 0 || high >= 0x80)) fail(name, 'ULEB128 of at most 14 bits', high);
      const value = (low & 0x7f) | (high << 7);
      if (value < min || value > PAGE_SIZE - position) {
        fail(name, `${min} to ${PAGE_SIZE - position}`, value);
      }
      at += low < 0x80 ? 1 : 2;
      position += value;
      return value;
    };
    while (at < end) {
      run('equal-run', position === 0 ? 0 : 1);
      const changed = run('changed-run', 1);
      if (changed > end - at) fail('changed bytes', `${changed}`, end - at);
      at += changed;
    }
  }
}

function moduleBytes(wasmPages: number): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder(wasmPages);
  encode(module.function(['i32', 'i32', 'i32'], ['i32'], 'encode'));
  check(module.function(['i32', 'i32', 'i32'], ['i32'], 'check'));
  apply(module.function(['i32', 'i32', 'i32'], [], 'apply'));
  return module.bytes();
}

function encode(f: FunctionBuilder): void {
  const [before, after, out] = [f.param(0), f.param(1), f.param(2)];
  const position = f.local('i32');
  const start = f.local('i32');
  const equal = f.local('i32');
  const to = f.local('i32');
  const mask = f.local('i32');
  const changed = f.local('i32');
  const lanes = (offset: number): void => {
    for (const page of [before, after]) {
      f.get(page);
      f.get(position);
      f.op('i32.add');
      f.load('v128.load', offset);
    }
  };
  /** On to the first byte that differs (`ne`) or does not (`eq`), or past the page's end. */
  const scan = (kind: 'ne' | 'eq'): void => {
    const found = f.block();
    const next = f.loop();
    lanes(0);
    f.op(`i8x16.${kind}`, 'i8x16.bitmask');
    f.tee(mask);
    f.if();
    f.get(position);
    f.get(mask);
    f.op('i32.ctz', 'i32.add');
    f.set(position);
    f.br(found);
    f.end();
    add(f, position, VECTOR);
    f.get(position);
    f.i32(PAGE_SIZE);
    f.op('i32.lt_u');
    f.brIf(next);
    f.end();
    f.end();
  };
  f.get(out);
  f.set(to);
  const done = f.block();
  const pair = f.loop();
  f.get(position);
  f.set(start);
  // Most of most pages is equal: in steps of EQUAL_STEP as far as they go.
  const near = f.block();
  const step = f.loop();
  f.get(position);
  f.i32(PAGE_SIZE - EQUAL_STEP);
  f.op('i32.gt_u');
  f.brIf(near);
  for (let i = 0; i < EQUAL_STEP; i += VECTOR) {
    lanes(i);
    f.op('v128.xor');
    if (i > 0) f.op('v128.or');
  }
  f.op('v128.any_true');
  f.brIf(near);
  add(f, position, EQUAL_STEP);
  f.br(step);
  f.end();
  f.end();
  f.get(position);
  f.i32(PAGE_SIZE);
  f.op('i32.ge_u');
  f.brIf(done);
  scan('ne');
  f.get(position);
  f.i32(PAGE_SIZE);
  f.op('i32.ge_u');
  f.brIf(done);
  f.get(position);
  f.get(start);
  f.op('i32.sub');
  f.set(equal);
  f.get(position);
  f.set(start);
  scan('eq');
  f.get(position);
  f.i32(PAGE_SIZE);
  f.get(position);
  f.i32(PAGE_SIZE);
  f.op('i32.lt_u');
  f.select();
  f.tee(position);
  f.get(start);
  f.op('i32.sub');
  f.set(changed);
  f.get(to);
  f.get(changed);
  f.op('i32.add');
  for (const length of [equal, changed]) {
    f.get(length);
    f.i32(0x80);
    f.op('i32.ge_u', 'i32.add');
  }
  f.i32(2);
  f.op('i32.add');
  f.get(out);
  f.i32(MAX_DELTA);
  f.op('i32.add', 'i32.gt_u');
  f.if();
  f.i32(-1);
  f.return();
  f.end();
  writeLength(f, to, equal);
  writeLength(f, to, changed);
  const bytes = (): void => {
    f.get(to);
    f.get(after);
    f.get(start);
    f.op('i32.add');
  };
  f.get(changed);
  f.i32(VECTOR);
  f.op('i32.le_u');
  f.if();
  bytes();
  f.load('v128.load');
  f.store('v128.store');
  f.else();
  bytes();
  f.get(changed);
  f.memoryCopy();
  f.end();
  f.get(to);
  f.get(changed);
  f.op('i32.add');
  f.set(to);
  f.br(pair);
  f.end();
  f.end();
  f.get(to);
  f.get(out);
  f.op('i32.sub');
}

function check(f: FunctionBuilder): void {
  const [at, end, count] = [f.param(0), f.param(1), f.param(2)];
  const stop = f.local('i32');
  const position = f.local('i32');
  const length = f.local('i32');
  const bad = f.block();
  const good = f.block();
  const delta = f.loop();
  f.get(count);
  f.op('i32.eqz');
  f.brIf(good);
  f.get(end);
  f.get(at);
  f.op('i32.sub');
  f.i32(DELTA_HEADER);
  f.op('i32.lt_s');
  f.brIf(bad);
  f.get(at);
  f.load('i32.load16_u');
  f.set(length);
  add(f, at, DELTA_HEADER);
  refuseUnless(f, bad, length, 1, () => {
    f.get(end);
    f.get(at);
    f.op('i32.sub');
  });
  refuseUnless(f, bad, length, 1, () => f.i32(MAX_DELTA));
  f.get(at);
  f.get(length);
  f.op('i32.add');
  f.set(stop);
  f.i32(0);
  f.set(position);
  const pair = f.loop();
  for (const name of ['equal', 'changed'] as const) {
    readLength(f, at, length, bad, stop);
    // The first equal-run of a page may be 0.
    if (name === 'equal') {
      f.get(length);
      f.get(position);
      f.op('i32.eqz', 'i32.or', 'i32.eqz');
    } else {
      f.get(length);
      f.op('i32.eqz');
    }
    f.brIf(bad);
    f.get(position);
    f.get(length);
    f.op('i32.add');
    f.tee(position);
    f.i32(PAGE_SIZE);
    f.op('i32.gt_u');
    f.brIf(bad);
  }
  f.get(at);
  f.get(length);
  f.op('i32.add');
  f.tee(at);
  f.get(stop);
  f.op('i32.gt_u');
  f.brIf(bad);
  f.get(at);
  f.get(stop);
  f.op('i32.lt_u');
  f.brIf(pair);
  f.end();
  add(f, count, -1);
  f.br(delta);
  f.end();
  f.end();
  f.get(at);
  f.return();
  f.end();
  f.i32(0);
}

function apply(f: FunctionBuilder): void {
  const [at, count, page] = [f.param(0), f.param(1), f.param(2)];
  const stop = f.local('i32');
  const to = f.local('i32');
  const length = f.local('i32');
  const done = f.block();
  const delta = f.loop();
  f.get(count);
  f.op('i32.eqz');
  f.brIf(done);
  f.get(at);
  f.get(at);
  f.load('i32.load16_u');
  f.op('i32.add');
  f.i32(DELTA_HEADER);
  f.op('i32.add');
  f.set(stop);
  add(f, at, DELTA_HEADER);
  f.get(page);
  f.set(to);
  const pair = f.loop();
  readLength(f, at, length);
  f.get(to);
  f.get(length);
  f.op('i32.add');
  f.set(to);
  readLength(f, at, length);
  copyRun(f, to, at, length, 8, 'i64.load', 'i64.store');
  copyRun(f, to, at, length, 1, 'i32.load8_u', 'i32.store8');
  f.get(at);
  f.get(stop);
  f.op('i32.lt_u');
  f.brIf(pair);
  f.end();
  add(f, count, -1);
  add(f, page, PAGE_SIZE);
  f.br(delta);
  f.end();
  f.end();
}

function add(f: FunctionBuilder, local: Local, value: number): void {
  f.get(local);
  f.i32(value);
  f.op('i32.add');
  f.set(local);
}

/** Branches to `bad` unless min ≤ value ≤ max. */
function refuseUnless(f: FunctionBuilder, bad: Label, value: Local, min: number, max: () => void): void {
  f.get(value);
  f.i32(min);
  f.op('i32.lt_s');
  f.brIf(bad);
  f.get(value);
  max();
  f.op('i32.gt_s');
  f.brIf(bad);
}

/** A length below 2^14, as ULEB128. */
function writeLength(f: FunctionBuilder, to: Local, length: Local): void {
  f.get(length);
  f.i32(0x80);
  f.op('i32.lt_u');
  f.if();
  f.get(to);
  f.get(length);
  f.store('i32.store8');
  add(f, to, 1);
  f.else();
  f.get(to);
  f.get(length);
  f.i32(0x80);
  f.op('i32.or');
  f.store('i32.store8');
  f.get(to);
  f.get(length);
  f.i32(7);
  f.op('i32.shr_u');
  f.store('i32.store8', 1);
  add(f, to, 2);
  f.end();
}

/** Reads a length; with `bad`, also checks that it ends before `stop` and is no longer than it has to be. */
function readLength(f: FunctionBuilder, at: Local, length: Local, bad?: Label, stop?: Local): void {
  const inside = (): void => {
    if (bad === undefined || stop === undefined) return;
    f.get(at);
    f.get(stop);
    f.op('i32.ge_u');
    f.brIf(bad);
  };
  inside();
  f.get(at);
  f.load('i32.load8_u');
  f.set(length);
  add(f, at, 1);
  f.get(length);
  f.i32(0x80);
  f.op('i32.ge_u');
  f.if();
  inside();
  if (bad !== undefined) {
    // The second byte is 1 to 0x7f.
    f.get(at);
    f.load('i32.load8_u');
    f.i32(1);
    f.op('i32.sub');
    f.i32(0x7f);
    f.op('i32.ge_u');
    f.brIf(bad);
  }
  f.get(length);
  f.i32(0x7f);
  f.op('i32.and');
  f.get(at);
  f.load('i32.load8_u');
  f.i32(7);
  f.op('i32.shl', 'i32.or');
  f.set(length);
  add(f, at, 1);
  f.end();
}

/** While `length` is at least `size`: moves `size` bytes, and goes on. Writes nothing behind the run. */
function copyRun(
  f: FunctionBuilder,
  to: Local,
  from: Local,
  length: Local,
  size: number,
  load: LoadOp,
  store: StoreOp,
): void {
  const out = f.block();
  const next = f.loop();
  f.get(length);
  f.i32(size);
  f.op('i32.lt_u');
  f.brIf(out);
  f.get(to);
  f.get(from);
  f.load(load);
  f.store(store);
  add(f, to, size);
  add(f, from, size);
  add(f, length, -size);
  f.br(next);
  f.end();
  f.end();
}
