/** F and D. Unprivileged ISA (20240411), chapters 20 and 21; results and flags of IEEE 754-2008. */
import {
  BYTES,
  type Cases,
  DATA,
  FLAG,
  type FloatOptions,
  float,
  fromInteger,
  type InstructionCase,
  ONES,
  RM,
  toInteger,
  u64,
  word,
} from './instruction-case.ts';

const { nx, uf, of, dz, nv } = FLAG;
const { rne, rtz, rdn, rup, rmm, dynamic } = RM;
const ALL = u64(-1n);
const MIN = 1n << 63n;
const MAX = MIN - 1n;

/** Values as registers have them. */
interface Values {
  readonly one: bigint;
  readonly minusOne: bigint;
  readonly two: bigint;
  readonly three: bigint;
  readonly four: bigint;
  readonly oneAndHalf: bigint;
  readonly third: bigint;
  readonly root2: bigint;
  readonly inf: bigint;
  readonly minusInf: bigint;
  readonly zero: bigint;
  readonly minusZero: bigint;
  /** The canonical NaN, another quiet one, and a signalling one. */
  readonly nan: bigint;
  readonly quiet: bigint;
  readonly signalling: bigint;
  readonly max: bigint;
  /** The smallest number, and the smallest normal one. */
  readonly tiny: bigint;
  readonly normal: bigint;
  /** Half a unit in the last place of one, and one with that place set. */
  readonly half: bigint;
  readonly afterOne: bigint;
  /** 5 and 7, and their negatives. */
  readonly five: bigint;
  readonly minusFive: bigint;
  readonly seven: bigint;
  readonly minusSeven: bigint;
}

/** §21.2: a single in a register of 64 bits. */
const box = (bits: bigint): bigint => 0xffff_ffff_0000_0000n | bits;

const S: Values = {
  one: box(0x3f80_0000n),
  minusOne: box(0xbf80_0000n),
  two: box(0x4000_0000n),
  three: box(0x4040_0000n),
  four: box(0x4080_0000n),
  oneAndHalf: box(0x3fc0_0000n),
  third: box(0x3eaa_aaabn),
  root2: box(0x3fb5_04f3n),
  inf: box(0x7f80_0000n),
  minusInf: box(0xff80_0000n),
  zero: box(0n),
  minusZero: box(0x8000_0000n),
  nan: box(0x7fc0_0000n),
  quiet: box(0xffc0_0001n),
  signalling: box(0x7f80_0001n),
  max: box(0x7f7f_ffffn),
  tiny: box(1n),
  normal: box(0x0080_0000n),
  half: box(0x3380_0000n),
  afterOne: box(0x3f80_0001n),
  five: box(0x40a0_0000n),
  minusFive: box(0xc0a0_0000n),
  seven: box(0x40e0_0000n),
  minusSeven: box(0xc0e0_0000n),
};

const D: Values = {
  one: 0x3ff0_0000_0000_0000n,
  minusOne: 0xbff0_0000_0000_0000n,
  two: 0x4000_0000_0000_0000n,
  three: 0x4008_0000_0000_0000n,
  four: 0x4010_0000_0000_0000n,
  oneAndHalf: 0x3ff8_0000_0000_0000n,
  third: 0x3fd5_5555_5555_5555n,
  root2: 0x3ff6_a09e_667f_3bcdn,
  inf: 0x7ff0_0000_0000_0000n,
  minusInf: 0xfff0_0000_0000_0000n,
  zero: 0n,
  minusZero: MIN,
  nan: 0x7ff8_0000_0000_0000n,
  quiet: 0xfff8_0000_0000_0001n,
  signalling: 0x7ff0_0000_0000_0001n,
  max: 0x7fef_ffff_ffff_ffffn,
  tiny: 1n,
  normal: 0x0010_0000_0000_0000n,
  half: 0x3ca0_0000_0000_0000n,
  afterOne: 0x3ff0_0000_0000_0001n,
  five: 0x4014_0000_0000_0000n,
  minusFive: 0xc014_0000_0000_0000n,
  seven: 0x401c_0000_0000_0000n,
  minusSeven: 0xc01c_0000_0000_0000n,
};

