/**
 * One incoming migration: reads frames and acts on each by the table in receiver-states.ts. The guest runs here only
 * after "go"; until then any failure leaves it to the source.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { PAGE_SIZE, SCRATCH_SIZE } from '../memory/layout.ts';
import { type Frame, FrameReader } from './frame-reader.ts';
import { FrameWriter } from './frame-writer.ts';
import { asGodwitError, Interrupt } from './interrupt.ts';
import { KERNEL_SCRATCH, Kernels } from './kernels.ts';
import type { DestinationBuilder, DestinationVm } from './migratable-vm.ts';
import { changedParameters, DEFAULT_PARAMETERS, type MigrationParameters } from './parameters.ts';
import {
  decodeConfiguration,
  decodeMessage,
  encodeMessage,
  FEATURES,
  type Message,
  type ReturnFrame,
  reasonOf,
} from './protocol.ts';
import { RamLoad } from './ram-load.ts';
import { MAX_RAM_PAYLOAD } from './ram-stream.ts';
import {
  RECEIVER_STATUS,
  RECEIVER_TABLE,
  type ReceiverAction,
  type ReceiverEvent,
  type ReceiverState,
} from './receiver-states.ts';
import type { MigrationEvent } from './sender.ts';
import { StateMachine } from './state-machine.ts';
import {
  type ArrivalSplit,
  type MigrationInfo,
  type MigrationStatus,
  NO_RAM,
  type RamStatistics,
} from './statistics.ts';
import type { Timers } from './timers.ts';
import type { Transport } from './transport.ts';
import { XbzrleCodec } from './xbzrle-codec.ts';

/** How long the source may take to take "running", and to read why something failed. */
const COURTESY_MS = 1000;

export interface ReceiverOptions {
  readonly builder: DestinationBuilder;
  /** Connected. */
  readonly transport: Transport;
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
  readonly ram: RamLoad;
}

export class Receiver {
  readonly #options: ReceiverOptions;
  #parameters: MigrationParameters;
  readonly #machine: StateMachine<ReceiverState, ReceiverEvent, ReceiverAction>;
  readonly #interrupt: Interrupt;
  readonly #reader: FrameReader;
  readonly #writer: FrameWriter;
  readonly #startNs: number;
  #endNs: number | undefined;
  /** When the source was told that it has a pass; the guest stands still not long after the last time. */
  #passedNs: number | undefined;
  readonly #pause: { -readonly [K in keyof ArrivalSplit]?: ArrivalSplit[K] } = {};
  #status: MigrationStatus = 'none';
  #built: Built | undefined;
  #accepted = false;
  #state: Uint8Array | undefined;
  #end: Message<'end'> | undefined;
  /** Whether "running" was handed to the connection: from then on the source gives the guest up. */
  #saidRunning = false;
  #error: GodwitError | undefined;
  /** The state in which a failure struck. */
  #before: ReceiverState = 'setup';
  #reading: Promise<unknown> = Promise.resolve();

