/**
 * The migration protocol, version 1: who says what when, and what each message holds. Frames are described in frame.ts,
 * the payload of `ram` in ram-stream.ts.
 *
 * Over a connection (tcp, unix):
 *
 *     source                                     destination
 *       | hello {features, blocks, configuration}  |
 *       |----------------------------------------->|  builds or compares the machine
 *       | checkState (of the running guest)        |
 *       |----------------------------------------->|  validates it, changes nothing
 *       |                 accepted, or refused     |
 *       |<-----------------------------------------|
 *       | ram … ram, pass 1                        |
 *       |----------------------------------------->|
 *       |                                 passed 1 |  all of the pass is in the destination's memory
 *       |<-----------------------------------------|
 *       | ram … ram, pass 2 …                      |  until the rest fits the pause limit
 *    stops the guest                               |
 *       | ram … ram, pass n (final)                |
 *       | state, end {pagesSent, running}          |
 *       |----------------------------------------->|  every page there? loads the state
 *       |                                    ready |
 *       |<-----------------------------------------|
 *       | go                                       |  from here on the guest is the destination's
 *       |----------------------------------------->|
 *       |                                  running |
 *       |<-----------------------------------------|  starts the guest
 *    completed                                  completed
 *
 * Until `go` is handed to the connection, the source takes everything back after any error. A destination runs the
 * guest only after `go`. It may answer with `refused` (before `accepted`) or `failed` at any time up to `running`, and
 * whoever sends one of these never runs the guest; so may the source say `abort` up to `go`. If `go` was sent and
 * neither `running` nor `failed` arrives, the source stays stopped.
 *
 * With the feature "multifd" memory goes over further connections to the same address. Each opens with its number in place
 * of 0, and its first frame names the migration:
 *
 *       | hello, channels {id, count}, checkState  |
 *       |----------------------------------------->|
 *       |                                 accepted |
 *       |<-----------------------------------------|
 *    1…n| channel {id}                             |  connections without that id are dropped, and do no harm
 *       |----------------------------------------->|
 *       |                                   joined |  all n are there
 *       |<-----------------------------------------|
 *    1…n| ram … ram, sync {1}                      |  the frames of a pass in any order on any channel
 *       |----------------------------------------->|
 *       | pass 1                                   |  counted when every channel has said sync: no page of a pass
 *       |----------------------------------------->|  lands on one of a later pass
 *
 * A channel that ends before "end" was confirmed fails the migration.
 *
 * To a file there is no way back, so nothing is waited for; a file ends with `go`, and a file that does not is refused:
 *
 *     hello, checkState, (ram …, pass) …, state, end, go
 *
 * With disks (feature `disks`), `disks` follows `hello`, and `disk` frames stand between `ram` frames in every pass; a
 * pass has arrived when both are in place, the disks' part on disk. Incremental, the destination says what it has:
 *
 *       | hello, disks {disks, incremental}        |
 *       |----------------------------------------->|  compares the drives, makes images under other names
 *       |                  diskDigests …           |  of what it had under their names
 *       |<-----------------------------------------|
 *
 * Post-copy (feature "postcopy"; connections only): instead of a final pass, at any moment after `accepted`,
 *
 *    stops the guest                               |
 *       | discard, state, switch {id, running}     |
 *       |----------------------------------------->|  forgets the pages that are missing; loads the state
 *       |                                    ready |
 *       |<-----------------------------------------|
 *       | go                                       |  from here on the guest is the destination's
 *       |----------------------------------------->|
 *       |                                  running |
 *       |<-----------------------------------------|  starts the guest, which needs pages:
 *       |                     request, placed, …   |
 *       |<-----------------------------------------|
 *       | pages, pages …                           |  those that were asked for first
 *       |----------------------------------------->|
 *       | swept                                    |  all have been sent
 *       |----------------------------------------->|  all are here?
 *       |                                    whole |
 *       |<-----------------------------------------|
 *    completed                                  completed
 *
 * Disks that travel come late as well then (feature `postcopy-disks`): a `diskDiscard` behind `discard` says which chunks
 * are missing, `diskRequest` asks for some, `disk` frames bring them and `diskPlaced` confirms each; images get their
 * names before `whole`.
 *
 * The source keeps all memory, and its disks, until `whole`, or at least (capability release-ram) what has not been confirmed. If the connection goes after `go` was said (or, at the destination, after
 * `ready`), both sides pause; over a new one they go on:
 *
 *       | resume {id}                              |
 *       |----------------------------------------->|
 *       | diskMissing …, received {started, pages} |  which pages are here, and which chunks are not
 *       |<-----------------------------------------|
 *       | resumed, or go if it has not started     |  what is not there, is sent (again)
 *       |----------------------------------------->|
 *
 * With the feature "preempt", there is a second connection to the same address, opened with channel 1: `urgent {id}` is said
 * on the first one before `checkState`, and again as the first frame on the second, behind `accepted` (over a new link:
 * behind `received`). The `request`s of post-copy and their `pages`, and pages behind those, go over it, with `placed` only
 * if the feature "confirm" is named as well, and it ends with a `swept` of its own, before that of the first connection. If
 * either breaks, both are given up.
 *
 * With the feature "rescue", the destination sends checkpoints of the guest back while that goes on, one at a time: the pages
 * that it has written to since the one before, and the device state of the same instant. If the destination's process is lost,
 * the source's user may let the guest go on at the source, from the last checkpoint that arrived as a whole, or else from
 * the hand-over:
 *
 *       |        rescuePages …, checkpoint {n}     |
 *       |<-----------------------------------------|
 *       | checkpointed {n}                         |  it has taken the place of the one before
 *       |----------------------------------------->|
 *
 * Versions: a stream opens with the protocol's version, and a receiver takes exactly the versions it knows. The number
 * grows when a frame changes its meaning. What can be added beside the rest (another encoding of pages, more channels,
 * post-copy, disks) is a *feature* with a name in `hello`: the receiver refuses a feature that it does not know, before
 * anything moves, and a sender uses only features that it has named. An unknown frame, flag or field is an error.
 */
