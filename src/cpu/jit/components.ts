/** The strongly connected components of a flow graph, and of what is inside of them. */

export interface FlowGraph {
  /** successors[n]: the nodes that n may go to. Control comes in at node 0. */
  readonly successors: readonly (readonly number[])[];
  /** Of several nodes where control enters a loop, the one with the lowest rank is its front. */
  readonly rank: readonly number[];
}

/** One node, or nodes that reach each other. */
export interface Component {
  readonly nodes: readonly number[];
  readonly isLoop: boolean;
  /** Where control enters it, the front first. */
  readonly entries: readonly number[];
}

/** Finds components at every level of nested loops. */
export class Components {
  readonly #graph: FlowGraph;
  readonly #predecessors: readonly number[][];

  constructor(graph: FlowGraph) {
    this.#graph = graph;
    this.#predecessors = graph.successors.map(() => []);
    for (const [node, successors] of graph.successors.entries()) {
      for (const successor of successors) this.#predecessors[successor]?.push(node);
    }
  }

  /**
   * The components of some nodes in topological order (Tarjan's algorithm, which finds them the other way round).
   * @param roots where to begin; what can't be reached from there comes last.
   * @param fronts nodes whose incoming edges don't count: the fronts of the loops that the nodes are inside of.
   */
  of(nodes: readonly number[], roots: readonly number[], fronts: ReadonlySet<number>): Component[] {
    const { successors } = this.#graph;
    const inside = new Set(nodes);
    const number = new Map<number, number>();
    const low = new Map<number, number>();
    const stack: number[] = [];
    const onStack = new Set<number>();
    const found: number[][] = [];
    const visit = (node: number): void => {
      const own = number.size;
      number.set(node, own);
      low.set(node, own);
      stack.push(node);
      onStack.add(node);
      for (const next of successors[node] ?? []) {
        if (!inside.has(next) || fronts.has(next)) continue;
        if (!number.has(next)) {
          visit(next);
          low.set(node, Math.min(low.get(node) as number, low.get(next) as number));
        } else if (onStack.has(next)) {
          low.set(node, Math.min(low.get(node) as number, number.get(next) as number));
        }
      }
      if (low.get(node) !== own) return;
      const members = stack.splice(stack.indexOf(node));
      for (const member of members) onStack.delete(member);
      found.push(members);
    };
    for (const node of [...roots, ...nodes]) if (!number.has(node)) visit(node);
    return found.reverse().map((members) => this.#component(members, fronts));
  }

  #component(nodes: readonly number[], fronts: ReadonlySet<number>): Component {
    const first = nodes[0] as number;
    const { successors, rank } = this.#graph;
    const isLoop = nodes.length > 1 || (successors[first]?.includes(first) === true && !fronts.has(first));
    if (!isLoop) return { nodes, isLoop, entries: [first] };
    const inside = new Set(nodes);
    const entered = nodes.filter(
      (node) => node === 0 || this.#predecessors[node]?.some((from) => !inside.has(from)) === true,
    );
    const entries = entered.sort((a, b) => (rank[a] ?? 0) - (rank[b] ?? 0));
    return { nodes, isLoop, entries };
  }
}
