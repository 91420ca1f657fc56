/**
 * Holds harts to a share of the time that they would run. A hart that is throttled by a fraction p runs 1 − p of that
 * time, in pieces so short that a pause between two stays a matter of milliseconds; QEMU stops a vCPU for 10 p / (1 − p) ms
 * at once, which is a second at 99 %.
 *
 * What a hart runs for d ns costs it a debt of d p / (1 − p) ns, and it does not run again before that has passed. Other
 * harts that are not throttled run meanwhile; a hart in WFI pays while it waits. With virtual time (`whole`) all harts
 * stand still while one owes time: the order in which they run, and so what the guest computes, stays what it would be.
 */
import type { Clock } from '../clock.ts';

/** The largest fraction: the guest goes on, however slowly. */
export const MAX_THROTTLE = 0.99;

/** How long the pauses are to be, of all harts in a round together; preemption by the host can double it. */
const PAUSE_NS = 10e6;
/** A debt so small that a clock may not be able to tell when it is paid. */
const FORGIVEN_NS = 1000;
/** What a pause that the host made longer counts towards the next ones at most. */
const CREDIT_NS = 50e6;
/** A shorter piece costs more to begin than it runs. */
const MIN_PIECE = 1000;
/** The first piece, from which is learned how long an instruction takes. */
const FIRST_PIECE = 5000;

/** Who throttles: a migration that has to get through, or a limit of the dirty rate. */
export type ThrottleSource = 'migration' | 'limit';

interface Account {
  /** 0 to MAX_THROTTLE. */
  fraction: number;
  /** Negative after a pause that was too long. */
  debtNs: number;
  /** Measured; undefined before the first piece. */
  nsPerInstruction: number | undefined;
  ranInRound: boolean;
}

export class Throttle {
  /** A hart that owes time holds all of them up, and a piece that is shorter than a slice does not end the hart's turn. */
  readonly whole: boolean;
  readonly #clock: Clock;
  readonly #accounts: readonly Account[];
  readonly #sources = new Map<ThrottleSource, readonly number[]>();
  #active = false;
  #settledNs = 0;
  #turnNs = 0;

  constructor(harts: number, clock: Clock, whole: boolean) {
    this.#clock = clock;
    this.whole = whole;
    this.#accounts = Array.from({ length: harts }, () => ({
      fraction: 0,
      debtNs: 0,
      nsPerInstruction: undefined,
      ranInRound: false,
    }));
  }

  /** Whether any hart is throttled. If none is, nothing else here has to be called. */
  get active(): boolean {
    return this.#active;
  }

  /**
   * Of several sources the one that wants more counts.
   * @param fractions for each hart; 0, or none, lifts its throttle at once.
   */
  set(source: ThrottleSource, fractions: readonly number[]): void {
    this.#sources.set(source, fractions);
    for (const [i, account] of this.#accounts.entries()) {
      const wanted = [...this.#sources.values()].map((each) => each[i] ?? 0);
      account.fraction = Math.min(Math.max(0, ...wanted), MAX_THROTTLE);
      if (account.fraction === 0) account.debtNs = 0;
    }
    this.#active = this.#accounts.some(({ fraction }) => fraction > 0);
    this.#settledNs = this.#clock.nowNs();
  }

  /** For each hart. */
  get fractions(): readonly number[] {
    return this.#accounts.map(({ fraction }) => fraction);
  }

  /** A round begins, or goes on: what has passed since the last one was no hart's. */
  beginRound(): void {
    for (const account of this.#accounts) account.ranInRound = false;
    this.#pay(() => true);
  }

  /** A round is over, or interrupted: its time is payment for those that did not run in it. */
  endRound(): void {
    this.#pay(({ ranInRound }) => !ranInRound);
  }

  /** Begins a hart's turn. @returns how many instructions it may run now; 0 while it owes time. */
  beginTurn(hart: number): number {
    const account = this.#accounts[hart] as Account;
    if (this.whole ? this.pauseNs > 0 : account.debtNs > 0) return 0;
    this.#turnNs = this.#clock.nowNs();
    const { fraction, nsPerInstruction } = account;
    if (fraction === 0) return Number.POSITIVE_INFINITY;
    if (nsPerInstruction === undefined) return FIRST_PIECE;
    const throttled = this.#accounts.filter((other) => other.fraction > 0).length;
    const pieceNs = ((PAUSE_NS / throttled) * (1 - fraction)) / fraction;
    return Math.max(MIN_PIECE, Math.floor(pieceNs / nsPerInstruction));
  }

  /** Ends the turn. */
  endTurn(hart: number, instructions: number): void {
    if (instructions === 0) return;
    const account = this.#accounts[hart] as Account;
    const ns = this.#clock.nowNs() - this.#turnNs;
    account.ranInRound = true;
    if (account.fraction === 0) return;
    const cost = (ns * account.fraction) / (1 - account.fraction);
    account.debtNs = Math.min(account.debtNs + cost, 2 * PAUSE_NS);
    const measured = Math.max(ns / instructions, 0.01);
    const known = account.nsPerInstruction ?? measured;
    // A piece in which the host did something else says nothing of the guest.
    account.nsPerInstruction =
      measured < known ? (known + measured) / 2 : known + (Math.min(measured, 2 * known) - known) / 16;
  }

  /** Until a hart that owes time may run again, if only those do nothing; 0 if none owes any. */
  get pauseNs(): number {
    const debts = this.#accounts.filter(({ debtNs }) => debtNs > 0).map(({ debtNs }) => debtNs);
    return debts.length === 0 ? 0 : Math.min(...debts) * debts.length;
  }

  waits(hart: number): boolean {
    return (this.#accounts[hart]?.debtNs ?? 0) > 0;
  }

  /** The time since the last payment pays debts: each hart's share of it. */
  #pay(counts: (account: Account) => boolean): void {
    const now = this.#clock.nowNs();
    const passed = now - this.#settledNs;
    this.#settledNs = now;
    const sharers = this.#accounts.filter(({ debtNs, ranInRound }) => debtNs > 0 || ranInRound);
    for (const account of sharers.filter(counts)) {
      const left = account.debtNs - passed / sharers.length;
      account.debtNs = left > 0 && left < FORGIVEN_NS ? 0 : Math.max(left, -CREDIT_NS);
    }
  }
}
