/** Pieces of assembly for bare-metal programs that tests put together. They use the registers `base` and `value`. */
import type { Line } from './bare-machine.ts';

export const [zero, base, value] = [0, 5, 6] as const;
export const CSR = {
  ...{ mstatus: 0x300, medeleg: 0x302, mideleg: 0x303, mie: 0x304, mtvec: 0x305, mepc: 0x341 },
  ...{ sstatus: 0x100, sie: 0x104, stvec: 0x105, pmpcfg0: 0x3a0, pmpaddr0: 0x3b0, mhartid: 0xf14 },
  ...{ miselect: 0x350, mireg: 0x351, mtopei: 0x35c, siselect: 0x150, sireg: 0x151, stopei: 0x15c },
} as const;

/** A 32-bit constant, sign-extended. */
export function li(rd: number, constant: number): Line[] {
  const low = (constant << 20) >> 20;
  return [
    ['lui', { rd, imm: (constant - low) | 0 }],
    ['addi', { rd, rs1: rd, imm: low }],
  ];
}
/** An address in RAM, from where it starts. */
export const la = (rd: number, offset: number, at: number): Line[] => [
  ['auipc', { rd, imm: 0 }],
  ['addi', { rd, rs1: rd, imm: offset - at }],
];
export const csrw = (csr: number, constant: number): Line[] => [
  ...li(value, constant),
  ['csrrw', { rd: zero, rs1: value, imm: csr }],
];
export const csrs = (csr: number, constant: number): Line[] => [
  ...li(value, constant),
  ['csrrs', { rd: zero, rs1: value, imm: csr }],
];
export const sw = (address: number, constant: number): Line[] => [
  ...li(base, address),
  ...li(value, constant),
  ['sw', { rs1: base, rs2: value, imm: 0 }],
];
export const sb = (address: number, constant: number): Line[] => [
  ...li(base, address),
  ...li(value, constant),
  ['sb', { rs1: base, rs2: value, imm: 0 }],
];

/** Waits for ever, but for interrupts. */
export const sleep = (): Line[] => [['wfi'], ['jal', { rd: zero, imm: -4 }]];
