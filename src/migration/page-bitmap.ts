/** A set of page indices: one bit each, bit n & 31 of word n >> 5, as in the bitmaps of the shared memory. */
export class PageBitmap {
  readonly #words: Uint32Array;
  readonly pages: number;

  /** @param words at least `pages` bits; bits past `pages` are left alone and count for nothing if they are 0. */
  constructor(words: Uint32Array, pages: number) {
    this.#words = words;
    this.pages = pages;
  }

  /** A bitmap of its own, all clear. */
  static create(pages: number): PageBitmap {
    return new PageBitmap(new Uint32Array(Math.ceil(pages / 32)), pages);
  }

  has(page: number): boolean {
    return (((this.#words[page >>> 5] ?? 0) >>> (page & 31)) & 1) === 1;
  }

  /** Atomic: several threads may add to one set. */
  add(page: number): void {
    Atomics.or(this.#words, page >>> 5, 1 << (page & 31));
  }

  /** Adds the pages whose bits are set, of the 32 from page 32 × `index` on. */
  addWord(index: number, bits: number): void {
    this.#words[index] = (this.#words[index] ?? 0) | bits;
  }

  deleteWord(index: number, bits: number): void {
    this.#words[index] = (this.#words[index] ?? 0) & ~bits;
  }

  addRange(first: number, count: number): void {
    for (let page = first; page < first + count; ) {
      if ((page & 31) === 0 && page + 32 <= first + count) {
        this.#words[page >>> 5] = 0xffff_ffff;
        page += 32;
      } else {
        this.add(page++);
      }
    }
  }

  delete(page: number): void {
    const word = page >>> 5;
    this.#words[word] = (this.#words[word] ?? 0) & ~(1 << (page & 31));
  }

  deleteRange(first: number, count: number): void {
    for (let page = first; page < first + count; ) {
      if ((page & 31) === 0 && page + 32 <= first + count) {
        this.#words[page >>> 5] = 0;
        page += 32;
      } else {
        this.delete(page++);
      }
    }
  }

  /** How many pages from `first` on are in the set one after the other, counting no further than `limit`. */
  runLength(first: number, limit: number): number {
    const end = Math.min(first + limit, this.pages);
    let page = first;
    while (page < end) {
      if ((page & 31) === 0 && this.#words[page >>> 5] === 0xffff_ffff) page += 32;
      else if (this.has(page)) page++;
      else break;
    }
    return Math.min(page, end) - first;
  }

  /** How many pages from `first` on are *not* in the set, up to the first that is, counting no further than `limit`. */
  gapLength(first: number, limit: number): number {
    const end = Math.min(first + limit, this.pages);
    let page = first;
    while (page < end) {
      if ((page & 31) === 0 && this.#words[page >>> 5] === 0) page += 32;
      else if (this.has(page)) break;
      else page++;
    }
    return Math.min(page, end) - first;
  }

  clear(): void {
    this.#words.fill(0);
  }

  /** The first page of the set at or after `from`; -1 if there is none. */
  next(from: number): number {
    let word = from >>> 5;
    const end = Math.ceil(this.pages / 32);
    if (word >= end) return -1;
    let bits = (this.#words[word] ?? 0) & (-1 << (from & 31));
    while (bits === 0) {
      if (++word >= end) return -1;
      bits = this.#words[word] ?? 0;
    }
    const page = word * 32 + 31 - Math.clz32(bits & -bits);
    return page < this.pages ? page : -1;
  }

  /** The first page at or after `from` that is *not* in the set; -1 if there is none. */
  nextAbsent(from: number): number {
    for (let page = from; page < this.pages; ) {
      if ((page & 31) === 0 && this.#words[page >>> 5] === 0xffff_ffff) page += 32;
      else if (this.has(page)) page++;
      else return page;
    }
    return -1;
  }

  /** All runs of pages that follow each other, upwards. */
  *runs(): Generator<{ readonly first: number; readonly count: number }> {
    for (let first = this.next(0); first >= 0; ) {
      const count = this.runLength(first, this.pages - first);
      yield { first, count };
      first = this.next(first + count);
    }
  }

  /** How many pages are in the set. */
  count(): number {
    let sum = 0;
    for (const word of this.#words) sum += ones(word);
    return sum;
  }

  /** How many pages are in this set or in `other`, which is as large. */
  countUnion(other: PageBitmap): number {
    let sum = 0;
    for (let i = 0; i < this.#words.length; i++) sum += ones((this.#words[i] ?? 0) | (other.#words[i] ?? 0));
    return sum;
  }

  /** The first page that is neither in this set nor in `other`, which is as large; -1 if there is none. */
  nextAbsentFromBoth(other: PageBitmap): number {
    for (let i = 0; i < this.#words.length; i++) {
      const absent = ~((this.#words[i] ?? 0) | (other.#words[i] ?? 0));
      if (absent === 0) continue;
      const page = i * 32 + 31 - Math.clz32(absent & -absent);
      return page < this.pages ? page : -1;
    }
    return -1;
  }

  /** Every `step`th page of the set, beginning with the one in the middle of the first `step`. */
  *sample(step: number): Generator<number> {
    let wanted = step >> 1;
    let seen = 0;
    for (let word = 0; word < this.#words.length; word++) {
      const bits = this.#words[word] ?? 0;
      const end = seen + ones(bits);
      for (let left = bits; seen < end && wanted < end; left &= left - 1, seen++) {
        if (seen !== wanted) continue;
        yield word * 32 + 31 - Math.clz32(left & -left);
        wanted += step;
      }
      seen = end;
    }
  }
}

/** How many bits of a word are set. */
export function ones(word: number): number {
  let bits = word - ((word >>> 1) & 0x5555_5555);
  bits = (bits & 0x3333_3333) + ((bits >>> 2) & 0x3333_3333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}
