/**
 * What has to happen so that a migration is over by its deadline. The ladder: slow the guest down so that what is left
 * falls in time; then, as `on-deadline` says, pause it for as long as it takes, switch to post-copy, or give up.
 */

/** The values of `on-deadline`. Each but "cancel" slows the guest down first. */
export const ON_DEADLINE = ['throttle', 'pause', 'postcopy', 'cancel'] as const;
export type OnDeadline = (typeof ON_DEADLINE)[number];

export interface DeadlineObservation {
  /** Until the deadline; negative behind it. */
  readonly leftMs: number;
  /** For how long the guest would stand still if it were stopped now. */
  readonly pauseMs: number;
  readonly onDeadline: OnDeadline;
}

/** What has to be done now. */
export type DeadlineStep = 'pause' | 'postcopy';

/** What a hand-over takes beside the pause that is foreseen, and for how far that may be wrong. */
const HAND_OVER_MS = 150;
const UNCERTAINTY = 1.25;
/** What a switch to post-copy takes: the guest's state alone. */
const POSTCOPY_MS = 500;

/** The latest moment for the guest to be stopped, in ms before the deadline. */
export const stopBeforeMs = (pauseMs: number): number => pauseMs * UNCERTAINTY + HAND_OVER_MS;

export function deadlineStep({ leftMs, pauseMs, onDeadline }: DeadlineObservation): DeadlineStep | undefined {
  if (onDeadline === 'pause' && leftMs <= stopBeforeMs(pauseMs)) return 'pause';
  if (onDeadline === 'postcopy' && leftMs <= POSTCOPY_MS) return 'postcopy';
  return undefined;
}

/** "30 s", "1.5 s". */
export const seconds = (ms: number): string => `${Math.round(ms / 100) / 10} s`;
