/**
 * One incoming migration: reads frames and acts on each by the table in receiver-states.ts. The guest runs here only
 * after "go"; until then any failure leaves it to the source.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { arrivedRam, buildDestination } from './arrival.ts';
import { DiskLoad } from './disk-load.ts';
import { DISK_SCRATCH } from './disk-slots.ts';
import type { Frame } from './frame-reader.ts';
import { asGodwitError } from './interrupt.ts';
import { KERNEL_SCRATCH, Kernels } from './kernels.ts';
import type { DestinationBuilder, DestinationVm } from './migratable-vm.ts';
import { MAX_PAGES_PAYLOAD } from './pages-frame.ts';
import { changedParameters, DEFAULT_PARAMETERS, type MigrationParameters } from './parameters.ts';
import { PostcopyDestination } from './postcopy-destination.ts';
import { decodeMessage, encodeMessage, type Message, type ReturnFrame, reasonOf } from './protocol.ts';
import { receivedPages } from './ram-applier.ts';
import { RamLoad } from './ram-load.ts';
import { RamReceiver } from './ram-receiver.ts';
import { type ChannelSource, ReceiverChannels } from './receiver-channels.ts';
import { ReceiverLink } from './receiver-link.ts';
import {
  EXPECTED,
  RECEIVER_STATUS,
  RECEIVER_TABLE,
  type ReceiverAction,
  type ReceiverEvent,
  type ReceiverState,
} from './receiver-states.ts';
import { Recovery, type RecoveryListener } from './recovery.ts';
import type { MigrationEvent } from './sender.ts';
import { NO_POSTCOPY_TO_PAUSE } from './sender-states.ts';
import { StateMachine } from './state-machine.ts';
import type { ArrivalSplit, MigrationInfo, MigrationStatus } from './statistics.ts';
import type { Timers } from './timers.ts';
import type { Transport } from './transport.ts';
import { UrgentDestination } from './urgent-destination.ts';

/** How long the source may take to take "running", and to read why something failed. */
const COURTESY_MS = 1000;

export interface ReceiverOptions {
  readonly builder: DestinationBuilder;
  /** Connected. */
  readonly transport: Transport;
  /** Where further connections come from, if they may: the capability "multifd". */
  readonly channels?: ChannelSource;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Of these, only `stallTimeoutMs` concerns a receiver. */
  readonly parameters?: Partial<MigrationParameters>;
  readonly onEvent?: (event: MigrationEvent) => void;
}

export interface Arrival {
  readonly vm: DestinationVm;
  /** Whether the guest ran at the source; `vm.start` was told. */
  readonly runningAtSource: boolean;
}

/** The VM and what belongs to it, once there is one. */
interface Built {
  readonly vm: DestinationVm;
  readonly kernels: Kernels;
  readonly ram: RamLoad;
  /** Whether disks arrive, and what they arrive in once the source has named them. */
  readonly withDisks: boolean;
  disks: DiskLoad | undefined;
  readonly arriving: RamReceiver;
  /** Whether further connections may be announced. */
  readonly multifd: boolean;
}

export class Receiver {
  readonly #options: ReceiverOptions;
  #parameters: MigrationParameters;
  readonly #machine: StateMachine<ReceiverState, ReceiverEvent, ReceiverAction>;
  #link: ReceiverLink;
  readonly #startNs: number;
  #endNs: number | undefined;
  /** When the source was told that it has a pass, or said that post-copy begins; the guest stands still about then. */
  #passedNs: number | undefined;
  readonly #pause: { -readonly [K in keyof ArrivalSplit]?: ArrivalSplit[K] } = {};
  #status: MigrationStatus = 'none';
  #built: Built | undefined;
  #channels: ReceiverChannels | undefined;
  #accepted = false;
  #state: Uint8Array | undefined;
  #end: Message<'end'> | undefined;
  /** Whether "running" was handed to the connection: from then on the source gives the guest up. */
  #saidRunning = false;
  /** Those of the stream. */
  #features: readonly string[] = [];
  /** Whether the guest ran at the source. */
  #running = false;
  #postcopy: PostcopyDestination | undefined;
  readonly #recovery: Recovery;
  /** The connection for page requests, and what it names itself with, if there is to be one. */
  #urgent: UrgentDestination | undefined;
  #urgentId: Uint8Array | undefined;
  #error: GodwitError | undefined;
  /** The state in which a failure struck. */
  #before: ReceiverState = 'setup';

