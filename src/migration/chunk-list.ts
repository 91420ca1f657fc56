/**
 * The payload of `diskDiscard` and `diskMissing`: chunks of one disk that are not at the destination. Little endian; a
 * list that is too long for one frame goes on in the next.
 *
 *     u32 disk            index in the message `disks`
 *     u32 0
 *     n × 8 bytes:        u32 first, u32 count (at least 1); ascending
 */
import { GodwitError } from '../error.ts';
import type { ChunkRun } from './disk-stream.ts';
import type { PageBitmap } from './page-bitmap.ts';

const HEADER_SIZE = 8;
const RUN_SIZE = 8;
export const MAX_CHUNK_LIST = 64 * 1024;
const MAX_RUNS = (MAX_CHUNK_LIST - HEADER_SIZE) / RUN_SIZE;

export interface ChunkList {
  readonly disk: number;
  readonly runs: readonly ChunkRun[];
}

/** The payloads that say which chunks of a disk are in a set; none if there are none. */
export function* chunkLists(disk: number, chunks: PageBitmap): Generator<Uint8Array> {
  let runs: ChunkRun[] = [];
  for (const run of chunks.runs()) {
    if (runs.length === MAX_RUNS) {
      yield encode(disk, runs);
      runs = [];
    }
    runs.push(run);
  }
  if (runs.length > 0) yield encode(disk, runs);
}

function encode(disk: number, runs: readonly ChunkRun[]): Uint8Array {
  const words = [disk, 0, ...runs.flatMap(({ first, count }) => [first, count])];
  const view = new DataView(new ArrayBuffer(words.length * 4));
  for (const [i, word] of words.entries()) view.setUint32(i * 4, word, true);
  return new Uint8Array(view.buffer);
}

/**
 * @param chunks of each disk.
 * @param where the frame, for errors.
 * @throws GodwitError kind "format".
 */
export function readChunkList(
  payload: Uint8Array,
  chunks: readonly number[],
  { where, offset }: { readonly where: string; readonly offset: number },
): ChunkList {
  const fail = (what: string, expected: string, got: number): GodwitError =>
    GodwitError.unexpected('format', `${where}, ${what}`, expected, String(got), offset);
  const list = (payload.length - HEADER_SIZE) / RUN_SIZE;
  if (!Number.isInteger(list) || list < 1) throw fail('length', '8 bytes and 8 for each run', payload.length);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const disk = view.getUint32(0, true);
  const size = chunks[disk];
  if (size === undefined) throw fail('disk', `0 to ${chunks.length - 1}`, disk);
  if (view.getUint32(4, true) !== 0) throw fail('reserved word', '0', view.getUint32(4, true));
  const runs: ChunkRun[] = [];
  let next = 0;
  for (let at = HEADER_SIZE; at < payload.length; at += RUN_SIZE) {
    const [first, count] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
    if (first < next || first >= size) throw fail('first', `${next} to ${size - 1}`, first);
    if (count < 1 || count > size - first) throw fail('count', `1 to ${size - first}`, count);
    next = first + count;
    runs.push({ first, count });
  }
  return { disk, runs };
}

/** The payload of `diskRequest`: chunks of a disk that the guest waits for. u32 disk, u32 first, u32 count. */
export function encodeRequest(disk: number, { first, count }: ChunkRun): Uint8Array {
  const view = new DataView(new ArrayBuffer(REQUEST_SIZE));
  for (const [i, word] of [disk, first, count].entries()) view.setUint32(i * 4, word, true);
  return new Uint8Array(view.buffer);
}

export const REQUEST_SIZE = 12;

/** @throws GodwitError kind "format". */
export function readRequest(
  payload: Uint8Array,
  chunks: readonly number[],
  offset: number,
): ChunkRun & { readonly disk: number } {
  const fail = (what: string, expected: string, got: number): GodwitError =>
    GodwitError.unexpected('format', `frame "diskRequest", ${what}`, expected, String(got), offset);
  if (payload.length !== REQUEST_SIZE) throw fail('length', `${REQUEST_SIZE} bytes`, payload.length);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const [disk, first, count] = [0, 4, 8].map((at) => view.getUint32(at, true)) as [number, number, number];
  const size = chunks[disk];
  if (size === undefined) throw fail('disk', `0 to ${chunks.length - 1}`, disk);
  if (first >= size) throw fail('first', `0 to ${size - 1}`, first);
  if (count < 1 || count > size - first) throw fail('count', `1 to ${size - first}`, count);
  return { disk, first, count };
}
