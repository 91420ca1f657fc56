/**
 * Where a region looks whether the slice lasts: where control comes in, and at the front of every loop, for the longest way
 * to where it looks next. If it does not last that long, the interpreter ends it, to the instruction.
 */
import { type Block, lengthOf } from './block.ts';
import type { RegionGraph } from './region-graph.ts';

/** Instructions on a way on which nobody looks. What a slice has left at its end, the interpreter runs. */
const LONGEST_WAY = 100;

/** By node: how many instructions have to be left there; 0 where nobody looks. */
export function budgets({ blocks, successors, entries, rank }: RegionGraph): number[] {
  const nodes = Array.from(blocks.keys()).slice(1);
  const at = (node: number): number => rank[node] as number;
  // Every loop goes back to a lower address somewhere.
  const looks = new Set(entries);
  for (const node of nodes) {
    for (const next of successors[node] ?? []) if (at(next) <= at(node)) looks.add(next);
  }
  const ways: number[] = [];
  for (const node of nodes.sort((a, b) => at(b) - at(a))) {
    const ahead = (successors[node] ?? []).map((next) => (looks.has(next) ? 0 : (ways[next] ?? 0)));
    const way = lengthOf(blocks[node] as Block) + Math.max(0, ...ahead);
    ways[node] = way;
    if (way > LONGEST_WAY) looks.add(node);
  }
  return Array.from(blocks.keys(), (node) => (looks.has(node) ? (ways[node] ?? 0) : 0));
}
