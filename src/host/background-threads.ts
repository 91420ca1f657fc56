/**
 * V8 optimizes code and collects garbage in threads of its own, as many as `node --v8-pool-size` says (0: one for each
 * processor but one, as our programs have it). They give way to the guest's harts: a guest that boots on two processors is up
 * 10 % earlier.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { basename } from 'node:path';

const NICENESS = 10;

/**
 * To be called by the first thread that is not one of Node's own: those that are older are V8's, but for the main thread and
 * one that only waits for a signal.
 * Linux alone has a niceness for each thread (setpriority(2), "C library/kernel differences").
 */
export function yieldBackgroundThreads(): void {
  if (process.platform !== 'linux') return;
  try {
    const own = ownThread() ?? 0;
    const threads = readdirSync('/proc/self/task').map(Number);
    const older = threads.filter((thread) => thread !== process.pid && thread < own);
    for (const thread of older) setPriority(thread, NICENESS);
  } catch {
    // Nothing depends on it.
  }
}

/** The calling thread gives way to the others of this process, until it ends. */
export function yieldThisThread(): void {
  const own = process.platform === 'linux' ? ownThread() : undefined;
  if (own === undefined) return;
  try {
    setPriority(own, NICENESS);
  } catch {
    // Nothing depends on it.
  }
}

/** The calling thread's number in the system; undefined if it does not tell. */
export function ownThread(): number | undefined {
  try {
    return Number(basename(readlinkSync('/proc/thread-self')));
  } catch {
    return undefined;
  }
}
