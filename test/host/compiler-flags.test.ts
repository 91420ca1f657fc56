import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { expect, test } from 'vitest';
import { deferBackgroundWork } from '../../src/host/compiler-flags.ts';

/** V8's runtime/runtime.h, OptimizationStatus. */
const OPTIMIZED = 1 << 4;
const V8 = Number.parseInt(process.versions.v8, 10);

/** Runs functions until `done`, so often that V8 would optimize each of them several times over. */
async function run(functions: readonly ((n: number) => number)[], done: () => boolean): Promise<void> {
  const enough = performance.now() + 60_000;
  while (!done() && performance.now() < enough) {
    for (const hot of functions) for (let i = 0; i < 20_000; i++) hot(i);
    // What another thread has compiled is taken over between two events.
    await turn();
  }
}

test.runIf(V8 === 11)('what runs while work is deferred is optimized when it is no longer', async () => {
  setFlagsFromString('--allow-natives-syntax');
  const status = new Function('f', 'return %GetOptimizationStatus(f)') as (f: unknown) => number;
  const small = new Function('n', 'return n + 1') as (n: number) => number;
  const large = new Function('n', `return ${'n * 3 + 1 - '.repeat(30)}n`) as (n: number) => number;
  const optimized = (f: unknown): boolean => (status(f) & OPTIMIZED) !== 0;
  let rounds = 0;
  deferBackgroundWork(true);
  try {
    await run([small, large], () => rounds++ === 20);
    expect([small, large].map(optimized)).toEqual([false, false]);
  } finally {
    deferBackgroundWork(false);
  }
  await run([small, large], () => optimized(small) && optimized(large));
  expect([small, large].map(optimized)).toEqual([true, true]);
});
