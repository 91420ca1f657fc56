/**
 * Sets of interrupt sources as the registers of interrupt controllers hold them: source n is bit n mod 32 of word
 * n / 32. There is no source 0.
 */
export type SourceSet = number[];

/** Words of a set of the sources 1 to `sources`. */
export const wordsOf = (sources: number): number => (sources >> 5) + 1;

/** The empty set of the sources 1 to `sources`. */
export const noSources = (sources: number): SourceSet => new Array<number>(wordsOf(sources)).fill(0);

/** The bits of the word with this index that are sources, of 1 to `sources`. */
export function sourceBits(word: number, sources: number): number {
  const beyond = sources + 1 - 32 * word;
  const below = beyond >= 32 ? 0xffff_ffff : 2 ** Math.max(beyond, 0) - 1;
  return (word === 0 ? below - 1 : below) >>> 0;
}

export function hasSource(set: SourceSet, source: number): boolean {
  return (((set[source >> 5] as number) >>> (source & 31)) & 1) !== 0;
}

/** Puts a source in or takes it out. */
export function putSource(set: SourceSet, source: number, isIn: boolean): void {
  const word = set[source >> 5] as number;
  const bit = 1 << (source & 31);
  set[source >> 5] = (isIn ? word | bit : word & ~bit) >>> 0;
}

/** All sources of a set, from the lowest on. */
export function sourcesOf(set: SourceSet): number[] {
  const sources: number[] = [];
  for (const [word, bits] of set.entries()) forEachSource(word, bits, (source) => sources.push(source));
  return sources;
}

/** Calls `visit` for each source whose bit is set in the word with this index, from the lowest on. */
export function forEachSource(word: number, bits: number, visit: (source: number) => void): void {
  for (let rest = bits; rest !== 0; rest &= rest - 1) visit(32 * word + 31 - Math.clz32(rest & -rest));
}

/** Rising numbers as people write them: "1-9 11". */
export function ranges(numbers: readonly number[]): string {
  const text: string[] = [];
  for (let i = 0; i < numbers.length; ) {
    const first = numbers[i] as number;
    let last = first;
    while (numbers[++i] === last + 1) last++;
    text.push(first === last ? `${first}` : `${first}-${last}`);
  }
  return text.join(' ');
}
