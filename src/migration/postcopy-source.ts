/**
 * The source in post-copy: the guest runs at the destination, and this is the store of its memory. Serves pages that are
 * asked for first, sweeps over the others, and ends when the destination says that all are there; nothing that it lacks is
 * given up before. Over a new link it goes on from what the destination has.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import { PIECE_CHUNKS } from './disk-save.ts';
import type { DiskServer } from './disk-server.ts';
import { DISK_CHUNK } from './disk-stream.ts';
import type { Frame } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import { asGodwitError, type Interrupt } from './interrupt.ts';
import type { Kernels } from './kernels.ts';
import type { SourceVm } from './migratable-vm.ts';
import { noPages } from './page-counts.ts';
import { PageRelease, type UnconfirmedPages } from './page-release.ts';
import { PageSweep, type PagesPayload } from './page-sweep.ts';
import { MAX_PAGES_DATA } from './pages-frame.ts';
import type { MigrationParameters } from './parameters.ts';
import { decodeMessage, encodeMessage } from './protocol.ts';
import { RateLimiter } from './rate-limiter.ts';
import { ReadAhead } from './read-ahead.ts';
import { type RescuePoint, RescueStore } from './rescue-store.ts';
import type { FrameHandlers } from './return-path.ts';
import { ramSlots, SendRing } from './send-ring.ts';
import type { SourceLink } from './source-link.ts';
import type { Statistics } from './statistics.ts';
import { SweepWindow } from './sweep-window.ts';
import type { Timers } from './timers.ts';
import { unexpectedPlaced } from './unexpected-placed.ts';

/** For so long after a page was asked for, frames of the sweep have no more pages than this. */
const ASKING_NS = 20e6;
const ASKING_PAGES = 16;
const ASKING_CHUNKS = 1;
/**
 * Pages with bytes in a frame that is sent ahead of what is asked for next, which may come at any moment. Where the machine's
 * thread fetches pages by itself, such a frame comes with one of its reads, of 64 KiB.
 */
const AHEAD_PAGES = 15;
/**
 * For so long after something went over the connection for requests, the source looks for the next one all the time (so many
 * times at most: a turn of the event loop takes a microsecond). To be woken would take longer than to answer.
 */
const ATTENTIVE_NS = 150_000;
const ATTENTIVE_TURNS = 200;
/**
 * While pages are asked for over a connection of their own, at least every so often, the sweep over RAM stands still: the
 * destination's processors are to do nothing but run the guest. After so long some of it goes over that connection.
 */
const HOLD_MS = 2;
const MAX_HELD_NS = 1e6;
/** By how many bytes the sweep over disks may be behind that over RAM, or ahead of it, to make up for it later. */
const MAX_LEAD = 1024 * 1024;

/** Why a guest can't be taken up here. */
export const NO_RESCUE =
  'migrate-rescue needs a paused post-copy that was begun with the capability postcopy-rescue';

export interface PostcopySourceOptions {
  readonly vm: SourceVm;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly kernels: Kernels;
  readonly parameters: () => MigrationParameters;
  readonly statistics: Statistics;
  /** What a further connection of this migration names itself with. */
  readonly id: Uint8Array;
  /** Disks that travel. */
  readonly disks: DiskServer | undefined;
}

/** A connection, and what ends the waits on it. */
export interface ServedLink {
  readonly link: SourceLink;
  readonly interrupt: Interrupt;
}

