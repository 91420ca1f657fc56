/** What monitors ask of how fast a VM's guest makes pages dirty: a measurement, limits, who it is. */
import { GodwitError } from '../error.ts';
import { dirtyTopLines } from '../machine/dirty-top.ts';
import type { ElfSymbol } from '../machine/elf.ts';
import type { DirtyLimitInfo, DirtyRateInfo, DirtyRateRequest, DirtyTarget } from '../monitor/dirty.ts';
import { hostClock } from './clock.ts';
import { type DirtyRate, measureDirtyRate } from './dirty-rate.ts';
import type { VmMachine } from './vm-machine.ts';

interface Measurement {
  readonly request: DirtyRateRequest;
  readonly startNs: number;
  /** Once it is over. */
  result?: DirtyRate;
}

export class VmDirty implements DirtyTarget {
  readonly #machine: VmMachine;
  #measurement: Measurement | undefined;
  #symbols: () => readonly ElfSymbol[] = () => [];

  constructor(machine: VmMachine) {
    this.#machine = machine;
  }

  /** Of what the machine started from. */
  set symbols(symbols: () => readonly ElfSymbol[]) {
    this.#symbols = symbols;
  }

  /** `info dirty-top`, as lines. */
  async top(): Promise<string[]> {
    return dirtyTopLines(await this.#machine.remote.dirtyReport(), this.#symbols());
  }

  queryRate(): DirtyRateInfo {
    const { request, startNs, result } = this.#measurement ?? {};
    const harts = result?.harts?.map((rate, id) => ({ id, 'dirty-rate': rate }));
    return {
      status: request === undefined ? 'unstarted' : result === undefined ? 'measuring' : 'measured',
      'start-time': Math.floor((startNs ?? 0) / 1e9),
      'calc-time': request?.calcTime ?? 0,
      'sample-pages': request?.mode === 'page-sampling' ? request.samplePages : 0,
      mode: request?.mode ?? 'page-sampling',
      ...(result === undefined ? {} : { 'dirty-rate': result.rate }),
      ...(harts === undefined ? {} : { 'vcpu-dirty-rate': harts }),
    };
  }

  async measureRate(request: DirtyRateRequest): Promise<void> {
    if (this.#measurement !== undefined && this.#measurement.result === undefined) {
      throw new GodwitError('state', 'the dirty rate is already being measured.');
    }
    const { built, remote } = this.#machine;
    if (built === undefined) throw new GodwitError('state', 'there is no machine yet');
    const before = this.#measurement;
    const measurement: Measurement = { request, startNs: hostClock.nowNs() };
    this.#measurement = measurement;
    const machine = {
      ...built,
      startLog: () => remote.startDirtyLog('rate'),
      stopLog: () => remote.stopDirtyLog('rate'),
    };
    measureDirtyRate(machine, request).then(
      (result) => {
        measurement.result = result;
      },
      () => {
        // The machine is gone, and with it whom that could interest.
        this.#measurement = before;
      },
    );
  }

  async limits(): Promise<DirtyLimitInfo[]> {
    if (this.#machine.built === undefined) return [];
    return (await this.#machine.remote.dirtyLimits()).map(({ hart, limit, current }) => ({
      'cpu-index': hart,
      'limit-rate': limit,
      'current-rate': Math.round(current),
    }));
  }

  async setLimit(limit: number | undefined, hart?: number): Promise<void> {
    await this.#machine.remote.setDirtyLimit('user', limit, hart);
  }
}
