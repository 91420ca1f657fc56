/**
 * The source's walk over disks, as part of the passes over RAM: keeps payloads read ahead, so that the walk over RAM finds
 * them ready, and says when it is a disk's turn on the link.
 */
import { GodwitError } from '../error.ts';
import { type DiskPayload, DiskSave } from './disk-save.ts';
import { DiskServer, type DiskServerOptions } from './disk-server.ts';
import { diskSlots } from './disk-slots.ts';
import { piecesOf } from './disk-stream.ts';
import { FrameWriter } from './frame-writer.ts';
import type { Kernels } from './kernels.ts';
import { DIGEST_SIZE, type SourceDisks } from './migratable-vm.ts';
import { decodeMessage, encodeMessage } from './protocol.ts';
import { SendRing } from './send-ring.ts';
import type { SourceLink } from './source-link.ts';
import type { Statistics } from './statistics.ts';

/** Payloads that are being read, or wait to be sent. */
const AHEAD = 2;
/** By how many bytes disks may be behind RAM, or ahead of it, to make up for it later. */
const MAX_CREDIT = 1024 * 1024;
/** A pass that has left so much of what it sent, in bytes dirtied meanwhile, did not help. */
const NO_HELP = 0.5;
/** After so many passes in a row that did not help, the guest's writes are slowed down. */
const PATIENCE_PASSES = 2;
/** Bytes per second that the guest may write at least. */
const MIN_WRITES = 64 * 1024;

interface Ready {
  readonly slot: number;
  readonly payload: DiskPayload;
}

export class DiskPasses {
  readonly #source: SourceDisks;
  readonly #save: DiskSave;
  readonly #link: SourceLink;
  readonly #ring: SendRing;
  readonly #statistics: Statistics;
  readonly #incremental: boolean;
  /** Digests of what the destination has, by disk. */
  #bases: Uint8Array[] | undefined;
  readonly #queue: Ready[] = [];
  #reading = 0;
  /** Whether what is pending is of the present pass. */
  #open = false;
  #failure: { readonly error: unknown } | undefined;
  #changed: () => void = () => {};
  /** Bytes that disks may send before it is RAM's turn. */
  #credit = 0;
  #logging = false;
  #passBytes = 0;
  #fruitless = 0;
  #limit = 0;

  /** @throws GodwitError kind "state" for a disk that is too large. */
  constructor(
    source: SourceDisks,
    parts: { kernels: Kernels; scratch: number; link: SourceLink; statistics: Statistics },
  ) {
    this.#source = source;
    this.#incremental = source.incremental;
    this.#save = new DiskSave(parts.kernels, source.disks);
    this.#link = parts.link;
    this.#ring = new SendRing(diskSlots(parts.scratch));
    this.#statistics = parts.statistics;
  }

  /** Says which disks travel. */
  async announce(): Promise<void> {
    const disks = this.#source.disks.map(({ id, size }) => ({ id, size: BigInt(size) }));
    await this.#link.send('disks', encodeMessage('disks', { incremental: this.#incremental, disks }));
  }

  /** Turns the log on, and makes all of the disks pending. */
  async start(): Promise<void> {
    this.#logging = true;
    await this.#source.startLog();
    await this.#save.start(this.#bases);
    this.#progress();
  }

