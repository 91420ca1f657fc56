/**
 * The image of privileged sequences: start, two trap handlers per context register (of machine and supervisor mode), the
 * end; then the areas, each with its code. A sequence's machine-mode code leads from segment to segment: it writes the
 * CSRs and PTEs of the next one, and returns into it. A segment ends with an ECALL behind a mark in the context.
 */
import { AT, CONTEXT } from './block.ts';
import { Code, sizeOf, type Word } from './code.ts';
import { end, type Image, park, RAM_BASE } from './image.ts';
import {
  AREA_SIZE,
  AT_PRIVILEGED,
  CLINT,
  CSR,
  GLUE_SIZE,
  MODES,
  PAGE,
  PAGES,
  PRIVILEGED_CSRS,
  type PrivilegedCsr,
} from './privileged-area.ts';
import type { PrivilegedSequence, Segment } from './privileged-generator.ts';
import { handler, MACHINE, SUPERVISOR } from './privileged-handler.ts';

/** Where the areas begin: behind the 2 MiB that handlers are mapped with. */
const AREAS = 2 * 1024 * 1024;

/** Guest address of a sequence's area. */
export const areaAddress = (index: number): bigint => BigInt(RAM_BASE + AREAS + index * AREA_SIZE);

export function buildPrivilegedImage(sequences: ReadonlyMap<number, PrivilegedSequence>): Image {
  const start = park();
  const toFirst = new Code();
  const code = new Code();
  const head = start.size + JUMP_SIZE;
  const handlers = { machine: [] as number[], supervisor: [] as number[] };
  for (let register = 1; register < 32; register++) {
    for (const [name, level] of [
      ['machine', MACHINE],
      ['supervisor', SUPERVISOR],
    ] as const) {
      handlers[name][register] = RAM_BASE + head + code.size;
      code.append(handler(register, level));
    }
  }
  const endAt = head + code.size;
  const indexes = [...sequences.keys()].sort((a, b) => a - b);
  const glueOf = (index: number): number => AREAS + index * AREA_SIZE + PAGES.glue * PAGE;
  jump(toFirst, start.size, glueOf(indexes[0] as number));
  const bytes = new Uint8Array(AREAS + ((indexes.at(-1) as number) + 1) * AREA_SIZE);
  let at = 0;
  for (const piece of [start, toFirst, code, end()]) {
    bytes.set(piece.bytes(), at);
    at += piece.size;
  }
  let overhead = 0;
  for (const [position, index] of indexes.entries()) {
    const sequence = sequences.get(index) as PrivilegedSequence;
    const next = indexes[position + 1];
    const area = AREAS + index * AREA_SIZE;
    bytes.set(sequence.block, area);
    const { contextRegister } = sequence;
    const vectors = {
      machine: handlers.machine[contextRegister] as number,
      supervisor: handlers.supervisor[contextRegister] as number,
    };
    const glue = new Glue(sequence, area, vectors);
    glue.sequence(next === undefined ? endAt : glueOf(next));
    if (glue.bytes.length > GLUE_SIZE) throw new RangeError(`${glue.bytes.length} bytes of glue`);
    bytes.set(glue.bytes, glueOf(index));
    overhead = glue.instructions;
    let from = 0;
    for (const [i, { words, offset }] of sequence.segments.entries()) {
      const segment = new Code();
      segment.words.push(...sequence.words.slice(from, from + words));
      bytes.set(segment.bytes(), area + (PAGES.code + 2 * i) * PAGE + offset);
      from += words;
    }
  }
  return {
    bytes,
    overhead,
    addressOf: (index, words, word) =>
      segmentAddress(sequences.get(index) as PrivilegedSequence, words, word, index),
  };
}

