/**
 * One outgoing migration: drives the steps of a session by the table in sender-states.ts. Use one object per
 * migration; after a failure or a cancel a new one can be made for the same VM.
 */
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { seconds } from './deadline.ts';
import { asGodwitError, Interrupt } from './interrupt.ts';
import type { SourceVm } from './migratable-vm.ts';
import { changedParameters, DEFAULT_PARAMETERS, type MigrationParameters } from './parameters.ts';
import { NO_RESCUE } from './postcopy-source.ts';
import { type MigrationSample, Samples } from './samples.ts';
import type { ChannelOptions } from './sender-channels.ts';
import { SenderSession } from './sender-session.ts';
import {
  NO_POSTCOPY_TO_PAUSE,
  SENDER_STATUS,
  SENDER_TABLE,
  type SenderAction,
  type SenderEvent,
  type SenderState,
} from './sender-states.ts';
import { StateMachine } from './state-machine.ts';
import type { MigrationInfo, MigrationStatus } from './statistics.ts';
import type { Timers } from './timers.ts';
import type { Transport } from './transport.ts';

/** What happens during a migration, as it is told to monitors. */
export type MigrationEvent =
  /** QEMU's MIGRATION event. */
  | { readonly event: 'status'; readonly status: MigrationStatus; readonly error?: string }
  /** QEMU's MIGRATION_PASS event: the pass is over, and the dirty log synced. */
  | { readonly event: 'pass'; readonly pass: number }
  /** The migration did something about how it goes, by itself, and why. */
  | { readonly event: 'decision'; readonly text: string };

export interface SenderOptions {
  readonly vm: SourceVm;
  /** Makes the connection, or opens the file; called once. */
  readonly open: () => Promise<Transport>;
  /** Further connections for memory: the feature "multifd". */
  readonly channels?: ChannelOptions;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly parameters?: Partial<MigrationParameters>;
  readonly onEvent?: (event: MigrationEvent) => void;
}

export class Sender {
  readonly #onEvent: (event: MigrationEvent) => void;
  readonly #machine: StateMachine<SenderState, SenderEvent, SenderAction>;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #interrupt: Interrupt;
  readonly #session: SenderSession;
  readonly #samples: Samples;
  #parameters: MigrationParameters;
  #status: MigrationStatus = 'none';
  #error: GodwitError | undefined;
  #open: () => Promise<Transport>;
  #recover: (open: (() => Promise<Transport>) | 'rescue') => void = () => {};
  #startedNs: number | undefined;
  #forgetDeadline: () => void = () => {};

