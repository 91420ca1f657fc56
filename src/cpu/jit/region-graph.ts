/**
 * The flow graph of a region: its blocks as nodes, and where each leads. Node 0 is the entrance, from where control goes to
 * the entries, whose nodes come next; jumps to computed addresses lead back to it.
 *
 * Control that comes back into the middle of a loop, after a slice has ended there, would make it a loop of several
 * entries, which costs it a choice in each turn. It gets a copy of the loop instead, which it leaves at the loop's front.
 * Such an entry is a gate of its own, a block without instructions, where can be checked what is known in the loop.
 */
import { type Block, instructionsOf, targets } from './block.ts';
import { Components, type FlowGraph } from './components.ts';
import type { Region } from './region.ts';
import { operandsOf } from './region-registers.ts';

export const ENTRANCE = 0;

/** Where control comes back into a loop. */
export interface Gate {
  /** The registers that the loop writes: bit r for x[r]. */
  readonly registers: number;
  /** The loop's own node there; the gate may lead to a copy of it. */
  readonly node: number;
}

export class RegionGraph implements FlowGraph {
  /** By node; the entrance has none. */
  readonly blocks: (Block | undefined)[] = [undefined];
  readonly successors: readonly (readonly number[])[];
  readonly rank: readonly number[];
  /** Nodes of the entries, in their order. */
  readonly entries: readonly number[];
  /** By gate. */
  readonly gates = new Map<number, Gate>();
  /** Nodes by address: the loops' own, and those of the copies. */
  readonly #nodes = new Map<number, number>();
  readonly #copies = new Map<number, number>();

  constructor(region: Region) {
    const { copied, written } = resumedLoops(region);
    const place = (block: Block, nodes: Map<number, number>): void => {
      nodes.set(block.at, this.blocks.length);
      this.blocks.push(block);
    };
    const byAddress = new Map(region.blocks.map((block) => [block.at, block]));
    for (const at of region.entries) {
      if (written.has(at)) this.blocks.push({ at, instructions: [], end: { kind: 'next', to: at } });
      else place(byAddress.get(at) as Block, copied.has(at) ? this.#copies : this.#nodes);
    }
    this.entries = Array.from(region.entries.keys(), (i) => i + 1);
    for (const block of region.blocks) {
      if (!this.#nodes.has(block.at)) place(block, this.#nodes);
      if (copied.has(block.at) && !this.#copies.has(block.at)) place(block, this.#copies);
    }
    for (const [i, at] of region.entries.entries()) {
      const registers = written.get(at);
      if (registers === undefined) continue;
      this.gates.set(i + 1, { registers, node: this.#nodes.get(at) as number });
    }
    this.successors = this.blocks.map((_, node) => this.#successors(node));
    this.rank = this.blocks.map((block) => block?.at ?? Number.NEGATIVE_INFINITY);
  }

  /** The node that a node leads to by going to an address; undefined if that is no part of the region. */
  nodeAt(from: number, to: number): number | undefined {
    const isCopy = this.gates.has(from) || this.#copies.get(this.blocks[from]?.at ?? Number.NaN) === from;
    return (isCopy ? this.#copies.get(to) : undefined) ?? this.#nodes.get(to);
  }

  #successors(node: number): readonly number[] {
    const block = this.blocks[node];
    if (block === undefined) return this.entries;
    if (block.end.kind === 'indirect') return [ENTRANCE];
    return targets(block.end)
      .map((to) => this.nodeAt(node, to))
      .filter((next) => next !== undefined);
  }
}

/** The loops that control comes back into in their middle. */
function resumedLoops({ blocks, entries, resumptions }: Region): {
  /** Addresses of the blocks that get a copy. */
  readonly copied: Set<number>;
  /** By address of such an entry: the registers that its loop writes. */
  readonly written: Map<number, number>;
} {
  const copied = new Set<number>();
  const written = new Map<number, number>();
  const nodes = new Map(blocks.map((block, i) => [block.at, i]));
  const all = Array.from(blocks.keys());
  const successors = blocks.map(({ end }) =>
    targets(end)
      .map((to) => nodes.get(to))
      .filter((node) => node !== undefined),
  );
  const address = (node: number): number => blocks[node]?.at as number;
  const isEntry = new Set(entries);
  const components = new Components({ successors, rank: blocks.map(({ at }) => at) });
  for (const { nodes: loop, isLoop, entries: fronts } of components.of(all, [], new Set())) {
    if (!isLoop || fronts.length > 1) continue;
    const inside = new Set(loop);
    const front = fronts[0] ?? loop.find((node) => isEntry.has(address(node)));
    const back = loop.filter((node) => node !== front && isEntry.has(address(node)));
    if (!back.every((node) => resumptions.has(address(node)))) continue;
    const registers = writtenBy(loop.map((node) => blocks[node] as Block));
    for (const at of loop.map(address)) {
      if (entries.includes(at) && resumptions.has(at)) written.set(at, registers);
    }
    const waiting = [...back];
    for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
      if (node === front || !inside.has(node) || copied.has(address(node))) continue;
      copied.add(address(node));
      waiting.push(...(successors[node] as readonly number[]));
    }
  }
  return { copied, written };
}

function writtenBy(blocks: readonly Block[]): number {
  let registers = 0;
  for (const { instruction, rd } of blocks.flatMap(instructionsOf)) {
    if (operandsOf(instruction).has('rd') && rd !== 0) registers |= 1 << rd;
  }
  return registers;
}
