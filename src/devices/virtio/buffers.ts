/** Between a chain's segments and bytes: each byte is copied once. */
import type { DmaMemory } from '../dma.ts';
import type { Segment } from './virtqueue.ts';

/** Calls `move` for each piece of the `length` bytes that begin `offset` bytes into the segments; false if it says so. */
function pieces(
  segments: readonly Segment[],
  offset: number,
  length: number,
  move: (address: number, from: number, to: number) => boolean,
): boolean {
  let skip = offset;
  let done = 0;
  for (const segment of segments) {
    if (done === length) break;
    if (skip >= segment.length) {
      skip -= segment.length;
      continue;
    }
    const count = Math.min(segment.length - skip, length - done);
    if (!move(segment.address + skip, done, done + count)) return false;
    done += count;
    skip = 0;
  }
  return done === length;
}

/** Fills `target` from the segments; false if they end before, or are not memory. */
export function gather(
  dma: DmaMemory,
  segments: readonly Segment[],
  offset: number,
  target: Uint8Array,
): boolean {
  return pieces(segments, offset, target.length, (address, from, to) =>
    dma.readInto(address, target.subarray(from, to)),
  );
}

/** Writes `bytes` into the segments; false if they end before, or are not memory. */
export function scatter(
  dma: DmaMemory,
  segments: readonly Segment[],
  offset: number,
  bytes: Uint8Array,
): boolean {
  return pieces(segments, offset, bytes.length, (address, from, to) =>
    dma.write(address, bytes.subarray(from, to)),
  );
}
