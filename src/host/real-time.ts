/** What the guest's real-time clock starts from and follows (`-rtc`). */
import type { RealTimeOptions } from '../machine/machine.ts';
import { hostClock } from './clock.ts';

/** When it starts: the host's time in UTC or as the host's clocks show it, or a date in ms since 1970. */
export type RtcBase = 'utc' | 'localtime' | number;

/** The host's clock; the same while nobody sets it; or the machine's time, which stands still with it. */
export const RTC_CLOCKS = ['host', 'rt', 'vm'] as const;

export interface RtcOptions {
  readonly base?: RtcBase;
  readonly clock?: (typeof RTC_CLOCKS)[number];
}

const NS_PER_MS = 1_000_000n;
const MS_PER_MINUTE = 60_000;

/**
 * @param virtual time is virtual (-icount): nothing of the host's comes in unless it is asked for.
 * @returns undefined where the machine's own default is meant.
 */
export function realTime({ base, clock }: RtcOptions, virtual: boolean): RealTimeOptions | undefined {
  if (virtual && base === undefined) return undefined;
  const start = startMs(base ?? 'utc') * NS_PER_MS;
  if (virtual || clock === 'vm') return { start };
  const follows =
    clock === 'rt'
      ? { now: () => BigInt(Math.floor(hostClock.nowNs())), shared: false }
      : { now: () => BigInt(Date.now()) * NS_PER_MS, shared: true };
  return { start, follows };
}

function startMs(base: RtcBase): bigint {
  const now = new Date();
  if (base === 'utc') return BigInt(now.getTime());
  if (base === 'localtime') return BigInt(now.getTime() - now.getTimezoneOffset() * MS_PER_MINUTE);
  return BigInt(base);
}
