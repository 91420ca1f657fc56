/**
 * "Did you mean …?": the nearest known word to one that is unknown, by optimal string alignment distance (insertions,
 * deletions, substitutions and swaps of neighbours each cost 1).
 */

/** Edits that turn `a` into `b`. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let cost = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (same ? 0 : 1),
      );
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        cost = Math.min(cost, (beforeLast[column - 2] ?? 0) + 1);
      }
      current.push(cost);
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length] ?? 0;
}

/**
 * The known word nearest to `word`, or undefined if none is near enough to be what was meant: at most a third of its
 * letters may differ (but one always may, if another is right), or it must be what `word` begins with. Of equals, the first wins.
 */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  // A word of a hostile length is no typing error, and the distance costs its length squared.
  if (word.length < 2 || word.length > 64) return undefined;
  const given = word.toLowerCase();
  let best: string | undefined;
  let bestCost = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const to = candidate.toLowerCase();
    const prefix = given.length >= 3 && to.startsWith(given);
    const cost = Math.min(editDistance(given, to), prefix ? 1 : Number.POSITIVE_INFINITY);
    if (cost < bestCost) {
      best = candidate;
      bestCost = cost;
    }
  }
  return best;
}

/** "; did you mean X?" or nothing: for the end of an error about an unknown word. */
export function didYouMean(word: string, known: Iterable<string>, prefix = ''): string {
  const found = nearest(word, known);
  return found === undefined ? '' : `; did you mean ${prefix}${found}?`;
}