export class PostcopySource {
  readonly #options: PostcopySourceOptions;
  readonly #sweep: PageSweep;
  readonly #limiter: RateLimiter;
  readonly #disks: DiskServer | undefined;
  /** Bytes of the sweep over disks less those of the sweep over RAM. */
  #lead = 0;
  #window: SweepWindow;
  #ring: SendRing;
  /** Pages that the guest waits for, in the order in which they were asked for. */
  #requests: number[] = [];
  /** For pages that go over a connection of their own. */
  #urgentRing: SendRing;
  /** The sending of such pages that is under way. */
  #pumping: Promise<void> | undefined;
  #wake: () => void = () => {};
  /** The connection that is listened to. */
  #served: ServedLink | undefined;
  readonly #rescue: RescueStore | undefined;
  readonly #release: PageRelease | undefined;
  /** What is on its way over the link, and over its connection for requests, to be given back when it is there. */
  #unconfirmed: UnconfirmedPages | undefined;
  #urgentUnconfirmed: UnconfirmedPages | undefined;
  /** When a page was asked for last. */
  #askedNs = -Infinity;
  readonly #ahead = new ReadAhead();
  /** When something was sent last over the connection for requests, and the turns since then. */
  #answeredNs = -Infinity;
  #turns = 0;
  /** When the sweep went on last. */
  #sweptNs = 0;

