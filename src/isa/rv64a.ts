/** A: atomic instructions. Unprivileged ISA (20240411), chapter 14. */
import {
  type Extension,
  type Instruction,
  instruction as insn,
  sections,
  type Unplaced,
} from './instruction.ts';
import { type Expr, i64, memory, rs2, select, word } from './semantics.ts';

/** The two widths of every atomic: suffix, funct3, how it reaches memory, and rs2 as it is compared. */
const WIDTHS = [
  { suffix: 'w', funct3: '010', load: 'i64.load32_s', store: 'i64.store32', operand: word(rs2) },
  { suffix: 'd', funct3: '011', load: 'i64.load', store: 'i64.store', operand: rs2 },
] as const;

/** §14.4: name, funct5, and what goes to memory. Sign-extended words keep their unsigned order. */
const OPERATIONS: readonly (readonly [string, string, (operand: Expr) => Expr])[] = [
  ['amoswap', '00001', (b) => b],
  ['amoadd', '00000', (b) => i64.add(memory, b)],
  ['amoxor', '00100', (b) => i64.xor(memory, b)],
  ['amoand', '01100', (b) => i64.and(memory, b)],
  ['amoor', '01000', (b) => i64.or(memory, b)],
  ['amomin', '10000', (b) => select(memory, b, i64.lt_s(memory, b))],
  ['amomax', '10100', (b) => select(memory, b, i64.gt_s(memory, b))],
  ['amominu', '11000', (b) => select(memory, b, i64.lt_u(memory, b))],
  ['amomaxu', '11100', (b) => select(memory, b, i64.gt_u(memory, b))],
];

export const rv64a: Extension = {
  name: 'A',
  instructions: sections(
    'Unprivileged ISA',
    WIDTHS.flatMap(({ suffix, funct3, load, store, operand }): (string | Unplaced<Instruction>)[] => [
      '§14.2 Load-reserved/store-conditional instructions',
      insn(`lr.${suffix}`, `00010 aq rl 00000 rs1 ${funct3} rd 0101111`, { kind: 'lr', load }),
      insn(`sc.${suffix}`, `00011 aq rl rs2 rs1 ${funct3} rd 0101111`, { kind: 'sc', store }),
      '§14.4 Atomic memory operations',
      ...OPERATIONS.map(([name, funct5, value]) =>
        insn(`${name}.${suffix}`, `${funct5} aq rl rs2 rs1 ${funct3} rd 0101111`, {
          kind: 'amo',
          load,
          store,
          value: value(operand),
        }),
      ),
    ]),
  ),
};
