/** Decides when the rest fits the pause limit: from the bytes that would really be sent, not from whole pages. */
import { PAGE_SIZE } from '../memory/layout.ts';

export interface Outlook {
  /** Pages that would have to be sent while the guest stands still. */
  readonly pendingPages: number;
  /** Bytes that a pending page takes in the stream, as measured on pages that were dirtied before. */
  readonly bytesPerPage: number;
  /** Bytes of the device state. */
  readonly stateBytes: number;
  /** Bytes per second; undefined if no time has passed yet. */
  readonly bandwidth: number | undefined;
  readonly downtimeLimitMs: number;
}

export interface Decision {
  /** Bytes that are left to send, device state included. */
  readonly remainingBytes: number;
  /** How long the guest would stand still if it were stopped now, in ms, as far as sending takes. */
  readonly expectedDowntimeMs: number;
  readonly converged: boolean;
}

export function decide(outlook: Outlook): Decision {
  const { pendingPages, bytesPerPage, stateBytes, bandwidth, downtimeLimitMs } = outlook;
  const remainingBytes = Math.ceil(pendingPages * bytesPerPage) + stateBytes;
  const expectedDowntimeMs = bandwidth === undefined ? 0 : (remainingBytes / bandwidth) * 1000;
  // With nothing left there is nothing to wait for, whatever the limit and the link.
  return {
    remainingBytes,
    expectedDowntimeMs,
    converged: pendingPages === 0 || expectedDowntimeMs <= downtimeLimitMs,
  };
}

/**
 * What a dirty page costs in the stream. The first pass counts for nothing: it is full of pages that were never written
 * and will not come again. Later passes are averaged, the newest counting half.
 */
export class EncodingRatio {
  #bytesPerPage: number = PAGE_SIZE;

  get bytesPerPage(): number {
    return this.#bytesPerPage;
  }

  passDone(number: number, pages: number, bytes: number): void {
    if (number > 1 && pages > 0) this.#bytesPerPage = (this.#bytesPerPage + bytes / pages) / 2;
  }
}
