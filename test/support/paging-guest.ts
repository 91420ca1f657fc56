/**
 * A guest of two harts for tests of debuggers: hart 0 runs in supervisor mode with Sv39, hart 1 with Sv48. Each stores
 * its flag through its page tables and then loops.
 */
import { makeElf } from '../machine/elf-image.ts';
import { assemble, RAM_BASE } from './bare-machine.ts';
import { PTE, pte, RWX } from './paged-machine.ts';

const TABLES = RAM_BASE + 0x1_0000;
/** Physical page with the flags. */
export const DATA = RAM_BASE + 0x2_0000;
/** Where hart 0 and hart 1 see it: hart 1's tables have hart 0's at their beginning and in the middle. */
export const VIRTUAL: readonly bigint[] = [0x4000_0000n, 0xffff_8000_4000_0000n];
/** Offsets of what each hart loads: satp, and the address of its flag. */
const PARAMETERS = 0x100;
/** What stands behind the flags on the data page. */
export const TEXT = "\0\x01 it's \\ \n\r\x7f\x80\xff";
export const TEXT_OFFSET = 0x100;

const table = (page: number): number => TABLES + page * 4096;
const [root39, root48, middle, leaves] = [0, 1, 2, 3].map(table) as [number, number, number, number];

const pointer = (at: number): bigint => pte(at, PTE.v);

/** Address of an entry → its value. */
const ENTRIES: readonly (readonly [number, bigint])[] = [
  [root48, pointer(root39)],
  [root48 + 8 * 256, pointer(root39)],
  [root39 + 8 * 1, pointer(middle)],
  [root39 + 8 * 2, pte(RAM_BASE, RWX | PTE.g)],
  [root39 + 8 * 3, pte(0xc000_0000, PTE.v | PTE.r | PTE.w)], // nothing is there
  [middle, pointer(leaves)],
  [middle + 8 * 8, pte(RAM_BASE + 0x20_0000, RWX)],
  [middle + 8 * 9, pte(RAM_BASE + 0x40_0000, RWX)],
  [leaves, pte(DATA, PTE.v | PTE.r | PTE.w)],
  [leaves + 8 * 1, pte(DATA, PTE.v | PTE.r | PTE.u)],
  [leaves + 8 * 2, pte(DATA + 0x1000, PTE.v | PTE.r | PTE.u)],
  [leaves + 8 * 3, pte(DATA + 0x5000, PTE.v | PTE.x)],
];

const CODE = assemble(
  ['auipc', { rd: 5 }], // t0: RAM_BASE
  ['csrrs', { rd: 10, imm: 0xf14 }], // mhartid
  ['slli', { rd: 6, rs1: 10, imm: 4 }],
  ['add', { rd: 6, rs1: 5, rs2: 6 }],
  ['ld', { rd: 7, rs1: 6, imm: PARAMETERS }],
  ['ld', { rd: 8, rs1: 6, imm: PARAMETERS + 8 }],
  ['addi', { rd: 28, imm: -1 }],
  ['csrrw', { rs1: 28, imm: 0x3b0 }], // pmpaddr0: everything
  ['addi', { rd: 28, imm: 0x1f }],
  ['csrrw', { rs1: 28, imm: 0x3a0 }], // pmpcfg0
  ['csrrw', { rs1: 7, imm: 0x180 }], // satp
  ['addi', { rd: 28, imm: 1 }],
  ['slli', { rd: 28, rs1: 28, imm: 11 }],
  ['csrrs', { rs1: 28, imm: 0x300 }], // mstatus.MPP: supervisor
  ['addi', { rd: 28, rs1: 5, imm: 17 * 4 }],
  ['csrrw', { rs1: 28, imm: 0x341 }], // mepc
  ['mret'],
  ['addi', { rd: 28, imm: 1 }],
  ['sd', { rs1: 8, rs2: 28 }],
  ['jal', { rd: 0, imm: 0 }],
);

const bytesOf = (...values: bigint[]): number[] => [
  ...new Uint8Array(BigUint64Array.from(values.map((value) => BigInt.asUintN(64, value))).buffer),
];

/** The guest as an ELF file. */
export function pagingGuest(): Uint8Array {
  const satp = (mode: bigint, root: number): bigint => (mode << 60n) | BigInt(root / 4096);
  const parameters = bytesOf(
    ...[satp(8n, root39), VIRTUAL[0] as bigint, satp(9n, root48), (VIRTUAL[1] as bigint) + 8n],
  );
  return makeElf({
    segments: [
      { address: RAM_BASE, bytes: [...CODE] },
      { address: RAM_BASE + PARAMETERS, bytes: parameters },
      ...ENTRIES.map(([address, value]) => ({ address, bytes: bytesOf(value) })),
      { address: DATA + TEXT_OFFSET, bytes: [...TEXT].map((letter) => letter.charCodeAt(0)) },
    ],
  });
}
