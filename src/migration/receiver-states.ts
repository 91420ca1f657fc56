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
  /** Post-copy: which pages are missing is known. */
  | 'switching'
  /** The device state has arrived, of a guest that is to run without them. */
  | 'switched'
  | 'postcopy-loading'
  /** Waiting for "go". From here on a lost connection is no end. */
  | 'postcopy-ready'
  | 'postcopy-starting'
  /** The guest runs, and memory arrives. */
  | 'postcopy-active'
  /** The connection is gone, and another one is waited for. */
  | 'postcopy-paused'
  /** Listening for it. */
  | 'postcopy-recover-setup'
  /** Connected; the source learns what is here. */
  | 'postcopy-recover'
  | 'completed'
  | 'failed';

export type ReceiverEvent =
  | ForwardFrame
  /** The stream has ended between two frames. */
  | 'closed'
  | 'started'
  /** The state of a post-copy's guest is loaded. */
  | 'loaded'
  /** The user listens for another connection; it has come. */
  | 'recover'
  | 'connected'
  /** "go" has come over another connection, and not before. */
  | 'approved'
  /** All memory is here. */
  | 'finished'
  | 'cancel'
  | 'error';

export type ReceiverAction =
  | CommonAction
  | 'build'
  | 'openDisks'
  /** Further connections are to come. */
  | 'awaitChannels'
  /** One for page requests is. */
  | 'awaitUrgent'
  | 'tryState'
  | 'applyRam'
  | 'applyDisk'
  | 'endPass'
  | 'keepState'
  | 'complete'
  | 'discard'
  | 'discardDisk'
  | 'loadPostcopy'
  | 'sayReady'
  | 'attach'
  | 'place'
  | 'checkpointed'
  | 'placeDisk'
  | 'finish'
  /** Gives the connection up, and waits for `recover`. */
  | 'pause'
  | 'awaitLink'
  | 'sayReceived'
  | 'checkGo'
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

/** What only post-copy's states take. */
const NO_POSTCOPY = {
  discard: ['failed', 'outOfOrder'],
  diskDiscard: ['failed', 'outOfOrder'],
  switch: ['failed', 'outOfOrder'],
  pages: ['failed', 'outOfOrder'],
  swept: ['failed', 'outOfOrder'],
  resume: ['failed', 'outOfOrder'],
  resumed: ['failed', 'outOfOrder'],
  checkpointed: ['failed', 'outOfOrder'],
  urgent: ['failed', 'outOfOrder'],
  loaded: ['failed', 'defect'],
  recover: ['failed', 'defect'],
  connected: ['failed', 'defect'],
  finished: ['failed', 'defect'],
  approved: ['failed', 'defect'],
} as const;

/** What only further connections carry, and what announces them. */
const NO_CHANNEL = {
  channels: ['failed', 'outOfOrder'],
  channel: ['failed', 'outOfOrder'],
  sync: ['failed', 'outOfOrder'],
  zlibRam: ['failed', 'outOfOrder'],
  zstdRam: ['failed', 'outOfOrder'],
} as const;

