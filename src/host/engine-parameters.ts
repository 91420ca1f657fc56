/** What the monitors call capabilities and parameters, as the migration engine takes it. */
import type { OnDeadline } from '../migration/deadline.ts';
import type { MigrationParameters } from '../migration/parameters.ts';
import type { Capabilities, Parameters } from '../monitor/migration-parameters.ts';

export function engineParameters(
  capabilities: Capabilities,
  parameters: Parameters,
): Partial<MigrationParameters> {
  return {
    downtimeLimitMs: parameters['downtime-limit'],
    maxBandwidth: parameters['max-bandwidth'],
    stallTimeoutMs: parameters['stall-timeout'],
    maxPostcopyBandwidth: parameters['max-postcopy-bandwidth'],
    postcopy: capabilities['postcopy-ram'],
    postcopyPreempt: capabilities['postcopy-preempt'],
    releaseRam: capabilities['release-ram'],
    postcopyRescue: capabilities['postcopy-rescue'],
    postcopyRescueIntervalMs: parameters['postcopy-rescue-interval'],
    pauseBeforeSwitchover: capabilities['pause-before-switchover'],
    availSwitchoverBandwidth: parameters['avail-switchover-bandwidth'],
    xbzrle: capabilities.xbzrle,
    auto: capabilities.auto,
    xbzrleCacheSize: parameters['xbzrle-cache-size'],
    autoConverge: capabilities['auto-converge'],
    throttleTriggerThreshold: parameters['throttle-trigger-threshold'],
    cpuThrottleInitial: parameters['cpu-throttle-initial'],
    cpuThrottleIncrement: parameters['cpu-throttle-increment'],
    cpuThrottleTailslow: parameters['cpu-throttle-tailslow'],
    maxCpuThrottle: parameters['max-cpu-throttle'],
    dirtyLimit: capabilities['dirty-limit'],
    vcpuDirtyLimit: parameters['vcpu-dirty-limit'],
    deadlineMs: parameters.deadline,
    // The table has no other values.
    onDeadline: parameters['on-deadline'] as OnDeadline,
  };
}