import { Packr, Unpackr } from 'msgpackr';
import { errorMessage, GodwitError } from '../error.ts';
import {
  arrayUpTo,
  bool,
  bytesUpTo,
  copyFields,
  type Fields,
  type StateOfFields,
  string,
  struct,
  u32,
  u64,
} from '../vmstate/fields.ts';
import { isRecord, Place, shown } from '../vmstate/place.ts';
import { scan } from '../vmstate/scan.ts';
import { MAX_CHECKPOINT_PAYLOAD } from './checkpoint-frame.ts';
import { MAX_CHUNK_LIST, REQUEST_SIZE } from './chunk-list.ts';
import { MAX_DISK_PAYLOAD } from './disk-stream.ts';
import type { Configuration } from './migratable-vm.ts';
import { MAX_PAGES_PAYLOAD } from './pages-frame.ts';
import { MAX_RAM_PAYLOAD } from './ram-stream.ts';

export const PROTOCOL_VERSION = 1;

/**
 * The features this code can send and receive, all optional.
 *
 * xbzrle: `ram` frames may hold deltas.
 * multifd: memory comes over further connections.
 * postcopy: the guest may be switched to the destination before its memory is there.
 * disks: `disks` and `disk` frames.
 * rescue: in post-copy, checkpoints come back.
 * preempt: in post-copy, pages are asked for over a connection of their own.
 * confirm: what comes over that connection is confirmed, too.
 * postcopy-disks: disks may come late as well (with `postcopy` and `disks`).
 */
export const FEATURES: readonly string[] = [
  ...['xbzrle', 'multifd', 'postcopy', 'disks', 'rescue', 'preempt', 'confirm', 'postcopy-disks'],
];

/** `forward` is from source to destination; `return` the other way. The numbers stand in the stream's opening. */
export const DIRECTION = { forward: 0, return: 1 } as const;
export type Direction = keyof typeof DIRECTION;

const MAX_REASON = 4096;
export const MAX_MESSAGE = 64 * 1024;
const MAX_CONFIGURATION = 1024 * 1024;
/** Bytes of a bitmap with a bit for each page that WebAssembly can address. */
const MAX_BITMAP = 2 ** 32 / 4096 / 8;
/** Bytes that name one migration among all. */
export const MIGRATION_ID_BYTES = 16;
const MAX_DISKS = 64;
/** Further connections of one migration. */
export const MAX_CHANNELS = 255;
/** What a compressor may add to a payload that does not get smaller, and the length in front of it. */
const MAX_EXPANSION = 4096;
/** Bytes of a device state. */
export const MAX_STATE = 16 * 1024 * 1024;

interface FrameType {
  /** As it stands in the header. */
  readonly code: number;
  readonly direction: Direction;
  /** The most bytes that the payload may have. */
  readonly max: number;
}

