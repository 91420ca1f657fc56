/** The source's side of the feature "multifd": further connections for memory. */
import { GodwitError } from '../error.ts';
import { FrameWriter } from './frame-writer.ts';
import { asGodwitError, type Interrupt } from './interrupt.ts';
import { type Kernels, type Piece, sizeOf } from './kernels.ts';
import { encodeMessage } from './protocol.ts';
import type { RamFrame } from './ram-applier.ts';
import type { Transport } from './transport.ts';

/** How long the reason for a channel's end may take. */
const COURTESY_MS = 200;

export interface ChannelOptions {
  /** How many. */
  readonly count: number;
  /** Random: joins them to this migration. At least 16 bytes. */
  readonly id: Uint8Array;
  /** Makes one of the connections. */
  readonly open: () => Promise<Transport>;
  /** What memory is compressed with, if it is. */
  readonly compression?: Compression;
}

export interface Compression {
  readonly frame: Exclude<RamFrame, 'ram'>;
  compress(payload: Uint8Array): Promise<Uint8Array>;
}

interface Channel {
  readonly writer: FrameWriter;
  /** Bytes handed over that the system has not taken yet. */
  waiting: number;
}

export class SenderChannels {
  readonly #options: ChannelOptions;
  readonly #kernels: Kernels;
  readonly #interrupt: Interrupt;
  #channels: readonly Channel[] = [];
  readonly #transports = new Set<Transport>();
  /** They have done their work: how they end is of no interest any more. */
  #done = false;
  /** Ends the waits for a reason. */
  readonly #naps: (() => void)[] = [];

  constructor(options: ChannelOptions, kernels: Kernels, interrupt: Interrupt) {
    this.#options = options;
    this.#kernels = kernels;
    this.#interrupt = interrupt;
  }

  /** Bytes handed over so far. */
  get bytes(): number {
    return this.#channels.reduce((sum, { writer }) => sum + writer.bytes, 0);
  }

  /** Connects them all, and tells who they are. */
  async connect(): Promise<void> {
    const { count, id, open } = this.#options;
    const one = async (number: number): Promise<Channel> => {
      const transport = await open();
      this.#transports.add(transport);
      if (this.#done) throw new GodwitError('cancelled', 'the migration is over');
      const writer = new FrameWriter(transport, this.#kernels, 'forward', number);
      await writer.send('channel', encodeMessage('channel', { id }));
      void this.#watch(transport, number);
      return { writer, waiting: 0 };
    };
    try {
      this.#channels = await Promise.all(Array.from({ length: count }, (_, i) => one(i + 1)));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Sends a frame of memory (as FrameWriter.sendInPlace) over the channel that has least to do. The memory may be used again
   * when the promise resolves.
   * @returns bytes that it took.
   */
  async submit(payload: readonly Piece[]): Promise<number> {
    const length = sizeOf(payload);
    const [first, ...others] = this.#channels;
    if (first === undefined) throw new GodwitError('internal', 'migration: no channels');
    const channel = others.reduce((least, other) => (other.waiting < least.waiting ? other : least), first);
    channel.waiting += length;
    try {
      const { compression } = this.#options;
      if (compression === undefined) {
        await channel.writer.sendInPlace('ram', payload);
        return FrameWriter.size(length);
      }
      const packed = await compression.compress(this.#kernels.gather(payload));
      const framed = new Uint8Array(4 + packed.length);
      new DataView(framed.buffer).setUint32(0, length, true);
      framed.set(packed, 4);
      await channel.writer.send(compression.frame, framed);
      return FrameWriter.size(framed.length);
    } finally {
      channel.waiting -= length;
    }
  }

  /** All of the pass has been handed over. */
  async sync(pass: number): Promise<void> {
    const message = encodeMessage('sync', { pass });
    await Promise.all(this.#channels.map(({ writer }) => writer.send('sync', message)));
  }

  /** The destination has everything, or the migration is over. */
  close(): void {
    this.#done = true;
    for (const transport of this.#transports) transport.destroy();
    for (const wake of this.#naps.splice(0)) wake();
  }

  /** Nothing is ever said over them: whatever happens is their end. */
  async #watch(transport: Transport, number: number): Promise<void> {
    let error: GodwitError;
    try {
      const bytes = await transport.read();
      error =
        bytes === undefined
          ? new GodwitError('transport', `channel ${number}: the destination closed the connection`)
          : GodwitError.unexpected('format', `channel ${number}`, 'nothing from the destination', 'bytes');
    } catch (thrown) {
      const { kind, message } = asGodwitError(thrown);
      error = new GodwitError(kind, `channel ${number}: ${message}`);
    }
    if (this.#done) return;
    // Why the destination hangs up, it says on the main connection.
    await this.#interrupt.sleep(COURTESY_MS, (wake) => this.#naps.push(wake)).catch(() => {});
    if (!this.#done) this.#interrupt.fire(error);
  }
}
