/** The ISA table against itself: no word has two meanings, and decode and encode are each other's inverse. */
import { expect, test } from 'vitest';
import { decode } from '../../src/isa/decode.ts';
import { encode, matches, parsePattern } from '../../src/isa/encoding.ts';
import { instruction, sections } from '../../src/isa/instruction.ts';
import { nothing } from '../../src/isa/semantics.ts';
import { COMPRESSED, HINTS, INSTRUCTIONS, instructionNamed } from '../../src/isa/table.ts';

/** A small generator of reproducible words (xorshift32). */
function* words(seed: number, count: number): Generator<number> {
  let x = seed;
  for (let i = 0; i < count; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    yield x >>> 0;
  }
}

test('no 16-bit word is matched by two lines of the table', () => {
  for (let word = 0; word < 0x10000; word++) {
    if ((word & 3) === 3) continue;
    const names = COMPRESSED.filter((line) => matches(line.encoding, word)).map((line) => line.name);
    // c.addi16sp is carved out of c.lui by rd = 2; everything else is disjoint by its bits.
    if (names.length > 1) expect.fail(`${word.toString(16)}: ${names}`);
  }
});

test('no two patterns of 32-bit instructions overlap', () => {
  for (const [i, a] of INSTRUCTIONS.entries()) {
    for (const b of INSTRUCTIONS.slice(i + 1)) {
      const common = a.encoding.mask & b.encoding.mask;
      const differ = ((a.encoding.match ^ b.encoding.match) & common) !== 0;
      if (!differ) expect.fail(`${a.name} and ${b.name}`);
    }
  }
});

test.each(HINTS)('the words of the HINT $name are all words of $hintOf', ({ encoding, hintOf }) => {
  const of = instructionNamed(hintOf).encoding;
  expect((encoding.mask & of.mask) >>> 0).toBe(of.mask);
  expect((encoding.match & of.mask) >>> 0).toBe(of.match);
  expect(decode(encoding.match)).toMatchObject({ instruction: { name: hintOf }, hint: { encoding } });
});

test('every 16-bit word that decodes encodes back to itself', () => {
  let decoded = 0;
  for (let word = 0; word < 0x10000; word++) {
    const found = decode(word);
    if ((word & 3) === 3 || found?.compressed === undefined) continue;
    decoded++;
    const { encoding } = found.compressed;
    const line = COMPRESSED.find((candidate) => matches(candidate.encoding, word));
    if (line !== found.compressed) expect.fail(`${word.toString(16)}: ${line?.name}`);
    const operands = Object.fromEntries(
      Object.entries(found.compressed.operands)
        .filter(([, from]) => typeof from === 'string')
        .map(([to, from]) => [from, found.operands[to as keyof typeof found.operands]]),
    );
    if (encode(encoding, operands) !== word) expect.fail(`${found.compressed.name} ${word.toString(16)}`);
  }
  expect(decoded).toBeGreaterThan(30_000);
});

test('words sampled over every opcode encode back to themselves', () => {
  let decoded = 0;
  for (const word of words(0x9e3779b9, 300_000)) {
    const found = decode(word | 3);
    if (found === undefined) continue;
    decoded++;
    const again = encode(found.instruction.encoding, found.operands);
    if (again !== (word | 3) >>> 0) expect.fail(`${found.instruction.name} ${word.toString(16)}`);
  }
  expect(decoded).toBeGreaterThan(10_000);
});

test.each([
  // Encodings as the GNU assembler makes them.
  ['addi', { rd: 10, rs1: 11, imm: -1 }, 0xfff58513],
  ['lui', { rd: 5, imm: 0x12345000 }, 0x123452b7],
  ['jal', { rd: 1, imm: -4 }, 0xffdff0ef],
  ['beq', { rs1: 10, rs2: 11, imm: 16 }, 0x00b50863],
  ['sd', { rs1: 2, rs2: 1, imm: 8 }, 0x00113423],
  ['srai', { rd: 10, rs1: 10, imm: 63 }, 0x43f55513],
  ['amoadd.d', { rd: 10, rs1: 12, rs2: 11, aq: 0, rl: 0 }, 0x00b6352f],
  ['csrrs', { rd: 10, rs1: 0, imm: 0xf14 }, 0xf1402573],
])('%s is encoded as the manual says', (name, operands, word) => {
  expect(encode(instructionNamed(name).encoding, operands)).toBe(word);
});

test('a heading gives its section to the lines below it, and every line needs one', () => {
  const line = (name: string) => instruction(name, 'imm[11:0] rs1 000 rd 0010011', nothing);
  const placed = sections('Manual', ['§1 One', line('a'), line('b'), '§2.3 Two', line('c')]);
  expect(placed.map(({ name, section }) => `${name} ${section}`)).toEqual([
    ...['a Manual §1', 'b Manual §1', 'c Manual §2.3'],
  ]);
  expect(() => sections('Manual', [line('a')])).toThrow('a stands under no heading');
  expect(() => sections('Manual', ['One', line('a')])).toThrow('"One" names no section');
});

test('a pattern that is not 16 or 32 bits long is refused', () => {
  expect(() => parsePattern('000 rd')).toThrow('has 8 bits');
});