const REFUSED = {
  ...NO_POSTCOPY,
  ...NO_CHANNEL,
  hello: ['failed', 'outOfOrder'],
  checkState: ['failed', 'outOfOrder'],
  disks: ['failed', 'outOfOrder'],
  ram: ['failed', 'outOfOrder'],
  disk: ['failed', 'outOfOrder'],
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
    discard: [state, 'defect'],
    diskDiscard: [state, 'defect'],
    switch: [state, 'defect'],
    pages: [state, 'defect'],
    swept: [state, 'defect'],
    resume: [state, 'defect'],
    resumed: [state, 'defect'],
    checkpointed: [state, 'defect'],
    urgent: [state, 'defect'],
    loaded: [state, 'defect'],
    recover: [state, 'defect'],
    connected: [state, 'defect'],
    finished: [state, 'defect'],
    approved: [state, 'defect'],
    channels: [state, 'defect'],
    channel: [state, 'defect'],
    sync: [state, 'defect'],
    zlibRam: [state, 'defect'],
    zstdRam: [state, 'defect'],
    hello: [state, 'defect'],
    checkState: [state, 'defect'],
    disks: [state, 'defect'],
    ram: [state, 'defect'],
    disk: [state, 'defect'],
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

/** What went wrong is the connection's fault: the guest is ours, or may be. */
const kept = <S extends ReceiverState>(state: S) =>
  ({
    channels: [state, 'outOfOrder'],
    channel: [state, 'outOfOrder'],
    sync: [state, 'outOfOrder'],
    zlibRam: [state, 'outOfOrder'],
    zstdRam: [state, 'outOfOrder'],
    hello: [state, 'outOfOrder'],
    checkState: [state, 'outOfOrder'],
    disks: [state, 'outOfOrder'],
    ram: [state, 'outOfOrder'],
    disk: [state, 'outOfOrder'],
    pass: [state, 'outOfOrder'],
    state: [state, 'outOfOrder'],
    end: [state, 'outOfOrder'],
    go: [state, 'outOfOrder'],
    abort: [state, 'outOfOrder'],
    discard: [state, 'outOfOrder'],
    diskDiscard: [state, 'outOfOrder'],
    switch: [state, 'outOfOrder'],
    pages: [state, 'outOfOrder'],
    swept: [state, 'outOfOrder'],
    resume: [state, 'outOfOrder'],
    resumed: [state, 'outOfOrder'],
    checkpointed: [state, 'outOfOrder'],
    urgent: [state, 'outOfOrder'],
    started: [state, 'defect'],
    loaded: [state, 'defect'],
    recover: [state, 'defect'],
    connected: [state, 'defect'],
    finished: [state, 'defect'],
    approved: [state, 'defect'],
    closed: [state, 'cutShort'],
    error: ['postcopy-paused', 'pause'],
    cancel: [state, 'ignore'],
  }) as const;

export const RECEIVER_TABLE: Table<ReceiverState, ReceiverEvent, ReceiverAction> = {
  setup: { ...waiting('setup'), hello: ['checking', 'build'] },
  checking: {
    ...waiting('checking'),
    disks: ['checking', 'openDisks'],
    channels: ['checking', 'awaitChannels'],
    urgent: ['checking', 'awaitUrgent'],
    checkState: ['active', 'tryState'],
  },
  active: {
    ...waiting('active'),
    ram: ['active', 'applyRam'],
    disk: ['active', 'applyDisk'],
    pass: ['active', 'endPass'],
    state: ['device', 'keepState'],
    discard: ['switching', 'discard'],
  },
  device: { ...waiting('device'), end: ['ready', 'complete'] },
  ready: { ...waiting('ready'), go: ['starting', 'start'] },
  starting: { ...deaf('starting'), started: ['completed', 'conclude'], error: ['failed', 'fail'] },
  switching: {
    ...waiting('switching'),
    diskDiscard: ['switching', 'discardDisk'],
    state: ['switched', 'keepState'],
  },
  switched: { ...waiting('switched'), switch: ['postcopy-loading', 'loadPostcopy'] },
  'postcopy-loading': { ...waiting('postcopy-loading'), loaded: ['postcopy-ready', 'sayReady'] },
  'postcopy-ready': {
    ...kept('postcopy-ready'),
    go: ['postcopy-starting', 'start'],
    abort: ['failed', 'abandoned'],
  },
  'postcopy-starting': {
    ...deaf('postcopy-starting'),
    started: ['postcopy-active', 'conclude'],
    error: ['failed', 'fail'],
  },
  'postcopy-active': {
    ...kept('postcopy-active'),
    pages: ['postcopy-active', 'place'],
    disk: ['postcopy-active', 'placeDisk'],
    swept: ['postcopy-active', 'finish'],
    checkpointed: ['postcopy-active', 'checkpointed'],
    finished: ['completed', 'conclude'],
  },
  'postcopy-paused': { ...deaf('postcopy-paused'), recover: ['postcopy-recover-setup', 'awaitLink'] },
  'postcopy-recover-setup': {
    ...kept('postcopy-recover-setup'),
    connected: ['postcopy-recover', 'conclude'],
  },
  'postcopy-recover': {
    ...kept('postcopy-recover'),
    resume: ['postcopy-recover', 'sayReceived'],
    resumed: ['postcopy-active', 'attach'],
    go: ['postcopy-recover', 'checkGo'],
    approved: ['postcopy-starting', 'start'],
  },
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
  switching: 'device',
  switched: 'device',
  'postcopy-loading': 'device',
  'postcopy-ready': 'device',
  'postcopy-starting': 'device',
  'postcopy-active': 'postcopy-active',
  'postcopy-paused': 'postcopy-paused',
  'postcopy-recover-setup': 'postcopy-recover-setup',
  'postcopy-recover': 'postcopy-recover',
  completed: 'completed',
  failed: 'failed',
};

/** What may come next, for errors. */
export const EXPECTED: Readonly<Record<ReceiverState, string>> = {
  switching: '"diskDiscard" or "state"',
  switched: '"switch"',
  'postcopy-loading': 'nothing',
  'postcopy-ready': '"go"',
  'postcopy-starting': 'nothing',
  'postcopy-active': '"pages", "disk", "checkpointed" or "swept"',
  'postcopy-paused': 'nothing',
  'postcopy-recover-setup': 'nothing',
  'postcopy-recover': '"resume", then "resumed" or "go"',
  setup: '"hello"',
  checking: '"disks" or "checkState"',
  active: '"ram", "disk", "pass" or "state"',
  device: '"end"',
  ready: '"go"',
  starting: 'nothing',
  completed: 'nothing',
  failed: 'nothing',
};