/** A single that is not boxed reads as the canonical NaN (§21.2). */
const UNBOXED = 0x3f80_0000n;

/** Twice: with the flags clear, and with NX set, when wasm's own operation may be taken. */
const both = (sources: readonly bigint[], result: bigint, options: FloatOptions = {}): InstructionCase[] =>
  [0n, nx].map((fcsr) => float(sources, result, { ...options, fcsr }));

/** A rounding mode that is reserved (§20.2): in the instruction, or in frm. */
const reserved = (bits: bigint): readonly InstructionCase[] => [
  {
    operands: { frd: 4, frs1: 1, frs2: 2, rm: 5 },
    trap: { cause: 2, tval: bits | (5n << 12n) },
  },
  {
    operands: { frd: 4, frs1: 1, frs2: 2, rm: dynamic },
    given: { csr: { fcsr: 6n << 5n } },
    trap: { cause: 2, tval: bits | (7n << 12n) },
  },
];

function cases(s: 's' | 'd', v: Values): Cases {
  return {
    [`fadd.${s}`]: [
      ...both([v.one, v.two], v.three, { rm: rne }),
      ...both([v.one, v.half], v.one, { rm: rne, flags: nx }),
      float([v.one, v.half], v.afterOne, { rm: rup, flags: nx }),
      float([v.one, v.half], v.afterOne, { rm: rmm, flags: nx }),
      float([v.one, v.half], v.one, { rm: dynamic, fcsr: BigInt(rtz) << 5n, flags: nx }),
      float([v.one, v.half], v.afterOne, { rm: dynamic, fcsr: (BigInt(rup) << 5n) | nx }),
      ...both([v.inf, v.minusInf], v.nan, { rm: rne, flags: nv }),
      ...both([v.quiet, v.one], v.nan, { rm: rne }),
      ...both([v.signalling, v.one], v.nan, { rm: rne, flags: nv }),
      ...(s === 's' ? both([UNBOXED, v.one], v.nan, { rm: rne }) : []),
      ...reserved(s === 's' ? 0x0020_8253n : 0x0220_8253n),
    ],
    [`fsub.${s}`]: [
      ...both([v.three, v.two], v.one, { rm: rne }),
      ...both([v.one, v.one], v.zero, { rm: rne }),
      // An exact zero is negative when rounding down.
      float([v.one, v.one], v.minusZero, { rm: rdn }),
    ],
    [`fmul.${s}`]: [
      ...both([v.oneAndHalf, v.two], v.three, { rm: rne }),
      ...both([v.max, v.two], v.inf, { rm: rne, flags: of | nx }),
      float([v.max, v.two], v.max, { rm: rtz, flags: of | nx }),
      ...both([v.tiny, v.tiny], v.zero, { rm: rne, flags: uf | nx }),
      ...both([v.zero, v.inf], v.nan, { rm: rne, flags: nv }),
    ],
    [`fdiv.${s}`]: [
      ...both([v.one, v.three], v.third, { rm: rne, flags: nx }),
      ...both([v.minusOne, v.zero], v.minusInf, { rm: rne, flags: dz }),
      ...both([v.zero, v.zero], v.nan, { rm: rne, flags: nv }),
    ],
    [`fsqrt.${s}`]: [
      ...both([v.four], v.two, { rm: rne }),
      ...both([v.two], v.root2, { rm: rne, flags: nx }),
      ...both([v.minusZero], v.minusZero, { rm: rne }),
      ...both([v.minusOne], v.nan, { rm: rne, flags: nv }),
    ],
    // −0 is less than +0; of a number and a NaN, the number.
    [`fmin.${s}`]: [
      float([v.zero, v.minusZero], v.minusZero),
      float([v.one, v.minusInf], v.minusInf),
      float([v.quiet, v.one], v.one),
      float([v.one, v.signalling], v.one, { flags: nv }),
      float([v.quiet, v.quiet], v.nan),
    ],
    [`fmax.${s}`]: [
      float([v.minusZero, v.zero], v.zero),
      float([v.one, v.inf], v.inf),
      float([v.quiet, v.one], v.one),
      float([v.signalling, v.quiet], v.nan, { flags: nv }),
    ],
    [`fmadd.${s}`]: [
      ...both([v.two, v.three, v.one], v.seven, { rm: rne }),
      // Not defined otherwise, invalid here (§20.6).
      ...both([v.inf, v.zero, v.quiet], v.nan, { rm: rne, flags: nv }),
    ],
    [`fmsub.${s}`]: both([v.two, v.three, v.one], v.five, { rm: rne }),
    [`fnmsub.${s}`]: both([v.two, v.three, v.one], v.minusFive, { rm: rne }),
    [`fnmadd.${s}`]: both([v.two, v.three, v.one], v.minusSeven, { rm: rne }),
    [`fsgnj.${s}`]: [float([v.one, v.minusZero], v.minusOne), float([v.minusOne, v.two], v.one)],
    [`fsgnjn.${s}`]: [float([v.one, v.minusZero], v.one), float([v.one, v.two], v.minusOne)],
    [`fsgnjx.${s}`]: [
      float([v.minusOne, v.minusZero], v.one),
      float([v.minusOne, v.two], v.minusOne),
      ...(s === 's' ? [float([UNBOXED, v.minusOne], box(0xffc0_0000n))] : []),
    ],
    // A comparison with a quiet NaN is false; only FEQ does not signal it.
    [`feq.${s}`]: [
      toInteger([v.zero, v.minusZero], 1n),
      toInteger([v.one, v.two], 0n),
      toInteger([v.quiet, v.quiet], 0n),
      toInteger([v.signalling, v.one], 0n, { flags: nv }),
    ],
    [`flt.${s}`]: [
      toInteger([v.minusOne, v.one], 1n),
      toInteger([v.minusZero, v.zero], 0n),
      toInteger([v.quiet, v.one], 0n, { flags: nv }),
    ],
    [`fle.${s}`]: [
      toInteger([v.zero, v.minusZero], 1n),
      toInteger([v.inf, v.max], 0n),
      toInteger([v.one, v.quiet], 0n, { flags: nv }),
    ],
    [`fclass.${s}`]: [
      ...[v.minusInf, v.minusOne, v.tiny | sign(s), v.minusZero, v.zero, v.tiny, v.normal, v.inf],
      ...[v.signalling, v.quiet],
    ].map((value, bit) => toInteger([value], 1n << BigInt(bit))),
    [`fcvt.w.${s}`]: [
      toInteger([v.oneAndHalf], 2n, { rm: rne, flags: nx }),
      toInteger([v.oneAndHalf], 1n, { rm: rtz, flags: nx }),
      toInteger([v.minusFive], u64(-5n), { rm: rne }),
      toInteger([v.quiet], 0x7fff_ffffn, { rm: rne, flags: nv }),
      toInteger([v.minusInf], word(0x8000_0000n), { rm: rne, flags: nv }),
    ],
    [`fcvt.wu.${s}`]: [
      toInteger([s === 's' ? box(0x4f32_d05en) : 0x41e6_5a0b_c000_0000n], word(3_000_000_000n), { rm: rne }),
      toInteger([v.minusOne], 0n, { rm: rne, flags: nv }),
      toInteger([v.inf], ALL, { rm: rne, flags: nv }),
    ],
    [`fcvt.l.${s}`]: [
      toInteger([s === 's' ? box(0x5e80_0000n) : 0x43d0_0000_0000_0000n], 1n << 62n, { rm: rne }),
      toInteger([v.oneAndHalf | sign(s)], u64(-2n), { rm: rdn, flags: nx }),
      toInteger([v.quiet], MAX, { rm: rne, flags: nv }),
      toInteger([v.minusInf], MIN, { rm: rne, flags: nv }),
    ],
    [`fcvt.lu.${s}`]: [
      toInteger([s === 's' ? box(0x5f00_0000n) : 0x43e0_0000_0000_0000n], MIN, { rm: rne }),
      toInteger([v.minusOne], 0n, { rm: rne, flags: nv }),
      toInteger([v.inf], ALL, { rm: rne, flags: nv }),
    ],
    // Of a word, the low half of the register counts.
    [`fcvt.${s}.w`]: [
      fromInteger(ALL, v.minusOne, { rm: rne }),
      fromInteger(0x7_0000_0003n, v.three, { rm: rne }),
    ],
    [`fcvt.${s}.wu`]: [
      fromInteger(0x7_0000_0003n, v.three, { rm: rne }),
      s === 's'
        ? fromInteger(ALL, box(0x4f80_0000n), { rm: rne, flags: nx })
        : fromInteger(ALL, 0x41ef_ffff_ffe0_0000n, { rm: rne }),
    ],
    [`fcvt.${s}.l`]: [
      fromInteger(u64(-5n), v.minusFive, { rm: rne }),
      ...[0n, nx].map((fcsr) =>
        fromInteger(MAX, s === 's' ? box(0x5f00_0000n) : 0x43e0_0000_0000_0000n, {
          rm: rne,
          fcsr,
          flags: nx,
        }),
      ),
      fromInteger(MAX, s === 's' ? box(0x5eff_ffffn) : 0x43df_ffff_ffff_ffffn, { rm: rtz, flags: nx }),
    ],
    [`fcvt.${s}.lu`]: [
      fromInteger(5n, v.five, { rm: rne }),
      ...[0n, nx].map((fcsr) =>
        fromInteger(ALL, s === 's' ? box(0x5f80_0000n) : 0x43f0_0000_0000_0000n, {
          rm: rne,
          fcsr,
          flags: nx,
        }),
      ),
    ],
  };
}

