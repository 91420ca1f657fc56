/** Where in the scratch area disks are read to and written from: its end, on both sides. */
import { SCRATCH_SIZE } from '../memory/layout.ts';
import { MAX_DISK_PAYLOAD } from './disk-stream.ts';
import { HEADER_SIZE } from './frame.ts';

/** A header, a payload, room to align it, and padding to a multiple of 4 KiB. */
const SLOT_SIZE = Math.ceil((HEADER_SIZE + MAX_DISK_PAYLOAD + 8) / 4096) * 4096;
const SLOTS = 4;

/** First byte of the scratch area that is not free for others. */
export const DISK_SCRATCH = SCRATCH_SIZE - SLOTS * SLOT_SIZE;

/** Addresses of payloads; HEADER_SIZE bytes before each are the slot's, too. @param scratch offset of the scratch area. */
export function diskSlots(scratch: number): number[] {
  return Array.from({ length: SLOTS }, (_, i) => scratch + DISK_SCRATCH + i * SLOT_SIZE + HEADER_SIZE);
}
