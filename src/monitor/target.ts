/**
 * What a monitor needs of a virtual machine. Names, states and fields are QMP's (QEMU 7.2: qapi/run-state.json,
 * qapi/migration.json, qapi/machine.json), so that a command hands them on as they are.
 *
 * A method that can't do what is asked rejects with a GodwitError, whose message becomes the monitor's error text.
 */
import type { BlockCounters, BlockInfo } from './block.ts';
import type { DirtyTarget } from './dirty.ts';
import type { Capabilities, Parameters } from './migration-parameters.ts';

/** `query-status` (RunState). */
export type RunState =
  | 'prelaunch'
  | 'running'
  | 'paused'
  /** A debugger's breakpoint, watchpoint or step. */
  | 'debug'
  | 'inmigrate'
  | 'finish-migrate'
  | 'postmigrate'
  | 'save-vm'
  | 'restore-vm'
  | 'shutdown'
  | 'io-error'
  | 'internal-error';

/** `query-migrate` (MigrationStatus). */
export type MigrationStatus = (typeof MIGRATION_STATUSES)[number];

export const MIGRATION_STATUSES = [
  'none',
  'setup',
  'active',
  'pre-switchover',
  'device',
  'postcopy-active',
  'postcopy-paused',
  'postcopy-recover-setup',
  'postcopy-recover',
  'completed',
  'cancelling',
  'cancelled',
  'failed',
] as const;

/** States that a migration does not leave by itself. */
export const FINAL_MIGRATION_STATES: ReadonlySet<MigrationStatus> = new Set([
  'none',
  'completed',
  'cancelled',
  'failed',
]);

export interface StatusInfo {
  readonly status: RunState;
  readonly running: boolean;
  readonly singlestep?: boolean;
}

/** `ram` of `query-migrate`: bytes unless the name says pages; `mbps` in Mbit/s (10⁶). */
export interface MigrationRam {
  readonly transferred: number;
  readonly remaining: number;
  readonly total: number;
  /** Pages that were all zero. */
  readonly duplicate: number;
  readonly skipped?: number;
  /** Pages sent whole. */
  readonly normal: number;
  readonly 'normal-bytes': number;
  readonly 'dirty-pages-rate': number;
  readonly mbps: number;
  readonly 'dirty-sync-count': number;
  readonly 'page-size': number;
  readonly 'pages-per-second'?: number;
  readonly 'postcopy-requests'?: number;
  readonly 'multifd-bytes'?: number;
  readonly 'precopy-bytes'?: number;
  readonly 'downtime-bytes'?: number;
  readonly 'postcopy-bytes'?: number;
}

export interface MigrationXbzrle {
  readonly 'cache-size': number;
  readonly bytes: number;
  readonly pages: number;
  readonly 'cache-miss': number;
  readonly 'cache-miss-rate': number;
  readonly 'encoding-rate': number;
  readonly overflow: number;
}

export interface MigrationDisk {
  readonly transferred: number;
  readonly remaining: number;
  readonly total: number;
  /** Bytes per second that the guest may write, while it is held down; godwit's own. */
  readonly 'write-limit'?: number;
  /** In post-copy: how often the guest asked for what was not there, and bytes sent; godwit's own. */
  readonly 'postcopy-requests'?: number;
  readonly 'postcopy-bytes'?: number;
}

/** One pass over memory; godwit's own, QEMU has no such history. */
export interface MigrationPass {
  /** 1 for the pass over all pages. */
  readonly pass: number;
  /** From the pass's dirty sync to the next, ms. */
  readonly duration: number;
  readonly bytes: number;
  readonly pages: number;
  /** Those of `pages` that were all zero, that went whole, and of which a delta was sent. */
  readonly duplicate: number;
  readonly normal: number;
  readonly delta: number;
  /** What the last two of these, and pieces of disks, took of `bytes`; the rest are tables and headers. */
  readonly 'normal-bytes': number;
  readonly 'delta-bytes': number;
  readonly 'disk-bytes': number;
  /** Pages per second that the guest dirtied meanwhile. */
  readonly 'dirty-pages-rate': number;
}

