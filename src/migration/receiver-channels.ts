/** The destination's side of the feature "multifd": the further connections that memory arrives over. */
import { GodwitError } from '../error.ts';
import { FrameReader } from './frame-reader.ts';
import { asGodwitError, type Interrupt } from './interrupt.ts';
import { decodeMessage, MAX_CHANNELS, type Message } from './protocol.ts';
import { RAM_FRAMES } from './ram-applier.ts';
import type { RamReceiver } from './ram-receiver.ts';
import type { Transport } from './transport.ts';

/** How long the reason for a channel's end may take. */
const COURTESY_MS = 200;

/** Where further connections come from. */
export interface ChannelSource {
  /** The next connection that has begun to speak. */
  next(): Promise<Transport>;
  close(): void;
}

export interface ReceiverChannelsOptions {
  readonly source: ChannelSource;
  readonly ram: RamReceiver;
  readonly interrupt: Interrupt;
  /** How long who connects may take to say who he is. */
  readonly patienceMs: number;
}

export class ReceiverChannels {
  readonly #options: ReceiverChannelsOptions;
  readonly #id: Uint8Array;
  readonly #count: number;
  readonly #channels = new Map<number, Transport>();
  readonly #readers: FrameReader[] = [];
  /** All connections, those of strangers as long as they are not known to be. */
  readonly #transports = new Set<Transport>();
  /** Channels that have said "sync" for the present pass. */
  readonly #synced = new Set<number>();
  #pass = 1;
  #closing = false;
  readonly #naps: (() => void)[] = [];
  /** Those who wait for the sets above to change. */
  #waiters: (() => void)[] = [];

  /** @throws GodwitError kind "format" for a number or an identifier that can't be. */
  constructor({ id, count }: Message<'channels'>, offset: number, options: ReceiverChannelsOptions) {
    const check = (what: string, expected: string, got: number, fits: boolean): void => {
      if (!fits)
        throw GodwitError.unexpected('format', `frame "channels", ${what}`, expected, `${got}`, offset);
    };
    check('count', `1 to ${MAX_CHANNELS}`, count, count >= 1 && count <= MAX_CHANNELS);
    check('id', 'at least 16 bytes', id.length, id.length >= 16);
    this.#options = options;
    this.#id = id;
    this.#count = count;
  }

  /** Stream bytes read so far. */
  get bytes(): number {
    return this.#readers.reduce((sum, { offset }) => sum + offset, 0);
  }

  /** Takes connections until all are there. Others are dropped. @throws GodwitError if there will be none. */
  async join(): Promise<void> {
    const { source } = this.#options;
    const accepting = async (): Promise<void> => {
      while (!this.#closing) {
        const transport = await source.next();
        void this.#welcome(transport);
      }
    };
    accepting().catch((error: unknown) => {
      if (this.#channels.size < this.#count && !this.#closing) this.#fire(asGodwitError(error));
    });
    while (this.#channels.size < this.#count) await this.#change();
    source.close();
  }

  /** Waits until every channel has sent all of the pass. */
  async synced(pass: number): Promise<void> {
    if (this.#channels.size < this.#count) {
      throw new GodwitError(
        'format',
        `migration stream: pass ${pass} has ended before all channels were there`,
      );
    }
    while (this.#synced.size < this.#count) await this.#change();
  }

  /** What comes next over the channels belongs to the next pass. */
  nextPass(): void {
    this.#pass++;
    this.#synced.clear();
    this.#wake();
  }

  /** They have brought all that they had to: how they end is of no interest any more. */
  finish(): void {
    this.#closing = true;
  }

  close(): void {
    this.#closing = true;
    this.#options.source.close();
    for (const transport of this.#transports) transport.destroy();
    this.#endNap();
    this.#wake();
  }

  async #welcome(transport: Transport): Promise<void> {
    const { interrupt, patienceMs } = this.#options;
    this.#transports.add(transport);
    const reader = new FrameReader(transport, 'forward', true);
    let channel: number;
    try {
      const first = await interrupt.guard(reader.next(), { ms: patienceMs, what: 'say which channel it is' });
      channel = reader.channel;
      if (first?.type !== 'channel' || this.#closing) throw new GodwitError('format', 'no channel');
      const { id } = decodeMessage('channel', first.payload, first.offset);
      if (!equal(id, this.#id) || channel > this.#count || this.#channels.has(channel)) {
        throw new GodwitError('format', 'another channel');
      }
    } catch {
      // Somebody else, who does no harm.
      this.#transports.delete(transport);
      transport.destroy();
      return;
    }
    this.#channels.set(channel, transport);
    this.#readers.push(reader);
    this.#wake();
    try {
      await this.#listen(reader, channel);
    } catch (thrown) {
      const error = asGodwitError(thrown);
      // Why the source hangs up, it says on the main connection.
      if (error.kind === 'transport' && !this.#closing) await this.#nap();
      if (!this.#closing) this.#fire(error);
    }
  }

  async #listen(reader: FrameReader, channel: number): Promise<void> {
    const { ram } = this.#options;
    reader.landIn(ram.slots);
    for (;;) {
      const frame = await reader.next();
      if (this.#closing) return;
      const where = `channel ${channel}`;
      if (frame === undefined) {
        const expected = 'frames up to "end" on the main connection';
        throw GodwitError.unexpected('transport', where, expected, 'the end of the stream', reader.offset);
      }
      const { type, payload, offset } = frame;
      if ((RAM_FRAMES as readonly string[]).includes(type)) {
        ram.take(frame, channel);
      } else if (type === 'sync') {
        const { pass } = decodeMessage('sync', payload, offset);
        if (pass !== this.#pass) {
          throw GodwitError.unexpected(
            'format',
            `${where}, frame "sync", pass`,
            `${this.#pass}`,
            `${pass}`,
            offset,
          );
        }
        this.#synced.add(channel);
        this.#wake();
        while (this.#pass === pass && !this.#closing) await this.#change();
      } else {
        throw GodwitError.unexpected('format', where, 'memory or "sync"', `"${type}"`, offset);
      }
    }
  }

  async #nap(): Promise<void> {
    const nap = this.#options.interrupt.sleep(COURTESY_MS, (wake) => this.#naps.push(wake));
    await nap.catch(() => {});
  }

  #endNap(): void {
    for (const wake of this.#naps.splice(0)) wake();
  }

  #fire(error: GodwitError): void {
    this.#options.interrupt.fire(error);
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  #wake(): void {
    for (const go of this.#waiters.splice(0)) go();
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
