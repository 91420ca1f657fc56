/**
 * The soft-float against QEMU: every computational instruction of F and D, in every rounding mode, on special and
 * random operands; result and fflags must be equal to the bit. Operands and results lie in a file that is the RAM of a
 * bare-metal guest.
 *
 * GODWIT_FLOAT_SEED: the operands' seed, as printed by an earlier run.
 * GODWIT_FLOAT_OPS: about how many instructions to compare.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mul } from '../../src/cpu/float/arithmetic.ts';
import { INTEGER } from '../../src/cpu/float/convert.ts';
import { BINARY32, BINARY64, box32, type FloatFormat } from '../../src/cpu/float/format.ts';
import { type FloatEnvironment, RM } from '../../src/cpu/float/rounding.ts';
import { floatOperation } from '../../src/cpu/float-operations.ts';
import { Random } from '../support/random.ts';
import { hasTool } from '../support/tool.ts';

const GCC = 'riscv64-unknown-elf-gcc';
const QEMU = 'qemu-system-riscv64';
const missing = [GCC, QEMU].filter((tool) => !hasTool(tool));

interface Instruction {
  readonly name: string;
  /** Its operands come from fa1, fa2, fa3 or a1, its result goes to fa0 or a0. */
  readonly operands: string;
  /** What the operands are drawn for. */
  readonly format: FloatFormat;
  readonly kind: 'float' | 'toInteger' | 'fromInteger';
}

function instructionsOf(suffix: 's' | 'd'): Instruction[] {
  const format = suffix === 's' ? BINARY32 : BINARY64;
  const group = (names: string[], operands: string, kind: Instruction['kind'] = 'float'): Instruction[] =>
    names.map((name) => ({ name, operands, format, kind }));
  const all = (...names: string[]): string[] => names.map((name) => `${name}.${suffix}`);
  const integers = Object.keys(INTEGER);
  return [
    ...group(all('fadd', 'fsub', 'fmul', 'fdiv', 'fmin', 'fmax'), 'fa0, fa1, fa2'),
    ...group(all('fmadd', 'fmsub', 'fnmsub', 'fnmadd'), 'fa0, fa1, fa2, fa3'),
    ...group(all('feq', 'flt', 'fle'), 'a0, fa1, fa2'),
    ...group(all('fsqrt'), 'fa0, fa1'),
    ...group(all('fclass'), 'a0, fa1'),
    ...group([suffix === 's' ? 'fcvt.d.s' : 'fcvt.s.d'], 'fa0, fa1'),
    ...group(all(...integers.map((type) => `fcvt.${type}`)), 'a0, fa1', 'toInteger'),
    ...group(
      integers.map((type) => `fcvt.${suffix}.${type}`),
      'fa0, a1',
      'fromInteger',
    ),
  ];
}

const INSTRUCTIONS = [...instructionsOf('s'), ...instructionsOf('d')];
/** In the order of their encodings: the guest counts them. */
const MODES = Object.entries(RM);

/** Draws operands. */
class Operands extends Random {
  /** center − spread … center + spread. */
  near(center: number, spread: number): number {
    return this.between(center - spread, center + spread);
  }

  /** Bits with the shapes that make ties, carries and near misses: random, one bit, a run of ones, and their inverse. */
  bits(width: number): bigint {
    const random = this.u64();
    const one = 1n << BigInt(this.below(width));
    const shapes = [
      random,
      random,
      0n,
      one,
      one - 1n,
      one | 1n,
      one | (1n << BigInt(this.below(width))),
      random & -one,
    ];
    const shape = this.pick(shapes);
    return BigInt.asUintN(width, this.below(4) === 0 ? ~shape : shape);
  }

  integer(): bigint {
    return this.bits(64) >> BigInt(this.below(3) === 0 ? this.below(64) : 0);
  }

