/** The disk guest's drive, and what it writes to it (guests/disk/disk.c). */
import { createHash } from 'node:crypto';

export const diskDrive = (file: string, more = ''): string[] => [
  '-drive',
  `file=${file},format=raw,if=none,id=x0${more}`,
];
export const DISK_DEVICE = ['-device', 'virtio-blk-device,drive=x0'];

const MASK = (1n << 64n) - 1n;

/** What the guest writes at a byte offset of the disk in a pass (guests/disk/disk.c). */
function word(at: number, pass: number): bigint {
  let x = (BigInt(at) + BigInt(pass) * 0x9e3779b97f4a7c15n) & MASK;
  x = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  x = ((x ^ (x >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return x ^ (x >> 31n);
}

/** What the guest has left after `passes` passes. */
export function diskContents(size: number, passes: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; at += 8) bytes.writeBigUInt64LE(word(at, passes - 1), at);
  return bytes;
}

/** The pass in which each block was written last; it has to be whole. */
export function passesOf(bytes: Buffer, block: number): number[] {
  return Array.from({ length: bytes.length / block }, (_, index) => {
    const start = index * block;
    const first = bytes.readBigUInt64LE(start);
    let pass = 0;
    while (word(start, pass) !== first) if (++pass > 1e5) throw new Error(`block ${index} is of no pass`);
    for (let at = start; at < start + block; at += 8) {
      if (bytes.readBigUInt64LE(at) !== word(at, pass)) throw new Error(`block ${index} is torn at ${at}`);
    }
    return pass;
  });
}

export const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