  /**
   * Hears what the destination has, if that is of interest.
   * @throws GodwitError kind "format" for digests that are not those of the next pieces.
   */
  async hearDigests(): Promise<void> {
    if (!this.#incremental) return;
    if (!this.#link.duplex) {
      throw new GodwitError('usage', 'an incremental migration needs a destination that says what it has');
    }
    this.#bases = [];
    for (const [index, { size }] of this.#source.disks.entries()) {
      const digests = new Uint8Array(piecesOf(size) * DIGEST_SIZE);
      for (let have = 0; have < digests.length; ) {
        const answer = await this.#link.expect('diskDigests', 'say what its disks hold');
        if (answer === undefined) throw new GodwitError('internal', 'nobody answers');
        const message = decodeMessage('diskDigests', answer.payload, answer.offset);
        const { disk, first, digests: part } = message;
        const wanted = `pieces from ${have / DIGEST_SIZE} on of disk ${index}`;
        const room = digests.length - have;
        if (disk !== index || first * DIGEST_SIZE !== have || part.length === 0 || part.length > room) {
          const got = `${part.length} bytes from piece ${first} on of disk ${disk}`;
          throw GodwitError.unexpected('format', 'frame "diskDigests"', wanted, got, answer.offset);
        }
        digests.set(part, have);
        have += part.length;
      }
      this.#bases.push(digests);
    }
  }

  beginPass(pass: number): void {
    this.#save.beginPass(pass);
    this.#passBytes = 0;
    this.#credit = 0;
    this.#open = true;
    this.#readAhead();
  }

  /** The pass ends here: it has no more than what has been begun. */
  closePass(): void {
    this.#open = false;
  }

  /** RAM has sent so much. */
  credit(bytes: number): void {
    this.#credit = Math.min(MAX_CREDIT, this.#credit + bytes);
  }

  /** Whether a frame can be sent now. */
  get ready(): boolean {
    this.#check();
    return this.#queue.length > 0;
  }

  /** Whether the pass has more, read or not. */
  get more(): boolean {
    this.#check();
    return this.#queue.length > 0 || this.#reading > 0 || (this.#open && this.#save.more);
  }

  /** Whether a frame is ready and disks have sent no more than RAM. */
  get due(): boolean {
    return this.ready && this.#credit >= 0;
  }

  /** Whether a frame is being read, so that it is worth looking again soon. */
  get reading(): boolean {
    return this.#reading > 0;
  }

  /** Resolves when a frame is ready, or the pass has no more. */
  async next(): Promise<void> {
    while (this.#queue.length === 0 && this.more) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }

  /** Starts to send the frame that is ready. Returns its bytes. */
  submit(): number {
    const { slot, payload } = this.#queue.shift() as Ready;
    this.#ring.submit(slot, this.#link.submit('disk', [payload]));
    const bytes = FrameWriter.size(payload.length);
    this.#credit = Math.max(-MAX_CREDIT, this.#credit - bytes);
    this.#passBytes += payload.covered;
    this.#statistics.disk.transferred += payload.length;
    this.#progress();
    this.#readAhead();
    return bytes;
  }

  /** Resolves when all that was sent has been taken. */
  drain(): Promise<void> {
    return this.#ring.drain();
  }

  /** Adds what the guest has written to what is to be sent. */
  collect(): void {
    this.#save.collect();
    this.#progress();
  }

  /** Bytes that are to be sent. */
  get remaining(): number {
    return this.#save.remaining;
  }

  /**
   * Holds the guest's writes down if passes do not help: to half of what the link carries, so that each pass leaves half
   * of the one before, and further if that is not enough.
   * @param bandwidth bytes per second of the link.
   */
  async restrain(bandwidth: number): Promise<void> {
    this.#fruitless = this.remaining > this.#passBytes * NO_HELP ? this.#fruitless + 1 : 0;
    if (this.#fruitless < PATIENCE_PASSES) return;
    this.#fruitless = 0;
    const limit = this.#limit === 0 ? bandwidth / 2 : this.#limit / 2;
    this.#limit = Math.max(MIN_WRITES, Math.round(limit));
    this.#statistics.disk.writeLimit = this.#limit;
    const rate = (this.#limit / 1e6).toFixed(1);
    this.#statistics.decided(
      `the guest may write ${rate} MB/s to its disks: more than half of a pass was left`,
    );
    await this.#source.limitWrites(this.#limit);
  }

  /** Of a guest that stands still, after all that was begun has been sent: the rest is served in post-copy. */
  server(options: Pick<DiskServerOptions, 'scratch' | 'clock'>): DiskServer {
    this.collect();
    return new DiskServer({ ...options, save: this.#save, statistics: this.#statistics });
  }

  /** Ends the passes, and the log. Never rejects; returns why it failed, if it did. */
  stop(): Promise<string | undefined> {
    this.#save.clear();
    return this.endLog();
  }

  /** Ends the log alone. Never rejects; returns why it failed, if it did. */
  async endLog(): Promise<string | undefined> {
    if (!this.#logging) return undefined;
    try {
      await this.#source.stopLog();
      this.#logging = false;
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /**
   * Resolves when nothing is being read any more; the link is gone, so nothing new will be. The memory that is read into is
   * the next migration's.
   */
  async settled(): Promise<void> {
    this.#open = false;
    while (this.#reading > 0) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }

  #readAhead(): void {
    while (
      this.#open &&
      this.#failure === undefined &&
      this.#queue.length + this.#reading < AHEAD &&
      this.#save.more
    ) {
      this.#reading++;
      void this.#read();
    }
  }

  async #read(): Promise<void> {
    try {
      const slot = await this.#ring.acquire();
      if (this.#save.more) this.#queue.push({ slot, payload: await this.#save.pack(slot) });
      else this.#ring.release(slot);
    } catch (error) {
      this.#failure ??= { error };
    }
    this.#reading--;
    this.#changed();
    this.#readAhead();
  }

  #progress(): void {
    const { disk } = this.#statistics;
    disk.total = this.#save.total;
    disk.remaining = this.#save.remaining;
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
