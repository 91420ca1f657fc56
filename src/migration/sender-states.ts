/** The source's states: QEMU's, and three of ours between them. What each action does is in sender.ts. */
import type { CommonAction, Table } from './state-machine.ts';
import type { MigrationStatus } from './statistics.ts';

export type SenderState =
  | 'none'
  /** Connecting, and asking the destination whether it can take this machine. */
  | 'setup'
  /** Passes over memory while the guest runs. */
  | 'active'
  /** The guest is being stopped. */
  | 'stopping'
  /** The guest is stopped, and the user wants to be asked before it goes on. */
  | 'pre-switchover'
  /** The guest is stopped: final pass, device state, until the destination is ready. */
  | 'device'
  /** "go" is being said. From here on the guest may be the other side's. */
  | 'handover'
  /** Taking everything back after an error. */
  | 'failing'
  | 'cancelling'
  | 'completed'
  | 'cancelled'
  | 'failed';

export type SenderEvent =
  | 'start'
  /** The destination accepts the machine. */
  | 'accepted'
  /** The rest fits the pause limit. */
  | 'converged'
  /** The guest stands still, and the hand-over may go on; or it waits for the user's word. */
  | 'stopped'
  | 'held'
  /** The user lets it go on. */
  | 'continue'
  /** The destination has everything. */
  | 'ready'
  /** The destination runs the guest; of a file: it is on disk. */
  | 'running'
  | 'cancel'
  /** Something failed, and it is certain that the other side does not run the guest and never will. */
  | 'error'
  /** Something failed after "go" may have been delivered. */
  | 'unclear'
  /** Everything has been taken back. */
  | 'restored';

export type SenderAction =
  | CommonAction
  | 'handshake'
  | 'iterate'
  | 'stopGuest'
  | 'hold'
  /** Ends `hold`. */
  | 'release'
  | 'switchOver'
  | 'handOver'
  | 'finish'
  /** Ends whatever the engine waits for; what it was doing then ends with an event. */
  | 'interrupt'
  | 'takeBack'
  /** The source stays stopped, because the destination may run the guest. */
  | 'leaveStopped'
  /** The end. */
  | 'conclude';

const NEVER = {
  start: ['none', 'defect'],
  accepted: ['none', 'defect'],
  converged: ['none', 'defect'],
  stopped: ['none', 'defect'],
  held: ['none', 'defect'],
  continue: ['none', 'defect'],
  ready: ['none', 'defect'],
  running: ['none', 'defect'],
  cancel: ['none', 'ignore'],
  error: ['none', 'defect'],
  unclear: ['none', 'defect'],
  restored: ['none', 'defect'],
} as const;

/** While the guest is certainly the source's. */
const INTACT = {
  ...NEVER,
  cancel: ['cancelling', 'interrupt'],
  error: ['failing', 'takeBack'],
} as const;

const over = <S extends SenderState>(state: S) => ({ ...NEVER, cancel: [state, 'ignore'] }) as const;

export const SENDER_TABLE: Table<SenderState, SenderEvent, SenderAction> = {
  none: { ...NEVER, start: ['setup', 'handshake'] },
  setup: { ...INTACT, accepted: ['active', 'iterate'] },
  active: { ...INTACT, converged: ['stopping', 'stopGuest'] },
  stopping: { ...INTACT, stopped: ['device', 'switchOver'], held: ['pre-switchover', 'hold'] },
  'pre-switchover': {
    ...INTACT,
    continue: ['pre-switchover', 'release'],
    stopped: ['device', 'switchOver'],
  },
  device: { ...INTACT, ready: ['handover', 'handOver'] },
  handover: {
    ...NEVER,
    running: ['completed', 'finish'],
    // Too late: to say "go" and to take it back are not the same as not to have said it.
    cancel: ['handover', 'ignore'],
    error: ['failing', 'takeBack'],
    unclear: ['failed', 'leaveStopped'],
  },
  failing: { ...NEVER, cancel: ['failing', 'ignore'], restored: ['failed', 'conclude'] },
  cancelling: {
    ...NEVER,
    // What the engine was doing when it was interrupted may have succeeded at that very moment.
    accepted: ['cancelling', 'takeBack'],
    converged: ['cancelling', 'takeBack'],
    stopped: ['cancelling', 'takeBack'],
    held: ['cancelling', 'takeBack'],
    ready: ['cancelling', 'takeBack'],
    error: ['cancelling', 'takeBack'],
    cancel: ['cancelling', 'ignore'],
    restored: ['cancelled', 'conclude'],
  },
  completed: over('completed'),
  cancelled: over('cancelled'),
  failed: over('failed'),
};

/** What `query-migrate` calls a state; undefined: as the state before. */
export const SENDER_STATUS: Readonly<Record<SenderState, MigrationStatus | undefined>> = {
  none: 'none',
  setup: 'setup',
  active: 'active',
  // What is said next is true only when the guest stands still.
  stopping: undefined,
  'pre-switchover': 'pre-switchover',
  device: 'device',
  handover: 'device',
  // "failed" is said when the guest runs again.
  failing: undefined,
  cancelling: 'cancelling',
  completed: 'completed',
  cancelled: 'cancelled',
  failed: 'failed',
};
