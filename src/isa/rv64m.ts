/** M: integer multiplication and division. Unprivileged ISA (20240411), chapter 13. */
import { i32 } from '../wasm/expr.ts';
import { type Extension, instruction as insn, sections } from './instruction.ts';
import { type Expr, i64, rs1, rs2, select, set, word } from './semantics.ts';

const low = (value: Expr): Expr => i64.and(value, i64.const(0xffff_ffffn));
const high = (value: Expr): Expr => i64.shr_u(value, i64.const(32));
const isZero = (value: Expr): Expr => i64.eqz(value);

/** Upper half of the unsigned 128-bit product, from four 32-bit products. */
function mulhu(a: Expr, b: Expr): Expr {
  const [a0, a1, b0, b1] = [low(a), high(a), low(b), high(b)];
  const middle = i64.add(i64.mul(a1, b0), high(i64.mul(a0, b0)));
  const other = i64.add(i64.mul(a0, b1), low(middle));
  return i64.add(i64.mul(a1, b1), i64.add(high(middle), high(other)));
}

/** `other` if `value` is negative, else 0: what an unsigned product has too much of. */
const ifNegative = (value: Expr, other: Expr): Expr => i64.and(i64.shr_s(value, i64.const(63)), other);

/** §13.2: division by zero gives all ones; the overflow −2⁶³ ÷ −1 gives −2⁶³. wasm would trap on both. */
function divide(a: Expr, b: Expr): Expr {
  const overflow = i32.and(i64.eq(a, i64.const(-(2n ** 63n))), i64.eq(b, i64.const(-1n)));
  const safe = select(i64.const(1), b, i32.or(isZero(b), overflow));
  return select(i64.const(-1n), i64.div_s(a, safe), isZero(b));
}

const divideUnsigned = (a: Expr, b: Expr): Expr =>
  select(i64.const(-1n), i64.div_u(a, select(i64.const(1), b, isZero(b))), isZero(b));

/** §13.2: the remainder of a division by zero is the dividend. */
const remainder = (a: Expr, b: Expr): Expr =>
  select(a, i64.rem_s(a, select(i64.const(1), b, isZero(b))), isZero(b));

const remainderUnsigned = (a: Expr, b: Expr): Expr =>
  select(a, i64.rem_u(a, select(i64.const(1), b, isZero(b))), isZero(b));

const word1 = word(rs1);
const word2 = word(rs2);
const unsigned1 = low(rs1);
const unsigned2 = low(rs2);

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
    insn('mulw', '0000001 rs2 rs1 000 rd 0111011', set(word(i64.mul(rs1, rs2)))),

    '§13.2 Division operations',
    // In 64 bits the word forms can't overflow.
    insn('div', '0000001 rs2 rs1 100 rd 0110011', set(divide(rs1, rs2))),
    insn('divu', '0000001 rs2 rs1 101 rd 0110011', set(divideUnsigned(rs1, rs2))),
    insn('rem', '0000001 rs2 rs1 110 rd 0110011', set(remainder(rs1, rs2))),
    insn('remu', '0000001 rs2 rs1 111 rd 0110011', set(remainderUnsigned(rs1, rs2))),
    insn('divw', '0000001 rs2 rs1 100 rd 0111011', set(word(divide(word1, word2)))),
    insn('divuw', '0000001 rs2 rs1 101 rd 0111011', set(word(divideUnsigned(unsigned1, unsigned2)))),
    insn('remw', '0000001 rs2 rs1 110 rd 0111011', set(word(remainder(word1, word2)))),
    insn('remuw', '0000001 rs2 rs1 111 rd 0111011', set(word(remainderUnsigned(unsigned1, unsigned2)))),
  ]),
};