const sign = (s: 's' | 'd'): bigint => (s === 's' ? 0x8000_0000n : MIN);

const loadFloat = (result: bigint): InstructionCase => ({
  operands: { frd: 4, rs1: 5, imm: -8 },
  given: { x: { 5: DATA + 8n }, memory: BYTES },
  gives: { f: { 4: result } },
});

const storeFloat = (bits: bigint, written: bigint): InstructionCase => ({
  operands: { frs2: 4, rs1: 5, imm: -8 },
  given: { x: { 5: DATA + 8n }, f: { 4: bits }, memory: [ONES] },
  gives: { memory: [written] },
});

export const FLOAT_CASES: Cases = {
  ...cases('s', S),
  ...cases('d', D),
  flw: [loadFloat(box(0xc4d5_e6f7n))],
  fld: [loadFloat(BYTES[0] as bigint)],
  // A store takes the low bits, boxed or not (§21.2).
  fsw: [storeFloat(0x1234_5678_9abc_def0n, 0x1111_1111_9abc_def0n)],
  fsd: [storeFloat(0x1234_5678_9abc_def0n, 0x1234_5678_9abc_def0n)],
  'fmv.x.w': [toInteger([0x1234_5678_8000_0001n], 0xffff_ffff_8000_0001n)],
  'fmv.w.x': [fromInteger(0x1234_5678_3f80_0000n, S.one)],
  'fmv.x.d': [toInteger([0x1234_5678_8000_0001n], 0x1234_5678_8000_0001n)],
  'fmv.d.x': [fromInteger(0x1234_5678_3f80_0000n, 0x1234_5678_3f80_0000n)],
  'fcvt.s.d': [
    ...both([D.oneAndHalf], S.oneAndHalf, { rm: rne }),
    ...both([0x4c70_0000_0000_0000n], S.inf, { rm: rne, flags: of | nx }),
    ...both([D.third], S.third, { rm: rne, flags: nx }),
    ...both([D.signalling], S.nan, { rm: rne, flags: nv }),
  ],
  'fcvt.d.s': [
    ...both([S.oneAndHalf], D.oneAndHalf, { rm: rne }),
    ...both([S.quiet], D.nan, { rm: rne }),
    ...both([S.signalling], D.nan, { rm: rne, flags: nv }),
    ...both([UNBOXED], D.nan, { rm: rne }),
  ],
};
