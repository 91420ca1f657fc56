/**
 * The machine's time in ticks of `mtime`, over the injected clock. It stands still while the VM is stopped and goes on
 * from the same value, here or at the destination of a migration.
 */
import { type Clock, StopClock } from '../clock.ts';

/** Ticks of `mtime` per second, as QEMU's `virt` machine has them ("timebase-frequency" in the device tree). */
export const TIMEBASE_HZ = 10_000_000;

/** Where `mtime` comes from. */
export interface Timebase {
  /** The present value in ticks; 64 bits, wraps. */
  now(): bigint;
  /** Goes on from this value. */
  set(ticks: bigint): void;
}

const NS_PER_TICK = 1_000_000_000 / TIMEBASE_HZ;

/** A timebase that follows a clock while it runs. Made stopped, at zero. */
export class ClockTimebase implements Timebase {
  readonly #clock: StopClock;
  /** Ticks at the clock's `#sinceNs`. */
  #ticks = 0n;
  #sinceNs = 0;

  constructor(clock: Clock) {
    this.#clock = new StopClock(clock);
  }

  /** The time for which it has run, whatever it has been set to. */
  get clock(): Clock {
    return this.#clock;
  }

  now(): bigint {
    const elapsed = Math.floor((this.#clock.nowNs() - this.#sinceNs) / NS_PER_TICK);
    return BigInt.asUintN(64, this.#ticks + BigInt(elapsed));
  }

  set(ticks: bigint): void {
    this.#ticks = BigInt.asUintN(64, ticks);
    this.#sinceNs = this.#clock.nowNs();
  }

  /** Time goes on. Does nothing while it runs. */
  start(): void {
    this.#clock.start();
  }

  /** Time stands still. Does nothing while it does. */
  stop(): void {
    this.#clock.stop();
  }
}
