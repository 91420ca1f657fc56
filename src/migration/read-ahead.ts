/**
 * How far ahead of a page that was asked for the pages behind it are sent in post-copy. A guest that asks for one page after
 * the other gets more each time; who asks here and there gets few, because they stand in the way of what he asks for next.
 */

/** Pages. */
const MIN_AHEAD = 8;
const MAX_AHEAD = 128;

export class ReadAhead {
  #size = MIN_AHEAD;
  #from = 0;
  #to = 0;

  /** The first page that is to be sent ahead, and the first behind those. */
  get from(): number {
    return this.#from;
  }

  get to(): number {
    return this.#to;
  }

  asked(page: number): void {
    // What is on its way is asked for again, if the guest is fast.
    const goesOn = page >= this.#from && page <= this.#to;
    this.#size = goesOn ? Math.min(this.#size * 2, MAX_AHEAD) : MIN_AHEAD;
    this.#from = page;
    this.#to = page + this.#size;
  }
}
