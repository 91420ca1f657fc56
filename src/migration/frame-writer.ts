/** Writes one direction of a migration stream: the opening, then frames with their numbers and checksums. */
import { GodwitError } from '../error.ts';
import { CHECKED_SIZE, HEADER_SIZE, opening } from './frame.ts';
import { type Kernels, type Piece, sizeOf } from './kernels.ts';
import { type Direction, FRAMES, type FrameName } from './protocol.ts';
import type { Transport } from './transport.ts';

const NOTHING = new Uint8Array(0);

export class FrameWriter {
  readonly #transport: Transport;
  readonly #kernels: Kernels;
  readonly #memory: Uint8Array;
  #opening: Uint8Array | undefined;
  #sequence = 0;
  #bytes = 0;
  #writing = 0;

  /** @param channel 0 for the main connection. */
  constructor(transport: Transport, kernels: Kernels, direction: Direction, channel = 0) {
    this.#transport = transport;
    this.#kernels = kernels;
    this.#memory = new Uint8Array(kernels.memory.buffer);
    this.#opening = opening(direction, channel);
  }

  /** Bytes handed to the transport so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether all that was handed over has been taken. */
  get idle(): boolean {
    return this.#writing === 0;
  }

  /** Bytes that a frame with this payload takes in the stream. */
  static size(payload: number): number {
    return HEADER_SIZE + payload;
  }

  /** Writes a frame. Resolves when the operating system has taken it. @throws GodwitError kind "transport". */
  send(type: FrameName, payload: Uint8Array = NOTHING): Promise<void> {
    const frame = new Uint8Array(HEADER_SIZE + payload.length);
    frame.set(payload, HEADER_SIZE);
    const check = this.#header(frame, type, payload.length);
    new DataView(frame.buffer).setBigUint64(16, this.#kernels.hash(payload, check), true);
    return this.#write(frame);
  }

  /**
   * Writes a frame whose payload already stands in the shared memory, in one piece or more, with HEADER_SIZE bytes free before
   * the first. The memory may be used again, and changed, when the promise resolves.
   */
  sendInPlace(type: FrameName, payload: readonly Piece[]): Promise<void> {
    const [first, ...others] = payload.map(({ at, length }) => this.#memory.subarray(at, at + length));
    if (first === undefined) throw new GodwitError('internal', 'a frame in no piece');
    const frame = this.#memory.subarray(first.byteOffset - HEADER_SIZE, first.byteOffset + first.length);
    const check = this.#header(frame, type, sizeOf(payload));
    const checksum = this.#kernels.hashPieces(payload, check);
    new DataView(frame.buffer, frame.byteOffset).setBigUint64(16, checksum, true);
    return this.#write(frame, ...others);
  }

  /** Fills the header but for the payload's checksum; returns the header check. */
  #header(frame: Uint8Array, type: FrameName, length: number): number {
    const view = new DataView(frame.buffer, frame.byteOffset, HEADER_SIZE);
    view.setUint16(0, FRAMES[type].code, true);
    view.setUint16(2, 0, true);
    view.setUint32(4, this.#sequence, true);
    view.setUint32(8, length, true);
    const check = headerCheck(this.#kernels, frame.subarray(0, CHECKED_SIZE));
    view.setUint32(12, check, true);
    this.#sequence = (this.#sequence + 1) >>> 0;
    return check;
  }

  async #write(...frame: Uint8Array[]): Promise<void> {
    const chunks = this.#opening === undefined ? frame : [this.#opening, ...frame];
    for (const { length } of chunks) this.#bytes += length;
    this.#opening = undefined;
    this.#writing++;
    try {
      await this.#transport.write(chunks);
    } finally {
      this.#writing--;
    }
  }
}

export function headerCheck(kernels: Kernels, checked: Uint8Array): number {
  return Number(kernels.hash(checked, 0) & 0xffff_ffffn);
}
