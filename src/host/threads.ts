/** The threads of this process, each of them one of the bundles that `start.ts` runs. */
import { Worker } from 'node:worker_threads';

/** Where `start.ts`, a bundle of its own, leaves the threads that it has started, by name. */
export type EarlyThreads = typeof globalThis & { godwitThreads?: Map<string, Worker> };

/** Starts a thread, or takes the one that was started before the program was loaded. */
export function startThread(name: string): Worker {
  const { godwitThreads } = globalThis as EarlyThreads;
  const early = godwitThreads?.get(name);
  if (early === undefined) return new Worker(new URL('./start.cjs', import.meta.url), { workerData: name });
  godwitThreads?.delete(name);
  early.ref();
  return early;
}
