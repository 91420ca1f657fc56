/**
 * The destination in post-copy: keeps what is here, asks for what the guest waits for, places what arrives. A connection
 * may go and another one come; what is here stays, and what is waited for is asked for again.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import type { DiskLoad } from './disk-load.ts';
import type { Frame } from './frame-reader.ts';
import type { Kernels } from './kernels.ts';
import { LateDisks } from './late-disks.ts';
import { LatePages } from './late-pages.ts';
import type { DestinationVm, PostcopyVm } from './migratable-vm.ts';
import type { PageBitmap } from './page-bitmap.ts';
import { pageRequest } from './page-fetcher.ts';
import { decodeMessage, encodeMessage, type Message } from './protocol.ts';
import type { ReceiverLink } from './receiver-link.ts';
import { RescueStream } from './rescue-stream.ts';
import type { RescueStatistics } from './statistics.ts';
import type { Timers } from './timers.ts';
import type { UrgentDestination } from './urgent-destination.ts';

export interface PostcopyDestinationOptions {
  readonly vm: DestinationVm;
  /** That of `vm`. */
  readonly postcopy: PostcopyVm;
  readonly kernels: Kernels;
  /** Pages that have arrived at least once. */
  readonly touched: PageBitmap;
  /** Of disks that arrive. */
  readonly load: DiskLoad | undefined;
  readonly timers: Timers;
  readonly clock: Clock;
  /** How long a page may be waited for before the connection is given up. */
  readonly patienceMs: () => number;
}

export class PostcopyDestination {
  readonly #options: PostcopyDestinationOptions;
  readonly #pages: LatePages;
  readonly #disks: LateDisks | undefined;
  /** Pages that the guest waits for. */
  readonly #wanted = new Set<number>();
  #link: ReceiverLink | undefined;
  #urgent: UrgentDestination | undefined;
  #id = new Uint8Array(0);
  #forgetTimer: () => void = () => {};
  #rescue: RescueStream | undefined;
  /** Frames placed, as of the last look at whether anything comes. */
  #placed = 0;
  /** Whether "go" has come. */
  started = false;

  constructor(options: PostcopyDestinationOptions) {
    this.#options = options;
    this.#pages = new LatePages(options.kernels, options.vm.layout, options.touched);
    const { load, postcopy, vm } = options;
    if (load === undefined) return;
    const { disks } = vm;
    this.#disks = new LateDisks({ disks, load, postcopy, onAsked: (link) => this.#watch(link) });
  }

  /** Pages that are not here. */
  get missing(): number {
    return this.#pages.missing;
  }

  /** Bytes of disks that are not here, or a little more. */
  get missingOfDisks(): number {
    return this.#disks?.missingBytes ?? 0;
  }

  /** Whether disks come late, too: their images are not whole when the guest starts. */
  get disksLate(): boolean {
    return this.#disks?.late === true;
  }

  /** @throws GodwitError kind "format". */
  discard(frame: Frame): void {
    this.#pages.discard(frame);
  }

  /** @throws GodwitError kind "format". */
  discardDisk(frame: Frame): void {
    this.#late(frame).discard(frame);
  }

