/** The configuration space of virtio-blk, with the values that QEMU gives. Virtual I/O Device 1.2, §5.2.4. */
import { SECTOR_BYTES } from '../block.ts';

/** Offset of the byte that says whether there is a write cache. */
export const CONFIG_WRITEBACK = 32;

/** Sectors of one discard or write-zeroes request (QEMU's max-discard-sectors). */
export const MAX_RANGE_SECTORS = 0x3f_ffff;

/**
 * @param sectors of the disk.
 * @param queueSize entries of a queue: two descriptors of a request hold its header and status.
 */
export function blkConfig(sectors: number, queues: number, queueSize: number): Uint8Array {
  const bytes = new Uint8Array(60);
  const view = new DataView(bytes.buffer);
  const put16 = (at: number, value: number) => view.setUint16(at, value, true);
  const put32 = (at: number, value: number) => view.setUint32(at, value, true);
  view.setBigUint64(0, BigInt(sectors), true); // capacity
  put32(12, queueSize - 2); // seg_max
  put16(16, Math.min(Math.max(Math.floor(sectors / (16 * 63)), 2), 16383)); // geometry: cylinders,
  bytes[18] = 16; // heads,
  bytes[19] = 63; // sectors
  put32(20, SECTOR_BYTES); // blk_size
  put16(34, queues); // num_queues
  put32(36, MAX_RANGE_SECTORS); // max_discard_sectors
  put32(40, 1); // max_discard_seg
  put32(44, 1); // discard_sector_alignment
  put32(48, MAX_RANGE_SECTORS); // max_write_zeroes_sectors
  put32(52, 1); // max_write_zeroes_seg
  bytes[56] = 1; // write_zeroes_may_unmap
  return bytes;
}
