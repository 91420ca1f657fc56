/** The destination's states, and what each frame does in each of them. The actions are in receiver.ts. */
import type { ForwardFrame } from './protocol.ts';
import type { CommonAction, Table } from './state-machine.ts';
import type { MigrationStatus } from './statistics.ts';

export type ReceiverState =
  /** Connected, waiting for the machine's configuration. */
  | 'setup'
  /** The machine is built; waiting for a device state to try on. */
  | 'checking'
  /** Memory arrives. */
  | 'active'
  /** The device state has arrived. */
  | 'device'
  /** Everything is here and loaded; waiting for "go". */
  | 'ready'
  /** "go" has arrived: the guest is ours. */
  | 'starting'
  | 'completed'
  | 'failed';

export type ReceiverEvent =
  | ForwardFrame
  /** The stream has ended between two frames. */
  | 'closed'
  | 'started'
  | 'cancel'
  | 'error';

export type ReceiverAction =
  | CommonAction
  | 'build'
  | 'tryState'
  | 'applyRam'
  | 'endPass'
  | 'keepState'
  | 'complete'
  | 'start'
  | 'conclude'
  /** Ends whatever is waited for; an "error" follows. */
  | 'interrupt'
  /** Tells the source why, and ends. */
  | 'fail'
  /** The source has said why it gives up. */
  | 'abandoned'
  /** The stream ended too early. */
  | 'cutShort'
  /** A frame that can't come here. */
  | 'outOfOrder';

const REFUSED = {
  hello: ['failed', 'outOfOrder'],
  checkState: ['failed', 'outOfOrder'],
  ram: ['failed', 'outOfOrder'],
  pass: ['failed', 'outOfOrder'],
  state: ['failed', 'outOfOrder'],
  end: ['failed', 'outOfOrder'],
  go: ['failed', 'outOfOrder'],
  abort: ['failed', 'abandoned'],
  closed: ['failed', 'cutShort'],
  started: ['failed', 'defect'],
  error: ['failed', 'fail'],
} as const;

const waiting = <S extends ReceiverState>(state: S) =>
  ({ ...REFUSED, cancel: [state, 'interrupt'] }) as const;

/** No frame is read any more. */
const deaf = <S extends ReceiverState>(state: S) =>
  ({
    hello: [state, 'defect'],
    checkState: [state, 'defect'],
    ram: [state, 'defect'],
    pass: [state, 'defect'],
    state: [state, 'defect'],
    end: [state, 'defect'],
    go: [state, 'defect'],
    abort: [state, 'defect'],
    closed: [state, 'defect'],
    started: [state, 'defect'],
    error: [state, 'defect'],
    cancel: [state, 'ignore'],
  }) as const;

export const RECEIVER_TABLE: Table<ReceiverState, ReceiverEvent, ReceiverAction> = {
  setup: { ...waiting('setup'), hello: ['checking', 'build'] },
  checking: { ...waiting('checking'), checkState: ['active', 'tryState'] },
  active: {
    ...waiting('active'),
    ram: ['active', 'applyRam'],
    pass: ['active', 'endPass'],
    state: ['device', 'keepState'],
  },
  device: { ...waiting('device'), end: ['ready', 'complete'] },
  ready: { ...waiting('ready'), go: ['starting', 'start'] },
  starting: { ...deaf('starting'), started: ['completed', 'conclude'], error: ['failed', 'fail'] },
  completed: deaf('completed'),
  failed: deaf('failed'),
};

export const RECEIVER_STATUS: Readonly<Record<ReceiverState, MigrationStatus>> = {
  setup: 'setup',
  checking: 'setup',
  active: 'active',
  device: 'device',
  ready: 'device',
  starting: 'device',
  completed: 'completed',
  failed: 'failed',
};
