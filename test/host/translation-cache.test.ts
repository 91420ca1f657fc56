/** The file that translations are kept in, and V8's code in it. */
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Translation } from '../../src/cpu/jit/translation.ts';
import { canKeepCompiled, compiledCode, compiledModule, isOptimized } from '../../src/host/compiled-wasm.ts';
import { deferBackgroundWork } from '../../src/host/compiler-flags.ts';
import {
  addTranslations,
  type CompiledTranslation,
  cacheFile,
  readTranslations,
  TranslationCache,
} from '../../src/host/translation-cache.ts';
import { ModuleBuilder } from '../../src/wasm/module.ts';

let folder = '';
let file = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-'));
  file = join(folder, 'godwit', 'translations-1');
});

afterEach(() => {
  deferBackgroundWork(false);
  rmSync(folder, { recursive: true, force: true });
});

/** One of a page with this hash. */
function translation(hash: number, more: Partial<Translation> = {}): CompiledTranslation {
  return {
    translation: {
      pages: [0, 4096],
      hashes: [hash, -7],
      code: Int32Array.of(2, 0x13, -4096, -1),
      entries: [2, -4096],
      reached: [2],
      size: 10,
      module: Uint8Array.of(1, 2, 3),
      ...more,
    },
    compiled: Uint8Array.of(4, 5, 6, hash),
  };
}

const hashes = (): (number | undefined)[] =>
  readTranslations(file).map((entry) => entry.translation.hashes[0]);

test('what is written is read again', () => {
  const entries = [translation(1), translation(2)];
  addTranslations(file, entries);
  const read = readTranslations(file);
  expect(read.map((entry) => entry.translation)).toEqual(entries.map((entry) => entry.translation));
  expect(read.map(({ compiled }) => [...compiled])).toEqual(entries.map(({ compiled }) => [...compiled]));
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(statSync(dirname(file)).mode & 0o777).toBe(0o700);
});

test('of two translations of a page the larger stays, of two as large the new one', () => {
  addTranslations(file, [translation(1), translation(2, { size: 20 })]);
  addTranslations(file, [translation(2), translation(1, { entries: [] }), translation(3)]);
  const read = readTranslations(file).map((entry) => entry.translation);
  expect(new Map(read.map(({ hashes: [hash], size }) => [hash, size]))).toEqual(
    new Map([
      [2, 20],
      [1, 10],
      [3, 10],
    ]),
  );
  expect(read.find(({ hashes: [hash] }) => hash === 1)?.entries).toEqual([]);
});

test('a file has its bound: the oldest go', () => {
  const large = (hash: number): CompiledTranslation => ({
    ...translation(hash),
    compiled: new Uint8Array(20 * 1024 * 1024),
  });
  for (const hash of [1, 2, 3, 4]) addTranslations(file, [large(hash)]);
  expect(hashes()).toEqual([4, 3, 2]);
});

test('a file that is not there, or damaged anywhere, holds nothing', () => {
  expect(hashes()).toEqual([]);
  addTranslations(file, [translation(1)]);
  const whole = readFileSync(file);
  for (let at = 0; at < whole.length; at++) {
    const bytes = Buffer.from(whole);
    bytes[at] = (bytes[at] as number) ^ 0x10;
    writeFileSync(file, bytes);
    expect({ at, found: hashes() }).toEqual({ at, found: [] });
    writeFileSync(file, whole.subarray(0, at));
    expect({ at, found: hashes() }).toEqual({ at, found: [] });
  }
  addTranslations(file, [translation(2)]);
  expect(hashes()).toEqual([2]);
});

test('nothing is run that another user can have written', () => {
  addTranslations(file, [translation(1)]);
  chmodSync(file, 0o620);
  expect(hashes()).toEqual([]);
  chmodSync(file, 0o600);
  expect(hashes()).toEqual([1]);
  chmodSync(dirname(file), 0o702);
  expect(hashes()).toEqual([]);
  expect(() => addTranslations(file, [translation(2)])).toThrow(
    `${dirname(file)}: expected a folder of this user alone`,
  );
  chmodSync(dirname(file), 0o700);
  mkdirSync(join(folder, 'other'));
  const link = join(folder, 'other', 'translations-1');
  symlinkSync(file, link);
  expect(readTranslations(link)).toEqual([]);
});

