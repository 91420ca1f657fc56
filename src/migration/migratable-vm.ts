/**
 * All that migration knows of a virtual machine: memory in blocks, a dirty log, a stop and a go, a configuration and an
 * opaque device state. It sees no hart and no device.
 */
import type { Layout } from '../memory/layout.ts';
import type { ChunkRun } from './disk-stream.ts';
import type { StreamPlace } from './frame-reader.ts';
import type { PageBitmap } from './page-bitmap.ts';
import type { RamJob, Unpack } from './ram-applier.ts';
import type { RamCounts } from './ram-load.ts';
import type { LentConnection } from './transport.ts';

/** Plain data that msgpack can carry: what of a machine must be equal on both sides. */
export type Configuration = Readonly<Record<string, unknown>>;

/** A range of a disk's bytes. */
export interface Extent {
  readonly from: number;
  /** The first byte behind it. */
  readonly to: number;
}

/** A disk that travels. Offsets and sizes are bytes. */
export interface SourceDisk {
  /** The drive's id, the same on both sides. */
  readonly id: string;
  /** A multiple of 512. */
  readonly size: number;
  /**
   * Shared between threads: bit n & 31 of word n >> 5 is set, while the log is on, when a write to chunk n
   * (disk-stream.ts) has ended and before the guest hears of it.
   */
  readonly dirty: Int32Array;
  /** Where there may be data, in ascending order; all the rest reads as zero. */
  extents(): Promise<readonly Extent[]>;
  /** Fills `target`, which may be in shared memory. Rejects with kind "file". */
  read(offset: number, target: Uint8Array): Promise<void>;
  /** DIGEST_SIZE bytes by which equal contents are known, on both sides. */
  digest(bytes: Uint8Array): Uint8Array;
}

/** Bytes of a digest of a piece of a disk. */
export const DIGEST_SIZE = 16;

/** The disks that travel with a guest. */
export interface SourceDisks {
  readonly disks: readonly SourceDisk[];
  /** What the destination has already under the same names is not sent. */
  readonly incremental: boolean;
  /** From the moment this resolves, every write is marked. */
  startLog(): Promise<void>;
  /** Ends that, and the limit on writes. Does nothing if it is off. */
  stopLog(): Promise<void>;
  /** Lets the guest write no more than so many bytes per second to these disks; 0 for no limit. */
  limitWrites(bytesPerSecond: number): Promise<void>;
}

/** A VM that has been stopped for the hand-over. */
export interface StoppedVm {
  /** Whether the guest ran until then: false if the user had paused it. */
  readonly ran: boolean;
  /** Its state, if that was taken right then; the dirty log was synced before. */
  readonly state?: Uint8Array | undefined;
}

/** The source's VM, as its migration thread sees it. Every promise rejects with a GodwitError. */
export interface SourceVm {
  readonly memory: WebAssembly.Memory;
  readonly layout: Layout;
  readonly configuration: Configuration;
  /** Instructions that the harts have run, from any point on; to be asked at any time, and answered at once. */
  instructions(): number;
  /** Absent if no disk is to travel. */
  readonly disks?: SourceDisks | undefined;
  /**
   * Pages that nothing has touched so far, and that are zero therefore; undefined if the host can't tell. Absent if it is not to
   * be asked.
   */
  untouched?(): PageBitmap | undefined;
  /** Makes pages zero, and gives their memory back to the host. */
  release(first: number, count: number): void;
  /** Turns the dirty log on, with nothing marked: from the moment this resolves, every write is logged. */
  startDirtyLog(): Promise<void>;
  /**
   * At a safe point of the machine thread: takes the dirty bits, ORs them into `layout.pendingBitmap`, clears them and
   * flushes write TLB entries. Once it resolves, a later write to any page will mark it again.
   */
  syncDirtyLog(): Promise<void>;
  /** Turns the dirty log off. Does nothing if it is off. */
  stopDirtyLog(): Promise<void>;
  /** Slows the guest down: percent of the time, 0 to 99, for which no hart runs. 0 lifts it. */
  setThrottle(percentage: number): Promise<void>;
  /** Slows those harts down that make clean pages dirty faster than so many MiB per second; undefined lifts it. */
  setDirtyLimit(limit: number | undefined): Promise<void>;
  /**
   * Stops the harts and time at a safe point; the console output so far has been handed over.
   * @param take whether the log may be synced and the state be taken there and then, which saves two visits to that thread.
   */
  stop(take: boolean): Promise<StoppedVm>;
  /** The guest stands still, and all that is left is to be sent at once: the calling thread may have its processor. */
  takeProcessor?(): void;
  /**
   * Undoes `stop`: the VM is as it was before (a VM that had been paused by the user stays paused). Also called when
   * `stop` rejected, so it does nothing if the VM was not stopped.
   */
  resume(): Promise<void>;
  /** Encoded device and hart state, at a safe point; a running VM may be asked as well. */
  saveState(): Promise<Uint8Array>;
  /** Validates a state of a checkpoint completely and changes nothing. Rejects with the reason. */
  checkState(state: Uint8Array): Promise<void>;
  /**
   * `resume`, of a guest that has run elsewhere meanwhile: goes on from this device state, and from what is in memory.
   * @param state undefined: from where it was stopped.
   */
  rescue(state: Uint8Array | undefined): Promise<void>;
}