/** Guest address of a word: it lies in the code pages of its segment. */
function segmentAddress(
  { segments }: PrivilegedSequence,
  words: readonly Word[],
  word: number,
  index: number,
): bigint {
  let first = 0;
  for (const [i, segment] of segments.entries()) {
    if (word < first + segment.words) {
      const inPages = segment.offset + sizeOf(words.slice(first, word));
      return areaAddress(index) + BigInt((PAGES.code + 2 * i) * PAGE + inPages);
    }
    first += segment.words;
  }
  throw new RangeError(`no word ${word}`);
}

/** Bytes of a jump to anywhere. */
const JUMP_SIZE = 12;

/** From an offset in the image to another one. */
function jump(code: Code, from: number, to: number): Code {
  return code.addressOf(5, to - from).emit('jalr', { rs1: 5 });
}

/** The machine-mode code of one sequence. */
class Glue {
  readonly #sequence: PrivilegedSequence;
  /** Offset of the area in the image. */
  readonly #area: number;
  readonly #vectors: { readonly machine: number; readonly supervisor: number };
  readonly #pieces: Uint8Array[] = [];
  #size = 0;
  instructions = 0;

  constructor(sequence: PrivilegedSequence, area: number, vectors: { machine: number; supervisor: number }) {
    this.#sequence = sequence;
    this.#area = area;
    this.#vectors = vectors;
  }

  get bytes(): Uint8Array {
    return Uint8Array.from(this.#pieces.flatMap((piece) => [...piece]));
  }

  /** Offset in the image of what is added next. */
  get #here(): number {
    return this.#area + PAGES.glue * PAGE + this.#size;
  }

