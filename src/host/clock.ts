/** The host's monotonic clock. */
import type { Clock } from '../clock.ts';

export const hostClock: Clock = {
  nowNs: () => performance.now() * 1e6,
};