/** The image that a disk arrives in: nothing but zeros at first. It gets its name when it is whole. */
export interface DestinationDisk {
  readonly id: string;
  /** Bytes, a multiple of 512. */
  readonly size: number;
  /** Digests of the pieces (disk-stream.ts) of the image that was here before, one after the other. */
  baseDigests(first: number, pieces: number): Promise<Uint8Array>;
  /** Takes a range over from the image that was here before. */
  copyBase(offset: number, length: number): Promise<void>;
  /** `bytes` may be in shared memory; they are the disk's until the promise is settled. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Makes a range that may have been written read as zero, and take no space. */
  zero(offset: number, length: number): Promise<void>;
  /** When it resolves, all that was written before the call survives the host's end. */
  flush(): Promise<void>;
}

/** Puts frames of memory in place in threads of its own. */
export type ApplyRam = (job: RamJob) => Promise<RamCounts>;

/** The destination's VM once it has been built from a configuration. */
export interface DestinationVm {
  /** All zero: nothing has been written to its RAM blocks. */
  readonly memory: WebAssembly.Memory;
  readonly layout: Layout;
  /** The disks that arrive, in the order in which the configuration has them; none unless asked for. */
  readonly disks: readonly DestinationDisk[];
  /** Absent: it is done where the frames are read. */
  readonly applyRam?: ApplyRam;
  /** What the host can undo of compressed memory, where there is no `applyRam`. */
  readonly unpackRam?: Unpack;
  /** Validates a device state completely and changes nothing. Rejects with the reason. */
  checkState(state: Uint8Array): Promise<void>;
  /** Validates, then swaps the state in. The VM is complete afterwards, and stopped. */
  loadState(state: Uint8Array): Promise<void>;
  /** Undefined if this side can't run a guest before all of its memory is here. */
  readonly postcopy?: PostcopyVm;
  /** The images of the disks that arrive are whole, and on disk: they get their names. */
  nameDisks(): Promise<void>;
  /** The guest is this side's now: runs it, or leaves it paused if it was paused at the source or `-S` was given. */
  start(runningAtSource: boolean): Promise<void>;
}

/** What a guest is at one instant, as far as it differs from the checkpoint before. */
export interface Checkpoint {
  /** Indices, in ascending order. */
  readonly pages: Uint32Array;
  /** Their contents, one after the other; valid until the next checkpoint is taken. */
  readonly data: Uint8Array;
  readonly state: Uint8Array;
  /** How long the guest stood still for it. */
  readonly pausedNs: number;
}

/** Somebody else's page-fetcher.ts. */
export interface LentFetcher {
  /** Resolves when all has come over the connection; rejects with a GodwitError if it is no good any more. */
  readonly done: Promise<void>;
  /** Takes the connection back. When it resolves, nobody else uses it. */
  readonly end: () => Promise<void>;
}

/** A VM whose memory arrives while it runs. */
export interface PostcopyVm {
  /**
   * From now on pages whose bit in `layout.receivedBitmap` is clear are missing. Whoever places one sets its bit behind
   * its content, atomically.
   * @param wanted called with the index of each page that the machine needs and does not have, once.
   * @param logged whether there will be checkpoints: from the moment this resolves, every write is logged.
   */
  begin(wanted: (page: number) => void, logged: boolean): Promise<void>;
  /**
   * At a safe point: a copy of what has been written since the checkpoint before, and the device state.
   * @param also pages that are to be in it, too, by rising index.
   * @returns undefined if it can't be taken now, because a device waits for a page in the middle of its work.
   */
  checkpoint(also: Uint32Array): Promise<Checkpoint | undefined>;
  /** Pages have been placed, and CONTROL.wanting says that somebody waits. */
  arrived(): void;
  /** Whether pages can come at all, as things are. */
  setLink(up: boolean): Promise<void>;
  /**
   * Lets the machine ask for pages, and place those that come, by itself, over a connection of its own (page-fetcher.ts):
   * at once if `setLink` says so, and `begin` was called before. `begin`'s `wanted` is told of pages that are long in
   * coming, and of those that had not come when the connection went.
   * @param from up to where the connection has been read.
   * @param confirms whether each frame is to be confirmed.
   */
  readonly fetch?: (connection: LentConnection, from: StreamPlace, confirms: boolean) => LentFetcher;
  /** No page is missing any more. */
  end(): Promise<void>;
  /**
   * The same of the disks that arrive: chunks (disk-stream.ts) whose bit is clear are missing.
   * @param here for each disk, bit n & 31 of word n >> 5 for chunk n, in shared memory.
   * @param wanted called with chunks of which the machine needs some, and does not have them.
   */
  beginDisks(here: readonly Int32Array[], wanted: (disk: number, run: ChunkRun) => void): Promise<void>;
  /** Chunks have been written. */
  disksArrived(): void;
  /** No chunk is missing any more. */
  endDisks(): Promise<void>;
}

/** Builds the destination's VM, after comparing it with what the user asked for. */
export interface DestinationBuilder {
  /**
   * @param withDisks whether the disks that the guest can write arrive with it.
   * @throws GodwitError kind "mismatch" that lists all differences at once; kind "file" if an image can't be made.
   */
  build(configuration: Configuration, withDisks: boolean): Promise<DestinationVm>;
}