/** Something that a migration did by itself. */
export interface MigrationDecision {
  /** ms since its start. */
  readonly time: number;
  readonly text: string;
}

/** What the pause was made of, ms; godwit's own. */
export interface MigrationPause {
  /** Waiting for migrate-continue. */
  readonly held?: number;
  readonly 'final-pass'?: number;
  readonly 'take-state'?: number;
  readonly 'send-state'?: number;
  readonly load?: number;
  readonly resume?: number;
  /** At the destination: starting the guest. */
  readonly start?: number;
}

/** Checkpoints of `postcopy-rescue`; godwit's own. */
export interface MigrationRescue {
  readonly checkpoints: number;
  readonly pages: number;
  readonly bytes: number;
  /** At the source: ms since the instant that the guest could be taken up from. */
  readonly age?: number;
  /** At the destination: for how many ns the guest stood still for one. */
  readonly 'pause-mean'?: number;
  readonly 'pause-max'?: number;
}

/** `query-migrate`; times in ms. An empty object if there was no migration. */
export interface MigrationInfo {
  readonly status?: MigrationStatus;
  readonly 'error-desc'?: string;
  readonly 'blocked-reasons'?: readonly string[];
  readonly 'total-time'?: number;
  readonly 'setup-time'?: number;
  /** How long the guest stood still; only once it is known. */
  readonly downtime?: number;
  readonly 'expected-downtime'?: number;
  /** Until the guest is the other side's if all goes on as now; null if that would be never; godwit's own. */
  readonly 'expected-time-left'?: number | null;
  readonly ram?: MigrationRam;
  readonly 'xbzrle-cache'?: MigrationXbzrle;
  readonly disk?: MigrationDisk;
  readonly rescue?: MigrationRescue;
  readonly 'cpu-throttle-percentage'?: number;
  /** What the migration did about how it goes, and why; godwit's own. */
  readonly decisions?: readonly MigrationDecision[];
  readonly 'socket-address'?: readonly Readonly<Record<string, string | number | boolean>>[];
  readonly passes?: readonly MigrationPass[];
  /** When the guest was stopped for the hand-over, ms since the start; godwit's own. */
  readonly 'stopped-at'?: number;
  readonly pause?: MigrationPause;
  /** At the destination of a post-copy: ms during which all harts waited for pages, and how long each did. */
  readonly 'postcopy-blocktime'?: number;
  readonly 'postcopy-vcpu-blocktime'?: readonly number[];
  /** How long a hart waited for a page, ns: the mean, of all and of each hart. */
  readonly 'postcopy-latency'?: number;
  readonly 'postcopy-vcpu-latency'?: readonly number[];
  /** Waits by duration: element N counts those of 2^N to 2^(N+1) µs. */
  readonly 'postcopy-latency-dist'?: readonly number[];
  /** The same in ns, godwit's own: half of the waits were shorter, 99 of 100 were, and the longest. */
  readonly 'postcopy-latency-median'?: number;
  readonly 'postcopy-latency-p99'?: number;
  readonly 'postcopy-latency-max'?: number;
}

/** A migration's figures over time, for plots; godwit's own. */
export type MigrationSamples = readonly {
  /** ms since the start. */
  readonly time: number;
  /** Passes that are over. */
  readonly passes: number;
  /** Bytes known to be pending, of memory and of disks, and handed over so far. */
  readonly remaining: number;
  readonly 'disk-remaining': number;
  readonly transferred: number;
  readonly 'dirty-pages-rate': number;
  readonly 'cpu-throttle-percentage': number;
  /** Run by the guest, from any point on. */
  readonly instructions: number;
}[];

/** Why a machine was reset or shut down (ShutdownCause), as far as it can happen here. */
export type ShutdownCause =
  | 'none'
  | 'host-error'
  | 'host-qmp-quit'
  | 'host-qmp-system-reset'
  | 'host-signal'
  | 'host-ui'
  | 'guest-shutdown'
  | 'guest-reset'
  | 'guest-panic';

