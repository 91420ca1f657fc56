/** The migration engine's timers, from the host. */
import type { Timers } from '../migration/timers.ts';

/** A longer wait than setTimeout can count. */
const MAX_MS = 2 ** 31 - 1;

export const hostTimers: Timers = {
  after(ms, callback) {
    const timer = setTimeout(callback, Math.min(Math.ceil(ms), MAX_MS));
    return () => clearTimeout(timer);
  },
  turn: () => new Promise((resolve) => setImmediate(resolve)),
};
