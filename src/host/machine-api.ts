/** What the threads of a VM say to its machine's thread, and what that tells the main thread. */
import type { MessagePort } from 'node:worker_threads';
import type { Accelerator } from '../cpu/accelerator.ts';
import type { Translation } from '../cpu/jit/translation.ts';
import type { MachineCheckpoint } from '../machine/checkpoints.ts';
import type { CodeLines } from '../machine/code-dump.ts';
import type { MachinePlan } from '../machine/configuration.ts';
import type { DirtyLimitOwner, HartDirtyLimit } from '../machine/dirty-limit.ts';
import type { DirtyLogUser, DirtyReport } from '../machine/dirty-tracking.ts';
import type { DebugStop, RunPlan } from '../machine/turns.ts';
import type { WaitFigures } from '../machine/wait-times.ts';
import type { StreamPlace } from '../migration/frame-reader.ts';
import type { LentConnection } from '../migration/transport.ts';
import type { BlockCounters } from '../monitor/block.ts';
import type { AnnounceParameters } from '../monitor/target.ts';
import type { BlockError } from './block-file.ts';
import type { Drive } from './drive.ts';
import type { NetdevAddress } from './netdev.ts';
import type { NetworkSpecs } from './netdev-open.ts';
import type { RtcOptions } from './real-time.ts';

/** What a machine is built from. */
export interface MachineBlueprint {
  readonly configuration: MachinePlan;
  readonly memory: WebAssembly.Memory;
  readonly accel: Accelerator;
  /** Whether translations are kept for the next machine, and those of others used. */
  readonly keepTranslations: boolean;
  /** Virtual time: see MachineHost. */
  readonly icount?: number;
  readonly rtc: RtcOptions;
  /** Open images, for the devices that name them. */
  readonly drives: readonly Drive[];
  readonly log: LogTarget;
}

/** What is logged, and where to. */
export interface LogTarget {
  /** A file of this process. */
  readonly fd: number;
  /** Names of LOG_ITEMS; this thread logs those of GUEST_LOG_ITEMS. */
  readonly items: ReadonlySet<string>;
}

/** What other threads may call; `build` comes first. */
export interface MachineApi {
  /** Network back ends and packet dumps; before `build`, if there are any. */
  openNetworks(specs: NetworkSpecs): Promise<void>;
  /** The machine, stopped; `reset` is next if it has something to start from. Takes the place of one without back ends. */
  build(blueprint: MachineBlueprint): void;
  /** @param plan what a debugger lets each hart do; without it, all run. */
  start(plan?: RunPlan): void;
  /** Harts and time stand still, requests to disks are done, and all console output so far has been sent. */
  stop(): Promise<void>;
  /** Stops, syncs the dirty log and takes the state. */
  stopAndSave(): Promise<Uint8Array>;
  /** Once all that it needs of memory has arrived. */
  reset(): Promise<void>;
  /** The registers of each hart, as lines of text. */
  registers(): string[][];
  /** A hart's registers by name. */
  registerValues(hart: number): Map<string, bigint>;
  /** Memory as a debugger reads it (DebugAccess): virtual for a hart, physical without one. */
  readMemory(hart: number | undefined, address: bigint, length: number): Promise<Uint8Array>;
  /** `count` instructions as lines, and the address of the next one. */
  disassemble(hart: number | undefined, address: bigint, count: number): Promise<CodeLines>;
  /** Logs this from now on; resolves when nothing more goes to where it went before. */
  setLog(log: LogTarget): void;
  /** A hart's active translations, as lines. */
  translations(hart: number): Promise<string[]>;
  /** `info network`, as lines of text. */
  networks(): string[];
  /** Plugs a network cable in, or pulls it; `name` is that of either end. */
  setLink(name: string, up: boolean): void;
  /** Tells the network where the machine's adapters are. */
  announce(parameters: AnnounceParameters): void;
  /** `info pci`, as lines of text. */
  pci(): string[];
  /** `info jit`, as lines of text. */
  jit(): string[];
  /** The interrupt controller. */
  interrupts(): string[];
  /** `info mtree` and `info qtree`. */
  memoryTree(): string[];
  deviceTree(): string[];
  /** What the drives have done, by id. */
  blockStats(): ReadonlyMap<string, BlockCounters>;
  /** Bytes for the serial port. Returns how many it took. */
  input(bytes: Uint8Array): number;
  startDirtyLog(user: DirtyLogUser): void;
  syncDirtyLog(): void;
  stopDirtyLog(user: DirtyLogUser): void;
  /** Who has made pages dirty. */
  dirtyReport(): DirtyReport;
  /** Slows all harts down for a migration: percent of the time that they do not run; 0 lifts it. */
  setThrottle(percentage: number): void;
  /** Limits the rate at which harts, or one, make pages dirty, in MiB per second; undefined lifts it. */
  setDirtyLimit(owner: DirtyLimitOwner, limit: number | undefined, hart?: number): void;
  dirtyLimits(): HartDirtyLimit[];
  saveState(): Uint8Array;
  /** Of a machine that waits for its state: see ArrivingState. */
  rehearse(): void;
  /** A guest is on its way: what of its code other machines have translated is read while it comes. */
  expectGuest(): void;
  checkState(state: Uint8Array): void;
  loadState(state: Uint8Array): void;
  /** Post-copy: see LateMemory. The indices of pages that are needed are posted to the port. */
  beginPostcopy(wanted: MessagePort, logged: boolean): void;
  checkpoint(also: Uint32Array): MachineCheckpoint | undefined;
  setPostcopyLink(up: boolean): void;
  /** Fetches pages by itself, over a connection of the migration thread: see LateMemory.fetch. */
  fetchPages(connection: LentConnection, from: StreamPlace, confirms: boolean): Promise<void>;
  /** From the moment this resolves, it is the migration thread's alone. */
  endFetching(): void;
  waitFigures(): WaitFigures;
  endPostcopy(): void;
  /** The same of drives: see LateDrives. */
  beginLateDisks(here: ReadonlyMap<string, Int32Array>, wanted: MessagePort): void;
  endLateDisks(): void;
  /** Marks writes to these drives from now on; bitmaps by the drives' ids (SourceDisk.dirty). */
  startBlockLog(bitmaps: ReadonlyMap<string, Int32Array>): void;
  /** Ends that, and the limit. */
  stopBlockLog(): void;
  /** Bytes per second that each of these drives may write; 0 for no limit. */
  limitBlockWrites(bytesPerSecond: number): void;
  /** This thread's number in the system; undefined if it does not tell. */
  systemThread(): number | undefined;
  /** Serves the thread of a migration on this port; what it switches on ends with it, or with the next one. */
  attach(port: MessagePort): void;
  /** Serves a MachineDebugger on this port; to be called while the machine stands still. */
  attachDebugger(port: MessagePort): void;
}

/** What the machine thread calls in the main thread. */
export interface MachineListener {
  console(bytes: Uint8Array): void;
  poweredOff(code: number): void;
  resetRequested(): void;
  /** A breakpoint, watchpoint or step has stopped harts and time; `stop` is still to be called. */
  debugStopped(stop: DebugStop): void;
  /** The guest used a device as it can't be used; the line for the log. */
  guestError(line: string): void;
  /** A network back end has somebody at its other end, or nobody any more. */
  netdevConnected(id: string, address: NetdevAddress): void;
  netdevDisconnected(id: string): void;
  /** A translation that the file of kept ones lacks. */
  translated(file: string, translation: Translation, module: WebAssembly.Module): void;
  /** A request to a drive failed. */
  blockError(error: BlockError): void;
}
