/**
 * The injected timers. Like the clock, they come from `host/`, so that tests can drive migrations through minutes of
 * stalls in milliseconds.
 */
export interface Timers {
  /** Calls `callback` once, `ms` milliseconds from now. The function returned forgets it; it may be called twice. */
  after(ms: number, callback: () => void): () => void;
  /** Resolves after the other events of this thread (messages, sockets, timers) have had their turn. */
  turn(): Promise<void>;
}