  /** A value whose exponent field is this one, or the nearest there is. */
  #withField(f: FloatFormat, field: number): bigint {
    const clamped = BigInt(Math.max(0, Math.min(field, f.specialField)));
    const sign = this.below(2) === 0 ? 0n : f.signBit;
    return sign | (clamped << f.fractionWidth) | this.bits(f.precision - 1);
  }

  #special(f: FloatFormat): bigint {
    const bias = f.specialField >> 1;
    const one = BigInt(bias) << f.fractionWidth;
    const power = (exponent: number): bigint => BigInt(bias + exponent) << f.fractionWidth;
    const values = [
      ...[
        0n,
        1n,
        2n,
        f.fractionMask,
        f.hiddenBit,
        f.hiddenBit + 1n,
        f.maxFinite,
        f.maxFinite - 1n,
        f.infinity,
      ],
      ...[f.canonicalNaN, f.canonicalNaN | 5n, f.infinity | 1n, f.infinity | (f.quietBit - 1n)],
      ...[one, one - 1n, one + 1n, power(1), power(-1), one | f.quietBit, power(-1) - 1n, power(-1) + 1n],
      ...[31, 32, 63, 64].flatMap((n) => [power(n), power(n) - 1n, power(n) + 1n]),
    ];
    return this.pick(values) | (this.below(2) === 0 ? 0n : f.signBit);
  }

  #float(f: FloatFormat): bigint {
    if (this.below(3) === 0) return this.#special(f);
    const bias = f.specialField >> 1;
    // The last two: binary32's limits, for conversions to it.
    const centers = [
      0,
      f.specialField - 1,
      bias,
      bias + f.precision,
      bias + 31,
      bias + 63,
      bias + 127,
      bias - 127,
    ];
    return this.#withField(
      f,
      this.below(2) === 0 ? this.below(f.specialField) : this.near(this.pick(centers), 3),
    );
  }

  /** Three operands whose sums cancel, and whose products and quotients come near the format's limits, often. */
  #triple(f: FloatFormat): [bigint, bigint, bigint] {
    if (this.below(6) === 0) return [this.#special(f), this.#special(f), this.#special(f)];
    const bias = f.specialField >> 1;
    const fieldOf = (a: bigint): number => Number((a & f.infinity) >> f.fractionWidth);
    let a = this.#float(f);
    const limit = this.pick([0, -f.precision, bias, f.specialField]);
    let b = this.pick([
      () => this.#float(f),
      () => this.#withField(f, this.near(fieldOf(a), 2)),
      () => this.#withField(f, this.near(fieldOf(a), f.precision + 3)),
      () => this.#withField(f, this.near(limit + bias - fieldOf(a), 2)),
      () => this.#withField(f, this.near(fieldOf(a) + bias - limit, 2)),
      () => a ^ f.signBit ^ BigInt(this.below(4)),
    ])();
    if (this.below(8) === 0) {
      // (1 + k ulp)(1 − k ulp) times the smallest normal number: tiny or not, as it is rounded.
      const [k, field] = [BigInt(this.between(1, 40)), this.between(1, bias - 1)];
      a = (a & f.signBit) | (BigInt(field) << f.fractionWidth) | k;
      b =
        (b & f.signBit) |
        ((BigInt(bias - field) << f.fractionWidth) + f.hiddenBit - 2n * k + BigInt(this.near(0, 1)));
    }
    const product = mul(f, { rm: RM.RNE, fflags: 0 }, a, b);
    const productField = fieldOf(a) + fieldOf(b) - bias;
    const c = this.pick([
      () => this.#float(f),
      () => product ^ f.signBit,
      () => product ^ BigInt(this.below(4)),
      () => this.#withField(f, this.near(productField, 2)),
      () => this.#withField(f, this.near(productField, 2 * f.precision + 3)),
      // A power of two from which the product takes about half an ulp.
      () => this.#withField(f, this.near(productField + f.precision, 3)) & ~f.fractionMask,
    ])();
    return [a, b, c];
  }

  /** §21.2: now and then a binary32 that isn't boxed. */
  #box(a: bigint): bigint {
    return this.below(24) === 0 ? (this.bits(32) << 32n) | a : box32(a);
  }

  /** One row: the contents of three registers. */
  row({ format: f, kind }: Instruction): bigint[] {
    if (kind === 'fromInteger') return [this.integer(), 0n, 0n];
    const row = this.#triple(f);
    if (kind === 'toInteger' && this.below(2) === 0) {
      row[0] = this.#withField(f, (f.specialField >> 1) + this.near(this.pick([0, 23, 31, 52, 63]), 3));
    }
    return f.width === 32 ? row.map((bits) => this.#box(bits)) : row;
  }
}

const RAM_BASE = 0x8000_0000;
const ROW_BYTES = 24;
const RECORD_BYTES = 16;
/** Where the guest finds its data: rows per instruction, the results' address, then the rows. */
const HEADER = 0x10_0000;
const ROWS = HEADER + 16;
/** Rows per instruction and guest: bounds its RAM. */
const MAX_ROWS = 4000;

/** Rows in the order of INSTRUCTIONS; results likewise, for each row one record (result, fflags) per mode. */
const PROGRAM = `
.macro run instruction, store
  ld s1, 0(s3)
1: fld fa1, 0(s0)
  fld fa2, 8(s0)
  fld fa3, 16(s0)
  ld a1, 0(s0)
  addi s0, s0, ${ROW_BYTES}
  li t0, 0
2: slli t1, t0, 5
  fscsr t1
  \\instruction
  frflags t2
  \\store
  sd t2, 8(s2)
  addi s2, s2, ${RECORD_BYTES}
  addi t0, t0, 1
  li t1, ${MODES.length}
  bne t0, t1, 2b
  addi s1, s1, -1
  bnez s1, 1b
.endm
.globl _start
_start:
  la t0, failed
  csrw mtvec, t0
  li t0, 0x6000 # mstatus.FS
  csrs mstatus, t0
  li s3, ${HEADER + RAM_BASE}
  ld s2, 8(s3)
  addi s0, s3, ${ROWS - HEADER}
${INSTRUCTIONS.map(({ name, operands }) => {
  const store = operands.startsWith('a0') ? 'sd a0, 0(s2)' : 'fsd fa0, 0(s2)';
  return `  run "${name} ${operands}", "${store}"`;
}).join('\n')}
  li t1, 0x5555
  j leave
.align 2
failed:
  li t1, 0x13333
leave:
  li t0, 0x100000 # the finisher
  sw t1, 0(t0)
  j leave
`;

