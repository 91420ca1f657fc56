/** A reproducible source of random numbers: sfc32 (Chris Doty-Humphrey, PractRand). */
export class Random {
  #a: number;
  #b: number;
  #c = 1;
  #counter = 1;

  /** @param stream sources of one seed with different streams have nothing in common. */
  constructor(seed: number, stream = 0) {
    this.#a = seed | 0;
    this.#b = stream | 0;
    for (let i = 0; i < 12; i++) this.u32();
  }

  u32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** 0 ≤ result < n ≤ 2^32. */
  below(n: number): number {
    return Math.floor((this.u32() / 2 ** 32) * n);
  }

  /** from ≤ result ≤ to. */
  between(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }

  chance(probability: number): boolean {
    return this.u32() < probability * 2 ** 32;
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** @throws RangeError if there is nothing to pick from. */
  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new RangeError('nothing to pick from');
    return list[this.below(list.length)] as T;
  }

  /** Picks by weight; entries are [weight, value]. */
  weighted<T>(entries: readonly (readonly [number, T])[]): T {
    let left = (this.u32() / 2 ** 32) * entries.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, value] of entries) {
      left -= weight;
      if (left < 0) return value;
    }
    return (entries[entries.length - 1] as readonly [number, T])[1];
  }
}

/**
 * Runs something many times, each time with random numbers of its own: GODWIT_FAULTS times instead of `count`, with the
 * seed GODWIT_SEED instead of one by the clock; with GODWIT_RUN, only that run. What it throws says how to repeat it.
 * @param share of GODWIT_FAULTS, for what takes longer.
 */
export async function seeded(
  count: number,
  run: (random: Random) => Promise<void>,
  share = 1,
): Promise<void> {
  const { GODWIT_SEED, GODWIT_FAULTS, GODWIT_RUN } = process.env;
  const seed = Number(GODWIT_SEED ?? Date.now() % 2 ** 31);
  const runs = GODWIT_FAULTS === undefined ? count : Math.ceil(Number(GODWIT_FAULTS) * share);
  const only = GODWIT_RUN === undefined ? undefined : Number(GODWIT_RUN);
  for (let i = only ?? 0; i < (only === undefined ? runs : only + 1); i++) {
    try {
      await run(new Random(seed, i));
    } catch (error) {
      const again = `GODWIT_SEED=${seed} GODWIT_RUN=${i}`;
      throw new Error(`${again}: ${(error as Error).message}`, { cause: error });
    }
  }
}
