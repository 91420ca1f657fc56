/** A thread that checks frames of memory which arrive, and puts their pages in place. */
import { parentPort } from 'node:worker_threads';
import { GodwitError } from '../error.ts';
import type { MachinePlan } from '../machine/configuration.ts';
import { machineLayout } from '../machine/machine-layout.ts';
import { RamApplier, type RamJob } from '../migration/ram-applier.ts';
import type { RamCounts } from '../migration/ram-load.ts';
import { yieldThisThread } from './background-threads.ts';
import { unpackRam } from './ram-compression.ts';
import { connect } from './rpc.ts';

export interface RamHelperApi {
  /** @param index tells it from the others. */
  attach(memory: WebAssembly.Memory, configuration: MachinePlan, index: number): void;
  apply(job: RamJob): RamCounts;
}

class RamHelper implements RamHelperApi {
  #applier: RamApplier | undefined;

  attach(memory: WebAssembly.Memory, configuration: MachinePlan, index: number): void {
    this.#applier = new RamApplier(memory, machineLayout(configuration), index, unpackRam);
    // Nearly all of its work is done while guests run, on this host, too, and among them perhaps the one that is coming.
    yieldThisThread();
  }

  apply(job: RamJob): RamCounts {
    if (this.#applier === undefined) throw new GodwitError('internal', 'a helper without memory');
    return this.#applier.apply(job);
  }
}

if (parentPort === null) throw new GodwitError('internal', 'the helper was not started as a worker');
connect(parentPort, new RamHelper());
