/**
 * Which registers hold sign-extended words where the blocks of a region begin, whatever way led there. Where control comes
 * back into a loop, at a gate, it is checked that the registers that the loop writes do: once round it in the interpreter
 * makes it so.
 */
import { type Block, instructionsOf, lengthOf } from './block.ts';
import type { Gate, RegionGraph } from './region-graph.ts';
import { operandsOf } from './region-registers.ts';
import { KnownWords } from './words.ts';

/** Masks of registers; bit r stands for x[r]. */
export interface WordsAt {
  readonly known: number;
  /** Those of them to which ways that come together here have given different values. */
  readonly merged: number;
  /** At a gate: those that have to be looked at. */
  readonly checked: number;
}

/** By register: 0 for no word, or what gave it: a number for an instruction, -node where ways come together. */
type Givers = Int32Array;

const REGISTERS = 32;

/** @returns by node. */
export function wordFlow({ blocks, successors, entries, gates }: RegionGraph): WordsAt[] {
  const predecessors = blocks.map((): number[] => []);
  for (const [node, next] of successors.entries()) for (const to of next) predecessors[to]?.push(node);
  const before: (Givers | undefined)[] = [];
  const after: (Givers | undefined)[] = [new Int32Array(REGISTERS)];
  /** By node: the number of its first instruction. */
  const first: number[] = [];
  let count = 1;
  for (const [node, block] of blocks.entries()) {
    first[node] = count;
    if (block !== undefined) count += lengthOf(block);
  }
  const gatesOf = new Map<number, number[]>();
  for (const [node, gate] of gates) gatesOf.set(gate.node, [...(gatesOf.get(gate.node) ?? []), node]);
  const waiting = new Set(entries);
  for (const node of waiting) {
    // What was deleted is looked at again when it is added.
    waiting.delete(node);
    const block = blocks[node];
    if (block === undefined) continue;
    const gate = gates.get(node);
    const ways =
      gate === undefined
        ? (predecessors[node] as number[]).map((from) => after[from])
        : [atGate(node, gate, before[gate.node])];
    const merged = merge(node, ways, before[node]);
    if (merged === undefined) continue;
    before[node] = merged;
    after[node] = passBlock(block, merged, first[node] as number);
    for (const next of [...(successors[node] as number[]), ...(gatesOf.get(node) ?? [])]) waiting.add(next);
  }
  const known = before.map((givers) => mask(givers, (giver) => giver !== 0));
  return blocks.map((_, node) => {
    const gate = gates.get(node);
    const all = (known[node] ?? 0) & (gate === undefined ? -1 : (known[gate.node] ?? 0));
    const merged = gate === undefined ? mask(before[node], (giver) => giver === -node) : 0;
    return { known: all, merged, checked: gate === undefined ? 0 : all };
  });
}

/** @param inLoop what is known at the loop's own node, as far as has been seen. */
function atGate(node: number, { registers }: Gate, inLoop: Givers | undefined): Givers {
  return Int32Array.from({ length: REGISTERS }, (_, r) =>
    (registers & (1 << r)) === 0 || inLoop?.[r] === 0 ? 0 : -node,
  );
}

/** What the ways that are known so far come to; undefined if that is nothing new. */
function merge(node: number, ways: readonly (Givers | undefined)[], old?: Givers): Givers | undefined {
  // Givers only become fewer, so this comes to an end.
  const result = old?.slice() ?? ways.find((way) => way !== undefined)?.slice();
  if (result === undefined) return undefined;
  let isNew = old === undefined;
  for (const way of ways) {
    if (way === undefined) continue;
    for (let r = 1; r < REGISTERS; r++) {
      const giver = result[r];
      if (giver === 0 || way[r] === giver || (giver === -node && way[r] !== 0)) continue;
      result[r] = way[r] === 0 ? 0 : -node;
      isNew = true;
    }
  }
  return isNew ? result : undefined;
}

function passBlock(block: Block, before: Givers, first: number): Givers {
  const givers = before.slice();
  const words = new KnownWords();
  words.registers = mask(before, (giver) => giver !== 0);
  for (const [i, instruction] of instructionsOf(block).entries()) {
    if (!operandsOf(instruction.instruction).has('rd') || instruction.rd === 0) continue;
    words.current = instruction;
    const gives = words.givesWord();
    words.pass(gives);
    givers[instruction.rd] = gives ? first + i : 0;
  }
  return givers;
}

function mask(givers: Givers | undefined, wanted: (giver: number) => boolean): number {
  let bits = 0;
  for (let r = 1; r < REGISTERS; r++) if (givers !== undefined && wanted(givers[r] as number)) bits |= 1 << r;
  return bits;
}
