/**
 * The payload of a `ram` frame: a table of runs of pages, then the bytes of those pages that have any. All numbers are
 * little endian.
 *
 *     u32 pass            number of the pass, from 1
 *     u32 runs            entries of the table
 *     runs × 8 bytes:     u32 page (index of the first page, ascending over the table)
 *                         u16 count (pages, at least 1)
 *                         u16 kind (RUN_KIND)
 *     pages               in the order of the table: of a data page its 4096 bytes, of a delta page the length of the
 *                         delta (u16, at least 1) and the delta (xbzrle-codec.ts)
 *
 * A run of zero pages costs 8 bytes however long it is. Pages that were left for the next pass are announced in the first:
 * the destination gets memory for them while it has the time for that. They don't count as sent. A delta is applied to what
 * the destination has of the page; only a stream with the feature "xbzrle" has any.
 */
import { PAGE_SIZE } from '../memory/layout.ts';

export const RUN_KIND = { zero: 0, data: 1, delta: 2, coming: 3 } as const;

export const RAM_HEADER_SIZE = 8;
export const RUN_SIZE = 8;

/** Runs in one frame. */
export const MAX_RUNS = 511;
/** Whole pages that one frame has room for. */
export const MAX_DATA_PAGES = 256;
/** Pages of a run from which on they are better not copied but sent from and read to where they belong: each run costs a call. */
export const LONG_RUN = 8;
/** Zero pages, and pages that are compared with an older copy, for one frame: bounds the time it takes to make or to apply. */
export const MAX_ZERO_PAGES = 8192;
export const MAX_COMPARED_PAGES = 1024;

export const MAX_RAM_TABLE = RAM_HEADER_SIZE + MAX_RUNS * RUN_SIZE;
export const MAX_RAM_PAYLOAD = MAX_RAM_TABLE + MAX_DATA_PAGES * PAGE_SIZE;
