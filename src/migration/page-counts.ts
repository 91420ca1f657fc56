/** Pages, counted by what becomes of them in the stream. */
import { PAGE_SIZE } from '../memory/layout.ts';

/** Pages by what was, or would have to be, sent of them. */
export interface PageCounts {
  zero: number;
  whole: number;
  delta: number;
  /** Equal to what the destination has: nothing is sent. */
  equal: number;
  /** Bytes of the deltas, with their lengths. */
  deltaBytes: number;
  /** Pages that xbzrle looked up in vain, and those whose delta would have been too long; both went whole. */
  miss: number;
  overflow: number;
}

export function noPages(): PageCounts {
  return { zero: 0, whole: 0, delta: 0, equal: 0, deltaBytes: 0, miss: 0, overflow: 0 };
}

/** Pages of which something was sent. */
export function sentPages(pages: PageCounts): number {
  return pages.zero + pages.whole + pages.delta;
}

/** Pages that were found in the cache of xbzrle, as QEMU counts them. */
export function foundPages(pages: PageCounts): number {
  return pages.delta + pages.equal + pages.overflow;
}

/** Bytes that they came to. */
export function encodedBytes(pages: PageCounts): number {
  return pages.deltaBytes + pages.overflow * PAGE_SIZE;
}

export function addPages(to: PageCounts, pages: PageCounts): void {
  for (const kind of Object.keys(pages) as (keyof PageCounts)[]) to[kind] += pages[kind];
}
