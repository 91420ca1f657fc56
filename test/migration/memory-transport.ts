import { GodwitError } from '../../src/error.ts';
import type { Transport } from '../../src/migration/transport.ts';
import type { VirtualTime } from './virtual-time.ts';

/** What goes wrong in one direction of a connection. Offsets count the bytes of that direction. */
export interface Faults {
  /** After this many bytes the connection is gone, for both sides. */
  readonly cutAt?: number;
  /** How it is gone: as a clean end, or with an error. */
  readonly cutAs?: 'end' | 'reset';
  /** After this many bytes nothing arrives any more, though the connection stands. */
  readonly stallAt?: number;
  /** The bytes from the first offset to the second arrive twice. */
  readonly repeat?: readonly [from: number, to: number];
  /** After this many bytes the reader sees a clean end, and what is written vanishes; the other direction stands. */
  readonly halfAt?: number;
  /** After so many bytes, so many ms pass before the next ones arrive. */
  readonly delay?: { readonly at: number; readonly ms: number };
  /** Changes bytes on their way. */
  readonly alter?: (bytes: Uint8Array, offset: number) => void;
}

export interface LinkOptions {
  readonly time?: VirtualTime;
  /** Bytes per second; the writer's clock moves by what a write takes. */
  readonly rate?: number;
  readonly forward?: Faults;
  readonly back?: Faults;
  /** Called when bytes are written, after time has passed: the guest runs meanwhile. */
  readonly onWrite?: () => void;
  /** Largest piece that a read returns. */
  readonly chunk?: number;
}

/** One direction: bytes on their way, at most `capacity` of them. */
class Pipe {
  readonly #faults: Faults;
  readonly #chunk: number;
  readonly #capacity = 64 * 1024;
  readonly #queue: Uint8Array[] = [];
  readonly #again: Uint8Array[] = [];
  #queued = 0;
  #wake: (() => void)[] = [];
  #ended = false;
  #stalled = false;
  /** Closed for the reader, and the writer does not know. */
  #half = false;
  error: GodwitError | undefined;
  /** Bytes that were written. */
  written = 0;
  readonly log: Uint8Array[] = [];
  readonly link: Link;

  constructor(link: Link, faults: Faults, chunk: number) {
    this.link = link;
    this.#faults = faults;
    this.#chunk = chunk;
  }

