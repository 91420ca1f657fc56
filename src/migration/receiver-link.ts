/** One connection of the destination: what reads it, what answers, and what ends the waits on it. */
import { type Frame, FrameReader } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import { Interrupt } from './interrupt.ts';
import { Kernels } from './kernels.ts';
import { encodeMessage, type ReturnFrame } from './protocol.ts';
import type { Timers } from './timers.ts';
import type { Transport } from './transport.ts';

/** How long the source may take to take "running", and to read why something failed. */
const COURTESY_MS = 1000;

export class ReceiverLink {
  readonly transport: Transport;
  readonly interrupt: Interrupt;
  readonly reader: FrameReader;
  readonly writer: FrameWriter;
  readonly #timers: Timers;
  readonly #patienceMs: () => number;
  /** The read that is under way, or the last one. */
  #reading: Promise<Frame | undefined> = Promise.resolve(undefined);

  /** @param patienceMs how long the source may take to take an answer. */
  constructor(transport: Transport, timers: Timers, patienceMs: () => number) {
    this.transport = transport;
    this.interrupt = new Interrupt(timers);
    this.reader = new FrameReader(transport, 'forward');
    this.writer = new FrameWriter(transport, Kernels.standalone(), 'return');
    this.#timers = timers;
    this.#patienceMs = patienceMs;
  }

  /**
   * The next frame; undefined at the end of the stream.
   * @param what the source has to do in time; absent if it may take its time.
   */
  next(what?: string): Promise<Frame | undefined> {
    this.#reading = this.reader.next();
    return this.interrupt.guard(
      this.#reading,
      what === undefined ? undefined : { ms: this.#patienceMs(), what },
    );
  }

  /** Answers, if anybody hears it. */
  async say(type: ReturnFrame, payload?: Uint8Array): Promise<void> {
    if (!this.transport.duplex) return;
    const ms = type === 'running' ? Math.min(COURTESY_MS, this.#patienceMs()) : this.#patienceMs();
    await this.interrupt.guard(this.writer.send(type, payload), { ms, what: `take "${type}"` });
  }

  /** An answer that may be lost without harm. */
  async mention(type: ReturnFrame): Promise<void> {
    await this.#politely(() => this.say(type));
  }

  /** Tells why it ends, and that nothing else will be said. */
  async complain(type: 'refused' | 'failed', reason: string): Promise<void> {
    await this.#politely(async () => {
      await this.writer.send(type, encodeMessage(type, { reason }));
      await this.transport.end();
      // A connection that is dropped with unread bytes in it may take our last words with it.
      await this.#reading.catch(() => {});
      while ((await this.transport.read()) !== undefined);
    });
  }

  /** Ends it, as far as it goes in peace. */
  async close(): Promise<void> {
    if (this.transport.duplex) await this.#politely(() => this.transport.end());
    this.transport.destroy();
  }

  /** Does something that may fail or hang without harm. */
  #politely(what: () => Promise<void>): Promise<void> {
    return new Promise((resolve) => {
      const forget = this.#timers.after(COURTESY_MS, resolve);
      const done = (): void => {
        forget();
        resolve();
      };
      what().then(done, done);
    });
  }
}
