/**
 * Interrupt causes, their mask, and when the line follows them: delays of receive and transmit causes, and the least
 * time between two interrupts. 8254x manual, §13.4.17 to §13.4.21 (ICR, ITR, ICS, IMS, IMC), §3.2.7 and §3.4.3.
 */
import { bool, type StateOfFields } from '../../vmstate/fields.ts';
import type { InterruptLine } from '../device.ts';
import { type Timer, type Timers, timerField } from '../timers.ts';
import { CAUSE, type E1000Registers } from './registers.ts';

/** Units of RDTR, RADV, TIDV and TADV, and of ITR. */
const DELAY_NS = 1024;
const INTERVAL_NS = 256;

const TIMERS = {
  receiveDelay: timerField(),
  receiveLimit: timerField(),
  transmitDelay: timerField(),
  transmitLimit: timerField(),
  /** Until then no further interrupt. */
  interval: timerField(),
};
type TimerName = keyof typeof TIMERS;
/** The line can be lower than causes and mask say, while the interval lasts. */
export const INTERRUPT_FIELDS = { ...TIMERS, level: bool() };
export type InterruptState = StateOfFields<typeof INTERRUPT_FIELDS>;

export interface InterruptsOptions {
  readonly timers: Timers;
  readonly line: InterruptLine;
  registers(): E1000Registers;
}

export class Interrupts {
  readonly #registers: () => E1000Registers;
  readonly #line: InterruptLine;
  readonly #timers: Readonly<Record<TimerName, Timer>>;
  #level = false;

  constructor({ timers, line, registers }: InterruptsOptions) {
    this.#registers = registers;
    this.#line = line;
    const received = (): void => this.#expire('receiveDelay', 'receiveLimit', CAUSE.receiveTimer);
    const sent = (): void => this.#expire('transmitDelay', 'transmitLimit', CAUSE.transmitWrittenBack);
    this.#timers = {
      receiveDelay: timers.create(received),
      receiveLimit: timers.create(received),
      transmitDelay: timers.create(sent),
      transmitLimit: timers.create(sent),
      interval: timers.create(() => this.update()),
    };
  }

  reset(): void {
    for (const timer of Object.values(this.#timers)) timer.cancel();
    this.update();
  }

  raise(causes: number): void {
    const registers = this.#registers();
    registers.icr = (registers.icr | causes) >>> 0;
    this.update();
  }

  /** A frame is in memory: RXT0 now, or when none has followed for RDTR, or RADV has passed. */
  received(): void {
    const { rdtr, radv } = this.#registers();
    if (rdtr === 0) this.raise(CAUSE.receiveTimer);
    else this.#delay('receiveDelay', rdtr, 'receiveLimit', radv);
  }

  /** Software wants received frames to be told of now (RDTR's flush bit). */
  flushReceived(): void {
    if (this.#timers.receiveDelay.armed) this.#expire('receiveDelay', 'receiveLimit', CAUSE.receiveTimer);
  }

  /** A descriptor is written back: TXDW now, or, if its IDE says so, after TIDV, or TADV. */
  writtenBack(delay: boolean): void {
    const { tidv, tadv } = this.#registers();
    if (delay && tidv !== 0) this.#delay('transmitDelay', tidv, 'transmitLimit', tadv);
    else this.#expire('transmitDelay', 'transmitLimit', CAUSE.transmitWrittenBack);
  }

  /** Sets the line to what causes and mask say; it rises only when the interval since it rose last has passed. */
  update(): void {
    const { icr, ims, itr } = this.#registers();
    const level = (icr & ims) !== 0;
    if (level === this.#level) return;
    if (level) {
      if (this.#timers.interval.armed) return;
      if (itr !== 0) this.#timers.interval.arm(itr * INTERVAL_NS);
    }
    this.#level = level;
    this.#line(level);
  }

  save(): InterruptState {
    const { receiveDelay, receiveLimit, transmitDelay, transmitLimit, interval } = this.#timers;
    return {
      receiveDelay: receiveDelay.save(),
      receiveLimit: receiveLimit.save(),
      transmitDelay: transmitDelay.save(),
      transmitLimit: transmitLimit.save(),
      interval: interval.save(),
      level: this.#level,
    };
  }

  load({ level, ...timers }: InterruptState): void {
    for (const name of Object.keys(this.#timers) as TimerName[]) this.#timers[name].load(timers[name]);
    this.#level = level;
    this.#line(level);
  }

  #delay(delay: TimerName, units: number, limit: TimerName, limitUnits: number): void {
    this.#timers[delay].arm(units * DELAY_NS);
    if (limitUnits !== 0 && !this.#timers[limit].armed) this.#timers[limit].arm(limitUnits * DELAY_NS);
  }

  #expire(delay: TimerName, limit: TimerName, cause: number): void {
    this.#timers[delay].cancel();
    this.#timers[limit].cancel();
    this.raise(cause);
  }
}
