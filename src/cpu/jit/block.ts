/** The basic blocks of a region. Addresses are relative to its base page. */
import type { Instruction } from '../../isa/instruction.ts';
import { PAGE_SIZE } from '../../memory/layout.ts';

/** A predecoded instruction. */
export interface RegionInstruction {
  readonly instruction: Instruction;
  /** Its address less that of the base page, in bytes. */
  readonly at: number;
  readonly length: 2 | 4;
  /** It ends on the next page. */
  readonly straddles: boolean;
  readonly rd: number;
  readonly rs1: number;
  readonly rs2: number;
  readonly immediate: number;
}

/** What a block ends with. Addresses are relative to the base page. */
export type BlockEnd =
  /** Goes on at `to`, which begins another block or is no part of the region. */
  | { readonly kind: 'next'; readonly to: number }
  | {
      readonly kind: 'branch';
      readonly instruction: RegionInstruction;
      readonly taken: number;
      readonly to: number;
    }
  /** A jump to a known address. */
  | { readonly kind: 'jump'; readonly instruction: RegionInstruction; readonly to: number }
  | { readonly kind: 'indirect'; readonly instruction: RegionInstruction }
  /** The instruction at `at` is the interpreter's. */
  | { readonly kind: 'interpret'; readonly at: number };

export interface Block {
  readonly at: number;
  /** Those before the end's own. */
  readonly instructions: readonly RegionInstruction[];
  readonly end: BlockEnd;
}

/** All instructions of a block. */
export function instructionsOf({ instructions, end }: Block): readonly RegionInstruction[] {
  return 'instruction' in end ? [...instructions, end.instruction] : instructions;
}

/** How many they are. */
export function lengthOf({ instructions, end }: Block): number {
  return instructions.length + ('instruction' in end ? 1 : 0);
}

/** The page of an address, relative to the same one. */
export function pageOf(at: number): number {
  return Math.floor(at / PAGE_SIZE) * PAGE_SIZE;
}

/** The known addresses where a block may lead. */
export function targets(end: BlockEnd): number[] {
  switch (end.kind) {
    case 'next':
    case 'jump':
      return [end.to];
    case 'branch':
      return [end.taken, end.to];
    default:
      return [];
  }
}
