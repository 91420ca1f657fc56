/**
 * The image that both machines run: start, one trap handler per context register, the sequences one after another, the
 * end, then a block for each sequence. Both start it in M-mode at the first byte of RAM; when it is done, the blocks in
 * memory are the result, so nothing has to be printed.
 *
 * QEMU runs it with two harts, the second one parked: with one alone it does AMOs as a load and a store, and reports a
 * misaligned one as a load.
 */
import { AT, BLOCK_SIZE, CONTEXT, CSRS, LOG_ENTRY_SIZE, LOG_SIZE, MSTATUS_COMPARED } from './block.ts';
import { Code, sizeOf, type Word } from './code.ts';
import type { Sequence } from './generator.ts';

export const RAM_BASE = 0x8000_0000;
export const RAM_SIZE = 16 * 1024 * 1024;
/** Where the blocks begin. QEMU has its device tree near the end of RAM. */
const BLOCKS = 4 * 1024 * 1024;
export const MAX_SEQUENCES = 512;

export const UART = 0x1000_0000;
const FINISHER = 0x10_0000;
const FINISHER_PASS = 0x5555;

/** Guest address of a sequence's block. */
export const blockAddress = (index: number): bigint => BigInt(RAM_BASE + BLOCKS + index * BLOCK_SIZE);

export interface Image {
  /** From RAM_BASE on. */
  readonly bytes: Uint8Array;
  /** Guest address of a word of a sequence, which has these. */
  addressOf(index: number, words: readonly Word[], word: number): bigint;
  /** Instructions that each sequence runs besides the random ones. */
  readonly overhead: number;
}

/** @param sequences by index of their block; those in between are left out. */
export function buildImage(sequences: ReadonlyMap<number, Sequence>): Image {
  const code = new Code();
  const handlers = Array.from({ length: 32 }, (_, register) => {
    const at = START_SIZE + code.size;
    if (register > 0) handler(code, register);
    return at;
  });
  const entries: number[] = [];
  let overhead = 0;
  let size = 0;
  const pieces: Uint8Array[] = [];
  const flush = (part: Code): void => {
    pieces.push(part.bytes());
    size += part.size;
  };
  flush(start(code.size));
  flush(code);
  for (const [index, sequence] of sequences) {
    const { contextRegister, words } = sequence;
    const context = BLOCKS + index * BLOCK_SIZE + CONTEXT;
    const before = prologue(contextRegister, context - size, (handlers[contextRegister] ?? 0) - context);
    entries[index] = RAM_BASE + size + before.size;
    flush(before);
    flush(withWords(words));
    const after = epilogue(contextRegister);
    flush(after);
    overhead = before.words.length + after.words.length;
  }
  flush(end());
  if (size > BLOCKS) throw new RangeError(`${size} bytes of code leave no room for the blocks`);
  const last = Math.max(...sequences.keys());
  const bytes = new Uint8Array(BLOCKS + (last + 1) * BLOCK_SIZE);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  for (const [index, { block }] of sequences) bytes.set(block, BLOCKS + index * BLOCK_SIZE);
  return {
    bytes,
    overhead,
    addressOf: (index, words, word) => BigInt((entries[index] ?? 0) + sizeOf(words.slice(0, word))),
  };
}

function withWords(words: readonly Word[]): Code {
  const code = new Code();
  code.words.push(...words);
  return code;
}

const START_SIZE = 20;

/** Hart 0 goes on behind the handlers. */
function start(handlersSize: number): Code {
  return park().emit('jal', { imm: 4 + handlersSize });
}

/** Hart 0 goes on behind this, the others sleep. */
export function park(): Code {
  const code = new Code().emit('csrrs', { rd: 5, imm: 0xf14 }).emit('beq', { rs1: 5, imm: 12 });
  return code.emit('wfi').emit('jal', { imm: -4 });
}

/** Sets CSRs and registers as the block says. `handlerDistance` counts from the context. */
function prologue(context: number, distance: number, handlerDistance: number): Code {
  const t = context === 5 ? 6 : 5;
  const code = new Code().addressOf(context, distance);
  code.emit('lui', { rd: t, imm: (handlerDistance + 0x800) & ~0xfff });
  code.emit('addi', { rd: t, rs1: t, imm: ((handlerDistance & 0xfff) ^ 0x800) - 0x800 });
  code.emit('add', { rd: t, rs1: t, rs2: context }).emit('csrrw', { imm: 0x305, rs1: t });
  // mstatus.FS: floating point is on.
  code.emit('lui', { rd: t, imm: 0x6000 }).emit('csrrs', { imm: 0x300, rs1: t });
  for (const [i, { name, number }] of CSRS.entries()) {
    if (name === 'mtvec') continue;
    code.emit('ld', { rd: t, rs1: context, imm: AT.csrs + i * 8 });
    if (name === 'mstatus') {
      code.emit('csrrci', { imm: number, zimm: 8 }).emit('csrrs', { imm: number, rs1: t });
      code.emit('xori', { rd: t, rs1: t, imm: MSTATUS_COMPARED });
      code.emit('andi', { rd: t, rs1: t, imm: MSTATUS_COMPARED }).emit('csrrc', { imm: number, rs1: t });
    } else code.emit('csrrw', { imm: number, rs1: t });
  }
  for (let f = 0; f < 32; f++) code.emit('fld', { frd: f, rs1: context, imm: AT.floats + f * 8 });
  for (let x = 1; x < 32; x++) {
    if (x !== context) code.emit('ld', { rd: x, rs1: context, imm: AT.registers + x * 8 });
  }
  return code;
}

