/**
 * Structured control flow for any graph of code: WebAssembly has blocks and loops, and no jumps. The graph falls into
 * strongly connected components, which are laid out in topological order, so that a jump forward leaves nested blocks. A
 * component of several nodes becomes a loop around the same construction, without the edges to the node at its front.
 * Where control can enter a loop at several nodes, a selector says at its front which one is meant.
 */
import type { FunctionBuilder, Label, Local } from '../../wasm/function.ts';
import { type Component, Components, type FlowGraph } from './components.ts';

/** The ways from the node whose code is being written. */
export interface Jumps {
  /** Goes to a node. */
  to(node: number): void;
  /** Goes there if the i32 on the stack is not 0. */
  toIf(node: number): void;
  /** Goes to the node whose number is in the selector: one of these. */
  select(nodes: readonly number[]): void;
}

export interface Flow extends FlowGraph {
  readonly f: FunctionBuilder;
  /** i32: the number of the node that is meant, where there is a choice. */
  readonly selector: Local;
  /** Writes a node's code, which ends by going somewhere. */
  emit(node: number, jumps: Jumps): void;
}

/** A sequence of components that is being written; the inside of a loop, but for the outermost one. */
interface Level {
  readonly components: readonly Component[];
  readonly indexOf: ReadonlyMap<number, number>;
  /** By component, where control comes to it from the components before. */
  readonly labels: readonly (Label | undefined)[];
  readonly loop?: { readonly front: number; readonly label: Label; readonly isChoice: boolean };
}

interface Destination {
  readonly label: Label;
  /** The selector has to be set: there is a choice on the way. */
  readonly chosen: boolean;
}

/** Up to so many nodes are told apart by compares, more by a table. */
const MAX_COMPARES = 4;

/** Writes the code of a graph, from node 0 on. Control never comes out at its end. */
export function emitFlow(flow: Flow): void {
  new FlowWriter(flow).write();
}

class FlowWriter {
  readonly #flow: Flow;
  readonly #components: Components;
  /** Fronts of the loops that are being written: the edges to them are branches to the loop. */
  readonly #fronts = new Set<number>();
  readonly #levels: Level[] = [];
  readonly #jumps: Jumps;

  constructor(flow: Flow) {
    this.#flow = flow;
    this.#components = new Components(flow);
    this.#jumps = {
      to: (node) => this.#to(node),
      toIf: (node) => this.#toIf(node),
      select: (nodes) => this.#select(nodes, false),
    };
  }

  write(): void {
    this.#writeLevel(Array.from(this.#flow.successors.keys()));
  }

  /** @param loop the loop that these nodes are the inside of, and the nodes where control enters it. */
  #writeLevel(nodes: readonly number[], loop?: { label: Label; entries: readonly number[] }): void {
    const { f } = this.#flow;
    const components = this.#components.of(nodes, loop?.entries ?? [0], this.#fronts);
    const indexOf = new Map<number, number>();
    for (const [i, component] of components.entries()) {
      for (const node of component.nodes) indexOf.set(node, i);
    }
    const isChoice = loop !== undefined && loop.entries.length > 1;
    const labels: Label[] = [];
    for (let i = components.length - 1; i >= (isChoice ? 0 : 1); i--) labels[i] = f.block();
    const level = { components, indexOf, labels };
    if (loop === undefined) this.#levels.push(level);
    else {
      const front = loop.entries[0] as number;
      this.#levels.push({ ...level, loop: { front, label: loop.label, isChoice } });
      if (isChoice) this.#select(loop.entries, true);
    }
    for (const [i, component] of components.entries()) {
      if (labels[i] !== undefined) f.end();
      this.#writeComponent(component);
    }
    this.#levels.pop();
  }

  #writeComponent({ nodes, isLoop, entries }: Component): void {
    const { f } = this.#flow;
    const front = entries[0] as number;
    if (!isLoop) {
      this.#flow.emit(front, this.#jumps);
      return;
    }
    const label = f.loop();
    this.#fronts.add(front);
    this.#writeLevel(nodes, { label, entries });
    this.#fronts.delete(front);
    f.end();
    f.unreachable();
  }

  #to(node: number): void {
    const { label, chosen } = this.#destination(node);
    if (chosen) this.#choose(node);
    this.#flow.f.br(label);
  }

  #toIf(node: number): void {
    const { f } = this.#flow;
    const { label, chosen } = this.#destination(node);
    if (!chosen) {
      f.brIf(label);
      return;
    }
    f.if();
    this.#choose(node);
    f.br(label);
    f.end();
  }

  #choose(node: number): void {
    this.#flow.f.i32(node);
    this.#flow.f.set(this.#flow.selector);
  }

  /** @param atFront this is the choice at the front of the innermost loop. */
  #select(nodes: readonly number[], atFront: boolean): void {
    const { f, selector } = this.#flow;
    const labels = nodes.map((node) => this.#destination(node, atFront).label);
    const fallback = labels[0] as Label;
    if (nodes.length <= MAX_COMPARES) {
      for (let i = 1; i < nodes.length; i++) {
        f.get(selector);
        f.i32(nodes[i] as number);
        f.op('i32.eq');
        f.brIf(labels[i] as Label);
      }
      f.br(fallback);
      return;
    }
    const lowest = Math.min(...nodes);
    const table: Label[] = new Array(Math.max(...nodes) - lowest + 1).fill(fallback);
    for (const [i, node] of nodes.entries()) table[node - lowest] = labels[i] as Label;
    f.get(selector);
    f.i32(lowest);
    f.op('i32.sub');
    f.brTable(table, fallback);
  }

  #destination(node: number, atFront = false): Destination {
    for (let i = this.#levels.length - 1; i >= 0; i--) {
      const { components, indexOf, labels, loop } = this.#levels[i] as Level;
      const index = indexOf.get(node);
      if (index === undefined) continue;
      if (node === loop?.front && !atFront) return { label: loop.label, chosen: loop.isChoice };
      const { isLoop, entries } = components[index] as Component;
      const label = labels[index];
      if (label === undefined) break;
      return { label, chosen: isLoop && entries.length > 1 };
    }
    throw new Error(`node ${node} is out of reach`);
  }
}
