/**
 * The state that a machine is to take over. Before it comes, the machine runs a little, and loads what it has saved before:
 * nothing changes, but the code for it has been compiled when the guest stands still for it. A first load takes six times as
 * long, a third one twice as long, and a first instruction three milliseconds.
 */
import type { Machine } from '../machine/machine.ts';

/** While nobody waits, and while memory comes. */
const MANY = 24;
const FEW = 2;

export class ArrivingState {
  readonly #machine: Machine;
  #rehearsed = 0;
  #next: NodeJS.Immediate | undefined;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** Rehearses between the calls that follow. */
  rehearse(): void {
    this.#rehearse(MANY);
  }

  /**
   * Rehearses as well, if that has not been done.
   * @param state of the running guest, to be validated completely.
   * @throws GodwitError kind "format".
   */
  check(state: Uint8Array): void {
    this.#machine.prepareState(state);
    this.#rehearse(FEW);
  }

  /** @throws GodwitError kind "format"; then nothing has changed. */
  load(state: Uint8Array): void {
    clearImmediate(this.#next);
    this.#machine.prepareState(state)();
  }

  #rehearse(times: number): void {
    clearImmediate(this.#next);
    if (this.#rehearsed >= times) return;
    this.#next = setImmediate(() => {
      const now = this.#machine.saveState();
      this.#machine.rehearse();
      this.#machine.prepareState(now)();
      this.#rehearsed++;
      this.#rehearse(times);
    });
  }
}