/** What happens to a machine, as QMP names it. */
export type MonitorEvent =
  | { readonly event: 'STOP' | 'RESUME' | 'POWERDOWN' }
  | {
      readonly event: 'SHUTDOWN' | 'RESET';
      readonly data: { readonly guest: boolean; readonly reason: ShutdownCause };
    }
  | {
      readonly event: 'BLOCK_IO_ERROR';
      readonly data: {
        /** The drive's id. */
        readonly device: string;
        readonly operation: 'read' | 'write';
        readonly action: 'report' | 'ignore' | 'stop';
        readonly nospace: boolean;
        readonly reason: string;
      };
    }
  | {
      readonly event: 'NETDEV_STREAM_CONNECTED';
      readonly data: { readonly 'netdev-id': string; readonly addr: Readonly<Record<string, string>> };
    }
  | { readonly event: 'NETDEV_STREAM_DISCONNECTED'; readonly data: { readonly 'netdev-id': string } }
  | { readonly event: 'MIGRATION'; readonly data: { readonly status: MigrationStatus } }
  | { readonly event: 'MIGRATION_PASS'; readonly data: { readonly pass: number } }
  /** The migration has decided something by itself; godwit's own. */
  | { readonly event: 'MIGRATION_DECISION'; readonly data: { readonly text: string } };

/** When adapters are announced (qapi/net.json), in ms: rounds come later and later. */
export interface AnnounceParameters {
  /** From the first round to the second. */
  readonly initial: number;
  /** Between two rounds at most. */
  readonly max: number;
  readonly rounds: number;
  /** So much longer each time. */
  readonly step: number;
  /** Only the adapters of these names (`e1000.0`, or the id); without it all, with none it ends what has this id. */
  readonly interfaces?: readonly string[];
  /** Announcements of different ids go on beside each other; of the same id, the last one does. */
  readonly id?: string;
}

export interface MigrateRequest {
  readonly uri: string;
  /** Goes on with a paused post-copy. */
  readonly resume?: boolean;
  /** Disks go with the guest; with `inc`, too, and what the destination has already is not sent. */
  readonly blk?: boolean;
  readonly inc?: boolean;
}

/** A further `info` topic of the human monitor, given by the machine ("registers"). */
export interface InfoTopic {
  readonly name: string;
  /** Shown after the name in help: "[-a]". */
  readonly params?: string;
  readonly help: string;
  /**
   * The text, lines divided by "\n". `args` is what stands after the topic, unparsed; `hart` is the one that the session
   * is about.
   */
  text(args: string, hart: number): Promise<string>;
}

/** Guest memory: by a virtual address of a hart, or by a physical one if no hart is named. */
export interface MemoryAddress {
  readonly address: bigint;
  readonly hart?: number;
}

/** What can be logged. */
export interface LogItemInfo {
  readonly name: string;
  readonly help: string;
}

/** A virtual machine, as its monitors see it. */
export interface MonitorTarget {
  readonly name?: string | undefined;
  /** All zero if none was given. */
  readonly uuid: string;
  /** Further `info` topics; names must not be those of the monitor's own. */
  readonly infoTopics: readonly InfoTopic[];

  /** How many harts there are. @throws GodwitError kind "state" while there is no machine. */
  readonly harts: number;
  /** The operating system's number of what runs the harts. */
  readonly threadId: number;
  /** The values that `$name` stands for. */
  registers(hart: number): Promise<ReadonlyMap<string, bigint>>;
  /** The `length` bytes there, or as many as there are before the first that is no memory. Changes nothing. */
  readMemory(at: MemoryAddress, length: number): Promise<Uint8Array>;
  /** A line for each of `count` instructions, and where the next one is; nowhere if memory ends, which the last line says. */
  disassemble(
    at: MemoryAddress,
    count: number,
  ): Promise<{ readonly lines: readonly string[]; readonly next?: bigint | undefined }>;
  /** Writes `size` bytes to a file. Physical memory that is not there reads as zero, virtual memory is an error. */
  saveMemory(at: MemoryAddress, size: bigint, file: string): Promise<void>;

