/** What the demo checks of a migrated `dirty` guest: from its console's lines, and from its memory. */

import { doublewordAt, type SavedGuest } from '../host/saved-stream.ts';
import { PAGE_SIZE } from '../memory/layout.ts';

export interface Check {
  readonly what: string;
  readonly held: boolean;
  readonly detail: string;
}

/** Number of a progress line of the `dirty` guest ("dirty 12 1.200 s pages …"); undefined for other lines. */
export function lineNumber(text: string): number | undefined {
  const number = /^dirty (\d+) \d+\.\d+ s /.exec(text)?.[1];
  return number === undefined ? undefined : Number(number);
}

/** Lines of both consoles, in the order of the processes: 1, 2, 3, … with none lost and none twice. */
export function checkTicks(source: readonly string[], destination: readonly string[]): Check {
  const numbers = [...source, ...destination].flatMap((text) => lineNumber(text) ?? []);
  const wrong = numbers.findIndex((number, i) => number !== i + 1);
  return {
    what: 'no tick is lost or repeated',
    held: wrong < 0 && numbers.length > 0,
    detail:
      wrong < 0
        ? `1 to ${numbers.length}`
        : `${numbers[wrong]} comes after ${numbers[wrong - 1] ?? 'nothing'}`,
  };
}

/** The guest compares each word with what it must be before it writes it. */
export function checkValues(lines: readonly string[]): Check {
  const error = lines.find((text) => text.includes('ERROR'));
  return { what: 'no value is wrong', held: error === undefined, detail: error ?? 'as the guest found them' };
}

/**
 * The a-b rule: the guest sweeps upward for ever and leaves the number of the pass in each page (as word − address), so
 * from the first page to the last the number may fall by one, once, where the sweep stood. Anything else is a page that
 * was lost or is stale.
 */
export function checkSweep(guest: SavedGuest, start: number, end: number): Check {
  const passAt = (address: number): number => Number(doublewordAt(guest, address) - BigInt(address));
  let steps = 0;
  let bad: number | undefined;
  for (let address = start + PAGE_SIZE; address < end; address += PAGE_SIZE) {
    const fall = passAt(address - PAGE_SIZE) - passAt(address);
    if (fall !== 0) steps++;
    if (fall !== 0 && (fall !== 1 || steps > 1)) bad ??= address;
  }
  const pages = (end - start) / PAGE_SIZE;
  return {
    what: 'the a-b rule holds',
    held: bad === undefined && passAt(start) > 0,
    detail: bad === undefined ? `${pages} pages, pass ${passAt(start)}` : `broken at 0x${bad.toString(16)}`,
  };
}

/** The longest time in which an observer of both consoles saw no line, in ms. */
export function longestGap(atMs: readonly number[]): number {
  const sorted = [...atMs].sort((a, b) => a - b);
  return Math.max(...sorted.map((at, i) => at - (sorted[i - 1] ?? at)));
}