  /** @throws GodwitError kind "usage" for a parameter out of range. */
  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#parameters = changedParameters(DEFAULT_PARAMETERS, options.parameters ?? {});
    this.#link = new ReceiverLink(options.transport, options.timers);
    this.#recovery = new Recovery(options.timers);
    this.#startNs = options.clock.nowNs();
    this.#machine = new StateMachine<ReceiverState, ReceiverEvent, ReceiverAction>(
      RECEIVER_TABLE,
      'setup',
      (state) => this.#stateChanged(state),
    );
  }

  get state(): ReceiverState {
    return this.#machine.state;
  }

  /** For `query-migrate` at the destination. Plain data. */
  info(): MigrationInfo {
    const ns = (this.#endNs ?? this.#options.clock.nowNs()) - this.#startNs;
    const { downtimeMs, ...pause } = this.#pause;
    return {
      status: this.#status,
      ...(this.#error === undefined ? {} : { 'error-desc': this.#error.message }),
      'total-time': Math.round(ns / 1e6),
      ...(this.#built === undefined
        ? {}
        : { ram: arrivedRam(this.#built, this.#link.reader.offset, ns / 1e9) }),
      ...(this.#postcopy?.rescue === undefined ? {} : { rescue: this.#postcopy.rescue }),
      ...(this.#status === 'completed' && downtimeMs !== undefined
        ? { downtime: Math.round(downtimeMs), arrival: pause }
        : {}),
    };
  }

  /** Changes parameters. @throws GodwitError kind "usage" for a number out of range. */
  setParameters(change: Partial<MigrationParameters>): void {
    this.#parameters = changedParameters(this.#parameters, change);
  }

  /**
   * Runs the migration to its end. Resolves when the guest is ours and was started.
   * Rejects if it is not ours and never will be; the source was told why, if it can be reached. (One exception: if
   * `vm.start` rejects after "go", the guest is here, complete and stopped; the error says so.)
   * @throws GodwitError
   */
  async run(): Promise<Arrival> {
    this.#stateChanged('setup');
    let event: ReceiverEvent | undefined;
    let frame: Frame | undefined;
    while (this.state !== 'completed' && this.state !== 'failed') {
      try {
        if (event === undefined) {
          frame = await this.#next();
          this.#link.interrupt.check();
          event = (frame?.type ?? 'closed') as ReceiverEvent;
        }
        const action: ReceiverAction = this.#machine.fire(event);
        event = await this.#perform(action, frame);
      } catch (thrown) {
        event = await this.#failed(asGodwitError(thrown));
      }
    }
    this.#endNs = this.#options.clock.nowNs();
    if (this.#error !== undefined) {
      this.#report(RECEIVER_STATUS.failed);
      throw this.#error;
    }
    await this.#close();
    return { vm: this.#vm().vm, runningAtSource: this.#running };
  }

  /** What follows an error: the end, or, where the guest is ours or may be, a pause. */
  async #failed(error: GodwitError): Promise<ReceiverEvent | undefined> {
    const { state } = this.#machine;
    if (RECEIVER_TABLE[state].error[1] === 'pause') this.#error = error;
    this.#error ??= error;
    if (state !== 'failed' && this.#machine.fire('error') === 'pause') return await this.#awaitRecovery();
    await this.#fail(this.#error);
    return undefined;
  }

  /** Ends the connection of a post-copy: both sides are paused then. @throws GodwitError kind "state". */
  pause(): void {
    const { state } = this.#machine;
    const reason = new GodwitError('transport', 'the migration was paused by the user');
    if (state === 'postcopy-recover-setup') this.#recovery.giveUp(reason);
    else if (state === 'postcopy-active' || state === 'postcopy-recover') this.#link.interrupt.fire(reason);
    else {
      throw new GodwitError('state', NO_POSTCOPY_TO_PAUSE);
    }
  }

  /** Whether a post-copy waits for another connection. */
  get paused(): boolean {
    return this.#machine.state === 'postcopy-paused';
  }

  /** Goes on with a paused post-copy over the connection that comes. */
  recover(listener: RecoveryListener): void {
    this.#recovery.offer(listener);
  }

  /**
   * Gives the migration up, unless the guest is already ours. `run` rejects, and the source resumes the guest.
   * @param reason for both sides' users.
   */
  cancel(reason = 'the destination was told to give up'): boolean {
    if (this.#machine.fire('cancel') !== 'interrupt') return false;
    this.#link.interrupt.fire(new GodwitError('cancelled', reason));
    return true;
  }

  /** The next frame; undefined at the end of the stream. Memory may take its time, hand-shakes may not. */
  #next(): Promise<Frame | undefined> {
    const { state } = this.#machine;
    const patient = ['active', 'device', 'postcopy-active'].includes(state);
    const ms = this.#parameters.stallTimeoutMs;
    const next = this.#link.reader.next();
    this.#link.reading = next;
    return this.#link.interrupt.guard(
      next,
      patient
        ? undefined
        : {
            ms,
            what: state === 'ready' || state === 'postcopy-ready' ? 'say "go"' : 'go on with the hand-shake',
          },
    );
  }

  /** Does what the table says. Returns the event that follows; undefined to wait for a frame. */
  async #perform(action: ReceiverAction, frame: Frame | undefined): Promise<ReceiverEvent | undefined> {
    if (action === 'cutShort') {
      throw GodwitError.unexpected(
        'transport',
        'migration stream',
        'frames up to "go"',
        'the end of the stream',
        this.#link.reader.offset,
      );
    }
    if (action === 'start') {
      await this.#start();
      return 'started';
    }
    if (action === 'conclude') return undefined;
    if (action === 'awaitLink') return await this.#awaitLink();
    if (action === 'sayReady') {
      await this.#say('ready');
      return undefined;
    }
    if (frame === undefined)
      throw new GodwitError('internal', `migration: action "${action}" without a frame`);
    const { type, payload, offset } = frame;
    switch (action) {
      case 'build':
        await this.#build(decodeMessage('hello', payload, offset), offset);
        break;
      case 'openDisks':
        await this.#openDisks(decodeMessage('disks', payload, offset), offset);
        break;
      case 'applyDisk':
        await this.#applyDisk(frame);
        break;
      case 'awaitChannels':
        this.#awaitChannels(decodeMessage('channels', payload, offset), offset);
        break;
      case 'awaitUrgent':
        this.#announceUrgent(decodeMessage('urgent', payload, offset), offset);
        break;
      case 'tryState':
        if (this.#vm().withDisks) this.#disks(offset);
        await this.#vm().vm.checkState(payload);
        this.#link.interrupt.check();
        await this.#say('accepted');
        this.#accepted = true;
        break;
      case 'applyRam':
        this.#vm().arriving.take(frame, 0);
        break;
      case 'endPass': {
        const message = decodeMessage('pass', payload, offset);
        if (this.#channels !== undefined)
          await this.#link.interrupt.guard(this.#channels.synced(message.number));
        await this.#vm().arriving.settled();
        this.#vm().ram.endPass(message, offset);
        this.#channels?.nextPass();
        await this.#vm().disks?.endPass();
        this.#link.interrupt.check();
        this.#options.onEvent?.({ event: 'pass', pass: message.number });
        if (!message.final) {
          await this.#say('passed', encodeMessage('passed', { number: message.number }));
          this.#passedNs = this.#options.clock.nowNs();
        }
        break;
      }
      case 'keepState':
        this.#state = payload;
        break;
      case 'complete':
        this.#end = decodeMessage('end', payload, offset);
        this.#running = this.#end.running;
        this.#vm().ram.verifyComplete(this.#end, offset);
        this.#vm().disks?.verifyComplete(offset);
        this.#channels?.finish();
        await this.#timed('loadMs', () => this.#vm().vm.loadState(this.#state as Uint8Array));
        this.#link.interrupt.check();
        await this.#say('ready');
        break;
      case 'checkGo':
        if (this.#late.started) {
          throw GodwitError.unexpected('format', 'migration stream', '"resumed"', `"${type}"`, offset);
        }
        return 'approved';
      case 'discard': {
        if (!this.#features.includes('postcopy')) {
          throw GodwitError.unexpected('format', 'migration stream', EXPECTED.active, `"${type}"`, offset);
        }
        const { vm, kernels, ram, arriving } = this.#vm();
        // The guest stands still since before that.
        this.#passedNs = this.#options.clock.nowNs();
        await arriving.settled();
        const { postcopy } = vm;
        if (postcopy === undefined) throw new GodwitError('internal', 'migration: no post-copy');
        const patienceMs = (): number => this.#parameters.stallTimeoutMs;
        const { timers, clock } = this.#options;
        this.#postcopy = new PostcopyDestination({
          vm,
          postcopy,
          kernels,
          touched: ram.received,
          timers,
          clock,
          patienceMs,
        });
        this.#postcopy.discard(frame);
        break;
      }
      case 'loadPostcopy': {
        const message = decodeMessage('switch', payload, offset);
        this.#running = message.running;
        await this.#vm().disks?.endPass();
        this.#vm().disks?.verifyComplete(offset);
        await this.#urgent?.joined();
        await this.#timed('loadMs', () => this.#late.load(message, this.#state as Uint8Array));
        this.#link.interrupt.check();
        return 'loaded';
      }
      case 'place':
        this.#late.place(frame);
        break;
      case 'checkpointed':
        this.#late.checkpointed(frame);
        break;
      case 'finish':
        await this.#late.finish(offset);
        // Whether the source hears it or not: everything is here.
        await this.#politely(() => this.#say('whole'));
        return 'finished';
      case 'sayReceived':
        this.#late.checkResume(decodeMessage('resume', payload, offset), offset);
        this.#awaitUrgent(this.#recovery.channels);
        await this.#say('received', this.#late.received());
        break;
      case 'attach':
        if (!this.#late.started) {
          throw GodwitError.unexpected('format', 'migration stream', '"go"', `"${type}"`, offset);
        }
        this.#error = undefined;
        await this.#urgent?.joined();
        await this.#late.attach(this.#link, this.#urgent);
        break;
      case 'abandoned':
        throw new GodwitError(
          'refused',
          `the source gave up: ${decodeMessage('abort', payload, offset).reason}`,
        );
      case 'outOfOrder':
        throw GodwitError.unexpected(
          'format',
          'migration stream',
          EXPECTED[this.#before],
          `"${type}"`,
          offset,
        );
      default:
        throw new GodwitError('internal', `migration: no such action "${action}"`);
    }
    return undefined;
  }

  async #build(hello: Message<'hello'>, offset: number): Promise<void> {
    const { builder } = this.#options;
    const { transport } = this.#link;
    this.#features = hello.features;
    const withDisks = this.#features.includes('disks');
    const vm = await buildDestination(hello, offset, builder, transport.duplex);
    this.#link.interrupt.check();
    const kernels = new Kernels(vm.memory, vm.layout.scratch);
    const ram = new RamLoad(kernels, vm.layout, undefined, receivedPages(vm.memory, vm.layout));
    const arriving = new RamReceiver(vm, ram, this.#link.interrupt, hello.features.includes('xbzrle'));
    this.#built = {
      vm,
      kernels,
      ram,
      arriving,
      multifd: hello.features.includes('multifd'),
      withDisks,
      disks: undefined,
    };
    this.#link.reader.landIn(arriving.slots);
    this.#land();
  }

  #land(): void {
    const { vm, kernels } = this.#vm();
    this.#link.reader.land({ types: ['pages'], kernels, at: () => vm.layout.scratch + LANDING });
  }

  get #late(): PostcopyDestination {
    if (this.#postcopy === undefined) throw new GodwitError('internal', 'migration: no post-copy');
    return this.#postcopy;
  }

  /** Gives the connection up, and waits until there may be another. */
  async #awaitRecovery(): Promise<ReceiverEvent> {
    // First of all: whoever hears of the pause may have another connection at once.
    const another = this.#recovery.listener();
    this.#link.transport.destroy();
    this.#urgent?.close();
    this.#urgent = undefined;
    await this.#late.detach();
    await another;
    return 'recover';
  }

  async #awaitLink(): Promise<ReceiverEvent> {
    this.#link = new ReceiverLink(await this.#recovery.connection(), this.#options.timers);
    this.#land();
    return 'connected';
  }

  async #openDisks(message: Message<'disks'>, offset: number): Promise<void> {
    const built = this.#vm();
    if (!built.withDisks || built.disks !== undefined) {
      const got = built.withDisks ? 'another list of disks' : 'a list of disks';
      throw GodwitError.unexpected('format', 'migration stream', '"checkState"', got, offset);
    }
    const disks = new DiskLoad(built.vm.disks, built.vm.layout.scratch, message, offset);
    built.disks = disks;
    this.#link.reader.land({ types: ['disk'], kernels: built.kernels, at: () => disks.landing() });
    for await (const digests of disks.digests()) {
      this.#link.interrupt.check();
      await this.#say('diskDigests', encodeMessage('diskDigests', digests));
    }
  }

  async #applyDisk(frame: Frame): Promise<void> {
    const disks = this.#disks(frame.offset);
    const { complete, counts } = this.#vm().ram;
    if (complete) {
      const expected = 'none after the final one';
      throw GodwitError.unexpected('format', 'frame "disk", pass', expected, 'another', frame.offset);
    }
    await disks.apply(frame, counts.passes + 1);
    this.#link.interrupt.check();
  }

  #disks(offset: number): DiskLoad {
    const disks = this.#vm().disks;
    if (disks === undefined) {
      throw GodwitError.unexpected('format', 'migration stream', 'a list of disks', 'none', offset);
    }
    return disks;
  }

  #awaitChannels(message: Message<'channels'>, offset: number): void {
    const { arriving, multifd } = this.#vm();
    if (!multifd || this.#channels !== undefined) {
      const expected = multifd ? 'one announcement of channels' : 'the feature "multifd" before channels';
      throw GodwitError.unexpected('format', 'migration stream', expected, 'none', offset);
    }
    const { channels: source } = this.#options;
    if (source === undefined) {
      throw new GodwitError(
        'mismatch',
        'the source has the capability multifd on, the destination has it off',
      );
    }
    const channels = new ReceiverChannels(message, offset, {
      source,
      ram: arriving,
      interrupt: this.#link.interrupt,
      patienceMs: this.#parameters.stallTimeoutMs,
    });
    this.#channels = channels;
    channels.join().then(
      () => this.#say('joined').catch((error) => this.#link.interrupt.fire(asGodwitError(error))),
      (error) => this.#link.interrupt.fire(asGodwitError(error)),
    );
  }

  #announceUrgent({ id }: Message<'urgent'>, offset: number): void {
    if (!this.#features.includes('preempt') || this.#urgentId !== undefined) {
      throw GodwitError.unexpected('format', 'migration stream', '"checkState"', '"urgent"', offset);
    }
    this.#urgentId = Uint8Array.from(id);
    this.#awaitUrgent(this.#options.channels);
  }

  /** Waits for a connection for page requests, if there is to be one. */
  #awaitUrgent(source: ChannelSource | undefined): void {
    const id = this.#urgentId;
    if (id === undefined) {
      source?.close();
      return;
    }
    if (source === undefined) {
      const why = 'the source has the capability postcopy-preempt on, the destination has it off';
      throw new GodwitError('mismatch', why);
    }
    const { vm, kernels } = this.#vm();
    const at = vm.layout.scratch + URGENT_LANDING;
    this.#urgent = new UrgentDestination({
      source,
      id,
      interrupt: this.#link.interrupt,
      patienceMs: () => this.#parameters.stallTimeoutMs,
      land: (reader) => reader.land({ types: ['pages'], kernels, at: () => at }),
      place: (frame) => this.#late.placeUrgent(frame),
    });
  }

  /** The guest is ours now. Whether the source hears of it or not, it will not run it any more. */
  async #start(): Promise<void> {
    const { transport } = this.#link;
    if (this.#postcopy !== undefined) this.#postcopy.started = true;
    if (transport.duplex) {
      this.#saidRunning = true;
      try {
        await this.#link.interrupt.guard(this.#link.writer.send('running'), {
          ms: Math.min(COURTESY_MS, this.#parameters.stallTimeoutMs),
          what: 'take "running"',
        });
      } catch {
        // The source stays stopped and tells its user so; here the guest goes on.
      }
    } else if ((await this.#link.reader.next()) !== undefined) {
      throw GodwitError.unexpected(
        'format',
        'migration stream',
        'the end after "go"',
        'another frame',
        this.#link.reader.offset,
      );
    }
    await this.#postcopy?.attach(this.#link, this.#urgent);
    try {
      await this.#timed('startMs', () => this.#vm().vm.start(this.#running));
      if (this.#passedNs !== undefined) {
        this.#pause.downtimeMs = (this.#options.clock.nowNs() - this.#passedNs) / 1e6;
      }
    } catch (error) {
      throw new GodwitError(
        'internal',
        `the guest is here and complete, but could not be started: ${reasonOf(error)}`,
        {},
        error,
      );
    }
  }

  async #fail(error: GodwitError): Promise<void> {
    const { transport } = this.#link;
    this.#channels?.finish();
    if (transport.duplex && !this.#saidRunning && error.kind !== 'refused') {
      const type = this.#accepted ? 'failed' : 'refused';
      await this.#politely(async () => {
        await this.#link.writer.send(type, encodeMessage(type, { reason: reasonOf(error) }));
        await transport.end();
        // A connection that is dropped with unread bytes in it may take our last words with it.
        await this.#link.reading.catch(() => {});
        while ((await transport.read()) !== undefined);
      });
    }
    this.#channels?.close();
    this.#urgent?.close();
    transport.destroy();
  }

  async #close(): Promise<void> {
    const { transport } = this.#link;
    if (transport.duplex) await this.#politely(() => transport.end());
    this.#channels?.close();
    this.#urgent?.close();
    transport.destroy();
  }

  async #timed(what: keyof ArrivalSplit, run: () => Promise<void>): Promise<void> {
    const startNs = this.#options.clock.nowNs();
    await run();
    this.#pause[what] = (this.#options.clock.nowNs() - startNs) / 1e6;
  }

  async #say(type: ReturnFrame, payload?: Uint8Array): Promise<void> {
    if (!this.#link.transport.duplex) return;
    await this.#link.interrupt.guard(this.#link.writer.send(type, payload), {
      ms: this.#parameters.stallTimeoutMs,
      what: `take "${type}"`,
    });
  }

  /** Does something that may fail or hang without harm. */
  #politely(what: () => Promise<void>): Promise<void> {
    return new Promise((resolve) => {
      const forget = this.#options.timers.after(COURTESY_MS, resolve);
      const done = (): void => {
        forget();
        resolve();
      };
      what().then(done, done);
    });
  }

  #vm(): Built {
    if (this.#built === undefined) throw new GodwitError('internal', 'migration: there is no machine yet');
    return this.#built;
  }

  #stateChanged(state: ReceiverState): void {
    // A failure is reported when the source has been told and the connection is closed.
    if (state === 'failed') return;
    this.#before = state;
    this.#report(RECEIVER_STATUS[state]);
  }

  #report(status: MigrationStatus): void {
    if (status === this.#status) return;
    this.#status = status;
    this.#options.onEvent?.({
      event: 'status',
      status,
      ...(this.#error === undefined ? {} : { error: this.#error.message }),
    });
  }
}

/** Where in the scratch area the payload of a "pages" frame is read to. */
const LANDING = KERNEL_SCRATCH;
/** The same of frames that come over a connection of their own. */
const URGENT_LANDING = Math.ceil((LANDING + MAX_PAGES_PAYLOAD + 8) / 4096) * 4096;
if (URGENT_LANDING + MAX_PAGES_PAYLOAD + 8 > DISK_SCRATCH)
  throw new GodwitError('internal', 'the scratch area is too small');
