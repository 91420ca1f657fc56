/**
 * Where a region has to be entered so that no loop can go on outside of it for long: a slice may end in the middle of a
 * loop, and the interpreter, which goes on from there, comes back where a jump leads to an entry.
 */

import { type Block, targets } from './block.ts';
import { Components } from './components.ts';

/**
 * @param blocks all of a region.
 * @param entries where it is entered anyway.
 * @returns further addresses, so that every loop, those inside of others included, has an entry that it jumps to.
 */
export function loopEntries(blocks: readonly Block[], entries: ReadonlySet<number>): number[] {
  const chosen = new Set(entries);
  const visit = (inside: readonly Block[]): void => {
    const nodes = new Map(inside.map(({ at }, i) => [at, i]));
    // A jump to an entry ends the way. Where control runs into one nobody looks whether it is one.
    const successors = inside.map((block) =>
      targets(block.end)
        .filter((to) => !(chosen.has(to) && isJump(block, to)))
        .map((to) => nodes.get(to))
        .filter((node) => node !== undefined),
    );
    const components = new Components({ successors, rank: inside.map(({ at }) => at) });
    for (const { nodes: loop, isLoop, entries: fronts } of components.of([...nodes.values()], [], NONE)) {
      if (!isLoop) continue;
      const members = loop.map((node) => inside[node] as Block);
      // Those chosen already are still run into: the way round that is left goes through another one.
      const addresses = new Set(members.map(({ at }) => at).filter((at) => !chosen.has(at)));
      const jumpedTo = new Set(
        members.flatMap((block) => targets(block.end).filter((to) => addresses.has(to) && isJump(block, to))),
      );
      // Where control comes into the loop is best: then there is one way into it.
      const front = fronts.map((node) => inside[node]?.at as number).find((at) => jumpedTo.has(at));
      chosen.add(front ?? Math.min(...jumpedTo));
      visit(members);
    }
  };
  visit(blocks);
  return [...chosen].filter((at) => !entries.has(at));
}

const NONE: ReadonlySet<number> = new Set();

/** Whether a block's end leads to an address by a jump. */
function isJump({ end }: Block, to: number): boolean {
  return end.kind === 'jump' || (end.kind === 'branch' && end.taken === to);
}
