/**
 * The source's connection: hands frames over with patience, measures what that takes, and hears the answers. Every wait
 * ends when the migration is interrupted.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import type { Bandwidth } from './bandwidth.ts';
import { type Frame, FrameReader } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import type { Interrupt, Patience } from './interrupt.ts';
import { type Kernels, type Piece, sizeOf } from './kernels.ts';
import type { MigrationParameters } from './parameters.ts';
import { encodeMessage, type ForwardFrame, type ReturnFrame } from './protocol.ts';
import { type FrameHandlers, ReturnPath } from './return-path.ts';
import { type ChannelOptions, SenderChannels } from './sender-channels.ts';
import type { Statistics } from './statistics.ts';
import type { Timers } from './timers.ts';
import type { Transport } from './transport.ts';
import { UrgentSource } from './urgent-source.ts';

/** How long a message that only explains may take. */
const COURTESY_MS = 200;
/** Characters of a reason that are sent. */
const MAX_REASON = 1000;

export interface SourceLinkOptions {
  readonly open: () => Promise<Transport>;
  /** Further connections for memory: the feature "multifd". */
  readonly channels?: ChannelOptions;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly interrupt: Interrupt;
  readonly kernels: Kernels;
  readonly parameters: () => MigrationParameters;
  readonly statistics: Statistics;
  readonly bandwidth: Bandwidth;
}

export class SourceLink {
  readonly #options: SourceLinkOptions;
  readonly #interrupt: Interrupt;
  #transport: Transport | undefined;
  #writer: FrameWriter | undefined;
  #returnPath: ReturnPath | undefined;
  #channels: SenderChannels | undefined;
  #urgent: UrgentSource | undefined;

  constructor(options: SourceLinkOptions) {
    this.#options = options;
    this.#interrupt = options.interrupt;
  }

  /** Whether there is a destination that answers. A file does not, and runs nothing. */
  get duplex(): boolean {
    return this.#transport?.duplex === true;
  }

  /** Whether somebody may run the guest once "go" is on its way. */
  get live(): boolean {
    return this.#transport?.live === true;
  }

