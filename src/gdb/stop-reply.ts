/** What a debugger is told when the machine stands still (GDB manual, "Stop Reply Packets"). */
import type { Stop } from './target.ts';
import { textOfThread } from './text.ts';

/** gdb's signal numbers, as QEMU uses them. */
const SIGNAL: Readonly<Record<Stop['reason'], number>> = {
  /** SIGINT. */
  paused: 2,
  /** SIGTRAP. */
  breakpoint: 5,
  step: 5,
  watchpoint: 5,
  /** SIGQUIT. */
  shutdown: 3,
  /** SIGXCPU. */
  migrated: 24,
  /** SIGIO. */
  'io-error': 23,
  /** SIGABRT. */
  'internal-error': 6,
};

const WATCH = { write: 'watch', read: 'rwatch', access: 'awatch' } as const;

/** @param current the hart that a stop without one is about. */
export function stopReply(stop: Stop, current = 0): string {
  const hart = 'hart' in stop ? stop.hart : current;
  const signal = SIGNAL[stop.reason].toString(16).padStart(2, '0');
  const watched =
    stop.reason === 'watchpoint'
      ? `${WATCH[stop.watchpoint.kind]}:${stop.watchpoint.address.toString(16).padStart(16, '0')};`
      : '';
  return `T${signal}thread:${textOfThread(hart)};${watched}`;
}
