/**
 * The payload of a `pages` frame, in post-copy: some of the pages in a window of WINDOW_PAGES. Little endian.
 *
 *     u32 first           index of the window's first page, a multiple of 32
 *     u32 0
 *     64 bytes sent       bit n: page `first + n` is in this frame
 *     64 bytes data       bit n: it has bytes; otherwise it is zero
 *     data pages × 4096   whole pages, by rising index
 */
import { PAGE_SIZE } from '../memory/layout.ts';

export const WINDOW_PAGES = 512;
const BITMAP_BYTES = WINDOW_PAGES / 8;
export const SENT_OFFSET = 8;
export const DATA_OFFSET = SENT_OFFSET + BITMAP_BYTES;
export const PAGES_HEADER_SIZE = DATA_OFFSET + BITMAP_BYTES;
/** Pages with bytes in one frame. */
export const MAX_PAGES_DATA = 32;
export const MAX_PAGES_PAYLOAD = PAGES_HEADER_SIZE + MAX_PAGES_DATA * PAGE_SIZE;