  /** Bytes handed over so far. */
  get bytes(): number {
    return (this.#writer?.bytes ?? 0) + (this.#channels?.bytes ?? 0);
  }

  async connect(): Promise<void> {
    const opening = this.#options.open();
    try {
      this.#transport = await this.guard(opening, 'take the connection');
    } catch (error) {
      // It may still come: nobody wants it then.
      opening.then(
        (late) => late.destroy(),
        () => {},
      );
      throw error;
    }
    this.#writer = new FrameWriter(this.#transport, this.#options.kernels, 'forward');
    if (this.duplex) {
      this.#returnPath = new ReturnPath(new FrameReader(this.#transport, 'return'), this.#interrupt);
      void this.#returnPath.listen();
    }
  }

  /** Says that further connections will come, if any will. */
  async announceChannels(): Promise<void> {
    const { channels } = this.#options;
    if (channels === undefined) return;
    if (!this.duplex) throw new GodwitError('usage', 'multifd needs a destination that answers: a socket');
    await this.send('channels', encodeMessage('channels', { id: channels.id, count: channels.count }));
  }

  /** Makes them, and waits until the destination has them all. */
  async openChannels(): Promise<void> {
    const { channels, kernels } = this.#options;
    if (channels === undefined) return;
    this.#channels = new SenderChannels(channels, kernels, this.#interrupt);
    await this.guard(this.#channels.connect(), 'take all channels');
    await this.expect('joined', 'take all channels');
  }

  /** Everything of the pass has been handed over: the channels say so, too. */
  async endPass(pass: number): Promise<void> {
    if (this.#channels !== undefined) await this.guard(this.#channels.sync(pass), 'take more data');
  }

  /** Makes the connection for page requests. @param id as it was announced. */
  async openUrgent(id: Uint8Array): Promise<void> {
    const { open, kernels } = this.#options;
    const opening = open();
    let transport: Transport;
    try {
      transport = await this.guard(opening, 'take the connection for page requests');
    } catch (error) {
      opening.then(
        (late) => late.destroy(),
        () => {},
      );
      throw error;
    }
    const urgent = new UrgentSource(transport, kernels, this.#interrupt);
    this.#urgent = urgent;
    await this.guard(urgent.open(id), 'take the connection for page requests');
  }

  /** The connection for page requests, if there is one. */
  get urgent(): UrgentSource | undefined {
    return this.#urgent;
  }

  /** Sends a frame, and counts it as sending unless the caller does (`account` false). */
  async send(type: ForwardFrame, payload?: Uint8Array, account = true): Promise<void> {
    const writer = this.#connected();
    const startNs = this.#now();
    const before = writer.bytes;
    const sending = writer.send(type, payload);
    const bytes = writer.bytes - before;
    await this.guard(sending, 'take more data');
    if (account) this.sent(bytes, 0, startNs, 0);
  }

  /** Starts to write a frame whose payload stands in the shared memory (FrameWriter.sendInPlace). */
  submit(type: ForwardFrame, payload: readonly Piece[]): Promise<void> {
    if (this.#channels !== undefined && type === 'ram') return this.#submitToChannel(payload);
    return this.#connected().sendInPlace(type, payload);
  }

  async #submitToChannel(payload: readonly Piece[]): Promise<void> {
    const bytes = (await this.#channels?.submit(payload)) ?? 0;
    const { statistics } = this.#options;
    statistics.multifdBytes += bytes;
    // It was counted as it stands in memory.
    statistics.transferred += bytes - FrameWriter.size(sizeOf(payload));
  }

  /** `bytes` with `pages` pages took from `startNs` until now to send, after `waitedNs` of waiting for the cap. */
  sent(bytes: number, pages: number, startNs: number, waitedNs: number, bulky?: boolean): void {
    this.#options.bandwidth.add(bytes, pages, this.#now() - startNs, waitedNs, bulky);
    this.#options.statistics.transferred += bytes;
  }

  /** See ReturnPath.hear. */
  hear(last: ReturnFrame, handlers: FrameHandlers): void {
    this.#returnPath?.hear(last, handlers);
  }

  /** The destination's next answer, which must be of this type; undefined if nobody answers. */
  async expect(type: ReturnFrame, what: string): Promise<Frame | undefined> {
    const frame = await this.#returnPath?.expect(type, this.#patience(what));
    // Everything is there: the channels are not needed any more.
    if (type === 'ready') this.#channels?.close();
    return frame;
  }

  /** `promise`, or an error if the other side does not do `what` in time. */
  guard<T>(promise: Promise<T>, what: string): Promise<T> {
    return this.#interrupt.guard(promise, this.#patience(what));
  }

  /** What was sent is complete and in place: a file is on disk. */
  async end(): Promise<void> {
    await this.#transport?.end();
  }

  /** Closes, after what has been written is out if the other side takes it soon. Never rejects. */
  async close(): Promise<void> {
    if (this.duplex) await this.#politely(() => this.#transport?.end());
    this.destroy();
  }

  /** Tells the other side why the migration ends here, if it can hear that, and closes. Never rejects. */
  async abort(reason: GodwitError): Promise<void> {
    if (this.#writer?.idle === true && this.live && reason.kind !== 'transport') {
      const writer = this.#writer;
      const message = encodeMessage('abort', { reason: reason.message.slice(0, MAX_REASON) });
      await this.#politely(() => writer.send('abort', message));
    }
    this.destroy();
  }

  destroy(): void {
    this.#channels?.close();
    this.#urgent?.close();
    this.#transport?.destroy();
  }

  /**
   * Why a step really failed: a link that breaks while we write often has the destination's reason in its other
   * direction.
   */
  async reasonFor(error: GodwitError): Promise<GodwitError> {
    if (error.kind === 'transport' && this.#returnPath !== undefined) {
      try {
        await this.#interrupt.sleep(COURTESY_MS);
      } catch {
        const fired = this.#interrupt.error;
        if (fired?.kind === 'refused') return fired;
      }
    }
    return error;
  }

  /** Does something that may fail or hang without harm. */
  #politely(what: () => Promise<void> | undefined): Promise<void> {
    return new Promise((resolve) => {
      const forget = this.#options.timers.after(COURTESY_MS, resolve);
      const done = (): void => {
        forget();
        resolve();
      };
      const doing = what();
      if (doing === undefined) done();
      else doing.then(done, done);
    });
  }

  #patience(what: string): Patience {
    return { ms: this.#options.parameters().stallTimeoutMs, what };
  }

  #connected(): FrameWriter {
    if (this.#writer === undefined) throw new GodwitError('internal', 'migration: not connected');
    return this.#writer;
  }

  #now(): number {
    return this.#options.clock.nowNs();
  }
}
