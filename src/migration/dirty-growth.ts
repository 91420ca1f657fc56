/**
 * How the set of pages that the guest has written grows behind a sync of the dirty log: steeply at first, and not at all
 * once the guest goes round in what it has written already. From that, how many a pass of some length will leave.
 */

/** Looks that come sooner after a sync, or after the one before, are not taken into account, in ms. */
const LEAST_MS = 5;

interface Look {
  readonly ms: number;
  readonly pages: number;
}

/** What one pass has shown. */
class Curve {
  readonly #looks: Look[] = [];

  /** When the last look was. */
  get ms(): number {
    return this.#looks.at(-1)?.ms ?? 0;
  }

  add(look: Look): void {
    if (look.ms >= this.ms + LEAST_MS) this.#looks.push(look);
  }

  /** Pages at `ms`, if they go on to grow as in about the last third; not at all if nobody looked before that. */
  at(ms: number): number {
    const last = this.#looks.at(-1);
    if (last === undefined) return 0;
    const before = this.#looks.findLast((look) => 3 * look.ms <= 2 * last.ms);
    const shows = before !== undefined && 3 * before.ms >= last.ms;
    const slope = shows ? (last.pages - before.pages) / (last.ms - before.ms) : 0;
    return last.pages + Math.max(0, slope * (ms - last.ms));
  }
}

export class DirtyGrowth {
  readonly #totalPages: number;
  #before = new Curve();
  #now = new Curve();

  /** @param totalPages of the guest. */
  constructor(totalPages: number) {
    this.#totalPages = totalPages;
  }

  /** So many pages have been written since the last sync, which was `ms` ago. */
  look(ms: number, pages: number): void {
    this.#now.add({ ms, pages });
  }

  /** The dirty log was synced. */
  synced(): void {
    // A pass that was over in a moment says less than the one before.
    if (4 * this.#now.ms >= this.#before.ms) this.#before = this.#now;
    this.#now = new Curve();
  }

  /**
   * Pages that will have been written `ms` after the last sync, as this pass shows, or one before that was longer;
   * undefined if neither shows anything.
   */
  pagesAfter(ms: number): number | undefined {
    const longer = this.#now.ms >= this.#before.ms ? this.#now : this.#before;
    return longer.ms === 0 ? undefined : Math.min(longer.at(ms), this.#totalPages);
  }
}
