/**
 * Reads one direction of a migration stream and lets nothing through that is not exactly what was sent: every byte is
 * covered by the opening, a header check or a checksum, and every frame by its number.
 */
import { GodwitError } from '../error.ts';
import { CHECKED_SIZE, checkOpening, HEADER_SIZE, OPENING_SIZE } from './frame.ts';
import { headerCheck } from './frame-writer.ts';
import { addPiece, Kernels, type Piece } from './kernels.ts';
import { type Direction, FRAMES, type FrameName, frameName } from './protocol.ts';
import type { Transport } from './transport.ts';

export interface Frame {
  readonly type: FrameName;
  /** Byte offset of the frame's header in the stream. */
  readonly offset: number;
  /** Valid until the next frame is asked for if it stands in the shared memory. Of one in pieces, the first. */
  readonly payload: Uint8Array;
  /** Address of the payload in the shared memory, if it was read to there. */
  readonly at: number | undefined;
  /** What the payload is yet to be checked with, if it was put into a slot. */
  readonly proof?: Proof;
}

/** The checksum of a payload. Plain data. */
export interface Proof {
  /** Of the hash. */
  readonly seed: number;
  readonly checksum: bigint;
  /** Where the payload stands: what stands together is one. */
  readonly pieces: readonly Piece[];
}

/** Where bulky payloads are put, to be checked and used by somebody else while the next one is read. */
export interface LandingSlots {
  readonly types: readonly FrameName[];
  readonly memory: WebAssembly.Memory;
  /** A byte offset in the memory, with room for the largest payload of the types. */
  acquire(): Promise<number>;
  /**
   * Where a payload is to be read to, from the slot on. Each piece has been filled when the next one is asked for, so that what
   * has come may say where the rest belongs.
   */
  pieces(type: FrameName, slot: number, length: number): Iterable<Piece>;
}

/** Where payloads of some types are to be put: directly into the shared memory. */
export interface Landing {
  readonly types: readonly FrameName[];
  readonly kernels: Kernels;
  /**
   * Says where the next one is to be: a byte offset in the kernels' memory, with room for the largest payload of the type.
   */
  readonly at: () => number;
}

/** Where a stream has been read up to. Plain data. */
export interface StreamPlace {
  readonly channel: number;
  /** Of the frame that is next. */
  readonly sequence: number;
  /** Bytes of the stream. */
  readonly offset: number;
}

export class FrameReader {
  readonly #transport: Transport;
  readonly #direction: Direction;
  readonly #further: boolean;
  #channel = 0;
  #slots: LandingSlots | undefined;
  #kernels = Kernels.standalone();
  readonly #landings = new Map<FrameName, Landing>();
  #chunk: Uint8Array = new Uint8Array(0);
  /** Bytes taken from the stream, those in `#chunk` that were not used yet left out. */
  #offset = 0;
  #sequence = 0;
  #opened = false;

  /** @param further whether it is one of a migration's further connections. */
  constructor(transport: Transport, direction: Direction, further = false) {
    this.#transport = transport;
    this.#direction = direction;
    this.#further = further;
  }

  /** Goes on where another reader of the same stream has stopped. */
  static from(transport: Transport, direction: Direction, place: StreamPlace): FrameReader {
    const reader = new FrameReader(transport, direction, place.channel > 0);
    reader.#opened = true;
    reader.#channel = place.channel;
    reader.#sequence = place.sequence;
    reader.#offset = place.offset;
    return reader;
  }