/** All frames. Codes below 0x8000 go forward; 0x10 to 0x3f are kept for disks, post-copy and further channels. */
export const FRAMES = {
  hello: { code: 1, direction: 'forward', max: MAX_CONFIGURATION + MAX_MESSAGE },
  checkState: { code: 2, direction: 'forward', max: MAX_STATE },
  ram: { code: 3, direction: 'forward', max: MAX_RAM_PAYLOAD },
  pass: { code: 4, direction: 'forward', max: MAX_MESSAGE },
  state: { code: 5, direction: 'forward', max: MAX_STATE },
  end: { code: 6, direction: 'forward', max: MAX_MESSAGE },
  go: { code: 7, direction: 'forward', max: 0 },
  abort: { code: 8, direction: 'forward', max: MAX_MESSAGE },
  disks: { code: 0x10, direction: 'forward', max: MAX_MESSAGE },
  disk: { code: 0x11, direction: 'forward', max: MAX_DISK_PAYLOAD },
  /** See chunk-list.ts. */
  diskDiscard: { code: 0x12, direction: 'forward', max: MAX_CHUNK_LIST },
  /** The pages that are missing when the guest starts: a bit each, as in PageBitmap. */
  discard: { code: 0x20, direction: 'forward', max: MAX_BITMAP },
  switch: { code: 0x21, direction: 'forward', max: MAX_MESSAGE },
  /** See pages-frame.ts. */
  pages: { code: 0x22, direction: 'forward', max: MAX_PAGES_PAYLOAD },
  swept: { code: 0x23, direction: 'forward', max: 0 },
  resume: { code: 0x24, direction: 'forward', max: MAX_MESSAGE },
  resumed: { code: 0x25, direction: 'forward', max: 0 },
  checkpointed: { code: 0x26, direction: 'forward', max: MAX_MESSAGE },
  urgent: { code: 0x27, direction: 'forward', max: MAX_MESSAGE },
  channels: { code: 0x30, direction: 'forward', max: MAX_MESSAGE },
  channel: { code: 0x31, direction: 'forward', max: MAX_MESSAGE },
  sync: { code: 0x32, direction: 'forward', max: MAX_MESSAGE },
  zlibRam: { code: 0x33, direction: 'forward', max: MAX_RAM_PAYLOAD + MAX_EXPANSION },
  zstdRam: { code: 0x34, direction: 'forward', max: MAX_RAM_PAYLOAD + MAX_EXPANSION },
  accepted: { code: 0x8001, direction: 'return', max: 0 },
  refused: { code: 0x8002, direction: 'return', max: MAX_MESSAGE },
  passed: { code: 0x8003, direction: 'return', max: MAX_MESSAGE },
  ready: { code: 0x8004, direction: 'return', max: 0 },
  running: { code: 0x8005, direction: 'return', max: 0 },
  failed: { code: 0x8006, direction: 'return', max: MAX_MESSAGE },
  diskDigests: { code: 0x8010, direction: 'return', max: MAX_MESSAGE },
  diskRequest: { code: 0x8011, direction: 'return', max: REQUEST_SIZE },
  /** A `disk` frame of post-copy has been written. */
  diskPlaced: { code: 0x8012, direction: 'return', max: 0 },
  diskMissing: { code: 0x8013, direction: 'return', max: MAX_CHUNK_LIST },
  /** u32 page index: the guest waits for this page. */
  request: { code: 0x8020, direction: 'return', max: 4 },
  /** A frame of `pages` is in place. */
  placed: { code: 0x8021, direction: 'return', max: 0 },
  whole: { code: 0x8022, direction: 'return', max: 0 },
  received: { code: 0x8023, direction: 'return', max: MAX_BITMAP + MAX_MESSAGE },
  /** See checkpoint-frame.ts. */
  rescuePages: { code: 0x8024, direction: 'return', max: MAX_CHECKPOINT_PAYLOAD },
  checkpoint: { code: 0x8025, direction: 'return', max: MAX_STATE + MAX_MESSAGE },
  joined: { code: 0x8030, direction: 'return', max: 0 },
} as const satisfies Readonly<Record<string, FrameType>>;

export type FrameName = keyof typeof FRAMES;
export type ForwardFrame = {
  [N in FrameName]: (typeof FRAMES)[N]['direction'] extends 'forward' ? N : never;
}[FrameName];
export type ReturnFrame = Exclude<FrameName, ForwardFrame>;

const BY_CODE: ReadonlyMap<number, FrameName> = new Map(
  (Object.keys(FRAMES) as FrameName[]).map((name) => [FRAMES[name].code, name]),
);

export function frameName(code: number): FrameName | undefined {
  return BY_CODE.get(code);
}

