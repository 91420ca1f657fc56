/**
 * Checks the payload of one frame of memory and puts its pages in place. Several of these may work at the same time, each
 * in a thread of its own: the frames of a pass hold different pages, and passes are kept apart by who counts them.
 */
import { GodwitError } from '../error.ts';
import { ARRIVAL_SIZE, type Layout, PAGE_SIZE } from '../memory/layout.ts';
import type { Proof } from './frame-reader.ts';
import { KERNEL_SCRATCH, Kernels } from './kernels.ts';
import { PageBitmap } from './page-bitmap.ts';
import { MAX_PAGES_PAYLOAD } from './pages-frame.ts';
import type { FrameName } from './protocol.ts';
import { type RamCounts, RamLoad } from './ram-load.ts';
import { MAX_RAM_PAYLOAD } from './ram-stream.ts';
import { XbzrleCodec } from './xbzrle-codec.ts';

/** Frames of memory, as it is and compressed. */
export const RAM_FRAMES = ['ram', 'zlibRam', 'zstdRam'] as const satisfies readonly FrameName[];
export type RamFrame = (typeof RAM_FRAMES)[number];

/** Undoes a compression. @throws GodwitError kind "format" if the result would not have exactly `length` bytes. */
export type Unpack = (type: RamFrame, packed: Uint8Array, length: number, where: string) => Uint8Array;

/** One frame that stands in a slot. Plain data. */
export interface RamJob {
  readonly type: RamFrame;
  readonly at: number;
  readonly length: number;
  readonly seed: number;
  readonly checksum: bigint;
  readonly pass: number;
  /** Whether the stream may have deltas. */
  readonly deltas: boolean;
  /** Byte offset of the frame in its stream, for errors. */
  readonly offset: number;
  /** 0 for the main connection. */
  readonly channel: number;
}

const SLOT_SIZE = Math.ceil(MAX_RAM_PAYLOAD / 4096) * 4096;
export const ARRIVAL_SLOTS = 8;
/** What an applier has for itself: its kernels' scratch, and a place for what was compressed. */
const APPLIER_SIZE = Math.ceil((KERNEL_SCRATCH + SLOT_SIZE) / 4096) * 4096;
export const MAX_APPLIERS = 5;
/** Bytes of a bitmap with a bit for each page that WebAssembly can address. */
const MAX_BITMAP = 2 ** 32 / PAGE_SIZE / 8;
/** Where a machine that fetches pages by itself has its kernels' scratch, and behind that the place where frames land. */
const FETCHER_OFFSET = ARRIVAL_SLOTS * SLOT_SIZE + MAX_APPLIERS * APPLIER_SIZE + MAX_BITMAP;
if (FETCHER_OFFSET + KERNEL_SCRATCH + MAX_PAGES_PAYLOAD + 8 > ARRIVAL_SIZE)
  throw new GodwitError('internal', 'the arrival area is too small');

/** Addresses of the slots that frames are read to. */
export function arrivalSlots({ arrival }: Layout): number[] {
  return Array.from({ length: ARRIVAL_SLOTS }, (_, i) => arrival + i * SLOT_SIZE);
}

/** The pages that have arrived at least once, where all threads see them. */
export function receivedPages(memory: WebAssembly.Memory, layout: Layout): PageBitmap {
  const at = layout.arrival + ARRIVAL_SLOTS * SLOT_SIZE + MAX_APPLIERS * APPLIER_SIZE;
  const words = new Uint32Array(memory.buffer, at, layout.bitmapSize / 4);
  return new PageBitmap(words, layout.pages);
}

/** For page-fetcher.ts in a thread of its own: byte offsets of the kernels' scratch and of the place for a payload. */
export function fetcherPlaces({ arrival }: Layout): { readonly scratch: number; readonly landing: number } {
  const scratch = arrival + FETCHER_OFFSET;
  return { scratch, landing: scratch + KERNEL_SCRATCH };
}

/** Names a frame in errors. */
export const frameOver = (channel: number, type: string): string =>
  `${channel === 0 ? '' : `channel ${channel}, `}frame "${type}"`;

/** @throws GodwitError kind "format" if it is not what was sent. */
export function checkProof(
  kernels: Kernels,
  { seed, checksum, pieces }: Proof,
  where: string,
  offset: number,
): void {
  const hash = BigInt.asUintN(64, kernels.hashPieces(pieces, seed));
  if (hash === checksum) return;
  const [expected, got] = [checksum.toString(16), hash.toString(16)];
  throw GodwitError.unexpected('format', `${where}, checksum`, expected, got, offset);
}

export class RamApplier {
  readonly #bytes: Uint8Array;
  readonly #kernels: Kernels;
  readonly #layout: Layout;
  #load: RamLoad | undefined;
  readonly #unpacked: number;
  readonly #unpack: Unpack | undefined;

  /** @param index below MAX_APPLIERS, and no other applier's. */
  constructor(memory: WebAssembly.Memory, layout: Layout, index: number, unpack?: Unpack) {
    const own = layout.arrival + ARRIVAL_SLOTS * SLOT_SIZE + index * APPLIER_SIZE;
    this.#bytes = new Uint8Array(memory.buffer);
    this.#kernels = new Kernels(memory, own);
    this.#layout = layout;
    this.#unpacked = own + KERNEL_SCRATCH;
    this.#unpack = unpack;
  }

  /** @throws GodwitError kind "format"; then nothing of the frame was applied. */
  apply({ type, at, length, seed, checksum, pass, deltas, offset, channel }: RamJob): RamCounts {
    const where = frameOver(channel, type);
    checkProof(this.#kernels, { seed, checksum, pieces: [{ at, length }] }, where, offset);
    const payload = this.#bytes.subarray(at, at + length);
    const load = this.#loadOf(deltas);
    if (type === 'ram') return load.applyFor({ type, offset, payload, at }, pass);
    const raw = this.#raw(type, payload, where, offset);
    return load.applyFor({ type: 'ram', offset, payload: raw, at: raw.byteOffset }, pass);
  }

  /** A stream has deltas or has none: this is made once. */
  #loadOf(deltas: boolean): RamLoad {
    if (this.#load === undefined) {
      const { memory } = this.#kernels;
      const codec = deltas ? new XbzrleCodec(memory) : undefined;
      this.#load = new RamLoad(this.#kernels, this.#layout, codec, receivedPages(memory, this.#layout));
    }
    return this.#load;
  }

  #raw(type: RamFrame, packed: Uint8Array, where: string, offset: number): Uint8Array {
    if (this.#unpack === undefined) {
      throw GodwitError.unexpected(
        'format',
        where,
        'memory that is not compressed',
        'compressed memory',
        offset,
      );
    }
    const length = packed.length < 4 ? 0 : new DataView(packed.buffer, packed.byteOffset).getUint32(0, true);
    if (length < 1 || length > MAX_RAM_PAYLOAD) {
      const range = `1 to ${MAX_RAM_PAYLOAD} bytes`;
      throw GodwitError.unexpected('format', `${where}, unpacked length`, range, `${length}`, offset);
    }
    const raw = this.#bytes.subarray(this.#unpacked, this.#unpacked + length);
    raw.set(this.#unpack(type, packed.subarray(4), length, `${where} (at byte ${offset})`));
    return raw;
  }
}
