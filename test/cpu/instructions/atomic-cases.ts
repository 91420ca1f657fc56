/** A. Unprivileged ISA (20240411), chapter 14. */
import { BYTES, type Cases, DATA, type InstructionCase, u64, word } from './instruction-case.ts';

const PLAIN = { aq: 0, rl: 0 };
const ALL = u64(-1n);
const MIN = 1n << 63n;

/** rd ← memory; memory ← memory op rs2. With both orderings, which change nothing here. */
const amo = (memory: bigint, rs2: bigint, written: bigint, rd: bigint): readonly InstructionCase[] =>
  [PLAIN, { aq: 1, rl: 1 }].map((order) => ({
    operands: { rd: 7, rs1: 5, rs2: 6, ...order },
    given: { x: { 5: DATA, 6: rs2 }, memory: [memory] },
    gives: { x: { 7: rd }, memory: [written] },
  }));

/** The upper half of memory stays. */
const amoWord = (memory: bigint, rs2: bigint, written: bigint): readonly InstructionCase[] =>
  amo((0x1234_5678n << 32n) | memory, rs2, (0x1234_5678n << 32n) | written, word(memory));

/** rd ← the old value, whatever it is. */
const amoDouble = (memory: bigint, rs2: bigint, written: bigint): readonly InstructionCase[] =>
  amo(memory, rs2, written, memory);

const misaligned = (offset: bigint, cause: number): InstructionCase => ({
  operands: { rd: 7, rs1: 5, ...PLAIN, ...(cause === 6 ? { rs2: 6 } : {}) },
  given: { x: { 5: DATA + offset } },
  trap: { cause, tval: DATA + offset },
});

const loadReserved = (rd: bigint): InstructionCase => ({
  operands: { rd: 7, rs1: 5, ...PLAIN },
  given: { x: { 5: DATA }, memory: BYTES },
  gives: { x: { 7: rd }, reservation: DATA },
});

/** With a reservation of the address, and with one of another. */
const storeConditional = (rs2: bigint, written: bigint): readonly InstructionCase[] => [
  {
    operands: { rd: 7, rs1: 5, rs2: 6, ...PLAIN },
    given: { x: { 5: DATA, 6: rs2, 7: 9n }, memory: BYTES, reservation: DATA },
    gives: { x: { 7: 0n }, memory: [written], reservation: ALL },
  },
  {
    operands: { rd: 7, rs1: 5, rs2: 6, ...PLAIN },
    given: { x: { 5: DATA, 6: rs2, 7: 9n }, memory: BYTES, reservation: DATA + 8n },
    gives: { x: { 7: 1n }, reservation: ALL },
  },
];

export const ATOMIC_CASES: Cases = {
  'lr.w': [loadReserved(0xffff_ffff_c4d5_e6f7n), misaligned(2n, 4)],
  'lr.d': [loadReserved(BYTES[0] as bigint), misaligned(4n, 4)],
  'sc.w': storeConditional(0xaaaa_aaaa_0000_0005n, 0x8091_a2b3_0000_0005n),
  'sc.d': storeConditional(0xaaaa_aaaa_0000_0005n, 0xaaaa_aaaa_0000_0005n),
  'amoswap.w': [...amoWord(0x8000_0001n, 0xaaaa_aaaa_0000_0005n, 5n), misaligned(2n, 6)],
  'amoadd.w': amoWord(0xffff_ffffn, 2n, 1n),
  'amoxor.w': amoWord(0x0f0f_0f0fn, 0x00ff_00ffn, 0x0ff0_0ff0n),
  'amoand.w': amoWord(0xff00_ff00n, 0x0ff0_0ff0n, 0x0f00_0f00n),
  'amoor.w': amoWord(0x0f0f_0f0fn, 0x00ff_00ffn, 0x0fff_0fffn),
  'amomin.w': [...amoWord(0xffff_ffffn, 1n, 0xffff_ffffn), ...amoWord(5n, 0x1_ffff_fffen, 0xffff_fffen)],
  'amomax.w': [...amoWord(0xffff_ffffn, 1n, 1n), ...amoWord(5n, 0x1_ffff_fffen, 5n)],
  'amominu.w': [...amoWord(0xffff_ffffn, 1n, 1n), ...amoWord(5n, 0x1_0000_0006n, 5n)],
  'amomaxu.w': [
    ...amoWord(1n, 0xffff_ffffn, 0xffff_ffffn),
    ...amoWord(0x8000_0000n, 1n << 32n, 0x8000_0000n),
  ],
  'amoswap.d': [...amoDouble(MIN, 5n, 5n), misaligned(4n, 6)],
  'amoadd.d': amoDouble(ALL, 2n, 1n),
  'amoxor.d': amoDouble(0xffff_ffff_0000_0000n, 0x0000_000f_f000_0000n, 0xffff_fff0_f000_0000n),
  'amoand.d': amoDouble(0xff00n << 48n, 0x0ff0n << 48n, 0x0f00n << 48n),
  'amoor.d': amoDouble(1n, MIN, MIN | 1n),
  'amomin.d': [...amoDouble(MIN, 1n, MIN), ...amoDouble(1n, ALL, ALL)],
  'amomax.d': [...amoDouble(MIN, 1n, 1n), ...amoDouble(1n, ALL, 1n)],
  'amominu.d': [...amoDouble(MIN, 1n, 1n), ...amoDouble(1n, ALL, 1n)],
  'amomaxu.d': [...amoDouble(MIN, 1n, MIN), ...amoDouble(1n, ALL, ALL)],
};
