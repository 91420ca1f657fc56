/** From a machine that translates, by a file, to a machine that starts with optimized code. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { TranslationStore } from '../../src/cpu/jit/kept-translations.ts';
import type { Translation } from '../../src/cpu/jit/translation.ts';
import { canKeepCompiled } from '../../src/host/compiled-wasm.ts';
import { readTranslations, TranslationCache } from '../../src/host/translation-cache.ts';
import { TranslationKeeper } from '../../src/host/translation-keeper.ts';
import { assemble, BareMachine, RAM_BASE } from '../support/bare-machine.ts';

let folder = '';
let file = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-'));
  file = join(folder, 'godwit', 'translations');
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function machine(heat: number, translations: TranslationStore): BareMachine {
  const jit = { heat, patience: 0, translations };
  const m = new BareMachine(1, 'table', undefined, undefined, { accel: 'jit', jit });
  m.load(assemble(['addi', { rd: 5, rs1: 5, imm: 1 }], ['jal', { rd: 0, imm: -4 }]));
  return m;
}

test.runIf(canKeepCompiled)(
  'what is optimized is written, and the next machine runs it at once',
  async () => {
    const made: [Translation, WebAssembly.Module][] = [];
    const first = machine(3, new TranslationCache(file, (...entry) => made.push(entry)));
    for (let slice = 0; slice < 10; slice++) first.run(100);
    expect(made).toHaveLength(1);
    const keeper = new TranslationKeeper(file, first.memory.memory);
    for (const entry of made) keeper.add(...entry);
    keeper.save();
    expect(readTranslations(file)).toEqual([]);
    const run = async (): Promise<boolean> => {
      first.run(10_000_000);
      await new Promise(setImmediate);
      keeper.save();
      return readTranslations(file).length > 0;
    };
    while (!(await run()));

    const more: [Translation, WebAssembly.Module][] = [];
    const second = machine(6400, new TranslationCache(file, (...entry) => more.push(entry)));
    for (let slice = 0; slice < 100; slice++) second.run(100);
    expect(second.engine.jit?.statistics).toMatchObject({ translated: 0, recalled: 1 });
    expect(second.hart.translated.instructions).toBeGreaterThan(8000);
    expect(second.hart.x(5)).toBe(5000n);
    expect(second.hart.pc).toBe(BigInt(RAM_BASE));
    // With its optimized code: what V8 had refused would be kept again.
    expect(more).toEqual([]);
  },
);
