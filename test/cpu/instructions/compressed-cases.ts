/** C, and the short loads and stores of D. Unprivileged ISA (20240411), chapter 26. */
import type { Operands } from '../../../src/isa/encoding.ts';
import {
  BYTES,
  type Cases,
  DATA,
  type InstructionCase,
  ONES,
  PC,
  type State,
  u64,
  word,
} from './instruction-case.ts';

const ALL = u64(-1n);
const MIN = 1n << 63n;

/** rd ← rd op x10, or op imm: the destination is a source too. */
const own = (rd: bigint, other: bigint | number, result: bigint, operands: Operands): InstructionCase => ({
  operands: { ...operands, ...(typeof other === 'number' ? { imm: other } : { rs2: 10 }) },
  given: { x: { [operands.rd ?? 0]: rd, ...(typeof other === 'number' ? {} : { 10: other }) } },
  gives: { x: { [operands.rd ?? 0]: result } },
});
/** Of any register, and of x8 to x15. */
const full = (rd: bigint, other: bigint | number, result: bigint) => own(rd, other, result, { rd: 7 });
const short = (rd: bigint, other: bigint | number, result: bigint) => own(rd, other, result, { rd: 9 });

/** A load from `base` + imm, the last bytes of DATA's sixteen. */
const load = (base: number, imm: number, operands: Operands, gives: State): InstructionCase => ({
  operands: { ...operands, imm },
  given: { x: { [base]: DATA + 8n - BigInt(imm) }, memory: BYTES },
  gives,
});

const store = (
  base: number,
  imm: number,
  operands: Operands,
  written: bigint,
  given: object,
): InstructionCase => ({
  operands: { ...operands, imm },
  given: {
    ...given,
    x: { [base]: DATA + 8n - BigInt(imm), ...('x' in given ? (given.x as object) : {}) },
    memory: [ONES, ONES],
  },
  gives: { memory: [ONES, written] },
});
const VALUE = 0xdead_beef_89ab_cdefn;
const X10 = { x: { 10: VALUE } };
const F10 = { f: { 10: VALUE } };

/** BYTES' second half: whole, and its sign-extended low word. */
const LAST = BYTES[1] as bigint;
const LAST_WORD = word(LAST);

export const COMPRESSED_CASES: Cases = {
  'c.lwsp': [load(2, 252, { rd: 7 }, { x: { 7: LAST_WORD } })],
  'c.ldsp': [load(2, 504, { rd: 7 }, { x: { 7: LAST } })],
  'c.swsp': [store(2, 252, { rs2: 10 }, 0x1111_1111_89ab_cdefn, X10)],
  'c.sdsp': [store(2, 504, { rs2: 10 }, VALUE, X10)],
  'c.lw': [load(8, 124, { rd: 9, rs1: 8 }, { x: { 9: LAST_WORD } })],
  'c.ld': [load(8, 248, { rd: 9, rs1: 8 }, { x: { 9: LAST } })],
  'c.sw': [store(8, 124, { rs1: 8, rs2: 10 }, 0x1111_1111_89ab_cdefn, X10)],
  'c.sd': [store(8, 248, { rs1: 8, rs2: 10 }, VALUE, X10)],
  'c.fld': [load(8, 248, { frd: 9, rs1: 8 }, { f: { 9: LAST } })],
  'c.fsd': [store(8, 248, { rs1: 8, frs2: 10 }, VALUE, F10)],
  'c.fldsp': [load(2, 504, { frd: 7 }, { f: { 7: LAST } })],
  'c.fsdsp': [store(2, 504, { frs2: 10 }, VALUE, F10)],

  'c.j': [-2048, 2046, 0x5a].map((imm) => ({ operands: { imm }, gives: { pc: PC + BigInt(imm) } })),
  'c.jr': [{ operands: { rs1: 5 }, given: { x: { 5: PC + 65n } }, gives: { pc: PC + 64n } }],
  'c.jalr': [
    { operands: { rs1: 5 }, given: { x: { 5: PC + 64n } }, gives: { x: { 1: PC + 2n }, pc: PC + 64n } },
    // The link register itself as the target.
    { operands: { rs1: 1 }, given: { x: { 1: PC + 64n } }, gives: { x: { 1: PC + 2n }, pc: PC + 64n } },
  ],
  'c.beqz': [
    { operands: { rs1: 9, imm: -256 }, gives: { pc: PC - 256n } },
    { operands: { rs1: 9, imm: 254 }, given: { x: { 9: MIN } } },
  ],
  'c.bnez': [
    { operands: { rs1: 9, imm: 254 }, given: { x: { 9: MIN } }, gives: { pc: PC + 254n } },
    { operands: { rs1: 9, imm: -256 } },
  ],

  'c.li': [
    { operands: { rd: 7, imm: -32 }, gives: { x: { 7: u64(-32n) } } },
    { operands: { rd: 7, imm: 31 }, gives: { x: { 7: 31n } } },
  ],
  'c.lui': [
    { operands: { rd: 7, imm: -0x2_0000 }, gives: { x: { 7: u64(-0x2_0000n) } } },
    { operands: { rd: 7, imm: 0x1_f000 }, gives: { x: { 7: 0x1_f000n } } },
  ],
  'c.addi': [full(5n, -32, u64(-27n)), full(ALL, 1, 0n)],
  'c.addiw': [full(0x7fff_ffffn, 1, word(0x8000_0000n)), full(0x1_ffff_ffffn, 0, ALL)],
  'c.addi16sp': [-512, 496].map((imm) => ({
    operands: { imm },
    given: { x: { 2: DATA } },
    gives: { x: { 2: DATA + BigInt(imm) } },
  })),
  'c.addi4spn': [
    { operands: { rd: 9, imm: 1020 }, given: { x: { 2: DATA } }, gives: { x: { 9: DATA + 1020n } } },
  ],
  'c.slli': [full(3n, 63, MIN)],
  'c.srli': [short(MIN, 63, 1n)],
  'c.srai': [short(MIN, 63, ALL)],
  'c.andi': [short(0xffn, -32, 0xe0n), short(0xffn, 15, 0xfn)],
  'c.mv': [{ operands: { rd: 7, rs2: 5 }, given: { x: { 5: VALUE } }, gives: { x: { 7: VALUE } } }],
  'c.add': [full(ALL, 3n, 2n)],
  'c.and': [short(0x0ff0n, 0x00ffn, 0x00f0n)],
  'c.or': [short(0x0ff0n, 0x00ffn, 0x0fffn)],
  'c.xor': [short(0x0ff0n, 0x00ffn, 0x0f0fn)],
  'c.sub': [short(0n, 1n, ALL)],
  'c.addw': [short(0x7fff_ffffn, 1n, word(0x8000_0000n))],
  'c.subw': [short(0x8000_0000n, 1n, 0x7fff_ffffn)],
  'c.ebreak': [{ trap: { cause: 3, tval: PC } }],
};
