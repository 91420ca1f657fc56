/**
 * A bare-metal program that waits for a character, gets it by an interrupt, and ends with what it saw: on the console the
 * character, the UART's interrupt identification and what a second claim gives; as exit status the interrupt's number.
 */
import type { AiaType } from '../../src/machine/configuration.ts';
import { base, CSR, csrs, csrw, la, li, sb, sleep, sw, value, zero } from './bare-code.ts';
import { assemble, type Line } from './bare-machine.ts';

export interface InterruptProgram {
  readonly aia: AiaType;
  readonly level: 'machine' | 'supervisor';
  /** The hart that is interrupted; hart 0 sets everything up. */
  readonly hart: 0 | 1;
}

/** The interrupt's number there: the UART's source, or the identity of its message. */
export const expectedNumber = ({ aia }: InterruptProgram): number =>
  aia === 'aplic-imsic' ? IDENTITY : UART;

const UART = 10;
const IDENTITY = 42;
const [UART_BASE, FINISHER] = [0x1000_0000, 0x10_0000];
const FAIL = 0x3333;
/** Where the parts stand, from the start of RAM. */
const [OTHER_HART, HANDLER] = [0x400, 0x600];

const [claimed, other] = [10, 11];
const MEI = 1 << 11;
const SEI = 1 << 9;

/** Addresses of the PLIC's context, or of the domain and its IDC structure. */
function places({ level, hart }: InterruptProgram) {
  const context = 2 * hart + (level === 'machine' ? 0 : 1);
  const domain = level === 'machine' ? 0xc00_0000 : 0xd00_0000;
  return {
    enable: 0xc00_2000 + 0x80 * context,
    threshold: 0xc20_0000 + 0x1000 * context,
    claim: 0xc20_0004 + 0x1000 * context,
    domain,
    idc: domain + 0x4000 + 32 * hart,
  };
}

/** What hart 0 writes so that the UART interrupts. */
function controller(program: InterruptProgram): Line[] {
  const { aia, level, hart } = program;
  const { enable, threshold, domain, idc } = places(program);
  if (aia === 'none') return [...sw(0xc00_0000 + 4 * UART, 1), ...sw(enable, 1 << UART), ...sw(threshold, 0)];
  const source = [
    ...(level === 'supervisor' ? sw(0xc00_0000 + 4 * UART, 0x400) : []),
    ...sw(domain + 4 * UART, 6),
  ];
  const target = (low: number) => sw(domain + 0x3000 + 4 * UART, (hart << 18) | low);
  const on = [...sw(domain + 0x1edc, UART), ...sw(domain, 0x100)];
  if (aia === 'aplic') return [...source, ...target(1), ...sw(idc, 1), ...sw(idc + 8, 0), ...on];
  const addresses = [
    ...[...sw(0xc00_1bc0, 0x24000), ...sw(0xc00_1bc8, 0x28000)],
    // LHXW is mmsiaddrcfgh's (AIA §4.5.4); QEMU 7.2 looks for it in smsiaddrcfgh as well, where it means nothing.
    ...[...sw(0xc00_1bcc, 1 << 12), ...sw(0xc00_1bc4, 1 << 12)],
  ];
  return [...addresses, ...source, ...target(IDENTITY), ...on];
}

/** What the interrupted hart sets up for itself; the last thing lets interrupts in. */
function own({ aia, level }: InterruptProgram, at: number): Line[] {
  const machine = level === 'machine';
  const [select, register] = machine ? [CSR.miselect, CSR.mireg] : [CSR.siselect, CSR.sireg];
  const file = (number: number, constant: number) => [...csrw(select, number), ...csrw(register, constant)];
  const before: Line[] = aia === 'aplic-imsic' ? [...file(0x70, 1), ...file(0x72, 0), ...file(0xc0, -2)] : [];
  const vector = at + 4 * before.length;
  const handler: Line[] = [
    ...la(base, HANDLER, vector),
    ['csrrw', { rd: zero, rs1: base, imm: machine ? CSR.mtvec : CSR.stvec }],
  ];
  if (machine)
    return [...before, ...handler, ...csrw(CSR.mie, MEI), ...csrs(CSR.mstatus, 1 << 3), ...sleep()];
  const start = [
    ...[...before, ...handler],
    ...[...csrw(CSR.mideleg, SEI), ...csrw(CSR.pmpaddr0, -1), ...csrw(CSR.pmpcfg0, 0x1f)],
    // To supervisor mode: MPP 1, with its interrupts on.
    ...[...csrw(CSR.mstatus, (1 << 11) | (1 << 1)), ...csrw(CSR.mie, SEI)],
  ];
  const here = at + 4 * start.length;
  return [
    ...start,
    ...la(base, here + 16, here),
    ['csrrw', { rd: zero, rs1: base, imm: CSR.mepc }],
    ['mret'],
    ...sleep(),
  ];
}

