/**
 * What we ask of V8, to be called before it compiles generated code. It makes code faster, and nothing depends on it.
 *
 * - Branch hints: the slow ways of memory accesses and the ends of slices are kept out of the way, registers included
 *   (10 to 30 % on most programs of bench/cpu).
 * - The good register allocator, however large a function is. V8 11 has a quick one for functions with more than 8192
 *   values, which a region of some 1000 instructions comes to: its code runs at two thirds of the speed.
 * - No stack checks: each turn of a loop would look whether V8 wants to interrupt it (6 to 15 %). Generated code calls
 *   nothing deeply, and every loop in it ends with the slice.
 */
import { setFlagsFromString } from 'node:v8';

/** From this version of V8 on, branch hints need no flag; it complains about flags that it does not know. */
const HINTS_BY_DEFAULT = 14;

/** Versions from this one on have a single register allocator. */
const ONE_ALLOCATOR = 12;

/** V8 11: after so many bytes of bytecode a function is optimized. Later versions go another way. */
const BUDGET_VERSION = 11;
const BUDGET = 132 * 1024;

/** So many times as long as usual, some 50 ms of its own, a function runs first while optimizing is deferred. */
const DEFERRED = 256;

/**
 * V8's threads are to stay out of the way, or no longer. Optimizing takes a processor for a third of a second in the quarter of
 * a second that a post-copy takes, most of it of code that does not run again: on two processors all that wait for pages
 * wait for that, too. A thread that collects garbage waits for those that help it, which give way to all others.
 */
export function deferBackgroundWork(on: boolean): void {
  if (Number.parseInt(process.versions.v8, 10) !== BUDGET_VERSION) return;
  setFlagsFromString(`--interrupt-budget=${on ? DEFERRED * BUDGET : BUDGET}`);
  setFlagsFromString(on ? '--no-parallel-scavenge' : '--parallel-scavenge');
}

export function setCompilerFlags(): void {
  const version = Number.parseInt(process.versions.v8, 10);
  if (version < HINTS_BY_DEFAULT) setFlagsFromString('--experimental-wasm-branch-hinting');
  if (version < ONE_ALLOCATOR) setFlagsFromString('--no-turbo-use-mid-tier-regalloc-for-huge-functions');
  setFlagsFromString('--no-wasm-stack-checks');
}
