/** The destination's second connection in post-copy (urgent-source.ts). */
import { GodwitError } from '../error.ts';
import { type Frame, FrameReader } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import { asGodwitError, type Interrupt } from './interrupt.ts';
import { Kernels } from './kernels.ts';
import { decodeMessage } from './protocol.ts';
import type { ChannelSource } from './receiver-channels.ts';
import type { Transport } from './transport.ts';
import { URGENT_CHANNEL } from './urgent-source.ts';

export interface UrgentDestinationOptions {
  /** Where it comes from; others that come are dropped. */
  readonly source: ChannelSource;
  readonly id: Uint8Array;
  readonly interrupt: Interrupt;
  readonly patienceMs: () => number;
  /** Says where `pages` frames of a reader are to land. */
  readonly land: (reader: FrameReader) => void;
  readonly place: (frame: Frame) => void;
}

export class UrgentDestination {
  readonly #options: UrgentDestinationOptions;
  readonly #joined: Promise<void>;
  #transport: Transport | undefined;
  #writer: FrameWriter | undefined;
  #closed = false;
  #resolveSwept: () => void = () => {};
  readonly #swept = new Promise<void>((resolve) => {
    this.#resolveSwept = resolve;
  });

  /** Waits for the connection from now on. */
  constructor(options: UrgentDestinationOptions) {
    this.#options = options;
    this.#joined = this.#join();
    this.#joined.catch((error: unknown) => this.#fire(error));
  }

  /** Waits until it is there. */
  joined(): Promise<void> {
    return this.#patiently(this.#joined, 'make a connection for page requests');
  }

  /** Waits until all has come over it. */
  swept(): Promise<void> {
    return this.#patiently(this.#swept, 'end the connection for page requests');
  }

  ask(payload: Uint8Array): void {
    this.#writer?.send('request', payload).catch((error: unknown) => this.#fire(error));
  }

  close(): void {
    this.#closed = true;
    this.#options.source.close();
    this.#transport?.destroy();
  }

  async #join(): Promise<void> {
    const { source } = this.#options;
    for (;;) {
      const transport = await source.next();
      const reader = await this.#welcome(transport);
      if (reader === undefined) {
        transport.destroy();
        continue;
      }
      if (!this.#closed) source.close();
      this.#transport = transport;
      this.#writer = new FrameWriter(transport, Kernels.standalone(), 'return', URGENT_CHANNEL);
      this.#options.land(reader);
      this.#listen(reader).catch((error: unknown) => this.#fire(error));
      return;
    }
  }

  /** Undefined for somebody else, who does no harm. */
  async #welcome(transport: Transport): Promise<FrameReader | undefined> {
    const { interrupt, id, patienceMs } = this.#options;
    const reader = new FrameReader(transport, 'forward', true);
    try {
      const what = 'say which connection it is';
      const first = await interrupt.guard(reader.next(), { ms: patienceMs(), what });
      if (this.#closed || first?.type !== 'urgent' || reader.channel !== URGENT_CHANNEL) return undefined;
      const { id: named } = decodeMessage('urgent', first.payload, first.offset);
      return named.length === id.length && named.every((byte, i) => byte === id[i]) ? reader : undefined;
    } catch {
      interrupt.check();
      return undefined;
    }
  }

  async #listen(reader: FrameReader): Promise<void> {
    const where = 'connection for page requests';
    for (;;) {
      const frame = await reader.next();
      if (this.#closed) return;
      if (frame === undefined) {
        const expected = 'frames up to "swept"';
        throw GodwitError.unexpected('transport', where, expected, 'the end of the stream', reader.offset);
      }
      if (frame.type === 'swept') {
        this.#resolveSwept();
        return;
      }
      if (frame.type !== 'pages') {
        throw GodwitError.unexpected('format', where, '"pages" or "swept"', `"${frame.type}"`, frame.offset);
      }
      this.#options.place(frame);
    }
  }

  #patiently<T>(promise: Promise<T>, what: string): Promise<T> {
    const { interrupt, patienceMs } = this.#options;
    return interrupt.guard(promise, { ms: patienceMs(), what });
  }

  #fire(error: unknown): void {
    if (!this.#closed) this.#options.interrupt.fire(asGodwitError(error));
  }
}
