/**
 * Post-copy in the thread that needs the pages: asks for them and places them by itself, over a connection that the
 * migration thread has lent it. From one thread to the other and back would be four wake-ups, of 50 to 200 µs each.
 */
import { GodwitError } from '../error.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { type Frame, FrameReader, type StreamPlace } from '../migration/frame-reader.ts';
import { FrameWriter } from '../migration/frame-writer.ts';
import { Kernels } from '../migration/kernels.ts';
import { LatePages } from '../migration/late-pages.ts';
import { PageFetcher } from '../migration/page-fetcher.ts';
import { fetcherPlaces, receivedPages } from '../migration/ram-applier.ts';
import type { LentConnection } from '../migration/transport.ts';
import { PolledSocket } from './polled-socket.ts';

export class OwnPages {
  readonly #socket: PolledSocket;
  readonly #fetcher: PageFetcher;
  /** Settles as PageFetcher.run does. */
  readonly done: Promise<void>;

  constructor(
    { memory, layout, missing }: GuestMemory,
    connection: LentConnection,
    from: StreamPlace,
    confirms: boolean,
  ) {
    this.#socket = new PolledSocket(connection);
    const { scratch, landing } = fetcherPlaces(layout);
    const kernels = new Kernels(memory, scratch);
    const pages = new LatePages(kernels, layout, receivedPages(memory, layout));
    const reader = FrameReader.from(this.#socket, 'forward', from);
    reader.land({ types: ['pages'], kernels, at: () => landing });
    const writer = new FrameWriter(this.#socket, Kernels.standalone(), 'return', from.channel);
    const place = (frame: Frame): void => {
      if (!missing.any) {
        const [expected, got] = ['nothing before pages are missing', '"pages"'];
        throw GodwitError.unexpected('format', 'connection for page requests', expected, got, frame.offset);
      }
      pages.place(frame);
    };
    this.#fetcher = new PageFetcher(reader, writer, place, confirms);
    this.done = this.#fetcher.run();
  }

  ask(page: number): void {
    // Why it can't be written is why nothing comes.
    this.#fetcher.ask(page).catch(() => {});
  }

  /** Looks whether anything has come; it is placed when the thread comes back to its event loop. */
  poll(): boolean {
    return this.#socket.poll();
  }

  /** Lets go of the connection. */
  close(): void {
    this.#socket.destroy();
  }
}
