/**
 * Zicsr, Zifencei, Zihintpause, Zicbom, Zicboz and the privileged instructions. Unprivileged ISA (20240411), chapters 6,
 * 7, 10 and 19; Privileged ISA (20240411), §3.3, §12.2 and §15. What depends on modes and page tables: privilege.test.ts,
 * cache-block.test.ts.
 */
import { MSTATUS, PRIVILEGE } from '../../../src/cpu/hart.ts';
import type { Operands } from '../../../src/isa/encoding.ts';
import {
  type Cases,
  DATA,
  type InstructionCase,
  illegalForUser,
  MSTATUS_BEFORE,
  PC,
  u64,
} from './instruction-case.ts';

const ALL = u64(-1n);
const MSCRATCH = 0x340;
const MHARTID = 0xf14;

/** x7 ← mscratch, and mscratch ← `written`. */
const csr = (operands: Operands, source: bigint | undefined, written: bigint): InstructionCase => ({
  operands: { rd: 7, imm: MSCRATCH, ...operands },
  given: { x: source === undefined ? {} : { 5: source }, csr: { mscratch: 0b1100n } },
  gives: { x: { 7: 0b1100n }, csr: { mscratch: written } },
});
const register = (source: bigint, written: bigint): InstructionCase => csr({ rs1: 5 }, source, written);
const immediate = (zimm: number, written: bigint): InstructionCase => csr({ zimm }, undefined, written);

/** Without a source nothing is written, so that a read-only CSR can be read; with one it is illegal (§7.1). */
const readOnly = (source: Operands, none: Operands, bits: bigint): readonly InstructionCase[] => [
  { operands: { rd: 7, imm: MHARTID, ...none }, gives: { x: { 7: 0n } } },
  { operands: { rd: 7, imm: MHARTID, ...source }, trap: { cause: 2, tval: bits } },
];

const block = (name: bigint): readonly InstructionCase[] => [
  // Anywhere in the block; no byte changes.
  { operands: { rs1: 5 }, given: { x: { 5: DATA + 33n }, memory: [1n, 2n, 3n] } },
  illegalForUser({ rs1: 5 }, (name << 20n) | 0x2a00fn),
];

export const SYSTEM_CASES: Cases = {
  csrrw: [register(0b1010n, 0b1010n), csr({ rs1: 5, rd: 5 }, 9n, 9n)].map((line, i) =>
    i === 0 ? line : { ...line, gives: { x: { 5: 0b1100n }, csr: { mscratch: 9n } } },
  ),
  csrrs: [register(0b1010n, 0b1110n), ...readOnly({ rs1: 5 }, { rs1: 0 }, 0xf142_a3f3n)],
  csrrc: [register(0b1010n, 0b0100n), ...readOnly({ rs1: 5 }, { rs1: 0 }, 0xf142_b3f3n)],
  csrrwi: [immediate(0b11010, 0b11010n), immediate(0, 0n)],
  csrrsi: [immediate(0b11010, 0b11110n), ...readOnly({ zimm: 5 }, { zimm: 0 }, 0xf142_e3f3n)],
  csrrci: [immediate(0b11010, 0b00100n), ...readOnly({ zimm: 5 }, { zimm: 0 }, 0xf142_f3f3n)],
  'fence.i': [{ operands: { imm: 0, rs1: 0, rd: 0 } }],
  pause: [{}, { given: { privilege: PRIVILEGE.user } }],

  mret: [
    {
      given: { csr: { mepc: PC + 64n, mstatus: MSTATUS_BEFORE | (1n << 11n) | MSTATUS.mpie | MSTATUS.mprv } },
      gives: {
        pc: PC + 64n,
        privilege: PRIVILEGE.supervisor,
        csr: { mstatus: MSTATUS_BEFORE | MSTATUS.mie | MSTATUS.mpie },
        reservation: ALL,
      },
    },
    illegalForUser({}, 0x3020_0073n),
  ],
  sret: [
    {
      given: {
        csr: { sepc: PC + 64n, mstatus: MSTATUS_BEFORE | MSTATUS.spie },
        privilege: PRIVILEGE.supervisor,
      },
      gives: {
        pc: PC + 64n,
        privilege: PRIVILEGE.user,
        csr: { mstatus: MSTATUS_BEFORE | MSTATUS.sie | MSTATUS.spie },
        reservation: ALL,
      },
    },
    illegalForUser({}, 0x1020_0073n),
  ],
  // It does not wait for what is pending already, whatever the global enables say.
  wfi: [
    { gives: { waiting: true } },
    { given: { csr: { mip: 0x80n, mie: 0x80n } } },
    illegalForUser({}, 0x1050_0073n),
  ],
  'sfence.vma': [{ operands: { rs1: 5, rs2: 6 } }, illegalForUser({ rs1: 0, rs2: 0 }, 0x1200_0073n)],
  'sinval.vma': [{ operands: { rs1: 5, rs2: 6 } }, illegalForUser({ rs1: 0, rs2: 0 }, 0x1600_0073n)],
  'sfence.w.inval': [{}, illegalForUser({}, 0x1800_0073n)],
  'sfence.inval.ir': [{}, illegalForUser({}, 0x1810_0073n)],

  'cbo.inval': block(0n),
  'cbo.clean': block(1n),
  'cbo.flush': block(2n),
  'cbo.zero': [
    {
      operands: { rs1: 5 },
      given: { x: { 5: DATA + 33n }, memory: Array.from({ length: 8 }, () => ALL) },
      gives: { memory: Array.from({ length: 8 }, () => 0n) },
    },
    illegalForUser({ rs1: 5 }, 0x0042_a00fn),
  ],
};
