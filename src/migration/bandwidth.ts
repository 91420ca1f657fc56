/**
 * Measures what the connection carries, over windows of at least 100 ms.
 *
 * Two figures: *throughput* is bytes per time that passed, waits for the bandwidth cap included. *Capacity* is bytes per
 * time spent sending (packing, writing, waiting for the other side to confirm a pass); it is known once 100 ms of
 * sending are gathered, and before that from what the buffers on the way can't have swallowed. Without a cap
 * they are the same. The pause is planned with capacity, because the final pass is not capped; until that is known, with
 * throughput, which is never more. What is mostly zero pages or deltas takes time to look at and hardly any bytes: it
 * shows in the throughput, but says nothing about the link.
 */
import { PAGE_SIZE } from '../memory/layout.ts';

const WINDOW_NS = 100e6;
/** What the buffers on the way may swallow: they are empty at first, and again after a wait for the cap. */
const SWALLOWED_BYTES = 4 * 1024 * 1024;
const WAIT_NS = 1e6;

/** Fewer bytes say more about the other side's patience than about the link, but for a window ten times as long. */
const TELLING_BYTES = 64 * 1024;

class Meter {
  readonly #least: number;
  #bytes = 0;
  #ns = 0;
  /** Of these bytes, those that the buffers may have swallowed. */
  #swallowed = SWALLOWED_BYTES;
  /** Bytes per second in the last whole window. */
  #rate: number | undefined;

  /** @param least bytes in a window, if it is not to take longer. */
  constructor(least = 0) {
    this.#least = least;
  }

  add(bytes: number, ns: number, waited = false): boolean {
    if (waited) this.#swallowed += SWALLOWED_BYTES;
    this.#bytes += bytes;
    this.#ns += ns;
    if (this.#ns < WINDOW_NS || (this.#bytes < this.#least && this.#ns < 10 * WINDOW_NS)) return false;
    this.#rate = (this.#bytes / this.#ns) * 1e9;
    this.#bytes = 0;
    this.#ns = 0;
    this.#swallowed = SWALLOWED_BYTES;
    return true;
  }

  /** Bytes per second since the last window, or in it; undefined before `least` bytes were sent. */
  after(least: number): number | undefined {
    return this.#rate ?? (this.#bytes >= least ? this.soFar : undefined);
  }

  /** Bytes per second in the last window; undefined before the first is whole. */
  get whole(): number | undefined {
    return this.#rate;
  }

  /** The same, or what the window that has begun shows so far; undefined if no time has passed. */
  get soFar(): number | undefined {
    return this.#rate ?? (this.#ns > 0 ? (this.#bytes / this.#ns) * 1e9 : undefined);
  }

  /** The same, without what the buffers may have swallowed; undefined if little is left then. */
  get shown(): number | undefined {
    const bytes = this.#bytes - this.#swallowed;
    return this.#rate ?? (bytes >= SWALLOWED_BYTES ? (bytes / this.#ns) * 1e9 : undefined);
  }
}

export class Bandwidth {
  readonly #all = new Meter();
  readonly #pages = new Meter();
  /** Without what is mostly zero pages. */
  readonly #elapsed = new Meter(TELLING_BYTES);
  readonly #sending = new Meter(TELLING_BYTES);
  #basis = 0;

  /**
   * @param sendingNs time it took to send this.
   * @param waitedNs time waited for the cap before that.
   * @param bulky whether the bytes are what took the time.
   */
  add(
    bytes: number,
    pages: number,
    sendingNs: number,
    waitedNs: number,
    bulky = isBulky(bytes, pages),
  ): void {
    this.#all.add(bytes, sendingNs + waitedNs);
    this.#pages.add(pages, sendingNs + waitedNs);
    if (!bulky) return;
    this.#basis += bytes;
    this.#elapsed.add(bytes, sendingNs + waitedNs);
    this.#sending.add(bytes, sendingNs, waitedNs >= WAIT_NS);
  }

  /** Bytes per second as time passed; 0 if unknown. */
  get throughput(): number {
    return this.#all.soFar ?? 0;
  }

  /** Pages per second as time passed; 0 if unknown. */
  get pagesPerSecond(): number {
    return this.#pages.soFar ?? 0;
  }

  /** What the connection has shown that it can carry, also by little; not less than `forPause`. */
  get best(): number | undefined {
    const pause = this.forPause;
    return pause === undefined ? undefined : Math.max(pause, this.#sending.soFar ?? 0);
  }

  /** Bytes that the figures are from, without what is mostly zero pages. */
  get basis(): number {
    return this.#basis;
  }

  /** Capacity from the first moments: good enough to see what is coming, not to stop a guest by. */
  get early(): number | undefined {
    return this.#sending.after(SWALLOWED_BYTES);
  }

  /** Capacity once 100 ms of sending are gathered. */
  get known(): number | undefined {
    return this.#sending.whole || undefined;
  }

  /** Capacity as far as it has been shown, whatever the buffers on the way have swallowed: good enough to stop a guest by. */
  get shown(): number | undefined {
    return this.#sending.shown || undefined;
  }

  /** Bytes per second to plan the pause with; undefined while nothing has been sent, or no time has passed. */
  get forPause(): number | undefined {
    return this.known || Math.max(this.shown ?? 0, this.#elapsed.soFar ?? 0) || this.#all.soFar || undefined;
  }
}

/** Whether what is sent of so many pages is mostly whole pages. */
export function isBulky(bytes: number, pages: number): boolean {
  return bytes > 0 && bytes >= (pages * PAGE_SIZE) / 2;
}
