/**
 * The payload of a `rescuePages` frame: pages of a checkpoint (rescue-stream.ts), in any order. Little endian.
 *
 *     u32 count
 *     u32 0
 *     count × u32         page index; bit 31: the page is zero
 *     u32 0               if count is odd
 *     4096 bytes each     the pages that are not zero, in the same order
 */
import { GodwitError } from '../error.ts';
import { PAGE_SIZE } from '../memory/layout.ts';

/** Pages in one frame. */
export const MAX_CHECKPOINT_PAGES = 32;
const HEADER_SIZE = 8;
const ZERO = 0x8000_0000;

const dataAt = (count: number): number => HEADER_SIZE + 4 * (count + (count & 1));

export const MAX_CHECKPOINT_PAYLOAD = dataAt(MAX_CHECKPOINT_PAGES) + MAX_CHECKPOINT_PAGES * PAGE_SIZE;

/** @param data the contents of `pages`, one after the other; at most MAX_CHECKPOINT_PAGES. */
export function encodeCheckpointPages(pages: Uint32Array, data: Uint8Array): Uint8Array {
  const payload = new Uint8Array(dataAt(pages.length) + pages.length * PAGE_SIZE);
  const view = new DataView(payload.buffer);
  view.setUint32(0, pages.length, true);
  let to = dataAt(pages.length);
  pages.forEach((page, i) => {
    const target = payload.subarray(to, to + PAGE_SIZE);
    target.set(data.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE));
    const zero = isZero(payload, to);
    if (!zero) to += PAGE_SIZE;
    view.setUint32(HEADER_SIZE + 4 * i, (page | (zero ? ZERO : 0)) >>> 0, true);
  });
  return payload.subarray(0, to);
}

function isZero(bytes: Uint8Array, at: number): boolean {
  const words = new BigUint64Array(bytes.buffer, bytes.byteOffset + at, PAGE_SIZE / 8);
  return words.every((word) => word === 0n);
}

export interface CheckpointPage {
  readonly page: number;
  /** Undefined: it is zero. */
  readonly bytes: Uint8Array | undefined;
}

/**
 * @param pages how many there are.
 * @throws GodwitError kind "format".
 */
export function decodeCheckpointPages(payload: Uint8Array, pages: number, offset: number): CheckpointPage[] {
  const fail = (what: string, expected: string, got: number): GodwitError =>
    GodwitError.unexpected('format', `frame "rescuePages", ${what}`, expected, String(got), offset);
  if (payload.length < HEADER_SIZE) throw fail('length', `at least ${HEADER_SIZE} bytes`, payload.length);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const count = view.getUint32(0, true);
  if (count === 0 || count > MAX_CHECKPOINT_PAGES) {
    throw fail('count', `1 to ${MAX_CHECKPOINT_PAGES}`, count);
  }
  if (view.getUint32(4, true) !== 0) throw fail('reserved', '0', view.getUint32(4, true));
  if (payload.length < dataAt(count)) throw fail('length', `at least ${dataAt(count)} bytes`, payload.length);
  let from = dataAt(count);
  const found = Array.from({ length: count }, (_, i): CheckpointPage => {
    const entry = view.getUint32(HEADER_SIZE + 4 * i, true);
    const page = entry & ~ZERO;
    if (page >= pages) throw fail('page', `one below ${pages}`, page);
    if (entry >= ZERO) return { page, bytes: undefined };
    const bytes = payload.subarray(from, from + PAGE_SIZE);
    from += PAGE_SIZE;
    return { page, bytes };
  });
  if (payload.length !== from) throw fail('length', `${from} bytes`, payload.length);
  return found;
}
