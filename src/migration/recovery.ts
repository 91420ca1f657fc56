/** The destination's wait for another connection, when that of a post-copy is gone. */
import { GodwitError } from '../error.ts';
import { Interrupt } from './interrupt.ts';
import type { ChannelSource } from './receiver-channels.ts';
import type { Timers } from './timers.ts';
import type { Transport } from './transport.ts';

/** Where another connection is to come from. */
export interface RecoveryListener {
  accept(): Promise<Transport>;
  /** The next one behind that, if there may be any. */
  channel?(): Promise<Transport>;
  close(): void;
}

export class Recovery {
  readonly #timers: Timers;
  #listener: RecoveryListener | undefined;
  #offered: (listener: RecoveryListener) => void = () => {};
  #interrupt: Interrupt | undefined;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** Waits until somebody listens (`offer`), from the moment of this call on. */
  async listener(): Promise<void> {
    const offer = new Promise<RecoveryListener>((resolve) => {
      this.#offered = resolve;
    });
    this.#listener = await offer;
  }

  offer(listener: RecoveryListener): void {
    this.#offered(listener);
  }

  /** The connection that comes. @throws what `giveUp` is given, or what the listener throws. */
  async connection(): Promise<Transport> {
    const listener = this.#listener;
    if (listener === undefined) throw new GodwitError('internal', 'migration: nobody listens');
    const interrupt = new Interrupt(this.#timers);
    this.#interrupt = interrupt;
    try {
      return await interrupt.guard(listener.accept());
    } catch (error) {
      listener.close();
      throw error;
    } finally {
      this.#interrupt = undefined;
      if (listener.channel === undefined) listener.close();
    }
  }

  /** Where a second connection is to come from; whoever does not need it closes it. */
  get channels(): ChannelSource | undefined {
    const listener = this.#listener;
    if (listener?.channel === undefined) return undefined;
    const next = listener.channel.bind(listener);
    return { next, close: () => listener.close() };
  }

  /** Ends the wait for a connection. */
  giveUp(reason: GodwitError): void {
    this.#interrupt?.fire(reason);
  }
}
