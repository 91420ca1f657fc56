/**
 * Timers of devices, in the time for which the machine has run: they stand still with it. A device saves what is left
 * of a timer, and goes on from there.
 */
import type { Clock } from '../clock.ts';
import { type Field, u64 } from '../vmstate/fields.ts';

/** Calls a device back once, some time after it was armed. */
export interface Timer {
  /** Due in `ns` nanoseconds; in place of when it was due before. */
  arm(ns: number): void;
  cancel(): void;
  readonly armed: boolean;
  /** What is left, in ns, as a device's state has it: TIMER_OFF if it is not armed. */
  save(): bigint;
  load(left: bigint): void;
}

/** Where devices get timers from. */
export interface Timers {
  create(expire: () => void): Timer;
}

/** The field of a device's state for a timer. */
export const timerField = (): Field<bigint> => u64();
/** The value of a timer that is not armed. */
export const TIMER_OFF = 0xffff_ffff_ffff_ffffn;

/** The timers of a machine. */
export class TimerQueue implements Timers {
  readonly #clock: Clock;
  readonly #sooner: () => void;
  readonly #armed = new Map<Timer, { readonly at: number; readonly expire: () => void }>();

  /**
   * @param clock the time for which the machine has run.
   * @param sooner called when a timer is armed: somebody may wait for a later one.
   */
  constructor(clock: Clock, sooner: () => void) {
    this.#clock = clock;
    this.#sooner = sooner;
  }

  create(expire: () => void): Timer {
    const queue = this.#armed;
    const clock = this.#clock;
    const sooner = this.#sooner;
    const timer: Timer = {
      arm(ns) {
        queue.set(timer, { at: clock.nowNs() + ns, expire });
        sooner();
      },
      cancel: () => void queue.delete(timer),
      get armed() {
        return queue.has(timer);
      },
      save() {
        const entry = queue.get(timer);
        return entry === undefined ? TIMER_OFF : BigInt(Math.max(0, Math.round(entry.at - clock.nowNs())));
      },
      load(left) {
        if (left === TIMER_OFF) timer.cancel();
        else timer.arm(Number(left));
      },
    };
    return timer;
  }

  /** Nanoseconds to the next timer, 0 if one is due; undefined if none is armed. */
  nextInNs(): number | undefined {
    let next: number | undefined;
    for (const { at } of this.#armed.values()) if (next === undefined || at < next) next = at;
    return next === undefined ? undefined : Math.max(0, next - this.#clock.nowNs());
  }

  /** Calls back for every timer that is due, in the order in which they are. */
  run(): void {
    if (this.#armed.size === 0) return;
    const now = this.#clock.nowNs();
    const due = [...this.#armed].filter(([, { at }]) => at <= now).sort(([, a], [, b]) => a.at - b.at);
    for (const [timer, entry] of due) {
      // One that ran before may have cancelled it, or armed it anew.
      if (this.#armed.get(timer) !== entry) continue;
      this.#armed.delete(timer);
      entry.expire();
    }
  }
}
