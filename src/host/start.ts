/**
 * What every process and every thread begins with: it runs one of the bundles beside it, with what V8 has compiled of that
 * bundle when it was built (tools/bundle.mjs). Of this file alone V8 knows nothing beforehand, so it is small.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import type { EarlyThreads } from './threads.ts';

const FILE = fileURLToPath(import.meta.url);
const FOLDER = dirname(FILE);

/**
 * Runs a program.
 * @param thread one that it will certainly want: that takes its time to start, and does so while the program is loaded.
 */
export function startProgram(name: string, thread?: string): void {
  if (thread !== undefined) {
    const worker = new Worker(FILE, { workerData: thread });
    // A program that only says its version does not wait for it.
    worker.unref();
    (globalThis as EarlyThreads).godwitThreads = new Map([[thread, worker]]);
  }
  load(name);
}

function load(name: string): void {
  const filename = join(FOLDER, `${name}.js`);
  let cachedData: Buffer | undefined;
  try {
    cachedData = readFileSync(`${filename}.cache`);
  } catch {
    // It only takes longer.
  }
  const script = new Script(readFileSync(filename, 'utf8'), {
    filename,
    // Another V8 than the one that made it refuses it.
    ...(cachedData === undefined ? {} : { cachedData }),
  });
  const run = script.runInThisContext() as (require: NodeJS.Require, filename: string) => void;
  run(createRequire(FILE), FILE);
}

if (!isMainThread) load(workerData as string);
