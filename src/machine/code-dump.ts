/** Code as text, in the columns of QEMU's `x/i` and `-d in_asm`. */
import { csrName } from '../cpu/csr.ts';
import { instructionLength } from '../isa/decode.ts';
import { disassembleWord } from '../isa/disassemble.ts';

const WORD_COLUMN = 18;
const NAME_COLUMN = 24;

/** Gives up to `length` bytes from `address` on. */
export type ReadCode = (address: bigint, length: number) => Uint8Array;

export interface CodeLines {
  readonly lines: string[];
  /** Address of the next instruction; absent if memory ended before. */
  readonly next?: bigint;
}

/** One line for each of `count` instructions from `start` on; if memory ends, the last line says where. */
export function codeLines(read: ReadCode, start: bigint, count: number): CodeLines {
  const lines: string[] = [];
  let address = BigInt.asUintN(64, start);
  while (lines.length < count) {
    const bytes = read(address, 4);
    const length = bytes.length < 2 ? 2 : instructionLength(bytes[0] ?? 0);
    if (bytes.length < length) {
      const missing = address + BigInt(bytes.length & ~1);
      lines.push(`${place(address)}Address 0x${missing.toString(16)} is out of bounds.`);
      return { lines };
    }
    const word = bytes.subarray(0, length).reduceRight((sum, byte) => sum * 256 + byte, 0);
    lines.push(codeLine(address, word));
    address = BigInt.asUintN(64, address + BigInt(length));
  }
  return { lines, next: address };
}

/** @param word the instruction's 16 or 32 bits. */
export function codeLine(address: bigint, word: number): string {
  const digits = instructionLength(word) * 2;
  const [name = '', operands] = disassembleWord(word, address, { csrName }).split(' ', 2);
  const bits = (word >>> 0).toString(16).padStart(digits, '0').padEnd(WORD_COLUMN);
  return place(address) + bits + (operands === undefined ? name : name.padEnd(NAME_COLUMN) + operands);
}

const place = (address: bigint): string => `0x${address.toString(16).padStart(16, '0')}:  `;