/** Leaves registers and CSRs in the block. */
function epilogue(context: number): Code {
  const code = new Code();
  for (let x = 1; x < 32; x++) code.emit('sd', { rs1: context, rs2: x, imm: AT.registers + x * 8 });
  const t = context === 5 ? 6 : 5;
  // The sequence may have switched floating point off.
  code.emit('lui', { rd: t, imm: 0x6000 }).emit('csrrs', { imm: 0x300, rs1: t });
  for (let f = 0; f < 32; f++) code.emit('fsd', { rs1: context, frs2: f, imm: AT.floats + f * 8 });
  for (const [i, { name, number }] of CSRS.entries()) {
    code.emit('csrrs', { rd: t, imm: number });
    if (name === 'mstatus') code.emit('andi', { rd: t, rs1: t, imm: MSTATUS_COMPARED });
    code.emit('sd', { rs1: context, rs2: t, imm: AT.csrs + i * 8 });
  }
  return code;
}

/** Instructions that the handler runs for one trap, at most. */
export const HANDLER_LENGTH = 46;

/** Logs the trap and returns behind the instruction. Works with three registers that it restores. */
function handler(code: Code, context: number): void {
  const [a, b, c] = [1, 2, 3, 4].filter((register) => register !== context) as [number, number, number];
  const work = [a, b, c];
  const save = (name: 'ld' | 'sd'): void => {
    for (const [i, register] of work.entries()) {
      const imm = AT.saved + i * 8;
      if (name === 'sd') code.emit('sd', { rs1: context, rs2: register, imm });
      else code.emit('ld', { rd: register, rs1: context, imm });
    }
  };
  save('sd');
  // EBREAK: the Privileged ISA (§3.1.16) lets mtval be 0, as QEMU has it, or the address.
  code.emit('csrrs', { rd: a, imm: 0x342 }).emit('addi', { rd: b, imm: 3 });
  code.emit('bne', { rs1: a, rs2: b, imm: 8 }).emit('csrrw', { imm: 0x343 });
  code.emit('ld', { rd: a, rs1: context, imm: AT.logPointer });
  for (const [i, number] of [0x342, 0x341, 0x343, 0x300].entries()) {
    code.emit('csrrs', { rd: b, imm: number });
    if (number === 0x300) code.emit('andi', { rd: b, rs1: b, imm: MSTATUS_COMPARED });
    code.emit('sd', { rs1: a, rs2: b, imm: i * 8 });
  }
  // The log is a page of its own: next entry = (pointer & −4096) | ((pointer + 32) & 4095).
  code.emit('addi', { rd: b, rs1: a, imm: LOG_ENTRY_SIZE });
  code.emit('lui', { rd: c, imm: LOG_SIZE }).emit('addi', { rd: c, rs1: c, imm: -1 });
  code.emit('and', { rd: b, rs1: b, rs2: c }).emit('xori', { rd: c, rs1: c, imm: -1 });
  code.emit('and', { rd: a, rs1: a, rs2: c }).emit('or', { rd: a, rs1: a, rs2: b });
  code.emit('sd', { rs1: context, rs2: a, imm: AT.logPointer });
  code.emit('ld', { rd: a, rs1: context, imm: AT.traps }).emit('addi', { rd: a, rs1: a, imm: 1 });
  code.emit('sd', { rs1: context, rs2: a, imm: AT.traps });
  // Cause 1 is a fetch that faulted.
  code.emit('csrrs', { rd: b, imm: 0x342 }).emit('addi', { rd: a, imm: 1 });
  code.emit('ld', { rd: c, rs1: context, imm: AT.resume });
  code.emit('beq', { rs1: a, rs2: b, imm: 32 });
  // Anything else happened at mepc: go on behind it.
  code.emit('csrrs', { rd: c, imm: 0x341 }).emit('lhu', { rd: a, rs1: c });
  code.emit('andi', { rd: a, rs1: a, imm: 3 }).emit('addi', { rd: a, rs1: a, imm: -3 });
  code.emit('addi', { rd: c, rs1: c, imm: 2 });
  code.emit('bne', { rs1: a, imm: 8 }).emit('addi', { rd: c, rs1: c, imm: 2 });
  code.emit('csrrw', { imm: 0x341, rs1: c });
  save('ld');
  // The trap came from M-mode, so MPP says M in QEMU, too.
  code.emit('mret');
}

/** A byte to the UART tells the machine under test that it is done, the finisher ends QEMU. */
export function end(): Code {
  const code = new Code();
  code.emit('lui', { rd: 5, imm: UART }).emit('sb', { rs1: 5 });
  code.emit('lui', { rd: 5, imm: FINISHER }).emit('lui', { rd: 6, imm: 0x5000 });
  code.emit('addi', { rd: 6, rs1: 6, imm: FINISHER_PASS - 0x5000 });
  // Where there is no finisher this traps: to the loop behind it.
  code.addressOf(7, 16).emit('csrrw', { imm: 0x305, rs1: 7 });
  return code.emit('sw', { rs1: 5, rs2: 6 }).emit('jal', { imm: 0 });
}