describe.skipIf(missing.length > 0)('in QEMU', () => {
  let folder: string;
  let elf: string;
  let ram: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'godwit-float-'));
    [elf, ram] = [join(folder, 'float.elf'), join(folder, 'ram')];
    const source = join(folder, 'float.s');
    writeFileSync(source, PROGRAM);
    const text = `-Wl,-Ttext=0x${RAM_BASE.toString(16)}`;
    const flags = '-march=rv64gc -mabi=lp64d -nostdlib -nostartfiles'.split(' ');
    execFileSync(GCC, [...flags, text, '-o', elf, source]);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Runs the program on these rows. @returns its records. */
  function inQemu(rows: BigUint64Array, rowsEach: number): BigUint64Array {
    const size = 64 << 20;
    const results = new BigUint64Array((INSTRUCTIONS.length * rowsEach * MODES.length * RECORD_BYTES) / 8);
    const resultsAt = ROWS + rows.byteLength;
    const file = openSync(ram, 'w+');
    try {
      ftruncateSync(file, size);
      writeSync(file, BigUint64Array.of(BigInt(rowsEach), BigInt(RAM_BASE + resultsAt)), 0, 16, HEADER);
      writeSync(file, rows, 0, rows.byteLength, ROWS);
      const memory = `memory-backend-file,id=ram,size=${size},mem-path=${ram},share=on`;
      const machine = `-M virt,memory-backend=ram -m ${size >> 20}M -cpu rv64 -bios none -nographic`.split(
        ' ',
      );
      execFileSync(QEMU, [...machine, '-object', memory, '-kernel', elf], { timeout: 60_000 });
      expect(readSync(file, results, 0, results.byteLength, resultsAt)).toBe(results.byteLength);
    } finally {
      closeSync(file);
    }
    return results;
  }

  /** Runs one batch on both sides. @returns the differences, in words. */
  function compare(operands: Operands, rowsEach: number): string[] {
    const rows = BigUint64Array.from(
      INSTRUCTIONS.flatMap((instruction) =>
        Array.from({ length: rowsEach }, () => operands.row(instruction)).flat(),
      ),
    );
    const results = inQemu(rows, rowsEach);
    const differences: string[] = [];
    const env: FloatEnvironment = { rm: RM.RNE, fflags: 0 };
    let at = 0;
    INSTRUCTIONS.forEach(({ name }, instruction) => {
      const operation = floatOperation(name);
      for (let row = 0; row < rowsEach; row++) {
        const first = (instruction * rowsEach + row) * 3;
        const [a, b, c] = rows.subarray(first, first + 3) as unknown as [bigint, bigint, bigint];
        for (const [mode, rm] of MODES) {
          env.rm = rm;
          env.fflags = 0;
          const bits = BigInt.asUintN(64, operation(env, { a, b, c, x: a }));
          const [wanted, flags] = [results[at++] as bigint, Number(results[at++])];
          if (bits === wanted && env.fflags === flags) continue;
          const registers = [a, b, c].map((value) => value.toString(16)).join(', ');
          differences.push(
            `${name} ${mode} of ${registers}: ${bits.toString(16)} flags ${env.fflags}; ` +
              `QEMU ${wanted.toString(16)} flags ${flags}`,
          );
        }
      }
    });
    return differences;
  }

  test('every instruction of F and D gives the same bits and flags in every rounding mode', () => {
    const seed = Number(process.env.GODWIT_FLOAT_SEED ?? Date.now() % 2 ** 31);
    const wanted = Number(process.env.GODWIT_FLOAT_OPS ?? 400_000);
    console.log(`soft-float against QEMU: GODWIT_FLOAT_SEED=${seed} GODWIT_FLOAT_OPS=${wanted}`);
    const operands = new Operands(seed);
    const differences: string[] = [];
    let rowsLeft = Math.ceil(wanted / INSTRUCTIONS.length / MODES.length);
    let compared = 0;
    while (rowsLeft > 0) {
      const rowsEach = Math.min(rowsLeft, MAX_ROWS);
      rowsLeft -= rowsEach;
      differences.push(...compare(operands, rowsEach));
      compared += rowsEach * INSTRUCTIONS.length * MODES.length;
    }
    console.log(`soft-float against QEMU: ${compared} instructions compared, ${differences.length} differ`);
    expect(differences.slice(0, 40), `seed ${seed}`).toEqual([]);
  }, 3_600_000);
});

test.runIf(missing.length > 0)('is not compared with QEMU', () => {
  console.log(`soft-float against QEMU: skipped, not found: ${missing.join(', ')}`);
});
