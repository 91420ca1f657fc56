/**
 * The source's second connection in post-copy (feature "preempt"): the destination asks for pages over it, and they go back
 * over it, past whatever of the sweep is on its way over the first one.
 */
import { GodwitError } from '../error.ts';
import { type Frame, FrameReader } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import { asGodwitError, type Interrupt } from './interrupt.ts';
import type { Kernels, Piece } from './kernels.ts';
import { encodeMessage } from './protocol.ts';
import type { Transport } from './transport.ts';

/** The number that the connection is opened with. */
export const URGENT_CHANNEL = 1;

export class UrgentSource {
  readonly #transport: Transport;
  readonly #writer: FrameWriter;
  readonly #interrupt: Interrupt;
  /** All has been said: how it ends is of no interest any more. */
  #done = false;
  #requested: (frame: Frame) => void = () => {};
  #placed: (frame: Frame) => void = () => {};

  constructor(transport: Transport, kernels: Kernels, interrupt: Interrupt) {
    this.#transport = transport;
    transport.hurry?.();
    this.#writer = new FrameWriter(transport, kernels, 'forward', URGENT_CHANNEL);
    this.#interrupt = interrupt;
  }

  /** Says which migration it belongs to, and hears requests from then on. */
  async open(id: Uint8Array): Promise<void> {
    await this.#writer.send('urgent', encodeMessage('urgent', { id }));
    void this.#listen();
  }

  /** Whom to tell of requests. */
  set onRequest(requested: (frame: Frame) => void) {
    this.#requested = requested;
  }

  /** Whom to tell of pages that have been placed. */
  set onPlaced(placed: (frame: Frame) => void) {
    this.#placed = placed;
  }

  /** As FrameWriter.sendInPlace. */
  submit(payload: Piece): Promise<void> {
    return this.#writer.sendInPlace('pages', [payload]);
  }

  /** Nothing more comes over it. */
  async swept(): Promise<void> {
    this.#done = true;
    await this.#writer.send('swept');
  }

  close(): void {
    this.#done = true;
    this.#transport.destroy();
  }

  async #listen(): Promise<void> {
    const reader = new FrameReader(this.#transport, 'return', true);
    try {
      for (;;) {
        const frame = await reader.next();
        if (frame === undefined) {
          throw new GodwitError('transport', 'the destination closed the connection for page requests');
        }
        if (frame.type === 'request') this.#requested(frame);
        else if (frame.type === 'placed') this.#placed(frame);
        else {
          const [where, expected] = ['connection for page requests', '"request" or "placed"'];
          throw GodwitError.unexpected('format', where, expected, `"${frame.type}"`, frame.offset);
        }
      }
    } catch (error) {
      if (!this.#done) this.#interrupt.fire(asGodwitError(error));
    }
  }
}
