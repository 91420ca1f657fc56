/**
 * One incoming migration: reads frames and acts on each by the table in receiver-states.ts. The guest runs here only
 * after "go"; until then any failure leaves it to the source.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { ArrivingVm } from './arriving-vm.ts';
import type { Frame } from './frame-reader.ts';
import { asGodwitError } from './interrupt.ts';
import type { DestinationBuilder, DestinationVm } from './migratable-vm.ts';
import { changedParameters, DEFAULT_PARAMETERS, type MigrationParameters } from './parameters.ts';
import type { PostcopyDestination } from './postcopy-destination.ts';
import { decodeMessage, encodeMessage, type Message, reasonOf } from './protocol.ts';
import type { ChannelSource } from './receiver-channels.ts';
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

export class Receiver {
  readonly #options: ReceiverOptions;
  #parameters: MigrationParameters;
  readonly #patienceMs = (): number => this.#parameters.stallTimeoutMs;
  readonly #machine: StateMachine<ReceiverState, ReceiverEvent, ReceiverAction>;
  #link: ReceiverLink;
  readonly #startNs: number;
  #endNs: number | undefined;
  /** When the source was told that it has a pass, or said that post-copy begins; the guest stands still about then. */
  #passedNs: number | undefined;
  readonly #pause: { -readonly [K in keyof ArrivalSplit]?: ArrivalSplit[K] } = {};
  #status: MigrationStatus = 'none';
  #built: ArrivingVm | undefined;
  #accepted = false;
  #state: Uint8Array | undefined;
  /** Whether "running" was handed to the connection: from then on the source gives the guest up. */
  #saidRunning = false;
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
    this.#link = this.#linkOver(options.transport);
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
    const disk = this.#built?.diskStatistics;
    return {
      status: this.#status,
      ...(this.#error === undefined ? {} : { 'error-desc': this.#error.message }),
      'total-time': Math.round(ns / 1e6),
      ...(this.#built === undefined
        ? {}
        : { ram: this.#built.statistics(this.#link.reader.offset, ns / 1e9) }),
      ...(disk === undefined ? {} : { disk }),
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
    await this.#link.close();
    this.#vm().close();
    await this.#urgent?.close();
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
    if (['active', 'device', 'postcopy-active'].includes(state)) return this.#link.next();
    const goes = state === 'ready' || state === 'postcopy-ready';
    return this.#link.next(goes ? 'say "go"' : 'go on with the hand-shake');
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
      await this.#link.say('ready');
      return undefined;
    }
    if (frame === undefined)
      throw new GodwitError('internal', `migration: action "${action}" without a frame`);
    const { type, payload, offset } = frame;
    switch (action) {
      case 'build':
        this.#built = await ArrivingVm.build(decodeMessage('hello', payload, offset), offset, {
          ...this.#options,
          link: this.#link,
          patienceMs: this.#patienceMs,
        });
        break;
      case 'openDisks':
        await this.#vm().openDisks(decodeMessage('disks', payload, offset), offset);
        break;
      case 'applyDisk':
        await this.#vm().applyDisk(frame);
        break;
      case 'awaitChannels':
        this.#vm().awaitChannels(decodeMessage('channels', payload, offset), offset);
        break;
      case 'awaitUrgent':
        this.#announceUrgent(decodeMessage('urgent', payload, offset), offset);
        break;
      case 'tryState':
        await this.#vm().checkState(payload, offset);
        await this.#link.say('accepted');
        this.#accepted = true;
        break;
      case 'applyRam':
        this.#vm().takeRam(frame);
        break;
      case 'endPass': {
        const message = decodeMessage('pass', payload, offset);
        await this.#vm().endPass(message, offset);
        this.#options.onEvent?.({ event: 'pass', pass: message.number });
        if (!message.final) {
          await this.#link.say('passed', encodeMessage('passed', { number: message.number }));
          this.#passedNs = this.#options.clock.nowNs();
        }
        break;
      }
      case 'keepState':
        this.#state = payload;
        break;
      case 'complete': {
        const message = decodeMessage('end', payload, offset);
        this.#running = message.running;
        // It does not run before all is verified, and "go" has come.
        const loading = this.#timed('loadMs', () => this.#vm().vm.loadState(this.#state as Uint8Array));
        loading.catch(() => {});
        this.#vm().verifyComplete(message, offset);
        await loading;
        this.#link.interrupt.check();
        await this.#link.say('ready');
        break;
      }
      case 'checkGo':
        if (this.#late.started) {
          throw GodwitError.unexpected('format', 'migration stream', '"resumed"', `"${type}"`, offset);
        }
        return 'approved';
      case 'discard':
        // The guest stands still since before that.
        this.#passedNs = this.#options.clock.nowNs();
        this.#postcopy = await this.#vm().discard(frame);
        break;
      case 'discardDisk':
        if (!this.#vm().features.includes('postcopy-disks')) {
          throw GodwitError.unexpected('format', 'migration stream', '"state"', `"${type}"`, offset);
        }
        this.#late.discardDisk(frame);
        break;
      case 'loadPostcopy': {
        const message = decodeMessage('switch', payload, offset);
        this.#running = message.running;
        const state = this.#state as Uint8Array;
        await this.#urgent?.joined();
        await this.#timed('loadMs', () => this.#late.load(message, state, offset));
        this.#link.interrupt.check();
        return 'loaded';
      }
      case 'place':
        this.#late.place(frame);
        break;
      case 'checkpointed':
        this.#late.checkpointed(frame);
        break;
      case 'placeDisk':
        await this.#late.placeDisk(frame);
        break;
      case 'finish':
        await this.#late.finish(offset);
        // Whether the source hears it or not: everything is here.
        await this.#link.mention('whole');
        return 'finished';
      case 'sayReceived':
        this.#late.checkResume(decodeMessage('resume', payload, offset), offset);
        this.#awaitUrgent(this.#recovery.channels);
        for (const list of await this.#late.missingChunks()) await this.#link.say('diskMissing', list);
        await this.#link.say('received', this.#late.received());
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

  #linkOver(transport: Transport): ReceiverLink {
    return new ReceiverLink(transport, this.#options.timers, this.#patienceMs);
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
    await this.#urgent?.close();
    this.#urgent = undefined;
    await this.#late.detach();
    await another;
    return 'recover';
  }

  async #awaitLink(): Promise<ReceiverEvent> {
    this.#link = this.#linkOver(await this.#recovery.connection());
    this.#vm().land(this.#link.reader);
    return 'connected';
  }

  #announceUrgent({ id }: Message<'urgent'>, offset: number): void {
    if (!this.#vm().features.includes('preempt') || this.#urgentId !== undefined) {
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
    const vm = this.#vm();
    this.#urgent = new UrgentDestination({
      source,
      id,
      interrupt: this.#link.interrupt,
      patienceMs: this.#patienceMs,
      land: (reader) => vm.land(reader, true),
      place: (frame) => this.#late.placeUrgent(frame),
      confirms: vm.features.includes('confirm'),
      fetch: vm.vm.postcopy?.fetch,
    });
  }

  /**
   * Images get their names while the source can still take the guest back. Then it is ours: whether the source hears of it
   * or not, it will not run it any more.
   */
  async #start(): Promise<void> {
    const { transport, reader } = this.#link;
    const { vm, features } = this.#vm();
    if (!transport.duplex && (await reader.next()) !== undefined) {
      const [expected, got] = ['the end after "go"', 'another frame'];
      throw GodwitError.unexpected('format', 'migration stream', expected, got, reader.offset);
    }
    if (features.includes('disks') && this.#postcopy?.disksLate !== true) await vm.nameDisks();
    if (this.#postcopy !== undefined) this.#postcopy.started = true;
    this.#saidRunning = transport.duplex;
    // If it isn't heard, the source stays stopped and tells its user so; here the guest goes on. It waits for neither.
    const said = this.#link.say('running').catch(() => {});
    const attached = this.#postcopy?.attach(this.#link, this.#urgent);
    attached?.catch(() => {});
    try {
      await this.#timed('startMs', () => vm.start(this.#running));
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
    await Promise.all([said, attached]);
  }

  async #fail(error: GodwitError): Promise<void> {
    const { transport } = this.#link;
    this.#built?.finish();
    if (transport.duplex && !this.#saidRunning && error.kind !== 'refused') {
      await this.#link.complain(this.#accepted ? 'failed' : 'refused', reasonOf(error));
    }
    this.#built?.close();
    await this.#urgent?.close();
    transport.destroy();
  }

  async #timed(what: keyof ArrivalSplit, run: () => Promise<void>): Promise<void> {
    const startNs = this.#options.clock.nowNs();
    await run();
    this.#pause[what] = (this.#options.clock.nowNs() - startNs) / 1e6;
  }

  #vm(): ArrivingVm {
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
