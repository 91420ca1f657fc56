/** What the disassembler writes is what GNU objdump writes, except for the differences listed here. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { decode } from '../../src/isa/decode.ts';
import { disassembleWord } from '../../src/isa/disassemble.ts';
import { cpuModel } from '../../src/machine/cpu-models.ts';
import { Random } from '../support/random.ts';
import { LINES, randomWord } from '../support/random-word.ts';
import { hasTool } from '../support/tool.ts';

const OBJDUMP = 'riscv64-unknown-elf-objdump';
const ASSEMBLER = 'riscv64-unknown-elf-as';
const BASE = 0x8000_0000n;
/** Some of the CSRs that objdump names. */
const CSR_NAMES: Readonly<Record<number, string>> = {
  1: 'fflags',
  2: 'frm',
  3: 'fcsr',
  256: 'sstatus',
  768: 'mstatus',
  773: 'mtvec',
  832: 'mscratch',
  3073: 'time',
  3860: 'mhartid',
};
const csrName = (number: number): string | undefined => CSR_NAMES[number];

test.each([
  [0xfff58513, 'addi a0,a1,-1'],
  [0x123452b7, 'lui t0,0x12345'],
  [0xffdff0ef, 'jal ra,0x7ffffffc'],
  [0x00b50863, 'beq a0,a1,0x80000010'],
  [0x00113423, 'sd ra,8(sp)'],
  [0x43f55513, 'srai a0,a0,0x3f'],
  [0x06b6352f, 'amoadd.d.aqrl a0,a1,(a2)'],
  [0x1005a52f, 'lr.w a0,(a1)'],
  [0x30002573, 'csrrs a0,mstatus,zero'],
  [0x7c0fd073, 'csrrwi zero,0x7c0,31'],
  [0x0ff0000f, 'fence iorw,iorw'],
  [0x0100000f, 'pause'],
  [0x0000100f, 'fence.i'],
  [0x0045200f, 'cbo.zero (a0)'],
  [0x0006a00f, 'cbo.inval (a3)'],
  [0x16b50073, 'sinval.vma a0,a1'],
  [0x18000073, 'sfence.w.inval'],
  [0x30200073, 'mret'],
  [0x0800453b, 'zext.h a0,zero'],
  [0x6b855513, 'rev8 a0,a0'],
  [0x1141, 'c.addi sp,-16'],
  [0xe406, 'c.sdsp ra,8(sp)'],
  [0x8082, 'c.jr ra'],
  [0x9002, 'c.ebreak'],
  [0x0000, '.2byte 0x0'],
  [0xffffffff, '.4byte 0xffffffff'],
] as const)('%i is %s', (word, text) => {
  expect(disassembleWord(word, BASE, { csrName })).toBe(text);
});

/** Where this disassembler and objdump mean the same and write it differently; the words are our lines. */
const DIFFERENCES: readonly { readonly ours: RegExp; readonly theirs: RegExp; readonly why: string }[] = [
  {
    ours: /^c\.addi zero,/,
    theirs: /^c\.nop/,
    why: 'a HINT is written as the instruction that it is a hint of; c.nop is the one with 0',
  },
  {
    ours: /^c\.(slli|srli|srai) \w+,0x0$/,
    theirs: /^c\.(slli|srli|srai)64 \w+$/,
    why: 'a shift by 0 is a HINT that RV128 has a use for',
  },
  {
    ours: /^fcvt\.d\.(s|wu?) /,
    theirs: /^\.4byte/,
    why: 'these are exact: objdump 2.40 knows them with rm = 0 only, and does not write it',
  },
  { ours: /^fcvt\.d\.(s|wu?) .*,rne$/, theirs: /^fcvt\.d/, why: 'as above' },
  {
    ours: /^fence(\.i)?( |$)/,
    theirs: /^\.4byte|^fence\.tso$/,
    why: 'fields that are reserved for finer fences are to be ignored (Unprivileged ISA §2.7, §6)',
  },
];

test.skipIf(!hasTool(OBJDUMP) || !hasTool(ASSEMBLER))(
  'words of every line of the table read as objdump -M no-aliases writes them',
  () => {
    const random = new Random(2024);
    const words = LINES.flatMap((line) => Array.from({ length: 60 }, () => randomWord(random, line))).filter(
      // objdump names more CSRs.
      (word) => {
        const found = decode(word);
        const isCsr = found?.instruction.name.startsWith('csrr') === true;
        return !isCsr || csrName(found?.operands.imm ?? 0) !== undefined;
      },
    );
    for (const name of ['csrrw', 'csrrs', 'csrrci']) {
      for (let number = 0; number < 4096; number++) {
        const line = LINES.find((candidate) => candidate.name === name);
        if (line === undefined || csrName(number) === undefined) continue;
        words.push(((randomWord(random, line) & 0xfffff) | (number << 20)) >>> 0);
      }
    }
    const theirs = objdump(words);
    const wrong: string[] = [];
    for (const [i, word] of words.entries()) {
      const pc = BASE + BigInt(i * 4);
      const mine = disassembleWord(word, pc, { csrName });
      const other = theirs[i] ?? '(nothing)';
      const known = DIFFERENCES.some(({ ours, theirs: text }) => ours.test(mine) && text.test(other));
      if (mine !== other && !known) wrong.push(`${word.toString(16)}: "${mine}", objdump "${other}"`);
    }
    expect(wrong).toEqual([]);
    expect(words.length).toBeGreaterThan(5000);
  },
);

/** One line for each word, without comments; words lie four bytes apart. */
function objdump(words: readonly number[]): string[] {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-objdump-'));
  try {
    // Behind a 16-bit instruction lies a c.nop, so that all of them begin at a multiple of 4. The assembler makes the
    // object file, because objdump takes the extensions from its attributes.
    const insns = words.map((word) =>
      (word & 3) === 3 ? `.insn 4, ${word}` : `.insn 2, ${word & 0xffff}\n.insn 2, 1`,
    );
    const [source, object] = [join(directory, 'words.s'), join(directory, 'words.o')];
    writeFileSync(source, `${insns.join('\n')}\n`);
    // Those that have no instructions are not known to this assembler.
    const isa = cpuModel('max').isa.replace(/_(zicntr|zihpm|svadu)/g, '');
    const assembled = spawnSync(ASSEMBLER, [`-march=${isa}`, '-mno-relax', '-o', object, source], {
      encoding: 'utf8',
    });
    expect(assembled.stderr).toBe('');
    const options = ['-d', '-M', 'no-aliases', `--adjust-vma=${BASE}`];
    const { stdout } = spawnSync(OBJDUMP, [...options, object], { encoding: 'utf8', maxBuffer: 1 << 26 });
    const byIndex: string[] = [];
    for (const [, address, text] of stdout.matchAll(/^\s*([0-9a-f]+):\s+[0-9a-f]+\s+(.*)$/gm)) {
      const offset = Number(BigInt(`0x${address}`) - BASE);
      if (offset % 4 === 0) byIndex[offset / 4] = tidy(text ?? '');
    }
    return byIndex;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function tidy(text: string): string {
  return text
    .replace(/\s+(#|<).*$/, '')
    .replace(/\s+/g, ' ')
    .replace(/([ ,])([0-9a-f]{8,})$/, '$10x$2') // a branch's target
    .trim();
}