  /** Makes the VM ready to run without the pages that are missing. */
  async load({ id, rescueMs }: Message<'switch'>, state: Uint8Array, offset: number): Promise<void> {
    const { vm, postcopy, patienceMs, clock } = this.#options;
    this.#id = Uint8Array.from(id);
    await this.#disks?.begin(offset);
    if (rescueMs > 0)
      this.#rescue = new RescueStream({ vm: postcopy, clock, intervalMs: rescueMs, patienceMs });
    // The machine does one after the other.
    await Promise.all([postcopy.begin((page) => this.#want(page), rescueMs > 0), vm.loadState(state)]);
  }

  /** From now on pages are asked for over this connection, or over one of their own. */
  async attach(link: ReceiverLink, urgent?: UrgentDestination): Promise<void> {
    this.#link = link;
    this.#urgent = urgent;
    for (const page of this.#wanted) {
      if (this.#pages.isHere(page)) this.#wanted.delete(page);
      else this.#ask(page);
    }
    this.#disks?.attach(link);
    await this.#options.postcopy.setLink(true);
    this.#rescue?.start(link);
  }

  /** Of the checkpoints that go back, if any do. */
  get rescue(): RescueStatistics | undefined {
    return this.#rescue?.statistics;
  }

  /** The source has a checkpoint. @throws GodwitError kind "format". */
  checkpointed({ payload, offset }: Frame): void {
    const { number } = decodeMessage('checkpointed', payload, offset);
    if (this.#rescue === undefined) {
      throw GodwitError.unexpected('format', 'frame "checkpointed"', 'none', `${number}`, offset);
    }
    this.#rescue.confirmed(number, offset);
  }

  /** There is no connection. */
  async detach(): Promise<void> {
    this.#link = undefined;
    this.#urgent = undefined;
    this.#disks?.detach();
    this.#forgetTimer();
    this.#rescue?.stop();
    if (this.started) await this.#options.postcopy.setLink(false);
  }

  /** Places pages, wakes who waits for them, and confirms. @throws GodwitError kind "format". */
  place(frame: Frame): void {
    this.placeUrgent(frame);
    const link = this.#link;
    link?.writer.send('placed').catch((error) => link.interrupt.fire(error as GodwitError));
  }

  /** The same, of pages that came over a connection of their own, which nobody counts. */
  placeUrgent(frame: Frame): void {
    this.#pages.place(frame);
    this.#placed++;
    if (this.#pages.awaited) this.#options.postcopy.arrived();
  }

  /** Begins to write chunks of a disk; resolves when there is room for more. @throws GodwitError kind "format". */
  placeDisk(frame: Frame): Promise<void> {
    return this.#late(frame).place(frame);
  }

  #late({ type, offset }: Frame): LateDisks {
    if (this.#disks !== undefined) return this.#disks;
    throw GodwitError.unexpected('format', 'migration stream', 'nothing of disks', `"${type}"`, offset);
  }

  /** @throws GodwitError kind "format" if the connection is that of another migration. */
  checkResume({ id }: Message<'resume'>, offset: number): void {
    const hex = (bytes: Uint8Array): string =>
      bytes.reduce((text, b) => text + b.toString(16).padStart(2, '0'), '');
    if (hex(id) !== hex(this.#id)) {
      throw GodwitError.unexpected('format', 'frame "resume", id', hex(this.#id), hex(id), offset);
    }
  }

  /** The payloads of `diskMissing`. */
  async missingChunks(): Promise<Uint8Array[]> {
    return (await this.#disks?.lists()) ?? [];
  }

  /** The payload of `received`. */
  received(): Uint8Array {
    return encodeMessage('received', { started: this.started, pages: this.#pages.bitmap() });
  }

  /**
   * The source has sent everything; images of disks that came late get their names.
   * @throws GodwitError kind "format" if that is not so, "file" if a disk does not have it: then it can be tried again.
   */
  async finish(offset: number): Promise<void> {
    const { postcopy, vm } = this.#options;
    await this.#urgent?.swept();
    if (this.missing > 0) {
      throw GodwitError.unexpected('format', 'frame "swept"', 'no page missing', `${this.missing}`, offset);
    }
    this.#forgetTimer();
    this.#rescue?.stop();
    if (this.#disks?.late === true) {
      await this.#disks.finish(offset);
      await vm.nameDisks();
    }
    await postcopy.end();
  }

  #want(page: number): void {
    if (this.#pages.isHere(page)) {
      // It came while this was on its way.
      this.#options.postcopy.arrived();
      return;
    }
    this.#wanted.add(page);
    this.#ask(page);
  }

  #ask(page: number): void {
    const link = this.#link;
    if (link === undefined) return;
    if (this.#urgent !== undefined) this.#urgent.ask(page);
    else {
      link.writer
        .send('request', pageRequest(page))
        .catch((error) => link.interrupt.fire(error as GodwitError));
    }
    this.#watch(link);
  }

  /** Gives a connection up over which nothing comes while pages are waited for. */
  #watch(link: ReceiverLink): void {
    const ms = this.#options.patienceMs();
    const placed = this.#allPlaced;
    this.#forgetTimer();
    this.#forgetTimer = this.#options.timers.after(ms, () => {
      for (const page of this.#wanted) if (this.#pages.isHere(page)) this.#wanted.delete(page);
      const waits = this.#wanted.size > 0 || this.#disks?.awaited === true;
      if (!waits || this.#link !== link) return;
      if (this.#allPlaced !== placed) this.#watch(link);
      else
        link.interrupt.fire(
          new GodwitError('transport', `the source did not send what was asked for within ${ms} ms`),
        );
    });
  }

  /** Another number when more has come: counts frames of both kinds, and what the machine has placed by itself. */
  get #allPlaced(): number {
    const elsewhere = this.#urgent?.lent === true ? this.#options.vm.layout.pages - this.#pages.missing : 0;
    return this.#placed + elsewhere + (this.#disks?.placed ?? 0);
  }
}