  /** Of a guest that stands still, with the dirty log synced: what is pending is what the destination lacks. */
  constructor(options: PostcopySourceOptions) {
    const { clock, kernels, vm, parameters } = options;
    this.#options = options;
    this.#sweep = new PageSweep(kernels, vm.layout);
    this.#limiter = new RateLimiter(clock, parameters().maxPostcopyBandwidth);
    this.#window = new SweepWindow(clock);
    [this.#ring, this.#urgentRing] = this.#rings();
    this.#disks = options.disks;
    if (this.#disks !== undefined) {
      this.#disks.onChange = () => this.#wake();
      this.#disks.mostChunks = () => {
        const most = this.#asking ? ASKING_CHUNKS : PIECE_CHUNKS;
        return Math.max(1, Math.min(most, Math.floor(this.#limiter.budget / DISK_CHUNK)));
      };
    }
    if (parameters().releaseRam) {
      this.#release = new PageRelease(vm);
      this.#release.missing(this.#sweep.pending, 0);
    }
    if (!parameters().postcopyRescue) return;
    const rescue = new RescueStore({ ...options, isPending: (page) => this.#sweep.isPending(page) });
    this.#rescue = rescue;
    options.statistics.rescue = () => rescue.statistics;
  }

  parametersChanged(): void {
    this.#limiter.setRate(this.#options.parameters().maxPostcopyBandwidth);
    this.#wake();
  }

  /** The slots of the sweep, and of pages that go past it. */
  #rings(): [SendRing, SendRing] {
    const slots = ramSlots(this.#options.vm.layout.scratch);
    const urgent = this.#options.parameters().postcopyPreempt ? slots.splice(-1) : [];
    return [new SendRing(slots), new SendRing(urgent)];
  }

  /** Sends what makes the destination ready to run: which pages it lacks, the device state. */
  async switchOver({ link }: ServedLink, state: Uint8Array, running: boolean): Promise<void> {
    const { parameters, id } = this.#options;
    const rescueMs = this.#rescue === undefined ? 0 : parameters().postcopyRescueIntervalMs;
    // The guest stands still: nothing waits for the frame before it to be taken.
    await Promise.all([
      link.send('discard', this.#sweep.bitmap()),
      ...Array.from(this.#disks?.discards() ?? [], (list) => link.send('diskDiscard', list)),
      link.send('state', state),
      link.send('switch', encodeMessage('switch', { id, running, rescueMs })),
    ]);
  }

  /** Whether the guest can be taken up here. */
  get rescues(): boolean {
    return this.#rescue !== undefined;
  }

  /** What the guest can go on from here; nothing more comes of the destination then. @throws GodwitError kind "state". */
  async rescuePoint(): Promise<RescuePoint> {
    if (this.#rescue === undefined) throw new GodwitError('state', NO_RESCUE);
    this.#served = undefined;
    return await this.#rescue.point();
  }

  /** Hears what the destination needs and has placed, from now on. */
  listen(served: ServedLink): void {
    const { link, interrupt } = served;
    this.#served = served;
    this.#rescue?.forget();
    this.#requests = [];
    // A guest that has just started will.
    this.#askedNs = this.#options.clock.nowNs();
    this.#sweptNs = this.#askedNs;
    // What was said over another link before says nothing about this one.
    const window = new SweepWindow(this.#options.clock);
    const unconfirmed = this.#release?.unconfirmed();
    this.#window = window;
    this.#unconfirmed = unconfirmed;
    [this.#ring, this.#urgentRing] = this.#rings();
    this.#pumping = undefined;
    const urgentUnconfirmed = this.#release?.unconfirmed();
    this.#urgentUnconfirmed = urgentUnconfirmed;
    if (link.urgent !== undefined) {
      link.urgent.onRequest = (frame) => {
        this.#requested(frame, interrupt);
        this.#pumping ??= this.#pump(served);
      };
      link.urgent.onPlaced = (frame) => {
        if (urgentUnconfirmed?.placed() === true) this.#wake();
        else interrupt.fire(unexpectedPlaced(frame, 'pages'));
      };
    }
    link.hear('whole', {
      request: (frame) => this.#requested(frame, interrupt),
      placed: (frame) => {
        if (!window.placed()) interrupt.fire(unexpectedPlaced(frame, 'pages'));
        else {
          unconfirmed?.placed();
          this.#wake();
        }
      },
      ...(this.#rescue === undefined ? {} : this.#checkpoints(served, this.#rescue)),
      ...this.#disks?.handlers(interrupt),
    });
  }

  /** Over a new link: learns what the destination has. @returns whether it has started the guest. */
  async resume({ link, interrupt }: ServedLink): Promise<boolean> {
    // Before all else it says which chunks it lacks.
    link.hear('whole', this.#disks?.handlers(interrupt) ?? {});
    await link.send('resume', encodeMessage('resume', { id: this.#options.id }));
    const frame = await link.expect('received', 'say what it has');
    if (frame === undefined) throw new GodwitError('internal', 'migration: nobody answers');
    const { started, pages } = decodeMessage('received', frame.payload, frame.offset);
    const expected = this.#sweep.bitmap().length;
    if (pages.length !== expected) {
      throw GodwitError.unexpected(
        'format',
        'frame "received", pages',
        `${expected} bytes`,
        `${pages.length}`,
        frame.offset,
      );
    }
    this.#sweep.complement(pages);
    this.#release?.missing(this.#sweep.pending, frame.offset);
    this.#disks?.resync();
    this.#options.statistics.remainingPages = this.#sweep.remaining;
    return started;
  }

  /** Serves until the destination has all. @throws what broke the link, or was fired at its interrupt. */
  async serve(served: ServedLink): Promise<void> {
    this.#disks?.open();
    try {
      await this.#serveAll(served);
      await this.#conclude(served);
      this.#release?.all();
    } finally {
      await this.#disks?.close();
    }
  }

  async #conclude({ link }: ServedLink): Promise<void> {
    try {
      await link.send('swept');
      await link.expect('whole', 'say that it has everything');
    } catch (error) {
      const { kind, message } = asGodwitError(error);
      const more = 'all memory had been sent: the destination may have it, and be done';
      throw new GodwitError(kind, `${message}; ${more}`, {}, error);
    }
  }

  async #serveAll({ link, interrupt }: ServedLink): Promise<void> {
    const { timers } = this.#options;
    for (;;) {
      interrupt.check();
      const asked = link.urgent === undefined ? this.#requests.shift() : undefined;
      if (asked !== undefined) {
        this.#sweep.follow(asked);
        await this.#send(link, (slot) => this.#sweep.packOne(slot, asked));
      } else if (this.#disks?.asked === true) this.#sendDisk(link);
      else if (this.#attentive) this.#turns++;
      else {
        const next = this.#next();
        if (next === 'done') break;
        const busy = this.#release?.step() === true;
        const pauseMs = next === 'held' ? this.#holdMs : this.#limiter.leftMs;
        if (next === 'wait' && !busy) await this.#change({ link, interrupt });
        else if (next === 'wait') await timers.turn();
        else if (next === 'held' || pauseMs > 0) {
          await interrupt.sleep(pauseMs, (wake) => {
            this.#wake = wake;
          });
        } else await this.#sweepOn(next, link);
      }
      // Requests are read in a turn of the event loop.
      if (this.#requests.length === 0 || link.urgent !== undefined) await timers.turn();
    }
    await link.guard(this.#ring.drain(), 'take more data');
    if (this.#disks !== undefined) await link.guard(this.#disks.drain(), 'take more data');
    if (link.urgent !== undefined) {
      await this.#pumping;
      await link.guard(this.#urgentRing.drain(), 'take more data');
      await link.guard(link.urgent.swept(), 'take more data');
    }
  }

  /** What nobody has asked for is sent by turns. */
  #next(): 'pages' | 'disk' | 'held' | 'wait' | 'done' {
    const pages = this.#sweep.remaining > 0;
    if (!pages && this.#disks?.more !== true) return 'done';
    const held = this.#holdMs > 0;
    const page = pages && this.#window.open && !held;
    const disk = this.#disks?.ready === true;
    if (page && disk) return this.#lead > 0 ? 'pages' : 'disk';
    if (page) return 'pages';
    if (disk) return 'disk';
    return pages && held ? 'held' : 'wait';
  }

  /** Whether the next request is looked for, and nothing else done. */
  get #attentive(): boolean {
    const forNs = this.#options.clock.nowNs() - this.#answeredNs;
    return forNs < ATTENTIVE_NS && this.#turns < ATTENTIVE_TURNS;
  }

  /** For how long the sweep over RAM stands still, as things are. */
  get #holdMs(): number {
    if (this.#served?.link.urgent === undefined) return 0;
    return Math.max(0, HOLD_MS - (this.#options.clock.nowNs() - this.#askedNs) / 1e6);
  }

  async #sweepOn(what: 'pages' | 'disk', link: SourceLink): Promise<void> {
    if (what === 'pages') this.#sweptNs = this.#options.clock.nowNs();
    const bytes =
      what === 'disk'
        ? this.#sendDisk(link)
        : await this.#send(link, (slot) => this.#sweep.packNext(slot, this.#pagesInFrame()));
    this.#limiter.charge(bytes);
    const lead = this.#lead + (what === 'disk' ? bytes : -bytes);
    this.#lead = Math.max(-MAX_LEAD, Math.min(lead, MAX_LEAD));
  }

  /** Starts to send a frame of a disk that is ready. */
  #sendDisk(link: SourceLink): number {
    const startNs = this.#options.clock.nowNs();
    const bytes = (this.#disks as DiskServer).submit(link);
    link.sent(bytes, 0, startNs, 0);
    return bytes;
  }

  /** Returns the bytes that were sent: 0 if there was nothing to send. */
  async #send(link: SourceLink, pack: (slot: number) => PagesPayload | undefined): Promise<number> {
    const { clock } = this.#options;
    const startNs = clock.nowNs();
    const slot = this.#ring.take() ?? (await link.guard(this.#ring.acquire(), 'take more data'));
    const payload = pack(slot);
    if (payload === undefined) {
      this.#ring.release(slot);
      return 0;
    }
    this.#window.sent();
    this.#unconfirmed?.sent(slot);
    this.#ring.submit(slot, link.submit('pages', [{ at: slot, length: payload.length }]));
    return this.#count(link, payload, startNs);
  }

  /** @returns the bytes of a frame. */
  #count(link: SourceLink, payload: PagesPayload, startNs: number): number {
    const { statistics } = this.#options;
    const bytes = FrameWriter.size(payload.length);
    statistics.packed({
      ...noPages(),
      zero: payload.zeroPages,
      whole: payload.pages - payload.zeroPages,
    });
    statistics.remainingPages = this.#sweep.remaining;
    link.sent(bytes, payload.pages, startNs, 0);
    return bytes;
  }

  /** Over the connection of their own: sends the pages that were asked for, and those behind them. Never rejects. */
  async #pump({ link, interrupt }: ServedLink): Promise<void> {
    const ahead = this.#ahead;
    try {
      for (;;) {
        const page = this.#requests.shift();
        if (page !== undefined) {
          ahead.asked(page);
          this.#sweep.avoid(page);
          await this.#sendUrgent(link, (slot) => this.#sweep.packOne(slot, page));
          continue;
        }
        if (this.#limiter.leftMs > 0) break;
        const sent = await this.#sendUrgent(link, (slot) => this.#packUnasked(slot));
        if (sent > 0) this.#limiter.charge(sent);
        else if (this.#requests.length === 0) break;
        // Requests are read in a turn of the event loop.
        await this.#options.timers.turn();
      }
    } catch (error) {
      interrupt.fire(asGodwitError(error));
    } finally {
      // As long as the link is the present one.
      if (this.#served?.link === link) this.#pumping = undefined;
      this.#wake();
    }
  }

  /** What goes over the connection for requests while there is none. */
  #packUnasked(slot: number): PagesPayload | undefined {
    if (this.#requests.length > 0) return undefined;
    const most = Math.min(AHEAD_PAGES, this.#pagesInFrame());
    const now = this.#options.clock.nowNs();
    if (now - this.#sweptNs < MAX_HELD_NS) {
      return this.#sweep.packAhead(slot, this.#ahead.from, this.#ahead.to, most);
    }
    this.#sweptNs = now;
    return this.#sweep.packNext(slot, most);
  }

  /** Returns the bytes that were sent: 0 if there was nothing to send. */
  async #sendUrgent(link: SourceLink, pack: (slot: number) => PagesPayload | undefined): Promise<number> {
    const { clock } = this.#options;
    const startNs = clock.nowNs();
    const slot = this.#urgentRing.take() ?? (await link.guard(this.#urgentRing.acquire(), 'take more data'));
    const payload = pack(slot);
    if (payload === undefined || link.urgent === undefined) {
      this.#urgentRing.release(slot);
      return 0;
    }
    this.#urgentUnconfirmed?.sent(slot);
    this.#urgentRing.submit(slot, link.urgent.submit({ at: slot, length: payload.length }));
    this.#answeredNs = clock.nowNs();
    this.#turns = 0;
    return this.#count(link, payload, startNs);
  }

  /** Waits until something was asked for, placed, or read. */
  async #change({ link, interrupt }: ServedLink): Promise<void> {
    const change = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    // A disk of ours may take its time.
    const waits = this.#window.underWay + (this.#disks?.underWay ?? 0) > 0;
    await (waits ? link.guard(change, 'place pages') : interrupt.guard(change));
  }

  /** Takes what comes of checkpoints over this link, as long as it is the present one. */
  #checkpoints(served: ServedLink, rescue: RescueStore): FrameHandlers {
    const present = (): boolean => this.#served === served;
    return {
      rescuePages: (frame) => {
        if (present()) rescue.take(frame);
      },
      checkpoint: (frame) => {
        if (!present()) return;
        rescue
          .complete(frame)
          .then(async (number) => {
            if (!present()) return;
            await served.link.send('checkpointed', encodeMessage('checkpointed', { number }));
          })
          .catch((error: unknown) => served.interrupt.fire(asGodwitError(error)));
      },
    };
  }

  #requested({ payload, offset }: Frame, interrupt: Interrupt): void {
    const { pages } = this.#options.vm.layout;
    const page =
      payload.length === 4 ? new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0, true) : -1;
    if (page < 0 || page >= pages) {
      interrupt.fire(
        GodwitError.unexpected(
          'format',
          'frame "request"',
          `a page below ${pages}`,
          `${payload.length} bytes, ${page}`,
          offset,
        ),
      );
      return;
    }
    this.#options.statistics.postcopyRequests++;
    this.#requests.push(page);
    this.#askedNs = this.#options.clock.nowNs();
    this.#wake();
  }

  /** Whether the guest waited for pages a moment ago. */
  get #asking(): boolean {
    return this.#options.clock.nowNs() - this.#askedNs < ASKING_NS;
  }

  /** Fewer if the cap is so low that a full frame would overdraw it, or while pages are asked for: they wait behind it. */
  #pagesInFrame(): number {
    const most = this.#asking ? ASKING_PAGES : MAX_PAGES_DATA;
    return Math.max(1, Math.min(most, Math.floor(this.#limiter.budget / PAGE_SIZE)));
  }
}
