/**
 * The threads that put arriving memory in place. Most of what that costs is the host's: each page that is touched for
 * the first time has to be found and cleared, and threads do that side by side.
 */
import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import type { MachinePlan } from '../machine/configuration.ts';
import { MAX_APPLIERS, type RamJob } from '../migration/ram-applier.ts';
import type { RamCounts } from '../migration/ram-load.ts';
import type { RamHelperApi } from './ram-helper-thread.ts';
import { connect, type Remote } from './rpc.ts';
import { startThread } from './threads.ts';

/**
 * As many as there are processors, although one thread reads: that one mostly waits for these, if the host has to find
 * memory. None on a host with one processor.
 */
const HELPERS = availableParallelism() === 1 ? 0 : Math.min(availableParallelism(), MAX_APPLIERS);

interface Helper {
  readonly worker: Worker;
  readonly remote: Remote<RamHelperApi>;
  /** Jobs that it has not done. */
  jobs: number;
}

export class RamHelpers {
  readonly #helpers: readonly Helper[];

  /** Starts them, so that they are there when memory arrives. */
  constructor(count = HELPERS) {
    this.#helpers = Array.from({ length: count }, () => {
      const worker = startThread('ram-helper-thread');
      return { worker, remote: connect<RamHelperApi>(worker, {}).remote, jobs: 0 };
    });
  }

  get count(): number {
    return this.#helpers.length;
  }

  async attach(memory: WebAssembly.Memory, configuration: MachinePlan): Promise<void> {
    await Promise.all(this.#helpers.map(({ remote }, i) => remote.attach(memory, configuration, i)));
  }

  /** @throws GodwitError kind "format" for a frame that is not right. */
  async apply(job: RamJob): Promise<RamCounts> {
    const helper = this.#helpers.reduce((least, other) => (other.jobs < least.jobs ? other : least));
    helper.jobs++;
    try {
      return await helper.remote.apply(job);
    } finally {
      helper.jobs--;
    }
  }

  close(): void {
    for (const { worker } of this.#helpers) void worker.terminate();
  }
}
