/**
 * F and D: floating point. Unprivileged ISA (20240411), chapters 20 (F) and 21 (D).
 *
 * The exact meaning of each operation, flags included, is in cpu/float-operations.ts. What stands here beside it is the
 * way that programs take nearly always: wasm's own operation, where its result is RISC-V's and no flag could change.
 */
import { f32, f64 } from '../wasm/expr.ts';
import { and, fusedDouble, fusedSingle, toInteger } from './float-fast.ts';
import {
  compressed as c,
  type Extension,
  type Instruction,
  instruction as insn,
  sections,
  type Unplaced,
} from './instruction.ts';
import {
  type Action,
  type Expr,
  frs1,
  frs2,
  i32,
  i64,
  imm,
  nearest,
  result,
  rs1,
  set,
  store,
  truth,
  word,
} from './semantics.ts';

const BOX = i64.const(0xffff_ffff_0000_0000n);
const SIGN64 = i64.const(1n << 63n);
const SIGN32 = i64.const(1n << 31n);

const low = (value: Expr): Expr => i64.and(value, i64.const(0xffff_ffffn));

/** A format: how its values stand in a register, and wasm's operations on them. */
interface Format {
  readonly suffix: 's' | 'd';
  /** The fmt field. */
  readonly fmt: '00' | '01';
  readonly wasm: typeof f32 | typeof f64;
  readonly from: (register: Expr) => Expr;
  readonly to: (value: Expr) => Expr;
  /** i32: the register holds a value of the format. A single is boxed (§21.2). */
  readonly valid: (register: Expr) => Expr;
  /** i32: the bits are of a normal number that is not the smallest one, which may have been rounded up to. */
  readonly normal: (bits: Expr) => Expr;
  readonly sign: Expr;
  /** The chapter's headings. */
  readonly headings: Readonly<
    Record<'memory' | 'computation' | 'conversion' | 'comparison' | 'class', string>
  >;
}

const SINGLE: Format = {
  suffix: 's',
  fmt: '00',
  wasm: f32,
  from: (register) => f32.reinterpret_i32(i32.wrap_i64(register)),
  to: (value) => i64.or(i64.extend_i32_u(i32.reinterpret_f32(value)), BOX),
  valid: (register) => i64.eq(i64.shr_u(register, i64.const(32)), i64.const(0xffff_ffffn)),
  normal: (bits) => inside(i64.and(i64.shr_u(bits, i64.const(23)), i64.const(0xff)), 0xff),
  sign: SIGN32,
  headings: {
    memory: '§20.5 Single-precision load and store instructions',
    computation: '§20.6 Single-precision computational instructions',
    conversion: '§20.7 Single-precision conversion and move instructions',
    comparison: '§20.8 Single-precision compare instructions',
    class: '§20.9 Single-precision classify instruction',
  },
};

const DOUBLE: Format = {
  suffix: 'd',
  fmt: '01',
  wasm: f64,
  from: (register) => f64.reinterpret_i64(register),
  to: (value) => i64.reinterpret_f64(value),
  valid: () => i32.const(1),
  normal: (bits) => inside(i64.and(i64.shr_u(bits, i64.const(52)), i64.const(0x7ff)), 0x7ff),
  sign: SIGN64,
  headings: {
    memory: '§21.3 Double-precision load and store instructions',
    computation: '§21.4 Double-precision computational instructions',
    conversion: '§21.5 Double-precision conversion and move instructions',
    comparison: '§21.6 Double-precision compare instructions',
    class: '§21.7 Double-precision classify instruction',
  },
};

/** i32: 2 ≤ exponent < special. */
const inside = (exponent: Expr, special: number): Expr =>
  i64.lt_u(i64.sub(exponent, i64.const(2)), i64.const(special - 2));

const float = (operation: string, toInteger: boolean, fast?: { value: Expr; when: Expr }): Action => ({
  kind: 'float',
  operation,
  toInteger,
  ...(fast === undefined ? {} : { fast }),
});

/** Two operands, a normal result, rounded to nearest. */
function arithmetic(format: Format, operation: string, op: 'add' | 'sub' | 'mul' | 'div'): Action {
  const value = format.to(format.wasm[op](format.from(frs1), format.from(frs2)));
  const when = and(nearest, format.normal(result), format.valid(frs1), format.valid(frs2));
  return float(operation, false, { value, when });
}

/** Neither operand is a NaN: then a comparison sets no flag. */
function comparison(format: Format, operation: string, op: 'eq' | 'lt' | 'le'): Action {
  const [a, b] = [format.from(frs1), format.from(frs2)];
  const ordered = and(format.wasm.eq(a, a), format.wasm.eq(b, b), format.valid(frs1), format.valid(frs2));
  return float(operation, true, { value: truth(format.wasm[op](a, b)), when: ordered });
}

/** Lines and the headings before them. */
type Lines = (string | Unplaced<Instruction>)[];