test('a file belongs to a program, a V8 and a machine, in the cache folder of the user', () => {
  const { XDG_CACHE_HOME, HOME } = process.env;
  try {
    const program = join(folder, 'program');
    const named = (content: string, machine: string): string | undefined => {
      writeFileSync(program, content);
      return cacheFile(program, machine);
    };
    process.env.XDG_CACHE_HOME = folder;
    expect(named('a', 'b')).toBe(named('a', 'b'));
    expect(new Set([named('a', 'b'), named('b', 'b'), named('a', 'c')]).size).toBe(3);
    expect(dirname(named('a', 'b') as string)).toBe(join(folder, 'godwit'));
    process.env.XDG_CACHE_HOME = 'relative';
    process.env.HOME = '/home/somebody';
    expect(dirname(named('a', 'b') as string)).toBe('/home/somebody/.cache/godwit');
    delete process.env.HOME;
    expect(named('a', 'b')).toBeUndefined();
  } finally {
    process.env.XDG_CACHE_HOME = XDG_CACHE_HOME;
    process.env.HOME = HOME;
  }
});

/** A module whose function counts down. */
function countdown(step = 1): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder(1);
  const f = module.function(['i32'], ['i32'], 'count');
  const left = f.param(0);
  const loop = f.loop();
  f.get(left);
  f.i32(step);
  f.op('i32.sub');
  f.tee(left);
  f.brIf(loop);
  f.end();
  f.get(left);
  return module.bytes();
}

function functionOf(module: WebAssembly.Module): (n: number) => number {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  return new WebAssembly.Instance(module, { env: { memory } }).exports.count as (n: number) => number;
}

async function optimize(f: (n: number) => number): Promise<void> {
  while (!isOptimized(f)) {
    f(10_000_000);
    await new Promise(setImmediate);
  }
}

test.runIf(canKeepCompiled)('what was prepared takes no file any more', async () => {
  const bytes = countdown(3);
  const module = new WebAssembly.Module(bytes);
  await optimize(functionOf(module));
  addTranslations(file, [{ ...translation(1, { module: bytes }), compiled: compiledCode(module) }]);
  const cache = new TranslationCache(file, () => {});
  cache.prepare();
  rmSync(file);
  const [[found] = []] = cache.find(1);
  const prepared = cache.compile(found as Translation);
  expect(prepared).toBe(cache.compile(found as Translation));
  expect(isOptimized(functionOf(prepared))).toBe(true);
});

test.runIf(canKeepCompiled).each([
  ['once', false],
  ['once, while other work is deferred', true],
])('what V8 has optimized is so again at %s', async (_when, deferred) => {
  // V8 knows a module again that it has seen in this process.
  const bytes = countdown(deferred ? 2 : 1);
  const module = new WebAssembly.Module(bytes);
  const f = functionOf(module);
  expect(isOptimized(f)).toBe(false);
  await optimize(f);
  const entry = translation(1, { module: bytes });
  addTranslations(file, [{ ...entry, compiled: compiledCode(module) }]);

  if (deferred) deferBackgroundWork(true);
  const added: Translation[] = [];
  const cache = new TranslationCache(file, (one) => added.push(one));
  const [[found, delta] = []] = cache.find(1);
  expect(found).toEqual(entry.translation);
  expect(delta).toBe(0);
  expect(cache.find(-7)).toEqual([[found, 4096]]);
  const again = functionOf(cache.compile(found as Translation));
  expect(isOptimized(again)).toBe(true);
  expect(again(1000)).toBe(0);
  expect(added).toEqual([]);
});

test.runIf(canKeepCompiled)('code that this V8 refuses is compiled anew, and kept again', () => {
  const bytes = countdown();
  addTranslations(file, [translation(1, { module: bytes })]);
  expect(compiledModule(Uint8Array.of(4, 5, 6, 1), bytes)).toBeUndefined();
  const added: Translation[] = [];
  const cache = new TranslationCache(file, (one) => added.push(one));
  const [[found] = []] = cache.find(1);
  expect(functionOf(cache.compile(found as Translation))(5)).toBe(0);
  expect(added).toEqual([found]);
});
