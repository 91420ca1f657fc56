/**
 * Foresees the pause and the end of a migration: from the bytes that would really be sent and from the time that it takes
 * to find out which, not from whole pages.
 */
import { PAGE_SIZE } from '../memory/layout.ts';
import type { PageCounts } from './page-counts.ts';

/** Pages and the time that they take, per page; of a sample, or of all. */
export interface PageMix {
  /** Bytes in the stream. */
  readonly bytesPerPage: number;
  /** Part of the pages that is compared or found zero, and hardly sends anything. */
  readonly compactShare: number;
}

export const WHOLE_PAGES: PageMix = { bytesPerPage: PAGE_SIZE, compactShare: 0 };

/** The mix that some pages show; `otherwise` if there are none. */
export function mixOf(counts: PageCounts, otherwise: PageMix): PageMix {
  const compact = counts.zero + counts.equal + counts.delta;
  const pages = compact + counts.whole;
  if (pages === 0) return otherwise;
  return {
    bytesPerPage: (counts.whole * PAGE_SIZE + counts.deltaBytes) / pages,
    compactShare: compact / pages,
  };
}

export interface Outlook {
  /** Pages that would have to be sent while the guest stands still. */
  readonly pendingPages: number;
  readonly mix: PageMix;
  /** Time that a page takes which is not sent whole: to compare it with what was sent before, in ns. */
  readonly compactPageNs: number;
  /** Bytes of disks that would have to be sent, too. */
  readonly diskBytes: number;
  /** Bytes of the device state. */
  readonly stateBytes: number;
  /** How long a stop and a sync take, in ms. */
  readonly syncMs: number;
  /** Bytes per second without the cap; undefined if no time has passed yet. Looking at whole pages is included. */
  readonly bandwidth: number | undefined;
  readonly downtimeLimitMs: number;
}

export interface Decision {
  /** Bytes that are left to send, device state included. */
  readonly remainingBytes: number;
  /** How long the guest would stand still if it were stopped now, in ms; loading at the other side not included. */
  readonly expectedDowntimeMs: number;
  readonly converged: boolean;
}

export function decide(outlook: Outlook): Decision {
  const { pendingPages, mix, compactPageNs, diskBytes, stateBytes, syncMs, bandwidth, downtimeLimitMs } =
    outlook;
  const remainingBytes = Math.ceil(pendingPages * mix.bytesPerPage) + diskBytes + stateBytes;
  const sendingMs = bandwidth === undefined ? 0 : (remainingBytes / bandwidth) * 1000;
  const comparingMs = (pendingPages * mix.compactShare * compactPageNs) / 1e6;
  const expectedDowntimeMs = syncMs + comparingMs + sendingMs;
  return {
    remainingBytes,
    expectedDowntimeMs,
    // With nothing left there is nothing to wait for, whatever the limit and the link.
    converged: (pendingPages === 0 && diskBytes === 0) || expectedDowntimeMs <= downtimeLimitMs,
  };
}

/** A pause that is hardly noticed, in ms; and the part of its pages that a pass may leave, for another one to be worth its time. */
const SHORT_PAUSE_MS = 10;
const WORTH = 2 / 3;

/**
 * Whether a guest that could be stopped is better let run for another pass: each takes as long as its pages do, so while
 * they get shorter, all of them together take no more than three times the first.
 * @param pagesBefore that were pending before the last pass, without those of zeros. @param pendingPages that it has left.
 */
export function isWorthAnotherPass(
  { expectedDowntimeMs }: Decision,
  pagesBefore: number,
  pendingPages: number,
): boolean {
  return expectedDowntimeMs > SHORT_PAUSE_MS && pendingPages < WORTH * pagesBefore;
}

/** The least part of its rest that is worth to be sent before a guest is stopped, and of that, the part that may be written again. */
const WORTH_SPRINTING = 1 / 4;
const WRITTEN_AGAIN = 1 / 2;

/**
 * Whether a guest that could be stopped is better let run until what may be sent without a wait for the cap has been: that takes
 * no longer than the pause would.
 * @param roomBytes that may be.
 */
export function isWorthSprinting(
  { expectedDowntimeMs, remainingBytes }: Decision,
  roomBytes: number,
  dirtyBytesPerSecond: number,
): boolean {
  const writtenBytes = (dirtyBytesPerSecond * expectedDowntimeMs) / 1000;
  return (
    expectedDowntimeMs > SHORT_PAUSE_MS &&
    roomBytes !== Infinity &&
    roomBytes >= WORTH_SPRINTING * remainingBytes &&
    writtenBytes < WRITTEN_AGAIN * remainingBytes
  );
}

export interface Progress {
  /** Pages of this pass that have yet to be sent, and pages written meanwhile. */
  readonly pendingPages: number;
  readonly dirtyPages: number;
  /** Bytes of disks of this pass that have yet to be sent. */
  readonly diskBytes: number;
  /** Pages written per second. */
  readonly dirtyPagesPerSecond: number;
  readonly totalPages: number;
  /** Bytes per second as they are sent while the guest runs. */
  readonly throughput: number;
  readonly compactPageNs: number;
  /** Of the rest of this pass, and of the pages that are written. */
  readonly passMix: PageMix;
  readonly mix: PageMix;
}

/** Passes that are looked ahead. */
const FORESIGHT = 1000;

/**
 * How long until the guest is the other side's if all goes on as now, in ms; undefined if that would be never.
 * @param pauseMs how long the guest would stand still with so many pages left, and whether that is allowed.
 */
export function timeLeft(
  progress: Progress,
  pause: (pages: number) => Pick<Decision, 'expectedDowntimeMs' | 'converged'>,
): number | undefined {
  const { dirtyPagesPerSecond, totalPages, throughput, compactPageNs } = progress;
  if (throughput <= 0) return undefined;
  const secondsPerPage = (mix: PageMix): number =>
    mix.bytesPerPage / throughput + (mix.compactShare * compactPageNs) / 1e9;
  let ms = 0;
  let sending = progress.pendingPages;
  let dirty = progress.dirtyPages;
  let diskBytes = progress.diskBytes;
  for (let pass = 0; pass < FORESIGHT; pass++) {
    const mix = pass === 0 ? progress.passMix : progress.mix;
    const seconds = sending * secondsPerPage(mix) + diskBytes / throughput;
    const next = Math.min(totalPages, dirty + seconds * dirtyPagesPerSecond);
    ms += seconds * 1000;
    const { expectedDowntimeMs, converged } = pause(next);
    if (converged) return ms + expectedDowntimeMs;
    if (pass > 0 && next >= sending) return undefined;
    sending = next;
    dirty = 0;
    diskBytes = 0;
  }
  return undefined;
}
