/**
 * A hart's registers as debuggers see them: all of them, whatever the hart's mode, by the numbers and under the features
 * that gdb ("RISC-V Features" in its manual) and QEMU's stub give them.
 */
import { FLOAT_REGISTER_NAMES, REGISTER_NAMES } from '../isa/disassemble.ts';
import { CSRS, type Csr } from './csr.ts';
import type { Engine } from './engine.ts';
import { type Hart, MSTATUS, PRIVILEGE } from './hart.ts';

/** A register of a target description. */
export interface DebugRegister {
  readonly name: string;
  /** Its number in the protocol. */
  readonly number: number;
  readonly bits: 64;
  readonly type: 'int' | 'code_ptr' | 'data_ptr' | 'riscv_double';
}

export interface RegisterFeature {
  /** "org.gnu.gdb.riscv.cpu". */
  readonly name: string;
  readonly registers: readonly DebugRegister[];
}

/** First numbers; x0 is 0. */
const NUMBER = { pc: 32, f: 33, priv: 65, csr: 66 } as const;

/** Reads and writes between two instructions. */
interface Accessor {
  read(hart: Hart): bigint;
  /** False: can't be written, or not now. Absent: never. */
  write?(hart: Hart, value: bigint): boolean;
}

type Register = DebugRegister & Accessor;

const register = (
  name: string,
  number: number,
  type: DebugRegister['type'],
  accessor: Accessor,
): Register => ({
  name,
  number,
  bits: 64,
  type,
  ...accessor,
});

function integerType(name: string): DebugRegister['type'] {
  if (name === 'ra') return 'code_ptr';
  return ['sp', 'gp', 'tp'].includes(name) ? 'data_ptr' : 'int';
}

const INTEGER: readonly Register[] = [
  ...REGISTER_NAMES.map((name, i) =>
    // gdb and QEMU show x8 under its other name.
    register(name === 's0' ? 'fp' : name, i, integerType(name), {
      read: (hart) => hart.x(i),
      write: (hart, value) => {
        if (i !== 0) hart.setX(i, value);
        return true;
      },
    }),
  ),
  register('pc', NUMBER.pc, 'code_ptr', {
    read: (hart) => hart.pc,
    write: (hart, value) => {
      hart.pc = value & ~1n;
      return true;
    },
  }),
];

const FLOAT: readonly Register[] = FLOAT_REGISTER_NAMES.map((name, i) =>
  register(name, NUMBER.f + i, 'riscv_double', {
    read: (hart) => hart.f(i),
    write: (hart, value) => {
      hart.setF(i, value);
      // The guest has to save it; but what is off stays off.
      if ((hart.csr('mstatus') & MSTATUS.fs) !== 0n) hart.touchFloat();
      return true;
    },
  }),
);

/** The privilege mode. */
const PRIV = register('priv', NUMBER.priv, 'int', {
  read: (hart) => BigInt(hart.privilege),
  write: (hart, value) => {
    const modes: readonly bigint[] = Object.values(PRIVILEGE).map(BigInt);
    if (!modes.includes(value)) return false;
    hart.privilege = Number(value);
    return true;
  },
});

/** The CSRs of fcsr exist with F only. */
const isFloatCsr = ({ number }: Csr): boolean => number >= 1 && number <= 3;

export class DebugRegisters {
  /** What a target description lists. */
  readonly features: readonly RegisterFeature[];
  readonly #byNumber: ReadonlyMap<number, Register>;

  constructor(engine: Engine, extensions: ReadonlySet<string>) {
    const float = extensions.has('F');
    const csrs = CSRS.filter((csr) => float || !isFloatCsr(csr)).map((csr) => csrRegister(engine, csr));
    const features = [
      { name: 'org.gnu.gdb.riscv.cpu', registers: INTEGER },
      ...(float ? [{ name: 'org.gnu.gdb.riscv.fpu', registers: FLOAT }] : []),
      { name: 'org.gnu.gdb.riscv.virtual', registers: [PRIV] },
      { name: 'org.gnu.gdb.riscv.csr', registers: csrs.sort((a, b) => a.number - b.number) },
    ];
    this.features = features.map(({ name, registers }) => ({
      name,
      // What crosses threads has no functions.
      registers: registers.map(({ name, number, bits, type }) => ({ name, number, bits, type })),
    }));
    const all = features.flatMap(({ registers }) => registers);
    this.#byNumber = new Map(all.map((one) => [one.number, one]));
  }

  /** Unsigned; undefined if there is no such register. */
  read(hart: Hart, number: number): bigint | undefined {
    return this.#byNumber.get(number)?.read(hart);
  }

  /** @returns false if there is no such register, or it can't be written. */
  write(hart: Hart, number: number, value: bigint): boolean {
    return this.#byNumber.get(number)?.write?.(hart, value) ?? false;
  }
}

function csrRegister(engine: Engine, csr: Csr): Register {
  const readOnly = csr.number >> 10 === 3 || csr.write === undefined;
  return register(csr.name, NUMBER.csr + csr.number, 'int', {
    read: (hart) => {
      // As an instruction of its own would see them: the counters stand where the last one left them.
      Object.assign(hart, { budget: 1, remaining: 0 });
      return BigInt.asUintN(64, csr.read(engine.csrsOf(hart)));
    },
    ...(readOnly
      ? {}
      : {
          write: (hart: Hart, value: bigint) => {
            const mstatus = hart.csr('mstatus');
            // No instruction is counted behind it.
            Object.assign(hart, { budget: 0, remaining: 0 });
            engine.writeCsr(hart, csr, value);
            if (isFloatCsr(csr) && (mstatus & MSTATUS.fs) === 0n) {
              // What is off stays off.
              hart.setCsr('mstatus', mstatus);
              hart.updateFloat();
            }
            return true;
          },
        }),
  });
}
