/**
 * What the stub needs of a virtual machine. Harts are counted from 0; the protocol's threads are one more. Every method may
 * reject with a GodwitError: the command fails, and the debugger is told so.
 */

/** What a hart does while the machine runs: `step` is one instruction, after which the machine stops. */
export type HartAction = 'run' | 'step' | 'stay';

export interface ResumePlan {
  /** One for each hart. */
  readonly actions: readonly HartAction[];
  /** A hart that steps takes interrupts. */
  readonly stepInterrupts: boolean;
  /** Time goes on while a hart steps. */
  readonly stepTime: boolean;
}

/** Why the machine stands still. */
export type Stop =
  /** A monitor, or the stub itself. */
  | { readonly reason: 'paused' }
  | { readonly reason: 'breakpoint' | 'step'; readonly hart: number }
  | {
      readonly reason: 'watchpoint';
      readonly hart: number;
      readonly watchpoint: { readonly kind: 'write' | 'read' | 'access'; readonly address: bigint };
    }
  /** The guest switched the machine off, and it was to stay. */
  | { readonly reason: 'shutdown' }
  /** The guest was migrated away. */
  | { readonly reason: 'migrated' }
  | { readonly reason: 'io-error' | 'internal-error' };

/** Where harts are to stop; at virtual addresses, and for all of them. */
export type Point =
  | { readonly kind: 'software' | 'hardware'; readonly address: bigint }
  | {
      readonly kind: 'write' | 'read' | 'access';
      readonly address: bigint;
      /** Bytes. */
      readonly length: number;
    };

export interface Register {
  readonly name: string;
  readonly number: number;
  readonly bits: number;
  /** gdb's name of the type. */
  readonly type: string;
}

export interface RegisterFeature {
  /** The first is the one whose registers `g` gives. */
  readonly name: string;
  readonly registers: readonly Register[];
}

export interface GdbTarget {
  readonly harts: number;
  readonly features: readonly RegisterFeature[];
  /** Virtual time: a step that held interrupts or time back would change the run. */
  readonly exactSteps: boolean;

  /** Whether the machine runs. */
  readonly running: boolean;
  /** Resolves when the machine stands still. */
  stop(): Promise<void>;
  /** Lets harts run; the next stop is told to `onStop`'s listener. */
  resume(plan: ResumePlan): Promise<void>;
  /** The one listener is told whenever the machine, having run, stands still. */
  onStop(listener: (stop: Stop) => void): void;

  /** Whether each hart waits for an interrupt. */
  waiting(): Promise<boolean[]>;
  /** Unsigned; undefined where there is no such register. */
  readRegisters(hart: number, numbers: readonly number[]): Promise<(bigint | undefined)[]>;
  /** False if one can't be written. */
  writeRegisters(hart: number, values: ReadonlyMap<number, bigint>): Promise<boolean>;
  /** Virtual memory as the hart sees it, or physical memory without one; undefined if not all of it is there. */
  readMemory(hart: number | undefined, address: bigint, length: number): Promise<Uint8Array | undefined>;
  /** False if not all of it is there. */
  writeMemory(hart: number | undefined, address: bigint, bytes: Uint8Array): Promise<boolean>;
  insertPoint(point: Point): Promise<void>;
  removePoint(point: Point): Promise<void>;
  removeAllPoints(): Promise<void>;

  /** Runs a line of the human monitor. @returns what it prints, lines ended by "\n". */
  monitor(line: string): Promise<string>;
  /** System reset; the machine stays as it is, running or not. */
  reset(): Promise<void>;
  /** Ends the process. */
  kill(): void;
}
