/** One request to a virtio-blk, from its chain to its status. Virtual I/O Device 1.2, §5.2.6. */
import { type BlockBackend, SECTOR_BYTES } from '../block.ts';
import type { DmaMemory } from '../dma.ts';
import { MAX_RANGE_SECTORS } from './blk-config.ts';
import { SERIAL_BYTES } from './blk-model.ts';
import { gather, scatter } from './buffers.ts';
import type { Chain } from './virtqueue.ts';

/** §5.2.6: status. */
export const BLK_STATUS = { ok: 0, ioError: 1, unsupported: 2 } as const;
export type BlkStatus = (typeof BLK_STATUS)[keyof typeof BLK_STATUS];

const TYPE = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 };
/** Legacy, §5.2.6.4: bit 31 asks for a barrier, which QEMU ignores, too. */
const TYPE_MASK = 0x7fff_ffff;
/** Type, a reserved word, sector. */
const HEADER_BYTES = 16;
/** Of a discard or write-zeroes request: sector, count, flags. */
const RANGE_BYTES = 16;
const RANGE_UNMAP = 1;

/** Most bytes that move at a time; longer requests are done in pieces. */
const PIECE = 1024 * 1024;

/** What a request works on. */
export interface BlkTarget {
  readonly backend: BlockBackend;
  readonly dma: DmaMemory;
  /** Of what the disk says that it is. */
  readonly readonly: boolean;
  readonly serial: string;
  /** Whether a write may be done before it survives the host. */
  readonly writeback: () => boolean;
  /** Whether the request still counts; after a reset, nothing of it must reach memory. */
  readonly current: () => boolean;
}

/** What became of a request; `written` counts bytes of the writable part without the status. */
export interface BlkResult {
  readonly status: BlkStatus;
  readonly written: number;
}

/** A back end's error, and what it was doing. */
export interface BlkFailure {
  readonly failed: 'read' | 'write';
  readonly error: unknown;
}

/** Whether the chain has room for header and status. */
export function isRequest({ readableBytes, writableBytes }: Chain): boolean {
  return readableBytes >= HEADER_BYTES && writableBytes >= 1;
}

/** Writes the status into the last writable byte; false if it is not memory. */
export function putStatus(dma: DmaMemory, { writable, writableBytes }: Chain, status: BlkStatus): boolean {
  return scatter(dma, writable, writableBytes - 1, Uint8Array.of(status));
}

const done = (status: BlkStatus, written = 0): BlkResult => ({ status, written });

/** Does what the chain (an `isRequest`) asks for. Never rejects. */
export async function runRequest(chain: Chain, target: BlkTarget): Promise<BlkResult | BlkFailure> {
  const header = new Uint8Array(HEADER_BYTES);
  if (!gather(target.dma, chain.readable, 0, header)) return done(BLK_STATUS.ioError);
  const view = new DataView(header.buffer);
  const type = view.getUint32(0, true) & TYPE_MASK;
  const sector = Number(view.getBigUint64(8, true));
  const reads = type === TYPE.in || type === TYPE.getId;
  try {
    switch (type) {
      case TYPE.in:
        return await readIn(chain, sector, target);
      case TYPE.out:
        return await writeOut(chain, sector, target);
      case TYPE.flush:
        await target.backend.flush();
        return done(BLK_STATUS.ok);
      case TYPE.getId:
        return getId(chain, target);
      case TYPE.discard:
      case TYPE.writeZeroes:
        return await range(type === TYPE.discard, chain, target);
      default:
        return done(BLK_STATUS.unsupported);
    }
  } catch (error) {
    return { failed: reads ? 'read' : 'write', error };
  }
}

/** Whether so many bytes from a sector on are whole sectors of the disk. */
function onDisk({ size }: BlockBackend, sector: number, length: number): boolean {
  return length % SECTOR_BYTES === 0 && sector * SECTOR_BYTES + length <= size;
}

async function readIn(chain: Chain, sector: number, target: BlkTarget): Promise<BlkResult> {
  const { backend, dma, current } = target;
  const length = chain.writableBytes - 1;
  if (!onDisk(backend, sector, length)) return done(BLK_STATUS.ioError);
  return await inPieces(length, async (offset, piece) => {
    await backend.read(sector * SECTOR_BYTES + offset, piece);
    return current() && scatter(dma, chain.writable, offset, piece);
  });
}

async function writeOut(chain: Chain, sector: number, target: BlkTarget): Promise<BlkResult> {
  const { backend, dma, readonly } = target;
  const length = chain.readableBytes - HEADER_BYTES;
  if (readonly || !onDisk(backend, sector, length)) return done(BLK_STATUS.ioError);
  const { status } = await inPieces(length, async (offset, piece) => {
    if (!target.current() || !gather(dma, chain.readable, HEADER_BYTES + offset, piece)) return false;
    await backend.write(sector * SECTOR_BYTES + offset, piece);
    return true;
  });
  if (status === BLK_STATUS.ok) await writeThrough(target);
  return done(status);
}

async function writeThrough({ backend, writeback }: BlkTarget): Promise<void> {
  if (!writeback()) await backend.flush();
}

/** Buffers of PIECE bytes that are in no use. */
const buffers: Uint8Array[] = [];

/** Moves `length` bytes by pieces, as long as `move` says that it went well. */
async function inPieces(
  length: number,
  move: (offset: number, piece: Uint8Array) => Promise<boolean>,
): Promise<BlkResult> {
  const buffer = buffers.pop() ?? new Uint8Array(PIECE);
  try {
    for (let offset = 0; offset < length; offset += PIECE) {
      const piece = buffer.subarray(0, Math.min(PIECE, length - offset));
      if (!(await move(offset, piece))) return done(BLK_STATUS.ioError);
    }
    return done(BLK_STATUS.ok, length);
  } finally {
    buffers.push(buffer);
  }
}

function getId(chain: Chain, { dma, serial }: BlkTarget): BlkResult {
  const id = new Uint8Array(Math.min(SERIAL_BYTES, chain.writableBytes - 1));
  id.set(new TextEncoder().encode(serial).subarray(0, id.length));
  const written = scatter(dma, chain.writable, 0, id);
  return written ? done(BLK_STATUS.ok, id.length) : done(BLK_STATUS.ioError);
}

/** §5.2.6.2: one range, for max_discard_seg and max_write_zeroes_seg are 1. */
async function range(discard: boolean, chain: Chain, target: BlkTarget): Promise<BlkResult> {
  const { backend, dma, readonly } = target;
  const bytes = new Uint8Array(RANGE_BYTES);
  if (readonly || chain.readableBytes !== HEADER_BYTES + RANGE_BYTES) return done(BLK_STATUS.ioError);
  if (!gather(dma, chain.readable, HEADER_BYTES, bytes)) return done(BLK_STATUS.ioError);
  const view = new DataView(bytes.buffer);
  const sector = Number(view.getBigUint64(0, true));
  const sectors = view.getUint32(8, true);
  const flags = view.getUint32(12, true);
  // A discard unmaps as it is; saying so, or any other flag, is reserved.
  if ((flags & ~(discard ? 0 : RANGE_UNMAP)) !== 0) return done(BLK_STATUS.unsupported);
  const length = sectors * SECTOR_BYTES;
  if (sectors > MAX_RANGE_SECTORS || !onDisk(backend, sector, length)) return done(BLK_STATUS.ioError);
  if (discard) await backend.discard(sector * SECTOR_BYTES, length);
  else {
    await backend.zero(sector * SECTOR_BYTES, length, (flags & RANGE_UNMAP) !== 0);
    await writeThrough(target);
  }
  return done(BLK_STATUS.ok);
}
