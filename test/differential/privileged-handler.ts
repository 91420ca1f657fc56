/**
 * The trap handlers of privileged sequences, for each context register one of machine and one of supervisor mode, each with a
 * table of vectors. They log the trap and return behind the instruction; behind a fetch that faulted, to `resume`; from an
 * interrupt, to where it came from, after it has been cleared or disabled. The machine's returns from an ECALL to the
 * segment's own mode.
 */
import { AT, LOG_ENTRY_SIZE, LOG_SIZE } from './block.ts';
import { Code } from './code.ts';
import { AT_PRIVILEGED, CLINT, CSR } from './privileged-area.ts';

/** Vectors of a handler: one for each interrupt number, the first one for exceptions. */
const VECTORS = 16;

export interface Level {
  readonly saved: number;
  readonly status: number;
  readonly scratch: number;
  readonly epc: number;
  readonly cause: number;
  readonly tval: number;
  readonly enable: number;
  readonly pending: number;
  /** What is logged with the vector's number. */
  readonly mark: number;
  readonly xret: 'mret' | 'sret';
}

export const MACHINE: Level = {
  saved: AT.saved,
  status: CSR.mstatus,
  scratch: 0x340,
  epc: CSR.mepc,
  cause: 0x342,
  tval: 0x343,
  enable: 0x304,
  pending: 0x344,
  mark: 16,
  xret: 'mret',
};
export const SUPERVISOR: Level = {
  saved: AT_PRIVILEGED.savedSupervisor,
  status: 0x100,
  scratch: 0x140,
  epc: 0x141,
  cause: 0x142,
  tval: 0x143,
  enable: 0x104,
  pending: 0x144,
  mark: 0,
  xret: 'sret',
};

/** Instructions that a handler runs for one trap: a little more than on average. */
export const PRIVILEGED_HANDLER_LENGTH = 56;

/** Bytes of a vector's stub. */
const STUB_SIZE = 8;

/** The table of vectors, a stub for each, and the handler. Its first byte is what goes into mtvec or stvec. */
export function handler(context: number, level: Level): Code {
  const code = new Code();
  for (let n = 0; n < VECTORS; n++) code.emit('jal', { imm: 4 * VECTORS + (STUB_SIZE - 4) * n });
  for (let n = 0; n < VECTORS; n++) {
    code.emit('csrrwi', { imm: level.scratch, zimm: n + level.mark });
    code.emit('jal', { imm: STUB_SIZE * (VECTORS - n) - 4 });
  }
  const [a, b, c] = [1, 2, 3, 4].filter((register) => register !== context) as [number, number, number];
  const each = (name: 'ld' | 'sd'): Code => {
    const part = new Code();
    for (const [i, register] of [a, b, c].entries()) {
      const imm = level.saved + i * 8;
      if (name === 'sd') part.emit('sd', { rs1: context, rs2: register, imm });
      else part.emit('ld', { rd: register, rs1: context, imm });
    }
    return part;
  };
  const restored = (): Code => each('ld');
  code.append(each('sd'), logged(context, level, [a, b, c]));

  const leave = restored().emit(level.xret);
  const ending = level === MACHINE ? toNext(context, a, c) : restored().emit('ecall');
  if (level === MACHINE) ending.append(leave);
  code.emit('ld', { rd: a, rs1: context, imm: AT_PRIVILEGED.ending });
  code.emit('beq', { rs1: a, imm: 4 + ending.size });
  code.append(ending);

  const interrupt = new Code();
  interrupt.emit('addi', { rd: a, imm: 1 }).emit('sll', { rd: a, rs1: a, rs2: b });
  interrupt.emit('csrrc', { imm: level.pending, rs1: a });
  if (level === MACHINE) interrupt.emit('lui', { rd: c, imm: CLINT }).emit('sw', { rs1: c });
  interrupt.emit('csrrs', { rd: c, imm: level.pending }).emit('and', { rd: c, rs1: c, rs2: a });
  interrupt.emit('beq', { rs1: c, imm: 8 }).emit('csrrc', { imm: level.enable, rs1: a });
  interrupt.append(leave);
  code.emit('csrrs', { rd: b, imm: level.cause });
  code.emit('bge', { rs1: b, rs2: 0, imm: 4 + interrupt.size });
  code.append(interrupt);

  // Fetches that faulted (1 and 12).
  const fetch = new Code();
  fetch.append(ownMode(context, level, c));
  fetch.emit('ld', { rd: c, rs1: context, imm: AT.resume }).emit('csrrw', { imm: level.epc, rs1: c });
  fetch.append(leave);
  code.emit('addi', { rd: a, imm: 1 }).emit('beq', { rs1: a, rs2: b, imm: 12 });
  code.emit('addi', { rd: a, imm: 12 }).emit('bne', { rs1: a, rs2: b, imm: 4 + fetch.size });
  code.append(fetch);

  // ECALLs (8, 9 and 11) bring back the segment's mode.
  const mode = ownMode(context, level, c);
  code.emit('addi', { rd: a, rs1: b, imm: -8 }).emit('addi', { rd: c, imm: 4 });
  code.emit('bgeu', { rs1: a, rs2: c, imm: 4 + mode.size });
  code.append(mode);
  code.emit('csrrs', { rd: c, imm: level.epc }).emit('lhu', { rd: a, rs1: c });
  code.emit('andi', { rd: a, rs1: a, imm: 3 }).emit('addi', { rd: a, rs1: a, imm: -3 });
  code.emit('addi', { rd: c, rs1: c, imm: 2 });
  code.emit('bne', { rs1: a, imm: 8 }).emit('addi', { rd: c, rs1: c, imm: 2 });
  code.emit('csrrw', { imm: level.epc, rs1: c });
  code.append(leave);
  return code;
}

