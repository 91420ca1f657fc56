/**
 * The state that a machine is to take over. While memory comes, the machine runs a little, and loads what it has saved before:
 * nothing changes, but the code for it has been compiled when the guest stands still for it. A first load takes four times
 * as long, and a first instruction three milliseconds.
 */
import type { Machine } from '../machine/machine.ts';

const REHEARSALS = 2;

export class ArrivingState {
  readonly #machine: Machine;
  #rehearsal: NodeJS.Immediate | undefined;

  /**
   * Rehearses between the calls that follow.
   * @param state of the running guest, to be validated completely.
   * @throws GodwitError kind "format".
   */
  constructor(machine: Machine, state: Uint8Array) {
    this.#machine = machine;
    machine.prepareState(state);
    this.#rehearse(REHEARSALS);
  }

  /** @throws GodwitError kind "format"; then nothing has changed. */
  load(state: Uint8Array): void {
    clearImmediate(this.#rehearsal);
    this.#machine.prepareState(state)();
  }

  #rehearse(times: number): void {
    if (times === 0) return;
    this.#rehearsal = setImmediate(() => {
      const now = this.#machine.saveState();
      this.#machine.rehearse();
      this.#machine.prepareState(now)();
      this.#rehearse(times - 1);
    });
  }
}
