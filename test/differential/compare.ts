/** Runs a batch of sequences on both machines and tells, in words, where they differ. */
import type { EngineOptions } from '../../src/cpu/engine.ts';
import { disassembleWord, REGISTER_NAMES } from '../../src/isa/disassemble.ts';
import { Random } from '../support/random.ts';
import { AT, CONTEXT } from './block.ts';
import { type Word, withoutUnits } from './code.ts';
import type { Sequence } from './generator.ts';
import type { Image } from './image.ts';
import { type Kind, RAM_BASE } from './kinds.ts';
import { runHere, runQemu } from './machines.ts';

export interface BatchResult {
  /** Random instructions that were run: not those that start and end a sequence or handle its traps. */
  readonly instructions: number;
  /** What differs first, or undefined. */
  readonly report: string | undefined;
}

/** @param seed makes the batch; the same seed is the same batch. */
export function runBatch<S extends Sequence>(
  kind: Kind<S>,
  seed: number,
  options: EngineOptions,
): BatchResult {
  const sequences = new Map<number, S>();
  for (let index = 0; index < kind.batch; index++)
    sequences.set(index, kind.generate(new Random(seed, index), index));
  const image = kind.build(sequences);
  const here = runHere(image, new Random(seed, kind.batch), options);
  if (!here.ended) throw new Error(`${kind.name}, GODWIT_SEED=${seed}: did not end`);
  const there = runQemu(image, kind.qemuCpu);
  let traps = 0;
  let differing: number | undefined;
  for (let index = kind.batch - 1; index >= 0; index--) {
    const block = blockOf(kind, here.ram, index);
    traps += Number(block.readBigUInt64LE(CONTEXT + AT.traps));
    if (!block.equals(blockOf(kind, there, index))) differing = index;
  }
  return {
    instructions: here.instructions - kind.batch * image.overhead - traps * kind.handlerLength,
    report: differing === undefined ? undefined : reportOf(differing),
  };

  function reportOf(index: number): string {
    const first = differences(kind, blockOf(kind, here.ram, index), blockOf(kind, there, index));
    return report(kind, seed, index, sequences.get(index) as S, options, first);
  }
}

function blockOf(kind: Kind<Sequence>, ram: Uint8Array, index: number): Buffer {
  const from = Number(kind.address(index)) - RAM_BASE;
  return Buffer.from(ram.buffer, ram.byteOffset + from, kind.blockSize);
}

/** @param first what differs where it stands among the others of its batch. */
function report<S extends Sequence>(
  kind: Kind<S>,
  seed: number,
  index: number,
  sequence: S,
  options: EngineOptions,
  first: readonly string[],
): string {
  const again = (words: readonly Word[]) => {
    const image = kind.build(new Map([[index, { ...sequence, words }]]));
    const here = runHere(image, new Random(seed, kind.batch), options);
    if (!here.ended) return { image, differences: [] };
    const there = runQemu(image, kind.qemuCpu);
    return {
      image,
      differences: differences(kind, blockOf(kind, here.ram, index), blockOf(kind, there, index)),
    };
  };
  const alone = again(sequence.words);
  const register = REGISTER_NAMES[sequence.contextRegister];
  const head = `${kind.name}, GODWIT_SEED=${seed}, sequence ${index} (context register ${register})`;
  if (alone.differences.length === 0) {
    return [
      `${head}, only behind those before it:`,
      ...listing(kind, alone.image, index, sequence.words),
      ...first,
    ].join('\n');
  }
  const words = shrunk(sequence.words, (candidate) => again(candidate).differences.length > 0);
  const small = again(words);
  return [`${head}:`, ...listing(kind, small.image, index, words), ...small.differences].join('\n');
}

/** A report is needed soon, even if it is longer than it could be. */
const SHRINK_MS = 60_000;

/** Takes away as many units as it can, by halves, quarters, …, while `fails` holds. */
function shrunk(words: readonly Word[], fails: (words: readonly Word[]) => boolean): readonly Word[] {
  const gone = new Set<number>();
  const units = [...new Set(words.map((word) => word.unit))];
  const end = performance.now() + SHRINK_MS;
  for (let size = units.length; size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < units.length && performance.now() < end; from += size) {
      const more = units.slice(from, from + size).filter((unit) => !gone.has(unit));
      if (more.length > 0 && fails(withoutUnits(words, new Set([...gone, ...more])))) {
        for (const unit of more) gone.add(unit);
      }
    }
  }
  return withoutUnits(words, gone);
}

function listing(kind: Kind<Sequence>, image: Image, index: number, words: readonly Word[]): string[] {
  const lines: string[] = [];
  for (const [i, { bits }] of words.entries()) {
    const at = image.addressOf(index, words, i);
    const text = disassembleWord(bits, at, { csrName: kind.csrName });
    if (text !== 'c.addi zero,0' && text !== 'addi zero,zero,0') lines.push(`  ${at.toString(16)}  ${text}`);
  }
  return lines;
}

/** Every 8 bytes of the block that differ, by name. */
function differences(kind: Kind<Sequence>, here: Buffer, there: Buffer): string[] {
  const lines: string[] = [];
  for (let offset = 0; offset < kind.blockSize; offset += 8) {
    const [mine, other] = [here.readBigUInt64LE(offset), there.readBigUInt64LE(offset)];
    if (mine === other) continue;
    lines.push(`  ${kind.nameOf(offset - CONTEXT)}: ${mine.toString(16)}, QEMU ${other.toString(16)}`);
  }
  return lines;
}
