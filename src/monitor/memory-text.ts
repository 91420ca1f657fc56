/** Memory as the human monitor's `x` and `xp` show it, and a value as `print` does: QEMU's monitor/hmp-cmds-target.c. */
import type { DumpFormat } from './expression.ts';

const CHARACTERS: ReadonlyMap<number, string> = new Map([
  [0x27, "\\'"],
  [0x5c, '\\\\'],
  [0x0a, '\\n'],
  [0x0d, '\\r'],
]);

/** Gives up to `length` bytes from `address` on: all up to the first that can't be read. */
export type ReadMemory = (address: bigint, length: number) => Promise<Uint8Array>;

/** Bytes that are asked for at a time. */
const CHUNK = 64 * 1024;

/** The lines of a dump, one after another; a line that can't be read whole says so, and is the last. */
export async function* memoryLines(
  { count, letter, size }: DumpFormat,
  start: bigint,
  read: ReadMemory,
): AsyncGenerator<string> {
  const perLine = size === 1 ? 8 : 16;
  let left = count * size;
  let chunk = new Uint8Array();
  for (let address = BigInt.asUintN(64, start); left > 0; ) {
    const length = Math.min(perLine, left);
    if (chunk.length < length) chunk = new Uint8Array(await read(address, Math.min(CHUNK, left)));
    const place = `${address.toString(16).padStart(16, '0')}:`;
    if (chunk.length < length) {
      yield `${place} Cannot access memory`;
      return;
    }
    yield [place, ...units(chunk.subarray(0, length), letter, size)].join(' ');
    chunk = chunk.subarray(length);
    left -= length;
    address = BigInt.asUintN(64, address + BigInt(length));
  }
}

function units(bytes: Uint8Array, letter: DumpFormat['letter'], size: DumpFormat['size']): string[] {
  // Characters are bytes, however large a unit is.
  const step = letter === 'c' ? 1 : size;
  const texts: string[] = [];
  for (let at = 0; at < bytes.length; at += step) {
    const value = bytes.subarray(at, at + step).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
    texts.push(padded(value, letter, size));
  }
  return texts;
}

/** Numbers are as wide as the widest of their size. */
function padded(value: bigint, letter: DumpFormat['letter'], size: DumpFormat['size']): string {
  const bits = size * 8;
  switch (letter) {
    case 'o':
      return octal(value).padStart(Math.ceil(bits / 3));
    case 'd':
      // As in QEMU, only the largest size has a sign.
      return (size === 8 ? BigInt.asIntN(64, value) : value).toString().padStart(Math.ceil((bits * 10) / 33));
    case 'u':
      return value.toString().padStart(Math.ceil((bits * 10) / 33));
    case 'c':
      return character(Number(value));
    default:
      return `0x${value.toString(16).padStart(bits / 4, '0')}`;
  }
}

const octal = (value: bigint): string => (value === 0n ? '0' : `0${value.toString(8)}`);

function character(code: number): string {
  const printable = code >= 0x20 && code <= 0x7e ? String.fromCharCode(code) : undefined;
  const hex = `\\x${code.toString(16).padStart(2, '0')}`;
  return `'${CHARACTERS.get(code) ?? printable ?? hex}'`;
}

/** A value in one of the formats. */
export function valueText(value: bigint, letter: DumpFormat['letter']): string {
  const unsigned = BigInt.asUintN(64, value);
  switch (letter) {
    case 'o':
      return octal(unsigned);
    case 'x':
      return unsigned === 0n ? '0' : `0x${unsigned.toString(16)}`;
    case 'u':
      return unsigned.toString();
    case 'c':
      return character(Number(unsigned & 0xffn));
    default:
      return BigInt.asIntN(64, value).toString();
  }
}