  /** @throws GodwitError kind "usage" for a parameter out of range. */
  constructor(options: SenderOptions) {
    const { vm, open, clock, timers } = options;
    this.#parameters = changedParameters(DEFAULT_PARAMETERS, options.parameters ?? {});
    this.#open = open;
    this.#onEvent = options.onEvent ?? (() => {});
    this.#machine = new StateMachine<SenderState, SenderEvent, SenderAction>(SENDER_TABLE, 'none', (state) =>
      this.#stateChanged(state),
    );
    this.#clock = clock;
    this.#timers = timers;
    this.#interrupt = new Interrupt(timers);
    this.#session = new SenderSession({
      vm,
      open,
      ...(options.channels === undefined ? {} : { channels: options.channels }),
      clock,
      timers,
      interrupt: this.#interrupt,
      parameters: () => this.#parameters,
      onPass: (pass) => this.#onEvent({ event: 'pass', pass }),
    });
    this.#session.statistics.onDecision = (text) => this.#onEvent({ event: 'decision', text });
    this.#samples = new Samples(timers, () => this.#session.statistics.sample(vm.instructions()));
  }

  get state(): SenderState {
    return this.#machine.state;
  }

  /** For `query-migrate`. Plain data. */
  info(): MigrationInfo {
    return this.#session.statistics.info(this.#status, this.#error?.message);
  }

  /** How its figures went, from the start until now. */
  samples(): readonly MigrationSample[] {
    return this.#samples.list;
  }

  /**
   * Runs the migration to its end. Resolves when the guest is the other side's, or the file is complete: the VM is
   * stopped then. Rejects after everything has been taken back, with the VM as it was before; only if the destination
   * may have the guest does the VM stay stopped, and the error says so.
   * @throws GodwitError
   */
  async run(): Promise<void> {
    this.#startedNs = this.#clock.nowNs();
    this.#armDeadline();
    try {
      await this.#run();
    } finally {
      this.#forgetDeadline();
    }
    if (this.#error !== undefined) throw this.#error;
  }

  async #run(): Promise<void> {
    let event: SenderEvent = 'start';
    for (;;) {
      const action = this.#machine.fire(event);
      if (action === 'conclude') break;
      try {
        const next = await this.#perform(action);
        if (next === undefined) break;
        event = next;
      } catch (thrown) {
        event = await this.#failed(asGodwitError(thrown));
      }
    }
  }

  /**
   * Asks for the end of the migration; `run` rejects when all is taken back. Returns false if there is nothing to
   * cancel, or if it is too late because the guest is being handed over.
   */
  cancel(reason = 'the migration was cancelled'): boolean {
    if (this.#machine.fire('cancel') !== 'interrupt') return this.#machine.state === 'cancelling';
    this.#interrupt.fire(new GodwitError('cancelled', reason));
    return true;
  }

  /** A migration with `on-deadline=cancel` is given up at its deadline, whatever it waits for then. */
  #armDeadline(): void {
    this.#forgetDeadline();
    const { deadlineMs, onDeadline } = this.#parameters;
    if (this.#startedNs === undefined || deadlineMs === 0 || onDeadline !== 'cancel') return;
    const left = deadlineMs - (this.#clock.nowNs() - this.#startedNs) / 1e6;
    const giveUp = (): void => {
      const reason = `the deadline of ${seconds(deadlineMs)} has passed: the migration is given up`;
      if (this.cancel(reason)) this.#session.statistics.decided(reason);
    };
    this.#forgetDeadline = this.#timers.after(Math.max(left, 0), giveUp);
  }

  /** The user's word that a migration in "pre-switchover" may go on. Returns false if none is there. */
  continue(): boolean {
    if (this.#machine.state !== 'pre-switchover') return false;
    if (this.#machine.fire('continue') === 'release') this.#session.release();
    return true;
  }

  /**
   * The guest, stopped for the hand-over, is to arrive paused. Returns false if it is too late: the destination may
   * have been told already that it is to run.
   */
  arrivePaused(): boolean {
    return this.#session.arrivePaused();
  }

  /**
   * Lets the guest run at the destination as soon as may be, and gives it its memory then. Without effect if it is being
   * handed over already.
   * @throws GodwitError kind "state" if there is no migration that could.
   */
  startPostcopy(): void {
    if (!this.#parameters.postcopy) {
      throw new GodwitError(
        'state',
        'Enable postcopy with migrate_set_capability before the start of migration',
      );
    }
    if (['none', 'failing', 'cancelling', 'completed', 'cancelled', 'failed'].includes(this.state)) {
      throw new GodwitError('state', 'Postcopy must be started after migration has been started');
    }
    if (this.state === 'setup' || this.state === 'active') this.#session.wantPostcopy();
  }

  /** Ends the connection of a post-copy: both sides are paused then. @throws GodwitError kind "state". */
  pause(): void {
    if (!['postcopy-active', 'postcopy-recover-setup', 'postcopy-recover'].includes(this.state)) {
      throw new GodwitError('state', NO_POSTCOPY_TO_PAUSE);
    }
    this.#session.breakLink(new GodwitError('transport', 'the migration was paused by the user'));
  }

  /**
   * Goes on with a paused post-copy over another connection.
   * @throws GodwitError kind "state" if none is paused.
   */
  recover(open: () => Promise<Transport>): void {
    if (this.state !== 'postcopy-paused') {
      throw new GodwitError('state', 'Cannot resume if there is no paused migration');
    }
    this.#recover(open);
  }

  /**
   * Takes the guest of a paused post-copy up here, from its last checkpoint. It must not run at the destination any more,
   * which nobody can know from here.
   * @throws GodwitError kind "state" if none is paused, or if there are no checkpoints.
   */
  rescue(): void {
    if (this.state !== 'postcopy-paused' || !this.#session.canRescue)
      throw new GodwitError('state', NO_RESCUE);
    this.#recover('rescue');
  }

  /**
   * Changes parameters; they take effect at once.
   * @throws GodwitError kind "usage" for a number out of range, or a cache that the host has no memory for; then nothing
   *   has changed.
   */
  setParameters(change: Partial<MigrationParameters>): void {
    const before = this.#parameters;
    this.#parameters = changedParameters(before, change);
    try {
      this.#session.parametersChanged();
    } catch (error) {
      this.#parameters = before;
      throw error;
    }
    this.#armDeadline();
  }

  /** Does what the table says. Returns the event that follows; undefined at the end. */
  async #perform(action: SenderAction): Promise<SenderEvent | undefined> {
    const session = this.#session;
    switch (action) {
      case 'handshake':
        session.statistics.started();
        this.#samples.start();
        await session.handshake();
        return 'accepted';
      case 'iterate':
        return await session.iterate();
      case 'stopGuest':
        await session.stopGuest();
        if (this.#parameters.pauseBeforeSwitchover) return 'held';
        return session.postcopy ? 'split' : 'stopped';
      case 'hold':
        await session.hold();
        return session.postcopy ? 'split' : 'stopped';
      case 'switchToPostcopy':
        await session.switchToPostcopy();
        return 'ready';
      case 'serve':
        this.#error = undefined;
        await session.serve();
        return 'served';
      case 'pause': {
        session.breakLink(this.#error ?? new GodwitError('internal', 'no reason'));
        const next = await new Promise<(() => Promise<Transport>) | 'rescue'>((resolve) => {
          this.#recover = resolve;
        });
        if (next === 'rescue') return 'rescue';
        this.#open = next;
        return 'recover';
      }
      case 'reconnect':
        await session.reconnect(this.#open);
        return 'connected';
      case 'resync':
        await session.resync();
        return 'running';
      case 'switchOver':
        await session.switchOver();
        return 'ready';
      case 'handOver':
        await session.handOver();
        return 'running';
      case 'finish':
        await session.finish();
        return undefined;
      case 'takeBack': {
        const reason = this.#error ?? this.#interrupt.error ?? new GodwitError('internal', 'no reason');
        const left = await session.takeBack(reason);
        this.#error = left === undefined ? reason : extended(reason, left);
        return 'restored';
      }
      case 'rescue':
        this.#error = await session.rescue();
        return 'restored';
      case 'leaveStopped':
        await session.leaveStopped();
        return undefined;
      default:
        throw new GodwitError('internal', `migration: no such action "${action}"`);
    }
  }

  /** Whether the guest runs at the destination for certain, with what it lacks here. */
  get #recoverable(): boolean {
    const { state } = this.#machine;
    return state.startsWith('postcopy-') && state !== 'postcopy-device' && state !== 'postcopy-handover';
  }

  async #failed(error: GodwitError): Promise<SenderEvent> {
    // A cancel is the reason for whatever it made fail.
    const cancelled = this.#interrupt.error?.kind === 'cancelled' ? this.#interrupt.error : undefined;
    const reason = cancelled ?? (await this.#session.reasonFor(error));
    this.#error = reason;
    if (this.#recoverable) return 'unclear';
    if (!this.#session.mayRunElsewhere || reason.kind === 'refused') return 'error';
    if (this.#machine.state === 'postcopy-handover') return 'unclear';
    this.#error = extended(
      reason,
      'the guest had been handed over and may be running at the destination: continue it here only if you know that it is not',
    );
    return 'unclear';
  }

  #stateChanged(state: SenderState): void {
    const status = SENDER_STATUS[state];
    if (status === undefined || status === this.#status) return;
    this.#status = status;
    // Who hears of the end may ask for the figures at once.
    if (FINAL_STATUSES.has(status)) {
      this.#session.statistics.ended();
      this.#samples.stop();
    }
    const error = this.#error?.message;
    this.#onEvent({ event: 'status', status, ...(error === undefined ? {} : { error }) });
  }
}

const FINAL_STATUSES: ReadonlySet<MigrationStatus> = new Set(['completed', 'cancelled', 'failed']);

function extended(error: GodwitError, more: string): GodwitError {
  return new GodwitError(error.kind, `${error.message}; ${more}`, error.details, error);
}
