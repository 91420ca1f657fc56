/** What a debugger has chosen: which thread its commands are about, and how steps are made. */
import type { GdbTarget, HartAction, ResumePlan } from './target.ts';
import type { ThreadId } from './text.ts';

/** QEMU's flags of a step ("Qqemu.sstep"). */
export const STEP = {
  enable: 1,
  /** Takes no interrupts. */
  noIrq: 2,
  /** Time stands still meanwhile. */
  noTimer: 4,
} as const;

export class Debuggee {
  readonly target: GdbTarget;
  /** Console output for the debugger's user. */
  readonly print: (text: string) => void;
  /** The hart that the last stop was about. */
  current = 0;
  /** The hart of registers and memory (`Hg`). */
  general = 0;
  /** The one of `s` (`Hc`). */
  resumed: ThreadId = 'any';
  /** m and M mean physical addresses. */
  physical = false;
  stepFlags: number;

  constructor(target: GdbTarget, print: (text: string) => void) {
    this.target = target;
    this.print = print;
    this.stepFlags = this.stepFlagsKnown;
  }

  /** Those that a debugger may choose from; with virtual time, a step has to leave the run as it is. */
  get stepFlagsKnown(): number {
    return this.target.exactSteps ? STEP.enable : STEP.enable | STEP.noIrq | STEP.noTimer;
  }

  /** The hart whose memory is meant, or undefined for physical memory. */
  get memoryOf(): number | undefined {
    return this.physical ? undefined : this.general;
  }

  /** A hart that is meant by a thread, if there is such a one. */
  hartOf(thread: ThreadId | undefined): number | undefined {
    if (thread === undefined || thread === 'all') return undefined;
    if (thread === 'any') return this.current;
    return thread.hart >= 0 && thread.hart < this.target.harts ? thread.hart : undefined;
  }

  /** All harts as one does, but for some. */
  actions(otherwise: HartAction, some: ReadonlyMap<number, HartAction> = new Map()): HartAction[] {
    return Array.from({ length: this.target.harts }, (_, hart) => some.get(hart) ?? otherwise);
  }

  plan(actions: readonly HartAction[]): ResumePlan {
    return {
      actions,
      stepInterrupts: (this.stepFlags & STEP.noIrq) === 0,
      stepTime: (this.stepFlags & STEP.noTimer) === 0,
    };
  }
}
