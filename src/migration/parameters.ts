/**
 * What a user can set about a migration, in plain numbers, with QEMU's defaults. All of it may change while a migration
 * runs and takes effect at once.
 */
import { GodwitError } from '../error.ts';
import type { OnDeadline } from './deadline.ts';

export interface MigrationParameters {
  /** How long the guest may stand still, in ms: `downtime-limit`. */
  readonly downtimeLimitMs: number;
  /** Bytes per second while the guest runs, 0 for no cap: `max-bandwidth`. The final pass is never capped. */
  readonly maxBandwidth: number;
  /** Bytes per second to reckon the pause with, 0 for what is measured: `avail-switchover-bandwidth`. */
  readonly availSwitchoverBandwidth: number;
  /** Whether deltas are sent of pages that were sent before: the capability `xbzrle`. Fixed once a migration runs. */
  readonly xbzrle: boolean;
  /** Whether the migration chooses deltas and their cache for itself: the capability `auto`. Fixed, too. */
  readonly auto: boolean;
  /** Bytes of old pages that are kept for that, a power of two: `xbzrle-cache-size`. */
  readonly xbzrleCacheSize: number;
  /** Bytes per second of the sweep in post-copy, 0 for no cap: `max-postcopy-bandwidth`. Pages asked for are not capped. */
  readonly maxPostcopyBandwidth: number;
  /** Whether the guest may be switched to the destination before all memory has moved: the capability `postcopy-ram`. */
  readonly postcopy: boolean;
  /** Whether pages are asked for over a connection of their own: `postcopy-preempt`. Fixed once a migration runs. */
  readonly postcopyPreempt: boolean;
  /** Whether memory that the destination has is given back meanwhile: `release-ram`. Fixed once a migration runs. */
  readonly releaseRam: boolean;
  /** Whether checkpoints come back in post-copy, and how often, in ms: `postcopy-rescue`, `postcopy-rescue-interval`. */
  readonly postcopyRescue: boolean;
  readonly postcopyRescueIntervalMs: number;
  /** How long the other side may keep us waiting (one hand-shake, one write) before it is given up: `stall-timeout`. */
  readonly stallTimeoutMs: number;
  /** Whether to wait for the user's word when the guest has been stopped: `pause-before-switchover`. */
  readonly pauseBeforeSwitchover: boolean;
  /** Slow the guest down when it dirties too much: `auto-converge`, and its parameters, in percent. */
  readonly autoConverge: boolean;
  readonly throttleTriggerThreshold: number;
  readonly cpuThrottleInitial: number;
  readonly cpuThrottleIncrement: number;
  readonly cpuThrottleTailslow: boolean;
  readonly maxCpuThrottle: number;
  /** Hold harts to a rate then: `dirty-limit`, and `vcpu-dirty-limit` in MiB per second. */
  readonly dirtyLimit: boolean;
  readonly vcpuDirtyLimit: number;
  /** When the migration has to be over, in ms from its start, 0 for no such time; and what is done for it. */
  readonly deadlineMs: number;
  readonly onDeadline: OnDeadline;
}

export const DEFAULT_PARAMETERS: MigrationParameters = {
  downtimeLimitMs: 300,
  maxBandwidth: 128 * 1024 * 1024,
  availSwitchoverBandwidth: 0,
  xbzrle: false,
  auto: false,
  xbzrleCacheSize: 64 * 1024 * 1024,
  maxPostcopyBandwidth: 0,
  postcopy: false,
  postcopyPreempt: false,
  releaseRam: false,
  postcopyRescue: false,
  postcopyRescueIntervalMs: 500,
  stallTimeoutMs: 30_000,
  pauseBeforeSwitchover: false,
  autoConverge: false,
  throttleTriggerThreshold: 50,
  cpuThrottleInitial: 20,
  cpuThrottleIncrement: 10,
  cpuThrottleTailslow: false,
  maxCpuThrottle: 99,
  dirtyLimit: false,
  vcpuDirtyLimit: 1,
  deadlineMs: 0,
  onDeadline: 'pause',
};

/** The parameters that are numbers. */
type NumberName = {
  [N in keyof MigrationParameters]: MigrationParameters[N] extends number ? N : never;
}[keyof MigrationParameters];

const LIMITS: Readonly<Record<NumberName, readonly [min: number, max: number]>> = {
  downtimeLimitMs: [0, 2_000_000],
  maxBandwidth: [0, Number.MAX_SAFE_INTEGER],
  availSwitchoverBandwidth: [0, Number.MAX_SAFE_INTEGER],
  xbzrleCacheSize: [4096, Number.MAX_SAFE_INTEGER],
  maxPostcopyBandwidth: [0, Number.MAX_SAFE_INTEGER],
  postcopyRescueIntervalMs: [10, 1_000_000],
  stallTimeoutMs: [1, 2_000_000_000],
  throttleTriggerThreshold: [1, 100],
  cpuThrottleInitial: [1, 99],
  cpuThrottleIncrement: [1, 99],
  maxCpuThrottle: [1, 99],
  vcpuDirtyLimit: [1, 1_000_000],
  deadlineMs: [0, 2_000_000_000],
};

/**
 * `base` with `change` over it.
 * @throws GodwitError kind "usage" for a number out of range; then nothing has changed.
 */
export function changedParameters(
  base: MigrationParameters,
  change: Partial<MigrationParameters>,
): MigrationParameters {
  const changed = { ...base, ...change };
  for (const [name, [min, max]] of Object.entries(LIMITS) as [NumberName, readonly [number, number]][]) {
    const value = changed[name];
    if (!(value >= min && value <= max)) {
      throw GodwitError.unexpected('usage', name, `${min} to ${max}`, String(value));
    }
  }
  return changed;
}