/** Puts the number of the interrupt that comes first into a register, and claims it. */
function claim(program: InterruptProgram, rd: number): Line[] {
  const { aia, level } = program;
  const topei = level === 'machine' ? CSR.mtopei : CSR.stopei;
  if (aia === 'aplic-imsic') {
    return [
      ['csrrw', { rd, rs1: zero, imm: topei }],
      ['srli', { rd, rs1: rd, imm: 16 }],
    ];
  }
  const { claim: plic, idc } = places(program);
  const load: Line[] = [...li(base, aia === 'none' ? plic : idc + 0x1c), ['lw', { rd, rs1: base, imm: 0 }]];
  return aia === 'none' ? load : [...load, ['srli', { rd, rs1: rd, imm: 16 }]];
}

function handler(program: InterruptProgram): Line[] {
  const print = (register: number): Line[] => [
    ...li(base, UART_BASE),
    ['sb', { rs1: base, rs2: register, imm: 0 }],
  ];
  const digit = (register: number): Line[] => [
    ['addi', { rd: register, rs1: register, imm: 0x30 }],
    ...print(register),
  ];
  return [
    ...claim(program, claimed),
    ...li(base, UART_BASE),
    ['lbu', { rd: 12, rs1: base, imm: 2 }],
    ['lbu', { rd: 13, rs1: base, imm: 0 }],
    ...(program.aia === 'none'
      ? [...li(base, places(program).claim), ['sw', { rs1: base, rs2: claimed, imm: 0 }] as Line]
      : []),
    ...claim(program, other),
    ...[...print(13), ...digit(12), ...digit(other)],
    ['slli', { rd: claimed, rs1: claimed, imm: 16 }],
    ...li(value, FAIL),
    ['or', { rd: claimed, rs1: claimed, rs2: value }],
    ...li(base, FINISHER),
    ['sw', { rs1: base, rs2: claimed, imm: 0 }],
    ...sleep(),
  ];
}

/** The image of the program, for the start of RAM. */
export function interruptProgram(program: InterruptProgram): Uint8Array {
  const setUp = [...controller(program), ...sb(UART_BASE + 1, 1)];
  const isOther: Line[] = [
    ['csrrs', { rd: base, rs1: zero, imm: CSR.mhartid }],
    ['bne', { rs1: base, rs2: zero, imm: OTHER_HART - 4 }],
  ];
  const first = [...isOther, ...setUp];
  const hart0 = program.hart === 0 ? own(program, 4 * first.length) : sleep();
  const image = new Uint8Array(HANDLER + 0x200);
  const put = (lines: readonly Line[], at: number, end: number): void => {
    const code = assemble(...lines);
    if (at + code.length > end) throw new Error('a part of the program is too long');
    image.set(code, at);
  };
  put([...first, ...hart0], 0, OTHER_HART);
  put(program.hart === 1 ? own(program, OTHER_HART) : sleep(), OTHER_HART, HANDLER);
  put(handler(program), HANDLER, image.length);
  return image;
}

export const INTERRUPT_PROGRAMS: readonly InterruptProgram[] = (
  ['none', 'aplic', 'aplic-imsic'] as const
).flatMap((aia) =>
  (['machine', 'supervisor'] as const).flatMap((level) =>
    ([0, 1] as const).map((hart) => ({ aia, level, hart })),
  ),
);