  async write(source: Uint8Array): Promise<void> {
    for (let at = 0; at < source.length; ) {
      this.check();
      if (this.#stalled || this.#queued >= this.#capacity) {
        await this.#wait();
        continue;
      }
      if (this.#half) return;
      const { cutAt = Infinity, stallAt = Infinity, repeat = [Infinity, Infinity], alter } = this.#faults;
      const { halfAt = Infinity, delay = { at: Infinity, ms: 0 } } = this.#faults;
      const ahead = [cutAt, stallAt, ...repeat, halfAt, delay.at].map((offset) => offset - this.written);
      const room = Math.min(this.#capacity - this.#queued, this.#chunk, source.length - at);
      const allowed = Math.min(room, ...ahead.filter((bytes, i) => i < 2 || bytes > 0));
      const piece = Uint8Array.from(source.subarray(at, at + Math.max(0, allowed)));
      alter?.(piece, this.written);
      if (this.written >= repeat[0] && this.written < repeat[1]) this.#again.push(piece);
      this.log.push(piece);
      this.#queue.push(piece);
      this.#queued += piece.length;
      this.written += piece.length;
      at += piece.length;
      if (this.written === repeat[1]) this.#queue.push(...this.#again.splice(0));
      if (this.written >= cutAt) {
        this.link.cut(this.#faults.cutAs ?? 'reset');
        this.check();
      }
      if (this.written >= stallAt) this.#stalled = true;
      if (this.written === delay.at) this.link.options.time?.spend(delay.ms * 1e6);
      if (this.written >= halfAt) this.#half = true;
      this.notify();
    }
    this.check();
  }

  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const piece = this.#queue.shift();
      if (piece !== undefined && piece.length > 0) {
        this.#queued -= piece.length;
        this.notify();
        return piece;
      }
      if (piece !== undefined) continue;
      if (this.error !== undefined) throw this.error;
      if (this.#ended || this.#half) return undefined;
      await this.#wait();
    }
  }

  check(): void {
    if (this.error !== undefined) throw this.error;
    if (this.#ended) throw new GodwitError('transport', 'write after the end');
  }

  end(): void {
    if (this.#stalled) return;
    this.#ended = true;
    this.notify();
  }

  fail(error: GodwitError | undefined, drop: boolean): void {
    if (error === undefined) this.#ended = true;
    else this.error ??= error;
    if (drop) this.#queue.length = 0;
    this.notify();
  }

  notify(): void {
    this.link.options.time?.spend(0);
    const wake = this.#wake;
    this.#wake = [];
    for (const go of wake) go();
  }

  #wait(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }
}

/** A connection in memory between two sides, with faults. */
export class Link {
  readonly options: LinkOptions;
  readonly forward: Pipe;
  readonly back: Pipe;

  constructor(options: LinkOptions = {}) {
    this.options = options;
    this.forward = new Pipe(this, options.forward ?? {}, options.chunk ?? 16 * 1024);
    this.back = new Pipe(this, options.back ?? {}, options.chunk ?? 16 * 1024);
  }

  /** The connection goes for both sides. What arrived before stays readable. */
  cut(as: 'end' | 'reset'): void {
    const error = as === 'end' ? undefined : new GodwitError('transport', 'connection reset');
    this.forward.fail(error, false);
    this.back.fail(error, false);
  }

  /** The end that writes forward. */
  source(): Transport {
    return this.#side(this.forward, this.back);
  }

  destination(): Transport {
    return this.#side(this.back, this.forward);
  }

  #side(out: Pipe, into: Pipe): Transport {
    let destroyed = false;
    /** One write comes behind the other, however many are under way. */
    let before: Promise<void> = Promise.resolve();
    const { time, rate, onWrite } = this.options;
    return {
      duplex: true,
      live: true,
      write: (chunks) => {
        const write = before.then(async () => {
          for (const chunk of chunks) {
            if (out === this.forward) {
              if (rate !== undefined) time?.spend((chunk.length / rate) * 1e9);
              onWrite?.();
            }
            await out.write(chunk);
          }
        });
        before = write.catch(() => {});
        return write;
      },
      read: () => into.read(),
      end: async () => out.end(),
      destroy: () => {
        if (destroyed) return;
        destroyed = true;
        const gone = new GodwitError('transport', 'connection dropped here');
        out.fail(undefined, false);
        into.fail(gone, true);
      },
    };
  }
}

/** A file in memory: written through one transport, read through another. */
export class MemoryFile {
  readonly pieces: Uint8Array[] = [];
  complete = false;
  failAtEnd = false;

  bytes(): Uint8Array {
    return new Uint8Array(Buffer.concat(this.pieces));
  }

  writer(onWrite?: () => void): Transport {
    return {
      duplex: false,
      live: false,
      write: async (chunks) => {
        for (const chunk of chunks) {
          onWrite?.();
          this.pieces.push(Uint8Array.from(chunk));
        }
      },
      read: () => Promise.reject(new GodwitError('internal', 'a file has no return path')),
      end: async () => {
        if (this.failAtEnd) throw new GodwitError('transport', 'no space left on device');
        this.complete = true;
      },
      destroy: () => {},
    };
  }

  static reader(bytes: Uint8Array, chunk = 10_000): Transport {
    let at = 0;
    return {
      duplex: false,
      live: false,
      write: () => Promise.reject(new GodwitError('internal', 'a file has no return path')),
      read: async () => {
        if (at >= bytes.length) return undefined;
        const piece = bytes.subarray(at, at + chunk);
        at += piece.length;
        return piece;
      },
      end: async () => {},
      destroy: () => {},
    };
  }
}