  readonly dirty: DirtyTarget;

  readonly logItems: readonly LogItemInfo[];
  /** Logs these items, whose names have been checked, and no others. */
  setLogItems(names: readonly string[]): Promise<void>;
  /** Logs to this file from now on. */
  setLogFile(file: string): Promise<void>;

  queryStatus(): Promise<StatusInfo>;
  /** Resolves when the guest stands still; without effect if it does already. */
  stop(): Promise<void>;
  /** Lets the guest run; while a migration is awaited, it only says that the guest is to run on arrival. */
  cont(): Promise<void>;
  /** All drives, also those that no device shows. */
  queryBlock(): Promise<BlockInfo[]>;
  /** By the drive's id. */
  queryBlockStats(): Promise<ReadonlyMap<string, BlockCounters>>;
  systemReset(): Promise<void>;
  systemPowerdown(): Promise<void>;
  /** Plugs the network cable in, or pulls it, that has an end of this name: an adapter's or a back end's. */
  setLink(name: string, up: boolean): Promise<void>;
  /** Tells the network where the machine's adapters are; parameters that are left out are the migration's. */
  announceSelf(changes: Partial<AnnounceParameters>): Promise<void>;
  /** Starts an orderly end of the process; resolves before it ends, so that the answer can be sent. */
  quit(): Promise<void>;

  /** Starts a migration; resolves when it has begun (it may fail later: see queryMigrate), rejects if refused. */
  migrate(request: MigrateRequest): Promise<void>;
  /** Without effect if none runs. Resolves at once; the end is a MIGRATION event. */
  migrateCancel(): Promise<void>;
  /** Lets a migration go on that waits in `state`. @throws GodwitError kind 'state' if it has another one. */
  migrateContinue(state: MigrationStatus): Promise<void>;
  migrateIncoming(uri: string): Promise<void>;
  /** Switches a migration to post-copy. @throws GodwitError kind 'state' if it can't be. */
  migrateStartPostcopy(): Promise<void>;
  /** Ends the connection of a post-copy, of either side: both are paused then. @throws GodwitError kind 'state'. */
  migratePause(): Promise<void>;
  /** Listens for another connection of a paused post-copy. @throws GodwitError kind 'state' or 'transport'. */
  migrateRecover(uri: string): Promise<void>;
  /**
   * Takes the guest of a paused post-copy up at the source, from the last checkpoint. @throws GodwitError kind 'state'.
   */
  migrateRescue(): Promise<void>;
  queryMigrate(): Promise<MigrationInfo>;
  /** How the present or last outgoing migration went; empty if there was none. */
  migrationSamples(): Promise<MigrationSamples>;

  /** The present ones. */
  capabilities(): Capabilities;
  /** All or none are taken over. The names and `supported` have been checked; refused while a migration runs. */
  setCapabilities(changes: Partial<Capabilities>): Promise<void>;
  parameters(): Parameters;
  /** All or none are taken over, also while a migration runs. Types and ranges have been checked. */
  setParameters(changes: Partial<Parameters>): Promise<void>;

  /**
   * Tells of every event, in order, MIGRATION and MIGRATION_PASS always too (the monitor drops them for clients
   * while the capability `events` is off). Returns the function that ends it.
   */
  subscribe(listener: (event: MonitorEvent) => void): () => void;
}

/** What a monitor needs of the host it runs on. */
export interface MonitorHost {
  /** godwit's version, "0.1.0". */
  readonly version: string;
  /** Microseconds since 1970-01-01 UTC, for the time stamps of events. */
  wallClockUs(): number;
  /** Calls `run` every `ms` milliseconds until the returned function is called. */
  every(ms: number, run: () => void): () => void;
  /**
   * Waits for a debugger at a character device, and no longer at the one before; "none" only ends that.
   * @throws GodwitError kind 'usage' or 'transport'.
   */
  gdbserver(device: string): Promise<void>;
}
