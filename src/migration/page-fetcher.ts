/**
 * Asks for pages in post-copy, and places those that come, over a connection that is for nothing else (urgent-source.ts):
 * in the migration thread, or in the very thread that waits for them, so that nobody has to be woken.
 */
import { GodwitError } from '../error.ts';
import type { Frame, FrameReader } from './frame-reader.ts';
import type { FrameWriter } from './frame-writer.ts';

/** The payload of a `request`. */
export function pageRequest(page: number): Uint8Array {
  const payload = new Uint8Array(4);
  new DataView(payload.buffer).setUint32(0, page, true);
  return payload;
}

export class PageFetcher {
  readonly #reader: FrameReader;
  readonly #writer: FrameWriter;
  readonly #place: (frame: Frame) => void;
  readonly #confirms: boolean;

  /**
   * @param place is given `pages` frames; the reader puts their payloads where it wants them.
   * @param confirms whether the source is to hear of each that has been placed.
   */
  constructor(reader: FrameReader, writer: FrameWriter, place: (frame: Frame) => void, confirms: boolean) {
    this.#reader = reader;
    this.#writer = writer;
    this.#place = place;
    this.#confirms = confirms;
  }

  ask(page: number): Promise<void> {
    return this.#writer.send('request', pageRequest(page));
  }

  /** Places what comes, until all has come. @throws GodwitError kind "format", or "transport" if the connection breaks. */
  async run(): Promise<void> {
    const where = 'connection for page requests';
    for (;;) {
      const frame = await this.#reader.next();
      if (frame === undefined) {
        const expected = 'frames up to "swept"';
        throw GodwitError.unexpected(
          'transport',
          where,
          expected,
          'the end of the stream',
          this.#reader.offset,
        );
      }
      if (frame.type === 'swept') return;
      if (frame.type !== 'pages') {
        throw GodwitError.unexpected('format', where, '"pages" or "swept"', `"${frame.type}"`, frame.offset);
      }
      this.#place(frame);
      // Why it can't be written is why nothing comes.
      if (this.#confirms) this.#writer.send('placed').catch(() => {});
    }
  }
}