  /** Between two frames, if nothing that comes behind them has been read. */
  get place(): StreamPlace | undefined {
    if (!this.#opened || this.#chunk.length > 0) return undefined;
    return { channel: this.#channel, sequence: this.#sequence, offset: this.#offset };
  }

  /** The number that the stream was opened with, once a frame has been read. */
  get channel(): number {
    return this.#channel;
  }

  /** Stream bytes read so far. */
  get offset(): number {
    return this.#offset;
  }

  /** From now on payloads of these types go straight to the shared memory. */
  land(landing: Landing): void {
    for (const type of landing.types) this.#landings.set(type, landing);
    this.#kernels = landing.kernels;
  }

  /** From now on payloads of these types go to a slot, unchecked: the frame says how to check them. */
  landIn(slots: LandingSlots): void {
    this.#slots = slots;
  }

  /**
   * The next frame; undefined if the stream ends after a whole frame.
   * @throws GodwitError kind "format" that names the frame, its offset, what was expected and what was there;
   * kind "transport" if the connection breaks.
   */
  async next(): Promise<Frame | undefined> {
    if (!this.#opened) {
      const bytes = new Uint8Array(OPENING_SIZE);
      if (!(await this.#fill(bytes, 'stream opening', true))) return undefined;
      this.#channel = checkOpening(bytes, this.#direction, this.#further);
      this.#opened = true;
    }
    const offset = this.#offset;
    const header = new Uint8Array(HEADER_SIZE);
    const where = `${this.#channel === 0 ? '' : `channel ${this.#channel}, `}frame ${this.#sequence}`;
    if (!(await this.#fill(header, where, true))) return undefined;
    const { type, length, check } = this.#header(header, where, offset);
    const checksum = new DataView(header.buffer).getBigUint64(16, true);
    const named = `${where} "${type}"`;
    if (this.#slots?.types.includes(type) === true) {
      const { memory } = this.#slots;
      const at = await this.#slots.acquire();
      const pieces: Piece[] = [];
      for (const piece of this.#slots.pieces(type, at, length)) {
        await this.#fill(new Uint8Array(memory.buffer, piece.at, piece.length), named, false);
        addPiece(pieces, piece);
      }
      const payload = new Uint8Array(memory.buffer, at, pieces[0]?.length ?? 0);
      this.#sequence = (this.#sequence + 1) >>> 0;
      return { type, offset, payload, at, proof: { seed: check, checksum, pieces } };
    }
    const landing = this.#landings.get(type);
    let at: number | undefined;
    let payload: Uint8Array;
    let hash: bigint;
    if (landing === undefined) {
      payload = await this.#collect(length, named);
      hash = this.#kernels.hash(payload, check);
    } else {
      at = landing.at();
      payload = new Uint8Array(landing.kernels.memory.buffer, at, length);
      await this.#fill(payload, named, false);
      hash = landing.kernels.hashAt(at, length, check);
    }
    const actual = BigInt.asUintN(64, hash);
    if (actual !== checksum) {
      throw GodwitError.unexpected(
        'format',
        `${named}, checksum`,
        checksum.toString(16),
        actual.toString(16),
        offset,
      );
    }
    this.#sequence = (this.#sequence + 1) >>> 0;
    return { type, offset, payload, at };
  }

  #header(
    header: Uint8Array,
    where: string,
    offset: number,
  ): { type: FrameName; length: number; check: number } {
    const view = new DataView(header.buffer);
    const check = headerCheck(this.#kernels, header.subarray(0, CHECKED_SIZE));
    const fail = (what: string, expected: string, got: string): GodwitError =>
      GodwitError.unexpected('format', `${where}, ${what}`, expected, got, offset);
    const stored = view.getUint32(12, true);
    if (stored !== check) throw fail('header check', stored.toString(16), check.toString(16));
    const sequence = view.getUint32(4, true);
    if (sequence !== this.#sequence) throw fail('sequence number', String(this.#sequence), String(sequence));
    const code = view.getUint16(0, true);
    const type = frameName(code);
    if (type === undefined || FRAMES[type].direction !== this.#direction) {
      const known = Object.entries(FRAMES).filter(([, { direction }]) => direction === this.#direction);
      throw fail('type', `one of ${known.map(([name]) => name).join(', ')}`, type ?? `type ${code}`);
    }
    const flags = view.getUint16(2, true);
    if (flags !== 0) throw fail(`"${type}" flags`, '0', String(flags));
    const length = view.getUint32(8, true);
    const { max } = FRAMES[type];
    if (length > max) throw fail(`"${type}" length`, `at most ${max} bytes`, String(length));
    return { type, length, check };
  }

  /** A payload in memory of its own, which grows only as bytes arrive. */
  async #collect(length: number, where: string): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for (let missing = length; missing > 0; ) {
      const piece = new Uint8Array(Math.min(missing, 64 * 1024));
      await this.#fill(piece, where, false);
      pieces.push(piece);
      missing -= piece.length;
    }
    if (pieces.length === 1) return pieces[0] as Uint8Array;
    const payload = new Uint8Array(length);
    let at = 0;
    for (const piece of pieces) {
      payload.set(piece, at);
      at += piece.length;
    }
    return payload;
  }

  /** Fills `target` from the stream; false if the stream ends before its first byte and `mayEnd`. */
  async #fill(target: Uint8Array, where: string, mayEnd: boolean): Promise<boolean> {
    let have = 0;
    while (have < target.length) {
      if (this.#chunk.length === 0) {
        const rest = target.subarray(have);
        const chunk = await this.#transport.read(rest);
        if (chunk === undefined) {
          if (mayEnd && have === 0) return false;
          throw GodwitError.unexpected(
            'format',
            where,
            `${rest.length} more bytes`,
            'the end of the stream',
            this.#offset,
          );
        }
        if (chunk.buffer === rest.buffer && chunk.byteOffset === rest.byteOffset) {
          have += chunk.length;
          this.#offset += chunk.length;
        } else this.#chunk = chunk;
        continue;
      }
      const piece = this.#chunk.subarray(0, target.length - have);
      target.set(piece, have);
      have += piece.length;
      this.#offset += piece.length;
      this.#chunk = this.#chunk.subarray(piece.length);
    }
    return true;
  }
}