  #add(code: Code): void {
    this.#pieces.push(code.bytes());
    this.#size += code.size;
    this.instructions += code.words.length;
  }

  /** @param next offset in the image of what comes behind the sequence. */
  sequence(next: number): void {
    this.#add(this.#begin());
    for (const [i, segment] of this.#sequence.segments.entries()) this.#enter(segment, i);
    const last = this.#leave();
    this.#add(jump(last, this.#here + last.size, next));
  }

  #begin(): Code {
    const context = this.#sequence.contextRegister;
    const t = context === 5 ? 6 : 5;
    const code = new Code().addressOf(context, this.#area + CONTEXT - this.#here);
    code.emit('lui', { rd: t, imm: 0x6000 }).emit('csrrs', { imm: CSR.mstatus, rs1: t });
    for (let f = 0; f < 32; f++) code.emit('fld', { frd: f, rs1: context, imm: AT.floats + f * 8 });
    for (let x = 1; x < 32; x++) {
      if (x !== context) code.emit('ld', { rd: x, rs1: context, imm: AT.registers + x * 8 });
    }
    return code;
  }

  /** Three registers besides the context register. */
  get #work(): [number, number, number] {
    const context = this.#sequence.contextRegister;
    return [5, 6, 7, 8].filter((register) => register !== context).slice(0, 3) as [number, number, number];
  }

  /** Writes what the segment wants from a table behind the code, and returns into it. */
  #enter(segment: Segment, index: number): void {
    const context = this.#sequence.contextRegister;
    const [value, table, address] = this.#work;
    const area = BigInt(RAM_BASE + this.#area);
    const start = area + BigInt((PAGES.code + 2 * index) * PAGE + segment.offset);
    const vectorOf = { 773: this.#vectors.machine, 261: this.#vectors.supervisor } as const;
    const csrs = segment.csrs.map(([number, wanted]): readonly [number, bigint] => {
      const base = vectorOf[number as keyof typeof vectorOf];
      return [number, base === undefined ? wanted : BigInt(base) | wanted];
    });
    csrs.push([CSR.mepc, start]);
    const { mode } = segment;
    const field = (offset: number, wanted: bigint) => [area + BigInt(CONTEXT + offset), wanted] as const;
    const memory = [
      ...segment.memory,
      field(AT_PRIVILEGED.ending, 0n),
      field(AT_PRIVILEGED.mpp, BigInt(mode) << 11n),
      // Supervisor mode runs what is made for machine mode, too: a segment that drops.
      field(AT_PRIVILEGED.spp, mode === MODES.user ? 0n : 0x100n),
    ];
    const words = 2 * memory.length + csrs.length + 1;
    const build = (tableAt: number, next: bigint): { code: Code; data: bigint[] } => {
      const code = new Code();
      for (const [i, register] of this.#work.entries()) {
        code.emit('sd', { rs1: context, rs2: register, imm: AT.saved + 8 * i });
      }
      code.addressOf(table, tableAt - code.size);
      code.emit('lui', { rd: address, imm: CLINT }).emit('sw', { rs1: address });
      const data: bigint[] = [];
      const load = (rd: number, wanted: bigint): void => {
        code.emit('ld', { rd, rs1: table, imm: 8 * data.length });
        data.push(BigInt.asUintN(64, wanted));
      };
      for (const [number, wanted] of csrs) {
        load(value, wanted);
        code.emit('csrrw', { imm: number, rs1: value });
      }
      for (const [where, wanted] of memory) {
        load(address, where);
        load(value, wanted);
        code.emit('sd', { rs1: address, rs2: value });
      }
      load(value, next);
      code.emit('sd', { rs1: context, rs2: value, imm: AT_PRIVILEGED.next }).emit('sfence.vma');
      for (const [i, register] of this.#work.entries()) {
        code.emit('ld', { rd: register, rs1: context, imm: AT.saved + 8 * i });
      }
      return { code: code.emit('mret'), data };
    };
    const { size } = build(0, 0n).code;
    const tableAt = Math.ceil((this.#here + size) / 8) * 8 - this.#here;
    const after = BigInt(RAM_BASE + this.#here + tableAt + 8 * words);
    const { code, data } = build(tableAt, after);
    if (data.length !== words) throw new Error('the table is of another size');
    this.#add(code);
    const padded = new Uint8Array(tableAt - code.size + 8 * data.length);
    const view = new DataView(padded.buffer);
    for (const [i, word] of data.entries()) view.setBigUint64(tableAt - code.size + 8 * i, word, true);
    this.#pieces.push(padded);
    this.#size += padded.length;
  }

  /** Leaves registers and CSRs in the context. */
  #leave(): Code {
    const context = this.#sequence.contextRegister;
    const [t, base, mask] = this.#work;
    const code = new Code();
    for (let x = 1; x < 32; x++) code.emit('sd', { rs1: context, rs2: x, imm: AT.registers + x * 8 });
    code.emit('addi', { rd: base, rs1: context, imm: AT_PRIVILEGED.csrs / 2 });
    code.emit('addi', { rd: base, rs1: base, imm: AT_PRIVILEGED.csrs / 2 });
    for (const [i, csr] of LEFT_CSRS.entries()) {
      code.emit('csrrs', { rd: t, imm: csr.number });
      if (csr.compared !== -1n) {
        const low = Number(BigInt.asIntN(12, csr.compared));
        if (csr.compared < 0n) code.emit('addi', { rd: mask, imm: low });
        else {
          code.emit('lui', { rd: mask, imm: Number(csr.compared) - low });
          code.emit('addi', { rd: mask, rs1: mask, imm: low });
        }
        code.emit('and', { rd: t, rs1: t, rs2: mask });
      }
      code.emit('sd', { rs1: base, rs2: t, imm: 8 * i });
    }
    code.emit('lui', { rd: t, imm: 0x6000 }).emit('csrrs', { imm: CSR.mstatus, rs1: t });
    code.emit('csrrs', { rd: t, imm: 0x003 }).emit('sd', { rs1: base, rs2: t, imm: 8 * LEFT_CSRS.length });
    for (let f = 0; f < 32; f++) code.emit('fsd', { rs1: context, frs2: f, imm: AT.floats + f * 8 });
    code.emit('lui', { rd: t, imm: CLINT }).emit('sw', { rs1: t });
    return code;
  }
}

/** What is left of the CSRs at the end of a sequence, in this order; behind them fcsr. */
export const LEFT_CSRS: readonly PrivilegedCsr[] = PRIVILEGED_CSRS;
