/**
 * The harts' turns: in a round each runs a slice, one after the other. A debugger's stop cuts a round in the middle of a
 * turn, and the next one goes on there: a run is the same, to the instruction, however often it was stopped. A hart that
 * waits for a page that has not arrived (post-copy) is passed over; with virtual time it cuts the round, too, and so
 * does a throttle (throttle.ts).
 */
import type { PointStop } from '../cpu/debug-points.ts';
import type { Engine } from '../cpu/engine.ts';
import type { Hart } from '../cpu/hart.ts';
import type { Throttle } from './throttle.ts';

/** What a hart does while the machine runs: `step` is one instruction, after which the machine stops. */
export type HartAction = 'run' | 'step' | 'stay';

export interface RunPlan {
  /** One for each hart; harts without one run. */
  readonly actions: readonly HartAction[];
  /** A hart that steps takes interrupts. Otherwise it takes none, and does not wait in WFI (Debug Spec 1.0 §4.4.3). */
  readonly stepInterrupts: boolean;
  /** The machine's time goes on. */
  readonly time: boolean;
}

export const RUN_ALL: RunPlan = { actions: [], stepInterrupts: true, time: true };

/** Why the machine stopped by itself. */
export type DebugStop = PointStop | { readonly reason: 'step'; readonly hart: number };

/** A round that is not over. */
interface Round {
  readonly hart: number;
  /** What is left of its slice. */
  readonly left: number;
  /** Instructions of the round so far. */
  readonly ran: number;
}

export class Turns {
  plan: RunPlan = RUN_ALL;
  readonly #engine: Engine;
  readonly #throttle: Throttle;
  readonly #exact: boolean;
  #cut: Round | undefined;

  /** @param exact nobody overtakes a hart that waits for a page, or because it is throttled. */
  constructor(engine: Engine, throttle: Throttle, exact: boolean) {
    this.#engine = engine;
    this.#throttle = throttle;
    this.#exact = exact;
  }

  /** A round is under way: nothing of what happens between two may be done. */
  get inRound(): boolean {
    return this.#cut !== undefined;
  }

  /** The next round begins anew: the harts are others now. */
  restart(): void {
    this.#cut = undefined;
  }

  /** Harts that may run. */
  get active(): readonly Hart[] {
    return this.#engine.harts.filter(({ id }) => this.#actionOf(id) !== 'stay');
  }

  /**
   * Runs a round, or the rest of one.
   * @param slice how many instructions the hart whose turn it is may run.
   * @param halted asked after each turn: the round is given up.
   * @returns how many were run in the whole round, or why it was cut: "missing" for a page, "throttled".
   */
  round(slice: () => number, halted: () => boolean): number | DebugStop | 'missing' | 'throttled' {
    if (!this.#throttle.active) return this.#round(slice, halted);
    this.#throttle.beginRound();
    const ran = this.#round(slice, halted);
    this.#throttle.endRound();
    return ran;
  }

  #round(slice: () => number, halted: () => boolean): number | DebugStop | 'missing' | 'throttled' {
    const { harts } = this.#engine;
    const from = this.#cut;
    this.#cut = undefined;
    let ran = from?.ran ?? 0;
    for (const hart of harts.slice(from?.hart)) {
      const budget = hart.id === from?.hart ? from.left : slice();
      const { count, stop, waits } = this.#turn(hart, budget);
      ran += count;
      if (halted()) return ran;
      if (stop !== undefined) {
        this.#cut = { hart: hart.id, left: budget - count, ran };
        return stop;
      }
      if (this.#exact && hart.missing !== undefined) {
        this.#cut = { hart: hart.id, left: budget - count, ran };
        return 'missing';
      }
      if (waits) {
        this.#cut = { hart: hart.id, left: budget - count, ran };
        return 'throttled';
      }
      // Another hart may store to what this one reserved.
      if (harts.length > 1) hart.reservation = -1n;
    }
    return ran;
  }

  /** A hart's turn, or what of it the throttle lets it run now: then the hart `waits`, and its turn goes on later. */
  #turn(
    hart: Hart,
    budget: number,
  ): { readonly count: number; readonly stop: DebugStop | undefined; readonly waits?: boolean } {
    const action = this.#actionOf(hart.id);
    if (action === 'stay' || budget === 0) return { count: 0, stop: undefined };
    const throttle = this.#throttle;
    if (!throttle.active || action === 'step') return this.#run(hart, action, budget);
    const piece = Math.min(budget, throttle.beginTurn(hart.id));
    if (piece === 0) return { count: 0, stop: undefined, waits: throttle.whole };
    const { count, stop } = this.#run(hart, action, piece);
    throttle.endTurn(hart.id, count);
    return { count, stop, waits: throttle.whole && count === piece && piece < budget };
  }

  #run(
    hart: Hart,
    action: 'run' | 'step',
    budget: number,
  ): { readonly count: number; readonly stop: DebugStop | undefined } {
    const { stepInterrupts } = this.plan;
    const stepped: DebugStop = { reason: 'step', hart: hart.id };
    if (action === 'step') {
      // It then stands at the handler's first instruction.
      if (stepInterrupts && hart.takeInterrupt()) return { count: 0, stop: stepped };
      if (!stepInterrupts) hart.waiting = false;
    }
    const count =
      action === 'step' ? this.#engine.run(hart, 1, stepInterrupts) : this.#engine.run(hart, budget);
    const stop = this.#engine.points.takeStop();
    return { count, stop: stop ?? (action === 'step' && count > 0 ? stepped : undefined) };
  }

  #actionOf(hart: number): HartAction {
    return this.plan.actions[hart] ?? 'run';
  }
}
