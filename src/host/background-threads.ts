/**
 * V8 optimizes code and collects garbage in threads of its own, as many as four at a time, whether or not there are
 * processors for them. They give way to the guest's harts: a guest that boots on two processors is up 10 % earlier.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { basename } from 'node:path';

/** One of delayed tasks, and as many workers as `node --v8-pool-size` says: they are the first that a process starts. */
const THREADS = 1 + 4;
const NICENESS = 10;

/** Linux alone has a niceness for each thread (setpriority(2), "C library/kernel differences"). */
export function yieldBackgroundThreads(): void {
  if (process.platform !== 'linux') return;
  try {
    const others = readdirSync('/proc/self/task')
      .map(Number)
      .filter((thread) => thread !== process.pid);
    for (const thread of others.sort((a, b) => a - b).slice(0, THREADS)) setPriority(thread, NICENESS);
  } catch {
    // Nothing depends on it.
  }
}

/** The calling thread gives way to the others of this process, until it ends. */
export function yieldThisThread(): void {
  if (process.platform !== 'linux') return;
  try {
    setPriority(Number(basename(readlinkSync('/proc/thread-self'))), NICENESS);
  } catch {
    // Nothing depends on it.
  }
}
