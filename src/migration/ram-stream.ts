/**
 * The payload of a `ram` frame: a table of runs of pages, then the bytes of those pages that have any. All numbers are
 * little endian.
 *
 *     u32 pass            number of the pass, from 1
 *     u32 runs            entries of the table
 *     runs × 8 bytes:     u32 page (index of the first page, ascending over the table)
 *                         u16 count (pages, at least 1)
 *                         u16 kind (RUN_KIND)
 *     data pages × 4096   whole pages, in the order of the table
 *
 * A run of zero pages costs 8 bytes however long it is.
 */
import { PAGE_SIZE } from '../memory/layout.ts';

export const RUN_KIND = { zero: 0, data: 1 } as const;

export const RAM_HEADER_SIZE = 8;
export const RUN_SIZE = 8;

/** Runs in one frame. */
export const MAX_RUNS = 511;
/** Pages with bytes in one frame. Measured over a unix socket: 32, 64 and 128 are alike, 16 is a third slower. */
export const MAX_DATA_PAGES = 64;
/** Zero pages in one frame: bounds the time that one frame takes to make or to apply. */
export const MAX_ZERO_PAGES = 8192;

export const MAX_RAM_TABLE = RAM_HEADER_SIZE + MAX_RUNS * RUN_SIZE;
export const MAX_RAM_PAYLOAD = MAX_RAM_TABLE + MAX_DATA_PAGES * PAGE_SIZE;
