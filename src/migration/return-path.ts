/** The source's ear: reads what the destination says all the time, so that a refusal is heard whenever it comes. */
import { GodwitError } from '../error.ts';
import type { Frame, FrameReader } from './frame-reader.ts';
import { asGodwitError, type Interrupt, type Patience } from './interrupt.ts';
import { decodeMessage, type ReturnFrame } from './protocol.ts';

/** What is done at once with frames that nobody expects at a certain moment. */
export type FrameHandlers = Readonly<Partial<Record<ReturnFrame, (frame: Frame) => void>>>;

export class ReturnPath {
  readonly #reader: FrameReader;
  readonly #interrupt: Interrupt;
  readonly #frames: Frame[] = [];
  #arrived: () => void = () => {};
  #last: ReturnFrame = 'running';
  #handlers: FrameHandlers = {};

  constructor(reader: FrameReader, interrupt: Interrupt) {
    this.#reader = reader;
    this.#interrupt = interrupt;
  }

  /** From now on `last` is the last frame that is read, and these go to their handlers. */
  hear(last: ReturnFrame, handlers: FrameHandlers): void {
    this.#last = last;
    this.#handlers = handlers;
  }

  /** Reads until the last frame ("running" if nothing else is said), or until something ends the migration, which is fired at the interrupt. Never rejects. */
  async listen(): Promise<void> {
    try {
      for (;;) {
        const frame = await this.#reader.next();
        if (frame === undefined) throw new GodwitError('transport', 'the destination closed the connection');
        const { type, payload, offset } = frame;
        if (type === 'refused' || type === 'failed') {
          const { reason } = decodeMessage(type, payload, offset);
          throw new GodwitError(
            'refused',
            `the destination ${type === 'failed' ? 'failed' : 'refuses'}: ${reason}`,
          );
        }
        const handler = this.#handlers[type as ReturnFrame];
        if (handler !== undefined) {
          handler(frame);
          continue;
        }
        this.#frames.push(frame);
        this.#arrived();
        if (type === this.#last) return;
      }
    } catch (error) {
      this.#interrupt.fire(asGodwitError(error));
    }
  }

  /**
   * Waits for the next frame, which must be of this type.
   * @throws what ended the migration; kind "format" for another frame; kind "transport" when patience runs out.
   */
  async expect(type: ReturnFrame, patience: Patience): Promise<Frame> {
    if (this.#frames.length === 0) {
      const arrival = new Promise<void>((resolve) => {
        this.#arrived = resolve;
      });
      await this.#interrupt.guard(arrival, patience);
    }
    const frame = this.#frames.shift();
    if (frame?.type !== type) {
      throw GodwitError.unexpected(
        'format',
        'answer of the destination',
        `"${type}"`,
        `"${frame?.type}"`,
        frame?.offset,
      );
    }
    return frame;
  }
}
