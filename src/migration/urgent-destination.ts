/**
 * The destination's second connection in post-copy (urgent-source.ts). Where it can, the thread that needs the pages has it
 * for itself; otherwise it is served here.
 */
import { type Frame, FrameReader } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import { asGodwitError, type Interrupt } from './interrupt.ts';
import { Kernels } from './kernels.ts';
import type { PostcopyVm } from './migratable-vm.ts';
import { PageFetcher } from './page-fetcher.ts';
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
  /** Whether frames are to be confirmed. */
  readonly confirms: boolean;
  /** Who may take the connection. */
  readonly fetch: PostcopyVm['fetch'];
}

export class UrgentDestination {
  readonly #options: UrgentDestinationOptions;
  readonly #joined: Promise<void>;
  #transport: Transport | undefined;
  /** Of a connection that is served here. */
  #fetcher: PageFetcher | undefined;
  /** Takes the connection back from who serves it. */
  #takeBack: (() => Promise<void>) | undefined;
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

  /** Waits until it is there. From then on it is served. */
  joined(): Promise<void> {
    return this.#patiently(this.#joined, 'make a connection for page requests');
  }

  /** Whether another thread has it for itself. */
  get lent(): boolean {
    return this.#takeBack !== undefined;
  }

  #serve(transport: Transport, reader: FrameReader): void {
    const { fetch, land, place, confirms } = this.#options;
    const from = fetch === undefined ? undefined : reader.place;
    const lent = from === undefined ? undefined : transport.lend?.();
    let fetching: Promise<void>;
    if (fetch !== undefined && from !== undefined && lent !== undefined) {
      const { done, end } = fetch(lent, from, confirms);
      this.#takeBack = end;
      fetching = done;
    } else {
      land(reader);
      const writer = new FrameWriter(transport, Kernels.standalone(), 'return', URGENT_CHANNEL);
      const placeIfOpen = (frame: Frame): void => {
        if (!this.#closed) place(frame);
      };
      this.#fetcher = new PageFetcher(reader, writer, placeIfOpen, confirms);
      fetching = this.#fetcher.run();
    }
    fetching.then(this.#resolveSwept, (error: unknown) => this.#fire(error));
  }

  /** Waits until all has come over it. */
  swept(): Promise<void> {
    return this.#patiently(this.#swept, 'end the connection for page requests');
  }

  /** Whoever has the connection for himself has asked already. */
  ask(page: number): void {
    this.#fetcher?.ask(page).catch((error: unknown) => this.#fire(error));
  }

  /** Resolves when nobody uses it any more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#options.source.close();
    // A descriptor that is closed may be another's a moment later.
    await this.#takeBack?.().catch(() => {});
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
      this.#serve(transport, reader);
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

  #patiently<T>(promise: Promise<T>, what: string): Promise<T> {
    const { interrupt, patienceMs } = this.#options;
    return interrupt.guard(promise, { ms: patienceMs(), what });
  }

  #fire(error: unknown): void {
    if (!this.#closed) this.#options.interrupt.fire(asGodwitError(error));
  }
}