/** A single is boxed as it is loaded. */
function loadsAndStores({ suffix, headings }: Format): Lines {
  const [width, load, stores] =
    suffix === 's'
      ? (['010', 'i64.load32_u', 'i64.store32'] as const)
      : (['011', 'i64.load', 'i64.store'] as const);
  const letter = suffix === 's' ? 'w' : 'd';
  return [
    headings.memory,
    insn(`fl${letter}`, `imm[11:0] rs1 ${width} frd 0000111`, {
      kind: 'load',
      op: load,
      address: i64.add(rs1, imm),
      float: true,
    }),
    insn(`fs${letter}`, `imm[11:5] frs2 rs1 ${width} imm[4:0] 0100111`, store(stores, frs2)),
  ];
}

function computations(format: Format): Lines {
  const { suffix: s, fmt, wasm, from, to, valid, normal, sign, headings } = format;
  /** A sign's injection needs the bits of a boxed single only; an unboxed one is the canonical NaN. */
  const bits = (register: Expr): Expr => (s === 's' ? unboxed(register) : register);
  const boxed = (value: Expr): Expr => (s === 's' ? i64.or(low(value), BOX) : value);
  const inject = (signBits: Expr): Action => ({
    kind: 'fset',
    value: boxed(i64.or(i64.and(bits(frs1), i64.xor(sign, i64.const(-1n))), i64.and(signBits, sign))),
  });
  const root = to(wasm.sqrt(from(frs1)));
  const fused = (name: string, opcode: string, negateProduct: boolean, negateAddend: boolean) => {
    const fast =
      s === 's'
        ? fusedSingle(negateProduct, negateAddend, format)
        : fusedDouble(negateProduct, negateAddend, normal);
    return insn(`${name}.${s}`, `frs3 ${fmt} frs2 frs1 rm frd ${opcode}`, float(`${name}.${s}`, false, fast));
  };
  /** Neither operand is a NaN. */
  const extreme = (operation: string, op: 'min' | 'max'): Action => {
    const [a, b] = [from(frs1), from(frs2)];
    const ordered = and(wasm.eq(a, a), wasm.eq(b, b), valid(frs1), valid(frs2));
    return float(operation, false, { value: to(wasm[op](a, b)), when: ordered });
  };
  return [
    headings.computation,
    insn(`fadd.${s}`, `00000 ${fmt} frs2 frs1 rm frd 1010011`, arithmetic(format, `fadd.${s}`, 'add')),
    insn(`fsub.${s}`, `00001 ${fmt} frs2 frs1 rm frd 1010011`, arithmetic(format, `fsub.${s}`, 'sub')),
    insn(`fmul.${s}`, `00010 ${fmt} frs2 frs1 rm frd 1010011`, arithmetic(format, `fmul.${s}`, 'mul')),
    insn(`fdiv.${s}`, `00011 ${fmt} frs2 frs1 rm frd 1010011`, arithmetic(format, `fdiv.${s}`, 'div')),
    insn(
      `fsqrt.${s}`,
      `01011 ${fmt} 00000 frs1 rm frd 1010011`,
      float(`fsqrt.${s}`, false, { value: root, when: and(nearest, normal(result), valid(frs1)) }),
    ),
    insn(`fmin.${s}`, `00101 ${fmt} frs2 frs1 000 frd 1010011`, extreme(`fmin.${s}`, 'min')),
    insn(`fmax.${s}`, `00101 ${fmt} frs2 frs1 001 frd 1010011`, extreme(`fmax.${s}`, 'max')),
    fused('fmadd', '1000011', false, false),
    fused('fmsub', '1000111', false, true),
    fused('fnmsub', '1001011', true, false),
    fused('fnmadd', '1001111', true, true),
    headings.conversion,
    insn(`fsgnj.${s}`, `00100 ${fmt} frs2 frs1 000 frd 1010011`, inject(bits(frs2))),
    insn(
      `fsgnjn.${s}`,
      `00100 ${fmt} frs2 frs1 001 frd 1010011`,
      inject(i64.xor(bits(frs2), i64.const(-1n))),
    ),
    insn(`fsgnjx.${s}`, `00100 ${fmt} frs2 frs1 010 frd 1010011`, inject(i64.xor(bits(frs1), bits(frs2)))),
    headings.comparison,
    insn(`feq.${s}`, `10100 ${fmt} frs2 frs1 010 rd 1010011`, comparison(format, `feq.${s}`, 'eq')),
    insn(`flt.${s}`, `10100 ${fmt} frs2 frs1 001 rd 1010011`, comparison(format, `flt.${s}`, 'lt')),
    insn(`fle.${s}`, `10100 ${fmt} frs2 frs1 000 rd 1010011`, comparison(format, `fle.${s}`, 'le')),
    headings.class,
    insn(`fclass.${s}`, `11100 ${fmt} 00000 frs1 001 rd 1010011`, float(`fclass.${s}`, true)),
  ];
}

