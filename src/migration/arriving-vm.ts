/**
 * The VM that a migration fills, and what of the stream goes into it: memory over one connection or several, and disks.
 * When what comes is the business of receiver.ts.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { PAGE_SIZE } from '../memory/layout.ts';
import { buildDestination } from './arrival.ts';
import { DiskLoad } from './disk-load.ts';
import { DISK_SCRATCH } from './disk-slots.ts';
import type { Frame, FrameReader } from './frame-reader.ts';
import { asGodwitError } from './interrupt.ts';
import { KERNEL_SCRATCH, Kernels } from './kernels.ts';
import type { DestinationBuilder, DestinationVm } from './migratable-vm.ts';
import { MAX_PAGES_PAYLOAD } from './pages-frame.ts';
import { PostcopyDestination } from './postcopy-destination.ts';
import { encodeMessage, type Message } from './protocol.ts';
import { receivedPages } from './ram-applier.ts';
import { RamLoad } from './ram-load.ts';
import { RamReceiver } from './ram-receiver.ts';
import { type ChannelSource, ReceiverChannels } from './receiver-channels.ts';
import type { ReceiverLink } from './receiver-link.ts';
import { EXPECTED } from './receiver-states.ts';
import { type DiskStatistics, NO_RAM, type RamStatistics } from './statistics.ts';
import type { Timers } from './timers.ts';

export interface ArrivingVmOptions {
  readonly builder: DestinationBuilder;
  /** The first connection, over which everything comes but late pages. */
  readonly link: ReceiverLink;
  /** Where further connections come from, if they may. */
  readonly channels?: ChannelSource | undefined;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly patienceMs: () => number;
}

export class ArrivingVm {
  readonly vm: DestinationVm;
  readonly #options: ArrivingVmOptions;
  /** Those of the stream. */
  readonly features: readonly string[];
  readonly #kernels: Kernels;
  readonly #ram: RamLoad;
  readonly #arriving: RamReceiver;
  #disks: DiskLoad | undefined;
  #channels: ReceiverChannels | undefined;

