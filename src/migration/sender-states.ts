/** The source's states: QEMU's, and some of ours between them. What each action does is in sender.ts. */
import type { CommonAction, Table } from './state-machine.ts';
import type { MigrationStatus } from './statistics.ts';

/** Why `migrate-pause` does nothing, in QEMU's words. */
export const NO_POSTCOPY_TO_PAUSE =
  'migrate-pause is currently only supported during postcopy-active or postcopy-recover state';

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
  /** The guest is stopped, and is to run at the destination before its memory is there. */
  | 'postcopy-device'
  /** As `handover`. */
  | 'postcopy-handover'
  /** The guest runs at the destination, and gets its memory from here. */
  | 'postcopy-active'
  /** The connection is gone, and another one is waited for; the guest is the destination's, its memory still here. */
  | 'postcopy-paused'
  /** Connecting again. */
  | 'postcopy-recover-setup'
  /** Learning what the destination has. */
  | 'postcopy-recover'
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
  /** The user wants post-copy from here on. */
  | 'postcopy'
  /** As `stopped`, for post-copy. */
  | 'split'
  /** The destination has all memory. */
  | 'served'
  /** There is another connection to try. */
  | 'recover'
  | 'connected'
  /** The user knows that the destination's process is dead, and wants the guest back. */
  | 'rescue'
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
  | 'switchToPostcopy'
  | 'serve'
  /** Gives the connection up, and waits for `recover`. */
  | 'pause'
  | 'reconnect'
  | 'resync'
  | 'finish'
  /** Ends whatever the engine waits for; what it was doing then ends with an event. */
  | 'interrupt'
  | 'takeBack'
  /** As `takeBack`, from the last checkpoint. */
  | 'rescue'
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
  postcopy: ['none', 'defect'],
  split: ['none', 'defect'],
  served: ['none', 'defect'],
  recover: ['none', 'defect'],
  connected: ['none', 'defect'],
  rescue: ['none', 'defect'],
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

/** The guest is the destination's, and what it lacks is here: nothing ends that but its having all. */
const given = <S extends SenderState>(state: S) =>
  ({ ...NEVER, cancel: [state, 'ignore'], unclear: ['postcopy-paused', 'pause'] }) as const;

const over = <S extends SenderState>(state: S) => ({ ...NEVER, cancel: [state, 'ignore'] }) as const;

export const SENDER_TABLE: Table<SenderState, SenderEvent, SenderAction> = {
  none: { ...NEVER, start: ['setup', 'handshake'] },
  setup: { ...INTACT, accepted: ['active', 'iterate'] },
  active: { ...INTACT, converged: ['stopping', 'stopGuest'], postcopy: ['stopping', 'stopGuest'] },
  stopping: {
    ...INTACT,
    stopped: ['device', 'switchOver'],
    split: ['postcopy-device', 'switchToPostcopy'],
    held: ['pre-switchover', 'hold'],
  },
  'pre-switchover': {
    ...INTACT,
    continue: ['pre-switchover', 'release'],
    stopped: ['device', 'switchOver'],
    split: ['postcopy-device', 'switchToPostcopy'],
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
  'postcopy-device': { ...INTACT, ready: ['postcopy-handover', 'handOver'] },
  'postcopy-handover': {
    ...given('postcopy-handover'),
    running: ['postcopy-active', 'serve'],
    error: ['failing', 'takeBack'],
  },
  'postcopy-active': { ...given('postcopy-active'), served: ['completed', 'finish'] },
  'postcopy-paused': {
    ...given('postcopy-paused'),
    recover: ['postcopy-recover-setup', 'reconnect'],
    rescue: ['failing', 'rescue'],
  },
  'postcopy-recover-setup': {
    ...given('postcopy-recover-setup'),
    connected: ['postcopy-recover', 'resync'],
  },
  'postcopy-recover': { ...given('postcopy-recover'), running: ['postcopy-active', 'serve'] },
  failing: { ...NEVER, cancel: ['failing', 'ignore'], restored: ['failed', 'conclude'] },
  cancelling: {
    ...NEVER,
    // What the engine was doing when it was interrupted may have succeeded at that very moment.
    accepted: ['cancelling', 'takeBack'],
    converged: ['cancelling', 'takeBack'],
    postcopy: ['cancelling', 'takeBack'],
    split: ['cancelling', 'takeBack'],
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
  'postcopy-device': 'device',
  'postcopy-handover': 'device',
  'postcopy-active': 'postcopy-active',
  'postcopy-paused': 'postcopy-paused',
  'postcopy-recover-setup': 'postcopy-recover-setup',
  'postcopy-recover': 'postcopy-recover',
  // "failed" is said when the guest runs again.
  failing: undefined,
  cancelling: 'cancelling',
  completed: 'completed',
  cancelled: 'cancelled',
  failed: 'failed',
};