/** §21.2: a register that holds no boxed single reads as the canonical NaN. */
const unboxed = (register: Expr): Expr =>
  i64.or(
    i64.and(low(register), whenBoxed(register)),
    i64.and(i64.const(0x7fc0_0000n), i64.xor(whenBoxed(register), i64.const(-1n))),
  );
/** All ones if it is boxed, else 0. */
const whenBoxed = (register: Expr): Expr => i64.sub(i64.const(0), truth(SINGLE.valid(register)));

/** The integer formats, with the number that stands in the place of rs2. */
const INTEGERS = [
  ['w', '00000'],
  ['wu', '00001'],
  ['l', '00010'],
  ['lu', '00011'],
] as const;

function conversions(format: Format): Lines {
  const { suffix: s, fmt, headings } = format;
  const pairs = INTEGERS.flatMap(([integer, number]) => [
    insn(
      `fcvt.${integer}.${s}`,
      `11000 ${fmt} ${number} frs1 rm rd 1010011`,
      float(`fcvt.${integer}.${s}`, true, toInteger(integer, wide(format), format.valid(frs1))),
    ),
    insn(
      `fcvt.${s}.${integer}`,
      `11010 ${fmt} ${number} rs1 rm frd 1010011`,
      float(`fcvt.${s}.${integer}`, false, fromInteger(format, integer)),
    ),
  ]);
  return [headings.conversion, ...pairs];
}

/** f[rs1] as a double, which every single is. */
const wide = ({ suffix, from }: Format): Expr => (suffix === 's' ? f64.promote_f32(from(frs1)) : from(frs1));

/** The rounding mode stands in the instruction and is none of the reserved ones. */
const staticMode = i32.lt_u(i32.and(i32.wrap_i64(imm), i32.const(7)), i32.const(5));

/** Every word is a double, and every integer is one when nobody sees whether it is exact. */
function fromInteger({ suffix }: Format, integer: (typeof INTEGERS)[number][0]) {
  if (suffix === 's') return undefined;
  switch (integer) {
    case 'w':
      return { value: i64.reinterpret_f64(f64.convert_i32_s(i32.wrap_i64(rs1))), when: staticMode };
    case 'wu':
      return { value: i64.reinterpret_f64(f64.convert_i32_u(i32.wrap_i64(rs1))), when: staticMode };
    case 'l':
      return { value: i64.reinterpret_f64(f64.convert_i64_s(rs1)), when: nearest };
    case 'lu':
      return { value: i64.reinterpret_f64(f64.convert_i64_u(rs1)), when: nearest };
  }
}

export const rv64f: Extension = {
  name: 'F',
  instructions: sections('Unprivileged ISA', [
    ...loadsAndStores(SINGLE),
    ...computations(SINGLE),
    ...conversions(SINGLE),
    insn('fmv.x.w', '11100 00 00000 frs1 000 rd 1010011', set(word(frs1))),
    insn('fmv.w.x', '11110 00 00000 rs1 000 frd 1010011', { kind: 'fset', value: i64.or(low(rs1), BOX) }),
  ]),
};

const toDouble = f64.promote_f32(SINGLE.from(frs1));
const toSingle = SINGLE.to(f32.demote_f64(DOUBLE.from(frs1)));

export const rv64d: Extension = {
  name: 'D',
  instructions: sections('Unprivileged ISA', [
    ...loadsAndStores(DOUBLE),
    ...computations(DOUBLE),
    ...conversions(DOUBLE),
    insn(
      'fcvt.s.d',
      '01000 00 00001 frs1 rm frd 1010011',
      float('fcvt.s.d', false, { value: toSingle, when: and(nearest, SINGLE.normal(result)) }),
    ),
    insn(
      'fcvt.d.s',
      '01000 01 00000 frs1 rm frd 1010011',
      float('fcvt.d.s', false, {
        value: DOUBLE.to(toDouble),
        when: and(staticMode, SINGLE.valid(frs1), f64.eq(toDouble, toDouble)),
      }),
    ),
    insn('fmv.x.d', '11100 01 00000 frs1 000 rd 1010011', set(frs1)),
    insn('fmv.d.x', '11110 01 00000 rs1 000 frd 1010011', { kind: 'fset', value: rs1 }),
  ]),
  // With C, doubles have short loads and stores.
  compressed: sections('Unprivileged ISA', [
    '§26.3 Load and store instructions',
    c('c.fld', "001 uimm[5:3] rs1' uimm[7:6] frd' 00", 'fld', { frd: 'frd', rs1: 'rs1', imm: 'imm' }),
    c('c.fsd', "101 uimm[5:3] rs1' uimm[7:6] frs2' 00", 'fsd', { rs1: 'rs1', frs2: 'frs2', imm: 'imm' }),
    c('c.fldsp', '001 uimm[5] frd uimm[4:3|8:6] 10', 'fld', { frd: 'frd', rs1: 2, imm: 'imm' }),
    c('c.fsdsp', '101 uimm[5:3|8:6] frs2 10', 'fsd', { rs1: 2, frs2: 'frs2', imm: 'imm' }),
  ]),
};