  private constructor(vm: DestinationVm, features: readonly string[], options: ArrivingVmOptions) {
    const { interrupt, reader } = options.link;
    this.vm = vm;
    this.#options = options;
    this.features = features;
    this.#kernels = new Kernels(vm.memory, vm.layout.scratch);
    this.#ram = new RamLoad(this.#kernels, vm.layout, undefined, receivedPages(vm.memory, vm.layout));
    this.#arriving = new RamReceiver(vm, this.#kernels, this.#ram, interrupt, features.includes('xbzrle'));
    reader.landIn(this.#arriving.slots);
    this.land(reader);
  }

  /** @throws GodwitError kind "mismatch" or "format" for a source's machine or stream that can't arrive here. */
  static async build(
    hello: Message<'hello'>,
    offset: number,
    options: ArrivingVmOptions,
  ): Promise<ArrivingVm> {
    const { builder, link } = options;
    const vm = await buildDestination(hello, offset, builder, link.transport.duplex);
    link.interrupt.check();
    return new ArrivingVm(vm, hello.features, options);
  }

  /** From now on, late pages that come over this connection go straight to the shared memory. */
  land(reader: FrameReader, urgent = false): void {
    const at = this.vm.layout.scratch + (urgent ? URGENT_LANDING : LANDING);
    reader.land({ types: ['pages'], kernels: this.#kernels, at: () => at });
    const disks = this.#disks;
    if (disks !== undefined && !urgent) {
      reader.land({ types: ['disk'], kernels: this.#kernels, at: () => disks.landing() });
    }
  }

  /** Says what the disks that arrive hold already. @throws GodwitError kind "format" or "mismatch". */
  async openDisks(message: Message<'disks'>, offset: number): Promise<void> {
    const { link } = this.#options;
    const wanted = this.features.includes('disks');
    if (!wanted || this.#disks !== undefined) {
      const got = wanted ? 'another list of disks' : 'a list of disks';
      throw GodwitError.unexpected('format', 'migration stream', '"checkState"', got, offset);
    }
    const disks = new DiskLoad(this.vm.disks, this.vm.layout.scratch, message, offset);
    this.#disks = disks;
    link.reader.land({ types: ['disk'], kernels: this.#kernels, at: () => disks.landing() });
    for await (const digests of disks.digests()) {
      link.interrupt.check();
      await link.say('diskDigests', encodeMessage('diskDigests', digests));
    }
  }

  /** Takes the announced connections, and says when all have joined. @throws GodwitError kind "format" or "mismatch". */
  awaitChannels(message: Message<'channels'>, offset: number): void {
    const { channels: source, link, patienceMs } = this.#options;
    const multifd = this.features.includes('multifd');
    if (!multifd || this.#channels !== undefined) {
      const expected = multifd ? 'one announcement of channels' : 'the feature "multifd" before channels';
      throw GodwitError.unexpected(
        'format',
        'migration stream',
        expected,
        multifd ? 'another' : 'none',
        offset,
      );
    }
    if (source === undefined) {
      throw new GodwitError(
        'mismatch',
        'the source has the capability multifd on, the destination has it off',
      );
    }
    const { interrupt } = link;
    const channels = new ReceiverChannels(message, offset, {
      source,
      ram: this.#arriving,
      interrupt,
      patienceMs: patienceMs(),
    });
    this.#channels = channels;
    const joined = channels.join().then(() => link.say('joined'));
    joined.catch((error: unknown) => interrupt.fire(asGodwitError(error)));
  }

  /** Tries a state on. @throws GodwitError if it, or anything before it, is not right. */
  async checkState(state: Uint8Array, offset: number): Promise<void> {
    if (this.features.includes('disks')) this.#openedDisks(offset);
    await this.vm.checkState(state);
    this.#options.link.interrupt.check();
  }

  takeRam(frame: Frame): void {
    this.#arriving.take(frame, 0);
  }

  async applyDisk(frame: Frame): Promise<void> {
    const disks = this.#openedDisks(frame.offset);
    const { complete, counts } = this.#ram;
    if (complete) {
      const expected = 'none after the final one';
      throw GodwitError.unexpected('format', 'frame "disk", pass', expected, 'another', frame.offset);
    }
    await disks.apply(frame, counts.passes + 1);
    this.#options.link.interrupt.check();
  }

  /** Waits until all of the pass is in place. @throws GodwitError kind "format" if it is not what was sent. */
  async endPass(message: Message<'pass'>, offset: number): Promise<void> {
    const { interrupt } = this.#options.link;
    if (this.#channels !== undefined) await interrupt.guard(this.#channels.synced(message.number));
    await this.#arriving.settled();
    this.#ram.endPass(message, offset);
    this.#channels?.nextPass();
    await this.#disks?.endPass();
    interrupt.check();
  }

  /** @throws GodwitError kind "format" if anything is missing. */
  verifyComplete(message: Message<'end'>, offset: number): void {
    this.#ram.verifyComplete(message, offset);
    this.#disks?.verifyComplete(offset);
    this.#channels?.finish();
  }

  /** The rest of the memory comes late. @param frame the pages that are missing. */
  async discard(frame: Frame): Promise<PostcopyDestination> {
    const { type, offset } = frame;
    if (!this.features.includes('postcopy')) {
      throw GodwitError.unexpected('format', 'migration stream', EXPECTED.active, `"${type}"`, offset);
    }
    await this.#arriving.settled();
    this.#arriving.finish();
    const { vm } = this;
    const { postcopy } = vm;
    if (postcopy === undefined) throw new GodwitError('internal', 'migration: no post-copy');
    const { timers, clock, patienceMs } = this.#options;
    const touched = this.#ram.received;
    const late = new PostcopyDestination({
      vm,
      postcopy,
      kernels: this.#kernels,
      touched,
      load: this.#disks,
      timers,
      clock,
      patienceMs,
    });
    late.discard(frame);
    return late;
  }

  /** The further connections are not needed any more, however they end. */
  finish(): void {
    this.#channels?.finish();
  }

  close(): void {
    this.#channels?.close();
  }

  /** What has arrived in so many seconds. @param bytes over the main connection. */
  statistics(bytes: number, seconds: number): RamStatistics {
    const { pages, zeroPages, passes, remaining } = this.#ram.progress;
    const further = this.#channels?.bytes ?? 0;
    const transferred = bytes + further;
    return {
      ...NO_RAM,
      transferred,
      remaining: remaining * PAGE_SIZE,
      total: this.vm.layout.pages * PAGE_SIZE,
      duplicate: zeroPages,
      normal: pages - zeroPages,
      'normal-bytes': (pages - zeroPages) * PAGE_SIZE,
      mbps: seconds > 0 ? (transferred * 8) / seconds / 1e6 : 0,
      'pages-per-second': seconds > 0 ? Math.round(pages / seconds) : 0,
      'dirty-sync-count': passes,
      'precopy-bytes': transferred,
      'multifd-bytes': further,
    };
  }

  /** The same of disks, if any arrive. */
  get diskStatistics(): DiskStatistics | undefined {
    return this.#disks?.statistics;
  }

  #openedDisks(offset: number): DiskLoad {
    if (this.#disks === undefined) {
      throw GodwitError.unexpected('format', 'migration stream', 'a list of disks', 'none', offset);
    }
    return this.#disks;
  }
}

/** Where in the scratch area the payload of a "pages" frame is read to. */
const LANDING = KERNEL_SCRATCH;
/** The same of frames that come over a connection of their own. */
const URGENT_LANDING = Math.ceil((LANDING + MAX_PAGES_PAYLOAD + 8) / 4096) * 4096;
if (URGENT_LANDING + MAX_PAGES_PAYLOAD + 8 > DISK_SCRATCH)
  throw new GodwitError('internal', 'the scratch area is too small');
