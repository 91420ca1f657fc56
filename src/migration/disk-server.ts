/**
 * The source's disks in post-copy: reads chunks that are asked for first, and sweeps over the others, a little ahead of
 * what the link takes. Nothing is given up before the destination has everything: over a new link it goes on from what is
 * missing there.
 */
import type { Clock } from '../clock.ts';
import { type ChunkList, chunkLists, readChunkList, readRequest } from './chunk-list.ts';
import { type DiskPayload, type DiskSave, PIECE_CHUNKS } from './disk-save.ts';
import { diskSlots } from './disk-slots.ts';
import type { ChunkRun } from './disk-stream.ts';
import { FrameWriter } from './frame-writer.ts';
import { asGodwitError, type Interrupt } from './interrupt.ts';
import type { FrameHandlers } from './return-path.ts';
import { SendRing } from './send-ring.ts';
import type { SourceLink } from './source-link.ts';
import type { Statistics } from './statistics.ts';
import { SweepWindow } from './sweep-window.ts';
import { unexpectedPlaced } from './unexpected-placed.ts';

/** Payloads of each kind that are being read, or wait to be sent: no more than there are slots for. */
const AHEAD = 2;

export interface DiskServerOptions {
  readonly save: DiskSave;
  /** Byte offset of the scratch area. */
  readonly scratch: number;
  readonly clock: Clock;
  readonly statistics: Statistics;
}

interface Ready {
  readonly slot: number;
  readonly payload: DiskPayload;
}

/** Payloads of one kind. */
class Lane {
  readonly ready: Ready[] = [];
  reading = 0;

  get room(): boolean {
    return this.ready.length + this.reading < AHEAD;
  }
}

export class DiskServer {
  readonly #options: DiskServerOptions;
  readonly #save: DiskSave;
  #ring: SendRing;
  #window: SweepWindow;
  #asked = new Lane();
  #swept = new Lane();
  readonly #requests: { readonly disk: number; readonly run: ChunkRun }[] = [];
  /** What is missing at the destination, as it says. */
  #missing: ChunkList[] = [];
  readonly #reads = new Set<Promise<void>>();
  /** Whether what is read can be sent. */
  #open = false;
  #failure: { readonly error: unknown } | undefined;
  /** Called when there is something new: a payload, or room for one. */
  onChange: () => void = () => {};
  /** How many chunks a frame of the sweep may hold. */
  mostChunks: () => number = () => PIECE_CHUNKS;

  /** Of a guest that stands still: what is pending is what the destination lacks. */
  constructor(options: DiskServerOptions) {
    this.#options = options;
    this.#save = options.save;
    this.#save.beginSweep();
    this.#ring = new SendRing(diskSlots(options.scratch));
    this.#window = new SweepWindow(options.clock);
  }

  /** The payloads of `diskDiscard`. */
  *discards(): Generator<Uint8Array> {
    for (const [disk] of this.#save.chunks.entries()) yield* chunkLists(disk, this.#save.pending(disk));
  }

  /** What is to be done with what the destination says of disks, over a link that `interrupt` ends. */
  handlers(interrupt: Interrupt): FrameHandlers {
    const { chunks } = this.#save;
    const orEnd = (what: () => void): void => {
      try {
        what();
      } catch (error) {
        interrupt.fire(asGodwitError(error));
      }
    };
    this.#missing = [];
    return {
      diskRequest: ({ payload, offset }) =>
        orEnd(() => {
          const { disk, ...run } = readRequest(payload, chunks, offset);
          this.#options.statistics.disk.requests++;
          this.#requests.push({ disk, run });
          this.#readAhead();
        }),
      diskPlaced: (frame) =>
        orEnd(() => {
          if (!this.#window.placed()) throw unexpectedPlaced(frame, 'disks');
          this.#readAhead();
          this.onChange();
        }),
      diskMissing: ({ payload, offset }) =>
        orEnd(() => {
          this.#missing.push(readChunkList(payload, chunks, { where: 'frame "diskMissing"', offset }));
        }),
    };
  }

  /** Over a new link: what the destination has said is missing is pending, and nothing else. */
  resync(): void {
    this.#save.setPending(this.#missing);
    this.#save.beginSweep();
    this.#progress();
  }

  /** Begins to read. */
  open(): void {
    this.#open = true;
    this.#readAhead();
  }

  /** Ends that: the link is gone, or all has been sent. Resolves when nothing is being read any more. */
  async close(): Promise<void> {
    this.#open = false;
    this.#requests.length = 0;
    await Promise.all(this.#reads);
    this.#failure = undefined;
    this.#asked = new Lane();
    this.#swept = new Lane();
    this.#ring = new SendRing(diskSlots(this.#options.scratch));
    this.#window = new SweepWindow(this.#options.clock);
  }

  /** Whether chunks that were asked for can be sent now. @throws GodwitError kind "file" if they can't be read. */
  get asked(): boolean {
    this.#check();
    return this.#asked.ready.length > 0;
  }

  /** Whether chunks of the sweep can be sent now. @throws GodwitError kind "file". */
  get ready(): boolean {
    this.#check();
    return this.#swept.ready.length > 0 && this.#window.open;
  }

  /** Whether anything has not been sent. */
  get more(): boolean {
    this.#check();
    return this.#asked.ready.length + this.#swept.ready.length + this.#reads.size > 0 || this.#save.more;
  }

  /** Frames on their way. */
  get underWay(): number {
    return this.#window.underWay;
  }

  /** Starts to send a frame: what was asked for, or else of the sweep. Returns its bytes. */
  submit(link: SourceLink): number {
    const { slot, payload } = (this.#asked.ready.shift() ?? this.#swept.ready.shift()) as Ready;
    this.#window.sent();
    const ring = this.#ring;
    const write = link.submit('disk', [payload]);
    ring.submit(slot, write);
    void write.then(
      () => this.#readAhead(),
      (error: unknown) => {
        if (this.#ring !== ring) return;
        this.#failure ??= { error };
        this.onChange();
      },
    );
    const { disk } = this.#options.statistics;
    disk.transferred += payload.length;
    disk.postcopyBytes += payload.length;
    this.#progress();
    this.#readAhead();
    return FrameWriter.size(payload.length);
  }

  /** Resolves when all that was sent has been taken. */
  drain(): Promise<void> {
    return this.#ring.drain();
  }

  #readAhead(): void {
    while (this.#open && this.#failure === undefined) {
      // What was asked for has been sent meanwhile, or is on its way.
      const [request] = this.#requests;
      const left = request === undefined ? 0 : this.#save.seek(request.disk, request.run);
      if (request !== undefined && left === 0) {
        this.#requests.shift();
        continue;
      }
      const lane = request === undefined ? this.#swept : this.#asked;
      if (!lane.room || (request === undefined && !(this.#window.open && this.#save.more))) break;
      const slot = this.#ring.take();
      if (slot === undefined) break;
      this.#read(lane, slot, request === undefined ? this.mostChunks() : left);
    }
  }

  /** Reads from where the walk is. */
  #read(lane: Lane, slot: number, most: number): void {
    lane.reading++;
    const reading: Promise<void> = this.#save
      .pack(slot, most)
      .then(
        (payload) => {
          lane.ready.push({ slot, payload });
        },
        (error: unknown) => {
          this.#failure ??= { error };
        },
      )
      .then(() => {
        lane.reading--;
        this.#reads.delete(reading);
        this.#readAhead();
        this.onChange();
      });
    this.#reads.add(reading);
  }

  #progress(): void {
    this.#options.statistics.disk.remaining = this.#save.remaining;
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