/** Puts cause and vector, epc, tval and status into the log, and counts the trap. */
function logged(context: number, level: Level, [a, b, c]: readonly [number, number, number]): Code {
  const code = new Code();
  // EBREAK: the Privileged ISA (§3.1.16) lets tval be 0, as QEMU has it, or the address.
  code.emit('csrrs', { rd: a, imm: level.cause }).emit('addi', { rd: b, imm: 3 });
  code.emit('bne', { rs1: a, rs2: b, imm: 8 }).emit('csrrw', { imm: level.tval });
  code.emit('ld', { rd: a, rs1: context, imm: AT.logPointer });
  code.emit('csrrs', { rd: b, imm: level.cause }).emit('csrrs', { rd: c, imm: level.scratch });
  code.emit('slli', { rd: c, rs1: c, imm: 8 }).emit('add', { rd: b, rs1: b, rs2: c });
  code.emit('sd', { rs1: a, rs2: b });
  for (const [i, number] of [level.epc, level.tval, level.status].entries()) {
    code.emit('csrrs', { rd: b, imm: number }).emit('sd', { rs1: a, rs2: b, imm: 8 * i + 8 });
  }
  // The log is a page of its own: next entry = (pointer & −4096) | ((pointer + 32) & 4095).
  code.emit('addi', { rd: b, rs1: a, imm: LOG_ENTRY_SIZE });
  code.emit('lui', { rd: c, imm: LOG_SIZE }).emit('addi', { rd: c, rs1: c, imm: -1 });
  code.emit('and', { rd: b, rs1: b, rs2: c }).emit('xori', { rd: c, rs1: c, imm: -1 });
  code.emit('and', { rd: a, rs1: a, rs2: c }).emit('or', { rd: a, rs1: a, rs2: b });
  code.emit('sd', { rs1: context, rs2: a, imm: AT.logPointer });
  code.emit('ld', { rd: a, rs1: context, imm: AT.traps }).emit('addi', { rd: a, rs1: a, imm: 1 });
  return code.emit('sd', { rs1: context, rs2: a, imm: AT.traps });
}

/** The segment is over: machine mode goes on at `next`, with interrupts off (MPIE 0, MPP M). */
function toNext(context: number, a: number, c: number): Code {
  const code = new Code();
  code.emit('lui', { rd: c, imm: 0x2000 }).emit('addi', { rd: c, rs1: c, imm: -0x800 });
  code.emit('csrrs', { imm: CSR.mstatus, rs1: c });
  code.emit('addi', { rd: c, imm: 0x80 }).emit('csrrc', { imm: CSR.mstatus, rs1: c });
  return code
    .emit('ld', { rd: a, rs1: context, imm: AT_PRIVILEGED.next })
    .emit('csrrw', { imm: CSR.mepc, rs1: a });
}

/** Has the return go to the segment's mode. */
function ownMode(context: number, level: Level, c: number): Code {
  const code = new Code();
  if (level === MACHINE) {
    code.emit('lui', { rd: c, imm: 0x2000 }).emit('addi', { rd: c, rs1: c, imm: -0x800 });
    code
      .emit('csrrc', { imm: CSR.mstatus, rs1: c })
      .emit('ld', { rd: c, rs1: context, imm: AT_PRIVILEGED.mpp });
    return code.emit('csrrs', { imm: CSR.mstatus, rs1: c });
  }
  code.emit('addi', { rd: c, imm: 0x100 }).emit('csrrc', { imm: level.status, rs1: c });
  code.emit('ld', { rd: c, rs1: context, imm: AT_PRIVILEGED.spp });
  return code.emit('csrrs', { imm: level.status, rs1: c });
}
