/** Runs a batch of sequences on both machines and tells, in words, where they differ. */
import type { Dispatch } from '../../src/cpu/interpreter.ts';
import { disassembleWord, FLOAT_REGISTER_NAMES, REGISTER_NAMES } from '../../src/isa/disassemble.ts';
import { Random } from '../support/random.ts';
import { AT, BLOCK_SIZE, CONTEXT, CSRS, LOG_ENTRY_SIZE, LOG_SIZE } from './block.ts';
import { type Word, withoutUnits } from './code.ts';
import { generate, type Sequence } from './generator.ts';
import { blockAddress, buildImage, HANDLER_LENGTH, type Image, RAM_BASE } from './image.ts';
import { runHere, runQemu } from './machines.ts';

/** Instructions of one sequence, about; and sequences of one image, so that QEMU is started seldom. */
const SEQUENCE_LENGTH = 300;
export const BATCH = 200;

export interface BatchResult {
  /** Random instructions that were run: not those that start and end a sequence or handle its traps. */
  readonly instructions: number;
  /** The words of all sequences, for the coverage. */
  readonly words: readonly Word[];
  /** What differs first, or undefined. */
  readonly report: string | undefined;
}

/** @param seed makes the batch; the same seed is the same batch. */
export function runBatch(seed: number, dispatch: Dispatch): BatchResult {
  const sequences = new Map<number, Sequence>();
  for (let index = 0; index < BATCH; index++) {
    sequences.set(index, generate(new Random(seed, index), blockAddress(index), SEQUENCE_LENGTH));
  }
  const image = buildImage(sequences);
  const here = runHere(image, new Random(seed, BATCH), dispatch);
  const there = runQemu(image);
  let traps = 0;
  let differing: number | undefined;
  for (let index = BATCH - 1; index >= 0; index--) {
    const block = blockOf(here.ram, index);
    traps += Number(block.readBigUInt64LE(CONTEXT + AT.traps));
    if (!block.equals(blockOf(there, index))) differing = index;
  }
  return {
    instructions: here.instructions - BATCH * image.overhead - traps * HANDLER_LENGTH,
    words: [...sequences.values()].flatMap(({ words }) => words),
    report: differing === undefined ? undefined : reportOf(differing),
  };

  function reportOf(index: number): string {
    const first = differences(blockOf(here.ram, index), blockOf(there, index));
    return report(seed, index, sequences.get(index) as Sequence, dispatch, first);
  }
}

function blockOf(ram: Uint8Array, index: number): Buffer {
  const from = Number(blockAddress(index)) - RAM_BASE;
  return Buffer.from(ram.buffer, ram.byteOffset + from, BLOCK_SIZE);
}

/** @param first what differs where it stands among the others of its batch. */
function report(
  seed: number,
  index: number,
  sequence: Sequence,
  dispatch: Dispatch,
  first: readonly string[],
): string {
  const again = (words: readonly Word[]) => {
    const image = buildImage(new Map([[index, { ...sequence, words }]]));
    const here = runHere(image, new Random(seed, BATCH), dispatch);
    return { image, differences: differences(blockOf(here.ram, index), blockOf(runQemu(image), index)) };
  };
  const alone = again(sequence.words);
  const head = `GODWIT_SEED=${seed}, sequence ${index} (context register ${REGISTER_NAMES[sequence.contextRegister]})`;
  if (alone.differences.length === 0) {
    return [
      `${head}, only behind those before it:`,
      ...listing(alone.image, index, sequence.words),
      ...first,
    ].join('\n');
  }
  const words = shrunk(sequence.words, (candidate) => again(candidate).differences.length > 0);
  const small = again(words);
  return [`${head}:`, ...listing(small.image, index, words), ...small.differences].join('\n');
}

/** Takes away as many units as it can, by halves, quarters, …, while `fails` holds. */
function shrunk(words: readonly Word[], fails: (words: readonly Word[]) => boolean): readonly Word[] {
  const gone = new Set<number>();
  const units = [...new Set(words.map((word) => word.unit))];
  for (let size = units.length; size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < units.length; from += size) {
      const more = units.slice(from, from + size).filter((unit) => !gone.has(unit));
      if (more.length > 0 && fails(withoutUnits(words, new Set([...gone, ...more])))) {
        for (const unit of more) gone.add(unit);
      }
    }
  }
  return withoutUnits(words, gone);
}

function listing(image: Image, index: number, words: readonly Word[]): string[] {
  let at = BigInt(image.entries[index] ?? 0);
  const lines: string[] = [];
  for (const { bits, length } of words) {
    const csrName = (number: number): string | undefined => CSRS.find((csr) => csr.number === number)?.name;
    const text = disassembleWord(bits, at, { csrName });
    if (text !== 'c.addi zero,0' && text !== 'addi zero,zero,0') lines.push(`  ${at.toString(16)}  ${text}`);
    at += BigInt(length);
  }
  return lines;
}

/** Every 8 bytes of the block that differ, by name. */
function differences(here: Buffer, there: Buffer): string[] {
  const lines: string[] = [];
  for (let offset = 0; offset < BLOCK_SIZE; offset += 8) {
    const [mine, other] = [here.readBigUInt64LE(offset), there.readBigUInt64LE(offset)];
    if (mine === other) continue;
    lines.push(`  ${nameOf(offset - CONTEXT)}: ${mine.toString(16)}, QEMU ${other.toString(16)}`);
  }
  return lines;
}

function nameOf(offset: number): string {
  const csr = CSRS[(offset - AT.csrs) / 8];
  if (csr !== undefined) return csr.name;
  const register = REGISTER_NAMES[(offset - AT.registers) / 8];
  if (register !== undefined) return register;
  const float = FLOAT_REGISTER_NAMES[(offset - AT.floats) / 8];
  if (float !== undefined) return float;
  if (offset >= AT.log && offset < AT.log + LOG_SIZE) {
    const entry = Math.floor((offset - AT.log) / LOG_ENTRY_SIZE);
    return `trap ${entry} ${['mcause', 'mepc', 'mtval', 'mstatus'][((offset - AT.log) % LOG_ENTRY_SIZE) / 8]}`;
  }
  if (offset === AT.traps) return 'number of traps';
  return `context ${offset < 0 ? '-' : '+'} 0x${Math.abs(offset).toString(16)}`;
}
