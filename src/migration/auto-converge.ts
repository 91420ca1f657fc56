/**
 * By how much a guest has to be slowed down so that a migration gets through. QEMU's parameters, but not its steps of a
 * second each: what is needed is reckoned at the first sync at which too much was dirtied, from rates that were measured.
 */
import type { MigrationParameters } from './parameters.ts';

/** What one or several passes have shown; bytes are of the stream. */
export interface PassObservation {
  /** Time that they took, in ms. */
  readonly durationMs: number;
  /** Bytes that were sent, and that were dirtied meanwhile. */
  readonly sentBytes: number;
  readonly dirtiedBytes: number;
  /** Bytes that are pending now, and that fit the pause limit. */
  readonly pendingBytes: number;
  readonly pauseBytes: number;
  /** Bytes per second that are sent while the guest runs. */
  readonly throughput: number;
  /** Bytes per second that the guest would dirty if it ran all the time. */
  readonly fullDirtyRate: number;
  /** Percent. */
  readonly throttle: number;
}

export interface ThrottleAdvice {
  /** Percent. */
  readonly throttle: number;
  readonly why: string;
}

type ThrottleParameters = Pick<
  MigrationParameters,
  | 'throttleTriggerThreshold'
  | 'cpuThrottleInitial'
  | 'cpuThrottleIncrement'
  | 'cpuThrottleTailslow'
  | 'maxCpuThrottle'
>;

/** Of the bytes that fit the pause, to be met by the next sync. */
const PAUSE_MARGIN = 0.8;
/** Passes shorter than this are looked at together. */
export const LEAST_MS = 50;

const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB/s`;

/** Part of the time that the guest may run so that bytes are dirtied at no more than `rate`. */
const shareFor = (rate: number, { fullDirtyRate }: PassObservation): number =>
  fullDirtyRate === 0 ? 1 : rate / fullDirtyRate;

/**
 * The throttle with which either each pass leaves no more than the threshold of what it sent, or the next one leaves what
 * fits the pause: whichever is the milder.
 */
function needed(seen: PassObservation, threshold: number): number {
  const { throughput, pauseBytes, pendingBytes } = seen;
  const inOnePass = pendingBytes === 0 ? 1 : (PAUSE_MARGIN * pauseBytes * throughput) / pendingBytes;
  return Math.ceil(100 * (1 - shareFor(Math.max(threshold * throughput, inOnePass), seen)));
}

/** What the pass under way shows; pages and bytes of pages as they would be sent in the pause. */
export interface BrakeObservation {
  /** Until the pass is over. */
  readonly sendingMs: number;
  /** Pages that fit the pause limit. */
  readonly pausePages: number;
  /** Pages per second that are sent while the guest runs, and that it would dirty if it ran all the time. */
  readonly pagesPerSecond: number;
  readonly fullDirtyRate: number;
}

/** The throttle with which a pass that is under way leaves what fits the pause, or at least less than it sends. */
export function brake(seen: BrakeObservation, parameters: ThrottleParameters): number {
  const { sendingMs, pausePages, pagesPerSecond, fullDirtyRate } = seen;
  const inThisPass = sendingMs <= 0 ? 0 : (PAUSE_MARGIN * pausePages * 1000) / sendingMs;
  const rate = Math.max((parameters.throttleTriggerThreshold / 100) * pagesPerSecond, inThisPass);
  const throttle = fullDirtyRate <= 0 ? 0 : Math.ceil(100 * (1 - rate / fullDirtyRate));
  return Math.min(Math.max(throttle, parameters.cpuThrottleInitial), parameters.maxCpuThrottle);
}

/** Whether more was dirtied than the threshold allows: QEMU's condition. */
export function dirtiesTooMuch(seen: PassObservation, thresholdPercent: number): boolean {
  return seen.durationMs >= LEAST_MS && seen.dirtiedBytes * 100 > seen.sentBytes * thresholdPercent;
}

/** What `auto-converge` does after a pass that did not converge; undefined: nothing. The throttle only grows. */
export function autoConverge(
  seen: PassObservation,
  parameters: ThrottleParameters,
): ThrottleAdvice | undefined {
  const { throttleTriggerThreshold, cpuThrottleInitial, cpuThrottleIncrement, maxCpuThrottle } = parameters;
  if (!dirtiesTooMuch(seen, throttleTriggerThreshold)) return undefined;
  const { throttle: now } = seen;
  const least =
    now === 0 ? cpuThrottleInitial : now + (parameters.cpuThrottleTailslow ? 1 : cpuThrottleIncrement);
  const throttle = Math.min(Math.max(least, needed(seen, throttleTriggerThreshold / 100)), maxCpuThrottle);
  if (throttle <= now) return undefined;
  return { throttle, why: `throttle ${throttle} %: ${comparison(seen)}` };
}

/** The throttle with which what is left falls to what fits the pause within `ms`; 0 if none is needed. */
export function throttleFor(ms: number, seen: PassObservation): number {
  const { pendingBytes, pauseBytes, throughput } = seen;
  const excess = pendingBytes - PAUSE_MARGIN * pauseBytes;
  if (excess <= 0) return 0;
  const rate = ms <= 0 ? 0 : throughput - (excess / ms) * 1000;
  return Math.min(Math.max(0, Math.ceil(100 * (1 - shareFor(rate, seen)))), 99);
}

/** Why, in a few words. */
export function comparison({ fullDirtyRate, throughput, throttle }: PassObservation): string {
  const slowed = throttle > 0 ? ' unthrottled' : '';
  return `the guest dirties ${megabytes(fullDirtyRate)}${slowed}, ${megabytes(throughput)} are sent`;
}
