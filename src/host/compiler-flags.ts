/**
 * What we ask of V8, to be called before it compiles generated code. It makes code faster, and nothing depends on it.
 *
 * - Branch hints: the slow ways of memory accesses and the ends of slices are kept out of the way, registers included
 *   (10 to 30 % on most programs of bench/cpu).
 * - The good register allocator, however large a function is. V8 11 has a quick one for functions with more than 8192
 *   values, which a region of some 1000 instructions comes to: its code runs at two thirds of the speed.
 * - No stack checks: each turn of a loop would look whether V8 wants to interrupt it (6 to 15 %). Generated code calls
 *   nothing deeply, and every loop in it ends with the slice.
 * - Room for what threads that begin from now on need, before V8 looks for garbage that is old. To sweep that it asks a helper, of
 *   which there is perhaps one, at work on a region for a second at a time; and until that is through the thread asks again and
 *   again: the migration's thread had a processor for 3 s of a boot.
 */
import { setFlagsFromString } from 'node:v8';

/** From this version of V8 on, branch hints need no flag; it complains about flags that it does not know. */
const HINTS_BY_DEFAULT = 14;

/** Versions from this one on have a single register allocator. */
const ONE_ALLOCATOR = 12;

/** The version whose defaults these are. Later ones go another way. */
const TICKS_VERSION = 11;
/**
 * How often a function is found to have run for some 30 µs before it is optimized, and how many bytes of bytecode it may have to
 * be optimized the first time: as usual, and while that is deferred, for about half a second of its own.
 */
const TICKS = { usual: { ticks: 3, small: 81 }, deferred: { ticks: 16384, small: 0 } } as const;

/** Whether this thread has deferred it. */
let deferred = false;

/**
 * V8's threads are to stay out of the way, or no longer. Optimizing takes a processor for a third of a second in the quarter of
 * a second that a post-copy takes, most of it of code that does not run again: on two processors all that wait for pages
 * wait for that, too, however nice that thread is: it has its processor for a millisecond or three. A thread that collects
 * garbage waits for those that help it, which give way to all others.
 */
export function deferBackgroundWork(on: boolean): void {
  deferred = on;
  if (Number.parseInt(process.versions.v8, 10) !== TICKS_VERSION) return;
  const { ticks, small } = on ? TICKS.deferred : TICKS.usual;
  setFlagsFromString(`--ticks-before-optimization=${ticks}`);
  setFlagsFromString(`--max-bytecode-size-for-early-opt=${small}`);
  setFlagsFromString(on ? '--no-parallel-scavenge' : '--parallel-scavenge');
}

/** Does something as if this thread had deferred nothing: V8 takes code back only with the flags that it was made with. */
export function undeferred<T>(work: () => T): T {
  if (!deferred) return work();
  deferBackgroundWork(false);
  try {
    return work();
  } finally {
    deferBackgroundWork(true);
  }
}

export function setCompilerFlags(): void {
  const version = Number.parseInt(process.versions.v8, 10);
  if (version < HINTS_BY_DEFAULT) setFlagsFromString('--experimental-wasm-branch-hinting');
  if (version < ONE_ALLOCATOR) setFlagsFromString('--no-turbo-use-mid-tier-regalloc-for-huge-functions');
  setFlagsFromString('--no-wasm-stack-checks');
  setFlagsFromString('--initial-old-space-size=64');
}
