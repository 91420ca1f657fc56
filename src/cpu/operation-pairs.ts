/**
 * Pairs of instructions that have an operation of their own: one dispatch then serves both. The second one's entry stays as
 * it is, as jumps may lead there, and the pair's handler does it only if it still says what it said. So nothing that
 * forgets or changes entries has to know of pairs.
 */
import type { PairOperation, SingleOperation } from './operations.ts';

/**
 * Those that Linux's boot interprets most often, `c.` for the short form. The first goes on to the next instruction whatever
 * happens.
 */
const PAIRS = [
  'c.ld c.ld',
  'c.sd c.sd',
  'sd sd',
  'c.add c.add',
  'ld ld',
  'c.ld c.addi',
  'c.addi c.addi',
  'auipc jalr',
  'c.sd c.addi',
  'c.addi c.sd',
  'c.addi c.jalr',
  'addi addi',
  'c.add c.ld',
  'xor xor',
  'c.add auipc',
  'addi c.addi',
  'auipc addi',
  'c.slli c.add',
  'srliw slliw',
  'c.ld c.add',
  'c.addi c.add',
  'c.addi bne',
  'c.addi beq',
  'slliw or',
  'or or',
  'ld c.add',
  'slli srli',
  'srliw srliw',
  'slliw srliw',
  'or addw',
  'or xor',
  'addi c.add',
] as const;

/** @param codeFrom the first of their codes. */
export function pairOperations(singles: Iterable<SingleOperation>, codeFrom: number): PairOperation[] {
  const byName = new Map([...singles].map((single) => [nameOf(single), single]));
  const single = (name: string): SingleOperation => {
    const found = byName.get(name);
    if (found === undefined) throw new Error(`no instruction ${name}`);
    return found;
  };
  return PAIRS.map((pair, i) => {
    const [first = '', second = ''] = pair.split(' ');
    return { ...single(first), code: codeFrom + i, first: single(first).code, second: single(second) };
  });
}

const nameOf = ({ instruction, length }: SingleOperation): string =>
  (length === 2 ? 'c.' : '') + instruction.name;