/** The fields of the messages that are MessagePack objects. */
export const MESSAGES = {
  hello: {
    features: arrayUpTo(string(64), 64),
    pageSize: u32(),
    /** The memory blocks in the order of their page indices; sizes in bytes. */
    blocks: arrayUpTo(struct({ name: string(64), size: u32() }), 64),
    /** The machine's configuration, in MessagePack. */
    configuration: bytesUpTo(MAX_CONFIGURATION),
  },
  pass: {
    /** 1 for the first. */
    number: u32(),
    /** Pages in this pass, and how many of them were zero. */
    pages: u32(),
    zeroPages: u32(),
    /** Whether the guest is stopped, and no other pass follows. */
    final: bool(),
  },
  end: {
    /** Pages in all passes, modulo 2^32. */
    pagesSent: u32(),
    passes: u32(),
    /** Whether the guest ran until it was stopped for the hand-over; otherwise the user had paused it. */
    running: bool(),
  },
  switch: {
    /** Names this migration, for a connection that resumes it. */
    id: bytesUpTo(MIGRATION_ID_BYTES),
    /** As in `end`. */
    running: bool(),
    /** With the feature "rescue", ms from one checkpoint to the next; else 0. */
    rescueMs: u32(),
  },
  checkpoint: {
    /** Counts the destination's, from 1. */
    number: u32(),
    pages: u32(),
    state: bytesUpTo(MAX_STATE),
  },
  checkpointed: { number: u32() },
  /** Random: what the connection for page requests names to be taken for that of this migration. */
  urgent: { id: bytesUpTo(MIGRATION_ID_BYTES) },
  resume: { id: bytesUpTo(MIGRATION_ID_BYTES) },
  received: {
    /** Whether "go" has arrived. */
    started: bool(),
    /** A bit for each page that is here. */
    pages: bytesUpTo(MAX_BITMAP),
  },
  channels: {
    /** Random: what a further connection names to be taken for one of this migration. */
    id: bytesUpTo(32),
    count: u32(),
  },
  channel: { id: bytesUpTo(32) },
  /** All of the pass has been sent on this channel. */
  sync: { pass: u32() },
  passed: { number: u32() },
  disks: {
    /** Whether the destination is to say what it has already. */
    incremental: bool(),
    /** In the order in which `disk` frames count them; sizes in bytes. */
    disks: arrayUpTo(struct({ id: string(64), size: u64() }), MAX_DISKS),
  },
  diskDigests: {
    /** Index of the disk. */
    disk: u32(),
    /** Index of the first piece that the digests are of, and the digests, one after the other. */
    first: u32(),
    digests: bytesUpTo(MAX_MESSAGE / 2),
  },
  abort: { reason: string(MAX_REASON) },
  refused: { reason: string(MAX_REASON) },
  failed: { reason: string(MAX_REASON) },
} as const satisfies Readonly<Partial<Record<FrameName, Fields>>>;

export type MessageName = keyof typeof MESSAGES;
export type Message<N extends MessageName> = StateOfFields<(typeof MESSAGES)[N]>;

const packr = new Packr({ useRecords: false, variableMapSize: true, moreTypes: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });
const LIMITS = { depth: 16, values: 64 * 1024 };

/** @throws GodwitError kind "internal" for a message that `decodeMessage` would refuse. */
export function encodeMessage<N extends MessageName>(name: N, message: Message<N>): Uint8Array {
  return packBytes(
    copyFields(MESSAGES[name], message, new Place(`frame "${name}"`, undefined, 0, 'internal')),
  );
}

/**
 * Decodes and validates the payload of a frame.
 * @param offset of the payload in the stream, for errors.
 * @throws GodwitError kind "format".
 */
export function decodeMessage<N extends MessageName>(
  name: N,
  payload: Uint8Array,
  offset: number,
): Message<N> {
  const place = new Place(`frame "${name}"`, offset);
  return copyFields(MESSAGES[name], unpackBytes(payload, place), place) as Message<N>;
}

/** A reason as it may stand in a message. */
export function reasonOf(error: unknown): string {
  return errorMessage(error).slice(0, MAX_REASON);
}

/** @throws GodwitError kind "internal" if it is larger than the protocol allows. */
export function encodeConfiguration(configuration: Configuration): Uint8Array {
  const bytes = packBytes(configuration);
  if (bytes.length > MAX_CONFIGURATION) {
    throw GodwitError.unexpected(
      'internal',
      'machine configuration',
      `at most ${MAX_CONFIGURATION} bytes`,
      `${bytes.length}`,
    );
  }
  return bytes;
}

/** @throws GodwitError kind "format". */
export function decodeConfiguration(bytes: Uint8Array, offset: number): Configuration {
  const place = new Place('machine configuration', offset);
  const value = unpackBytes(bytes, place);
  if (!isRecord(value)) throw place.unexpected('an object with named fields', shown(value));
  return value;
}

/** A copy: the packer's result is a view of a buffer that it goes on filling. */
function packBytes(value: unknown): Uint8Array {
  return Uint8Array.from(packr.pack(value));
}

function unpackBytes(bytes: Uint8Array, place: Place): unknown {
  scan(bytes, place.path, place.offset ?? 0, LIMITS);
  try {
    return unpackr.unpack(bytes);
  } catch (error) {
    throw place.unexpected('a MessagePack value', errorMessage(error));
  }
}
