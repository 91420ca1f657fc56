/**
 * The real-time clock: Android's goldfish RTC, as QEMU's hw/rtc/goldfish_rtc.c and Linux' rtc-goldfish driver have it.
 * It counts nanoseconds since 1970-01-01 UTC, and has one alarm.
 */
import type { MmioRegion } from '../memory/mmio.ts';
import { descriptor, type StateOf } from '../vmstate/descriptor.ts';
import { bool, u32 as u32Field, u64 as u64Field } from '../vmstate/fields.ts';
import { type DescribedMigratable, migratable } from '../vmstate/section.ts';
import type { Device, InterruptLine } from './device.ts';
import { type FdtNode, type FdtValue, text, u64 } from './fdt.ts';
import {
  dumpRegisters,
  port,
  type RegisterBank,
  type RegisterDump,
  register,
  registerFields,
  registerHandler,
  resetRegisters,
} from './registers.ts';
import type { Timer, Timers } from './timers.ts';

/** What a real-time clock follows: a count of nanoseconds. */
export interface RealTime {
  now(): bigint;
  /** Other hosts agree with it: after a migration the clock keeps its distance to it, and not its time. */
  readonly shared: boolean;
}

const REGISTERS = {
  /** Reading latches the upper half. */
  time_low: port({ offset: 0x00, width: 4 }),
  time_high: port({ offset: 0x04, width: 4 }),
  /** Writing sets the alarm, so the upper half comes first. */
  alarm_low: register({ offset: 0x08, width: 4 }),
  alarm_high: register({ offset: 0x0c, width: 4 }),
  irq_enabled: register({ offset: 0x10, width: 4, writable: 1 }),
  clear_alarm: port({ offset: 0x14, width: 4, access: 'w' }),
  alarm_status: port({ offset: 0x18, width: 4, access: 'r' }),
  clear_interrupt: port({ offset: 0x1c, width: 4, access: 'w' }),
} satisfies RegisterBank;

const STATE = descriptor({
  name: 'goldfish-rtc',
  version: 1,
  minimumVersion: 1,
  fields: {
    ...registerFields(REGISTERS),
    latchedHigh: u32Field(),
    alarmRunning: bool(),
    irqPending: bool(),
    /** Its time, and how far that is ahead of what it follows: both in ns, modulo 2^64. */
    time: u64Field(),
    ahead: u64Field(),
  },
});

type RtcState = Omit<StateOf<typeof STATE>, 'time' | 'ahead'>;

const REGION_BYTES = 0x1000;
const LOW = 0xffff_ffffn;
/** What it follows may be set, or go on while the machine stands still: an alarm looks at it this often. */
const LONGEST_WAIT_NS = 1e9;

/** What the clock needs of its machine. */
export interface GoldfishRtcOptions {
  /** First physical address. */
  readonly base: number;
  readonly follows: RealTime;
  /** Its time at power-on, in ns since 1970. */
  readonly start: bigint;
  readonly timers: Timers;
  readonly interrupt: InterruptLine;
  readonly interruptProperties: Readonly<Record<string, FdtValue>>;
}

export class GoldfishRtc implements Device {
  readonly name = STATE.name;
  readonly regions: readonly MmioRegion[];
  readonly state: DescribedMigratable;
  readonly #options: GoldfishRtcOptions;
  readonly #timer: Timer;
  #ahead: bigint;
  #state: RtcState = resetState();

  constructor(options: GoldfishRtcOptions) {
    const { base, follows, start, timers } = options;
    this.#options = options;
    this.#ahead = start - follows.now();
    this.#timer = timers.create(() => this.#watch());
    const handler = registerHandler(REGISTERS, {
      state: () => this.#state,
      hooks: {
        time_low: {
          read: () => {
            const now = this.#now();
            this.#state.latchedHigh = Number(now >> 32n);
            return Number(now & LOW);
          },
          write: ({ value }) => this.#setTime((this.#now() & ~LOW) | BigInt(value)),
        },
        time_high: {
          read: () => this.#state.latchedHigh,
          write: ({ value }) => this.#setTime((this.#now() & LOW) | (BigInt(value) << 32n)),
        },
        alarm_low: {
          write: () => {
            this.#state.alarmRunning = true;
            this.#watch();
          },
        },
        irq_enabled: { write: () => this.#drive() },
        clear_alarm: {
          write: () => {
            this.#state.alarmRunning = false;
            this.#timer.cancel();
          },
        },
        alarm_status: { read: () => (this.#state.alarmRunning ? 1 : 0) },
        clear_interrupt: {
          write: () => {
            this.#state.irqPending = false;
            this.#drive();
          },
        },
      },
    });
    this.regions = [{ name: this.name, base, size: REGION_BYTES, handler }];
    this.state = migratable(STATE, {
      get: () => ({ ...this.#state, time: this.#now(), ahead: BigInt.asUintN(64, this.#ahead) }),
      set: ({ time, ahead, ...state }) => {
        this.#state = state;
        if (follows.shared) this.#ahead = BigInt.asIntN(64, ahead);
        else this.#setTime(time);
        this.#drive();
        // Not before the machine runs: what it interrupts may have its own state yet to come.
        if (state.alarmRunning) this.#timer.arm(0);
        else this.#timer.cancel();
      },
    });
  }

  /** Time goes on: a battery keeps it. */
  reset(): void {
    this.#state = resetState();
    this.#timer.cancel();
    this.#drive();
  }

  /** Registers for the monitor. */
  dump(): RegisterDump[] {
    return dumpRegisters(REGISTERS, this.#state);
  }

  fdt(): readonly FdtNode[] {
    const { base, interruptProperties } = this.#options;
    return [
      {
        name: `rtc@${base.toString(16)}`,
        properties: {
          ...interruptProperties,
          reg: u64(base, REGION_BYTES),
          compatible: text('google,goldfish-rtc'),
        },
      },
    ];
  }

  #now(): bigint {
    return BigInt.asUintN(64, this.#options.follows.now() + this.#ahead);
  }

  #setTime(time: bigint): void {
    this.#ahead = time - this.#options.follows.now();
  }

  /** Rings the alarm if it is time to, or waits. */
  #watch(): void {
    if (!this.#state.alarmRunning) return;
    const alarm = (BigInt(this.#state.alarm_high) << 32n) | BigInt(this.#state.alarm_low);
    const left = alarm - this.#now();
    if (left > 0n) {
      this.#timer.arm(this.#options.follows.shared ? Math.min(Number(left), LONGEST_WAIT_NS) : Number(left));
      return;
    }
    this.#timer.cancel();
    this.#state.alarmRunning = false;
    this.#state.irqPending = true;
    this.#drive();
  }

  #drive(): void {
    this.#options.interrupt(this.#state.irqPending && this.#state.irq_enabled === 1);
  }
}

function resetState(): RtcState {
  return { ...resetRegisters(REGISTERS), latchedHigh: 0, alarmRunning: false, irqPending: false };
}
