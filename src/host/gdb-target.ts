/** A VM as the GDB stub sees it. */
import type { GdbTarget, Point, RegisterFeature, ResumePlan, Stop } from '../gdb/target.ts';
import type { DebuggedHart, MachineDebugger } from '../machine/debugger.ts';
import type { DebugStop } from '../machine/turns.ts';
import type { RunState } from '../monitor/target.ts';
import type { Remote } from './rpc.ts';
import type { Vm } from './vm.ts';

/** In which the guest stands still until somebody lets it go on. */
const STOPS: Readonly<Partial<Record<RunState, Stop>>> = {
  paused: { reason: 'paused' },
  debug: { reason: 'paused' },
  shutdown: { reason: 'shutdown' },
  postmigrate: { reason: 'migrated' },
  'io-error': { reason: 'io-error' },
  'internal-error': { reason: 'internal-error' },
};

export class VmGdbTarget implements GdbTarget {
  readonly features: readonly RegisterFeature[];
  readonly harts: number;
  readonly #vm: Vm;
  readonly #machine: Remote<MachineDebugger>;
  readonly #monitor: (line: string) => Promise<string>;
  #listener: (stop: Stop) => void = () => {};

  private constructor(
    vm: Vm,
    machine: Remote<MachineDebugger>,
    monitor: (line: string) => Promise<string>,
    about: { readonly features: readonly RegisterFeature[]; readonly harts: readonly DebuggedHart[] },
  ) {
    this.#vm = vm;
    this.#machine = machine;
    this.#monitor = monitor;
    this.features = about.features;
    this.harts = about.harts.length;
  }

  /**
   * Stops the machine.
   * @param monitor runs a line of the human monitor.
   * @param detached resolves when the debugger has gone.
   * @throws GodwitError kind 'state' if there is no guest yet.
   */
  static async attach(
    vm: Vm,
    monitor: (line: string) => Promise<string>,
    detached: Promise<void>,
  ): Promise<VmGdbTarget> {
    const machine = await vm.attachDebugger();
    const about = { features: await machine.features(), harts: await machine.harts() };
    const target = new VmGdbTarget(vm, machine, monitor, about);
    void detached.then(vm.watchRunState((state, stop) => target.#changed(state, stop)));
    return target;
  }

  get exactSteps(): boolean {
    return this.#vm.virtualTime;
  }

  get running(): boolean {
    return this.#vm.runState === 'running';
  }

  stop(): Promise<void> {
    return this.#vm.stop();
  }

  resume({ actions, stepInterrupts, stepTime }: ResumePlan): Promise<void> {
    const time = stepTime || !actions.includes('step');
    return this.#vm.cont({ actions, stepInterrupts, time });
  }

  onStop(listener: (stop: Stop) => void): void {
    this.#listener = listener;
  }

  async waiting(): Promise<boolean[]> {
    return (await this.#machine.harts()).map(({ waiting }) => waiting);
  }

  readRegisters(hart: number, numbers: readonly number[]): Promise<(bigint | undefined)[]> {
    return this.#machine.readRegisters(hart, numbers);
  }

  async writeRegisters(hart: number, values: ReadonlyMap<number, bigint>): Promise<boolean> {
    return this.#changeable && (await this.#machine.writeRegisters(hart, values));
  }

  readMemory(hart: number | undefined, address: bigint, length: number): Promise<Uint8Array | undefined> {
    return this.#machine.readMemory(hart, address, length);
  }

  async writeMemory(hart: number | undefined, address: bigint, bytes: Uint8Array): Promise<boolean> {
    return this.#changeable && (await this.#machine.writeMemory(hart, address, bytes));
  }

  insertPoint(point: Point): Promise<void> {
    return this.#machine.insertPoint(point);
  }

  removePoint(point: Point): Promise<void> {
    return this.#machine.removePoint(point);
  }

  removeAllPoints(): Promise<void> {
    return this.#machine.removeAllPoints();
  }

  monitor(line: string): Promise<string> {
    return this.#monitor(line);
  }

  reset(): Promise<void> {
    return this.#vm.systemReset();
  }

  kill(): void {
    this.#vm.killedByDebugger();
  }

  /** What a migration has taken can't be changed here any more. */
  get #changeable(): boolean {
    return this.#vm.runState !== 'finish-migrate';
  }

  #changed(state: RunState, stop: DebugStop | undefined): void {
    const why = STOPS[state];
    if (why !== undefined) this.#listener(stop ?? why);
  }
}
