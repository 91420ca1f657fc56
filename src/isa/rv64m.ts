/** M: integer multiplication and division. Unprivileged ISA (20240411), chapter 13. */
import { type Extension, instruction as insn, sections } from './instruction.ts';
import { type Expr, i32, i64, low32, rs1, rs2, select, set, signed32 } from './semantics.ts';

const low = (value: Expr): Expr => i64.and(value, i64.const(0xffff_ffffn));
const high = (value: Expr): Expr => i64.shr_u(value, i64.const(32));

/** Upper half of the unsigned 128-bit product, from four 32-bit products. */
function mulhu(a: Expr, b: Expr): Expr {
  const [a0, a1, b0, b1] = [low(a), high(a), low(b), high(b)];
  const middle = i64.add(i64.mul(a1, b0), high(i64.mul(a0, b0)));
  const other = i64.add(i64.mul(a0, b1), low(middle));
  return i64.add(i64.mul(a1, b1), i64.add(high(middle), high(other)));
}

/** `other` if `value` is negative, else 0: what an unsigned product has too much of. */
const ifNegative = (value: Expr, other: Expr): Expr => i64.and(i64.shr_s(value, i64.const(63)), other);

/** The integers of one width. */
interface Width {
  readonly int: typeof i32 | typeof i64;
  readonly bits: number;
}
const WORD: Width = { int: i32, bits: 32 };
const DOUBLE: Width = { int: i64, bits: 64 };

/** A divisor that wasm does not trap on. */
const divisor = ({ int }: Width, b: Expr, bad: Expr): Expr => select(int.const(1), b, bad);

/** §13.2: division by zero gives all ones; the overflow −2ⁿ⁻¹ ÷ −1 gives −2ⁿ⁻¹. wasm would trap on both. */
function divide(width: Width, a: Expr, b: Expr): Expr {
  const { int, bits } = width;
  const overflow = i32.and(int.eq(a, int.const(-(2n ** BigInt(bits - 1)))), int.eq(b, int.const(-1)));
  const safe = divisor(width, b, i32.or(int.eqz(b), overflow));
  return select(int.const(-1), int.div_s(a, safe), int.eqz(b));
}

const divideUnsigned = (width: Width, a: Expr, b: Expr): Expr =>
  select(width.int.const(-1), width.int.div_u(a, divisor(width, b, width.int.eqz(b))), width.int.eqz(b));

/** §13.2: the remainder of a division by zero is the dividend. */
const remainder = (width: Width, a: Expr, b: Expr): Expr =>
  select(a, width.int.rem_s(a, divisor(width, b, width.int.eqz(b))), width.int.eqz(b));

const remainderUnsigned = (width: Width, a: Expr, b: Expr): Expr =>
  select(a, width.int.rem_u(a, divisor(width, b, width.int.eqz(b))), width.int.eqz(b));

const word1 = low32(rs1);
const word2 = low32(rs2);

export const rv64m: Extension = {
  name: 'M',
  instructions: sections('Unprivileged ISA', [
    '§13.1 Multiplication operations',
    insn('mul', '0000001 rs2 rs1 000 rd 0110011', set(i64.mul(rs1, rs2))),
    insn(
      'mulh',
      '0000001 rs2 rs1 001 rd 0110011',
      set(i64.sub(i64.sub(mulhu(rs1, rs2), ifNegative(rs1, rs2)), ifNegative(rs2, rs1))),
    ),
    insn('mulhsu', '0000001 rs2 rs1 010 rd 0110011', set(i64.sub(mulhu(rs1, rs2), ifNegative(rs1, rs2)))),
    insn('mulhu', '0000001 rs2 rs1 011 rd 0110011', set(mulhu(rs1, rs2))),
    insn('mulw', '0000001 rs2 rs1 000 rd 0111011', set(signed32(i32.mul(word1, word2)))),

    '§13.2 Division operations',

    insn('div', '0000001 rs2 rs1 100 rd 0110011', set(divide(DOUBLE, rs1, rs2))),
    insn('divu', '0000001 rs2 rs1 101 rd 0110011', set(divideUnsigned(DOUBLE, rs1, rs2))),
    insn('rem', '0000001 rs2 rs1 110 rd 0110011', set(remainder(DOUBLE, rs1, rs2))),
    insn('remu', '0000001 rs2 rs1 111 rd 0110011', set(remainderUnsigned(DOUBLE, rs1, rs2))),
    insn('divw', '0000001 rs2 rs1 100 rd 0111011', set(signed32(divide(WORD, word1, word2)))),
    insn('divuw', '0000001 rs2 rs1 101 rd 0111011', set(signed32(divideUnsigned(WORD, word1, word2)))),
    insn('remw', '0000001 rs2 rs1 110 rd 0111011', set(signed32(remainder(WORD, word1, word2)))),
    insn('remuw', '0000001 rs2 rs1 111 rd 0111011', set(signed32(remainderUnsigned(WORD, word1, word2)))),
  ]),
};