  /** @throws GodwitError kind "usage" for a parameter out of range. */
  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#parameters = changedParameters(DEFAULT_PARAMETERS, options.parameters ?? {});
    this.#interrupt = new Interrupt(options.timers);
    this.#reader = new FrameReader(options.transport, 'forward');
    this.#writer = new FrameWriter(options.transport, Kernels.standalone(), 'return');
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
      ...(this.#built === undefined ? {} : { ram: this.#arrived(this.#built, ns / 1e9) }),
      ...(this.#status === 'completed' && downtimeMs !== undefined
        ? { downtime: Math.round(downtimeMs), arrival: pause }
        : {}),
    };
  }

  #arrived({ vm, ram }: Built, seconds: number): RamStatistics {
    const { pages, zeroPages, passes, remaining } = ram.progress;
    return {
      ...NO_RAM,
      transferred: this.#reader.offset,
      remaining: remaining * PAGE_SIZE,
      total: vm.layout.pages * PAGE_SIZE,
      duplicate: zeroPages,
      normal: pages - zeroPages,
      'normal-bytes': (pages - zeroPages) * PAGE_SIZE,
      mbps: seconds > 0 ? (this.#reader.offset * 8) / seconds / 1e6 : 0,
      'pages-per-second': seconds > 0 ? Math.round(pages / seconds) : 0,
      'dirty-sync-count': passes,
      'precopy-bytes': this.#reader.offset,
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
          this.#interrupt.check();
          event = (frame?.type ?? 'closed') as ReceiverEvent;
        }
        const action: ReceiverAction = this.#machine.fire(event);
        event = await this.#perform(action, frame);
      } catch (thrown) {
        this.#error ??= asGodwitError(thrown);
        if (this.#machine.state !== 'failed') this.#machine.fire('error');
        await this.#fail(this.#error);
      }
    }
    this.#endNs = this.#options.clock.nowNs();
    if (this.#error !== undefined) {
      this.#report(RECEIVER_STATUS.failed);
      throw this.#error;
    }
    await this.#close();
    return { vm: this.#vm().vm, runningAtSource: this.#end?.running === true };
  }

  /**
   * Gives the migration up, unless the guest is already ours. `run` rejects, and the source resumes the guest.
   * @param reason for both sides' users.
   */
  cancel(reason = 'the destination was told to give up'): boolean {
    if (this.#machine.fire('cancel') !== 'interrupt') return false;
    this.#interrupt.fire(new GodwitError('cancelled', reason));
    return true;
  }

  /** The next frame; undefined at the end of the stream. Memory may take its time, hand-shakes may not. */
  #next(): Promise<Frame | undefined> {
    const { state } = this.#machine;
    const patient = state === 'active' || state === 'device';
    const ms = this.#parameters.stallTimeoutMs;
    const next = this.#reader.next();
    this.#reading = next;
    return this.#interrupt.guard(
      next,
      patient ? undefined : { ms, what: state === 'ready' ? 'say "go"' : 'go on with the hand-shake' },
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
        this.#reader.offset,
      );
    }
    if (action === 'start') {
      await this.#start();
      return 'started';
    }
    if (action === 'conclude') return undefined;
    if (frame === undefined)
      throw new GodwitError('internal', `migration: action "${action}" without a frame`);
    const { type, payload, offset } = frame;
    switch (action) {
      case 'build':
        await this.#build(decodeMessage('hello', payload, offset), offset);
        break;
      case 'tryState':
        await this.#vm().vm.checkState(payload);
        this.#interrupt.check();
        await this.#say('accepted');
        this.#accepted = true;
        break;
      case 'applyRam':
        this.#vm().ram.apply(frame);
        break;
      case 'endPass': {
        const message = decodeMessage('pass', payload, offset);
        this.#vm().ram.endPass(message, offset);
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
        this.#vm().ram.verifyComplete(this.#end, offset);
        await this.#timed('loadMs', () => this.#vm().vm.loadState(this.#state as Uint8Array));
        this.#interrupt.check();
        await this.#say('ready');
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
    const unknown = hello.features.filter((feature) => !FEATURES.includes(feature));
    if (unknown.length > 0) {
      throw GodwitError.unexpected(
        'mismatch',
        'stream features',
        FEATURES.length === 0 ? 'none' : `only ${FEATURES.join(', ')}`,
        unknown.join(', '),
      );
    }
    if (hello.pageSize !== PAGE_SIZE) {
      throw GodwitError.unexpected('mismatch', 'page size', `${PAGE_SIZE}`, `${hello.pageSize}`);
    }
    const vm = await this.#options.builder.build(decodeConfiguration(hello.configuration, offset));
    this.#interrupt.check();
    const blocks = (list: readonly { name: string; size: number }[]): string =>
      list.map(({ name, size }) => `${name} ${size}`).join(', ') || 'none';
    const [ours, theirs] = [blocks(vm.layout.blocks), blocks(hello.blocks)];
    if (ours !== theirs) throw GodwitError.unexpected('mismatch', 'memory blocks', ours, theirs);
    const kernels = new Kernels(vm.memory, vm.layout.scratch);
    const codec = hello.features.includes('xbzrle') ? new XbzrleCodec(vm.memory) : undefined;
    this.#built = { vm, ram: new RamLoad(kernels, vm.layout, codec) };
    this.#reader.land({ type: 'ram', kernels, at: vm.layout.scratch + LANDING });
  }

  /** The guest is ours now. Whether the source hears of it or not, it will not run it any more. */
  async #start(): Promise<void> {
    const { transport } = this.#options;
    if (transport.duplex) {
      this.#saidRunning = true;
      try {
        await this.#interrupt.guard(this.#writer.send('running'), {
          ms: Math.min(COURTESY_MS, this.#parameters.stallTimeoutMs),
          what: 'take "running"',
        });
      } catch {
        // The source stays stopped and tells its user so; here the guest goes on.
      }
    } else if ((await this.#reader.next()) !== undefined) {
      throw GodwitError.unexpected(
        'format',
        'migration stream',
        'the end after "go"',
        'another frame',
        this.#reader.offset,
      );
    }
    try {
      await this.#timed('startMs', () => this.#vm().vm.start(this.#end?.running === true));
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
    const { transport } = this.#options;
    if (transport.duplex && !this.#saidRunning && error.kind !== 'refused') {
      const type = this.#accepted ? 'failed' : 'refused';
      await this.#politely(async () => {
        await this.#writer.send(type, encodeMessage(type, { reason: reasonOf(error) }));
        await transport.end();
        // A connection that is dropped with unread bytes in it may take our last words with it.
        await this.#reading.catch(() => {});
        while ((await transport.read()) !== undefined);
      });
    }
    transport.destroy();
  }

  async #close(): Promise<void> {
    const { transport } = this.#options;
    if (transport.duplex) await this.#politely(() => transport.end());
    transport.destroy();
  }

  async #timed(what: keyof ArrivalSplit, run: () => Promise<void>): Promise<void> {
    const startNs = this.#options.clock.nowNs();
    await run();
    this.#pause[what] = (this.#options.clock.nowNs() - startNs) / 1e6;
  }

  async #say(type: ReturnFrame, payload?: Uint8Array): Promise<void> {
    if (!this.#options.transport.duplex) return;
    await this.#interrupt.guard(this.#writer.send(type, payload), {
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

/** What may come next, for errors. */
const EXPECTED: Readonly<Record<ReceiverState, string>> = {
  setup: '"hello"',
  checking: '"checkState"',
  active: '"ram", "pass" or "state"',
  device: '"end"',
  ready: '"go"',
  starting: 'nothing',
  completed: 'nothing',
  failed: 'nothing',
};

/** Where in the scratch area the payload of a ram frame is read to. */
const LANDING = KERNEL_SCRATCH;
if (LANDING + MAX_RAM_PAYLOAD + 8 > SCRATCH_SIZE)
  throw new GodwitError('internal', 'the scratch area is too small');
