/**
 * The payload of a `disk` frame: a table of runs of blocks of one disk, then the bytes of those blocks that have any.
 * All numbers are little endian.
 *
 *     u32 pass            number of the pass, from 1; LATE_PASS in post-copy
 *     u32 disk            index in the message `disks`
 *     u32 runs            entries of the table
 *     u32 0
 *     runs × 16 bytes:    u64 block (index of the first block, ascending over the table)
 *                         u32 count (blocks, at least 1)
 *                         u32 kind (DISK_RUN)
 *     data blocks × 4096  in the order of the table; what the last block has beyond the disk's end is zero
 *
 * A *block* is what a host's file system gives at a time: what is zero is told and kept by the block, so that a thin
 * image stays thin. A *chunk* is what the dirty log knows of, and runs that follow each other cover whole chunks. A
 * *piece* is what fits a frame, and what a digest is of.
 */
import { GodwitError } from '../error.ts';

export const DISK_BLOCK = 4096;
export const DISK_CHUNK = 64 * 1024;
/** Measured over a unix socket: see bench/README.md. */
export const DISK_PIECE = 256 * 1024;

/** `base`: as in the image that the destination has had before (incremental, in pass 1 and in post-copy). */
export const DISK_RUN = { zero: 0, data: 1, base: 2 } as const;
export type DiskRunKind = (typeof DISK_RUN)[keyof typeof DISK_RUN];

/** What stands for a pass in post-copy, where a chunk comes once. */
export const LATE_PASS = 0;

const HEADER_SIZE = 16;
const RUN_SIZE = 16;
/** Runs in one frame: a zero and a data block in turn, and holes between them. */
export const MAX_DISK_RUNS = 128;
export const MAX_DISK_TABLE = HEADER_SIZE + MAX_DISK_RUNS * RUN_SIZE;
export const MAX_DISK_PAYLOAD = MAX_DISK_TABLE + DISK_PIECE;

/** A disk's size, in bytes: 128 TiB, so that chunks and blocks can be counted in 31 and 35 bits. */
export const MAX_DISK_SIZE = 2 ** 47;

const CHUNK_BLOCKS = DISK_CHUNK / DISK_BLOCK;

export interface DiskRun {
  /** Index of the first block. */
  readonly block: number;
  count: number;
  readonly kind: DiskRunKind;
}

/** A frame's table. */
export interface DiskTable {
  readonly pass: number;
  readonly disk: number;
  readonly runs: readonly DiskRun[];
  /** Bytes of the table; the data begin there. */
  readonly length: number;
}

/** Chunks of a disk that follow each other. */
export interface ChunkRun {
  readonly first: number;
  readonly count: number;
}

/** The chunks that a table is about, in ascending order. */
export function chunkRuns({ runs }: Pick<DiskTable, 'runs'>): ChunkRun[] {
  const found: { first: number; count: number }[] = [];
  for (const { block, count } of runs) {
    const first = Math.floor(block / CHUNK_BLOCKS);
    const end = Math.ceil((block + count) / CHUNK_BLOCKS);
    const last = found.at(-1);
    if (last !== undefined && first <= last.first + last.count) last.count = end - last.first;
    else found.push({ first, count: end - first });
  }
  return found;
}

export const chunksOf = (size: number): number => Math.ceil(size / DISK_CHUNK);
export const blocksOf = (size: number): number => Math.ceil(size / DISK_BLOCK);
export const piecesOf = (size: number): number => Math.ceil(size / DISK_PIECE);

/** Writes a table so that it ends at `dataAt`. Returns its length in bytes. */
export function writeDiskTable(
  view: DataView,
  dataAt: number,
  { pass, disk, runs }: Omit<DiskTable, 'length'>,
): number {
  const length = HEADER_SIZE + runs.length * RUN_SIZE;
  const at = dataAt - length;
  for (const [i, word] of [pass, disk, runs.length, 0].entries()) view.setUint32(at + 4 * i, word, true);
  runs.forEach(({ block, count, kind }, i) => {
    const entry = at + HEADER_SIZE + i * RUN_SIZE;
    view.setBigUint64(entry, BigInt(block), true);
    view.setUint32(entry + 8, count, true);
    view.setUint32(entry + 12, kind, true);
  });
  return length;
}

/** What a receiver knows when a `disk` frame comes. */
export interface DiskExpectations {
  readonly pass: number;
  /** Whether runs of kind `base` may come. */
  readonly base: boolean;
  /** Sizes of the disks, in bytes. */
  readonly sizes: readonly number[];
}

/**
 * Reads and checks the table of a payload completely.
 * @param offset of the frame in the stream, for errors.
 * @throws GodwitError kind "format".
 */
export function readDiskTable(
  payload: Uint8Array,
  { pass, base, sizes }: DiskExpectations,
  offset: number,
): DiskTable {
  const fail = (what: string, expected: string, got: number | bigint): GodwitError =>
    GodwitError.unexpected('format', `frame "disk", ${what}`, expected, String(got), offset);
  if (payload.length < HEADER_SIZE) throw fail('length', `at least ${HEADER_SIZE} bytes`, payload.length);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const word = (at: number): number => view.getUint32(at, true);
  if (word(0) !== pass) throw fail('pass', String(pass), word(0));
  const disk = word(4);
  const size = sizes[disk];
  if (size === undefined) throw fail('disk', `0 to ${sizes.length - 1}`, disk);
  const count = word(8);
  const length = HEADER_SIZE + count * RUN_SIZE;
  if (count < 1 || count > MAX_DISK_RUNS || length > payload.length) {
    throw fail('runs', `1 to ${MAX_DISK_RUNS} inside the payload`, count);
  }
  if (word(12) !== 0) throw fail('reserved word', '0', word(12));
  const blocks = blocksOf(size);
  const runs: DiskRun[] = [];
  let next = 0;
  let dataBlocks = 0;
  for (let i = 0; i < count; i++) {
    const at = HEADER_SIZE + i * RUN_SIZE;
    const block = view.getBigUint64(at, true);
    if (block < next || block >= blocks) throw fail(`run ${i}, block`, `${next} to ${blocks - 1}`, block);
    const run = { block: Number(block), count: word(at + 8), kind: word(at + 12) as DiskRunKind };
    if (run.count < 1 || run.count > blocks - run.block) {
      throw fail(`run ${i}, count`, `1 to ${blocks - run.block}`, run.count);
    }
    // What is in a frame is whole chunks: a run that does not go on where the last one ended begins one.
    const begins = run.block !== next || i === 0;
    if (begins && (run.block % CHUNK_BLOCKS !== 0 || next % CHUNK_BLOCKS !== 0)) {
      throw fail(`run ${i}, block`, 'whole chunks', run.block);
    }
    if (run.kind === DISK_RUN.data) dataBlocks += run.count;
    else if (run.kind !== DISK_RUN.zero && !(run.kind === DISK_RUN.base && base)) {
      throw fail(
        `run ${i}, kind`,
        base ? 'zero (0), data (1) or base (2)' : 'zero (0) or data (1)',
        run.kind,
      );
    }
    next = run.block + run.count;
    runs.push(run);
  }
  if (next !== blocks && next % CHUNK_BLOCKS !== 0) throw fail('last run', 'whole chunks', next);
  const whole = length + dataBlocks * DISK_BLOCK;
  if (whole !== payload.length) throw fail('length', `${whole} bytes`, payload.length);
  return { pass, disk, runs, length };
}
