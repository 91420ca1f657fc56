/** tools/riscv-tests.mjs, on programs that report as the official tests do. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeElf } from '../machine/elf-image.ts';
import { assemble, type Line, RAM_BASE } from '../support/bare-machine.ts';

const TOOL = fileURLToPath(new URL('../../tools/riscv-tests.mjs', import.meta.url));
const TOHOST = RAM_BASE + 0x1000;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-riscv-tests-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A program with `tohost` and `fromhost`, whose code starts with x5 = TOHOST. */
function program(name: string, ...lines: Line[]): void {
  const code = assemble(['auipc', { rd: 5, imm: 0x1000 }], ...lines, ['jal', { imm: 0 }]);
  const symbols = [
    { name: 'tohost', address: BigInt(TOHOST), size: 8 },
    { name: 'fromhost', address: BigInt(TOHOST + 64), size: 8 },
  ];
  const segments = [{ address: RAM_BASE, bytes: [...code], memorySize: 0x2000 }];
  writeFileSync(join(folder, name), makeElf({ segments, symbols }));
}

/** Stores a status to `tohost`. */
const end = (status: number): Line[] => [
  ['addi', { rd: 6, imm: status * 2 + 1 }],
  ['sd', { rs1: 5, rs2: 6 }],
];

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [TOOL, folder, ...args], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

test.each(['jit', 'interp'])('programs that pass, by -accel %s; other files are passed by', (accel) => {
  program('rv64ui-p-one', ...end(0));
  program('rv64ui-p-two', ...end(0));
  writeFileSync(join(folder, 'README'), 'no program');
  const { status, stdout } = run('--accel', accel);
  expect(stdout).toMatch(/^rv64ui-p +2 +2 +\d+ +\d+ %$/m);
  expect(stdout).toContain('2 of 2 pass');
  expect(status).toBe(0);
});

test('--eager translates what is run once', () => {
  program('rv64ui-p-one', ...end(0));
  expect(run().stdout).toMatch(/^rv64ui-p .* 0 %$/m);
  expect(run('--eager').stdout).toMatch(/^rv64ui-p .* [1-9]\d* %$/m);
  expect(run('--eager', '--accel', 'interp').status).toBe(2);
});

test('a failure is told with its status, and one for want of an extension is no failure', () => {
  program('rv64uzbc-p-clmul', ...end(2));
  expect(run().stdout).toContain('rv64uzbc-p-clmul: not passed: the processor has no Zbc');
  expect(run().status).toBe(0);
  program('rv64um-p-mul', ...end(7));
  expect(run().stdout).toContain('rv64um-p-mul: FAILED: status 7');
  expect(run().status).toBe(1);
});

test('what a program writes through HTIF, by device command or system call', () => {
  program(
    'hello',
    // 0x0101 << 48 | 'h', and until the host took it.
    ['addi', { rd: 6, imm: 0x101 }],
    ['slli', { rd: 6, rs1: 6, imm: 48 }],
    ['addi', { rd: 6, rs1: 6, imm: 'h'.charCodeAt(0) }],
    ['sd', { rs1: 5, rs2: 6 }],
    ['ld', { rd: 7, rs1: 5 }],
    ['bne', { rs1: 7, imm: -4 }],
    // A system call: write(1, 'i' at tohost + 256, 1), and until it is answered.
    ['addi', { rd: 6, imm: 'i'.charCodeAt(0) }],
    ['sb', { rs1: 5, rs2: 6, imm: 256 }],
    ['addi', { rd: 6, imm: 64 }],
    ['sd', { rs1: 5, rs2: 6, imm: 128 }],
    ['addi', { rd: 6, rs1: 5, imm: 256 }],
    ['sd', { rs1: 5, rs2: 6, imm: 144 }],
    ['addi', { rd: 6, imm: 1 }],
    ['sd', { rs1: 5, rs2: 6, imm: 152 }],
    ['addi', { rd: 6, rs1: 5, imm: 128 }],
    ['sd', { rs1: 5, rs2: 6 }],
    ['ld', { rd: 7, rs1: 5, imm: 64 }],
    ['beq', { rs1: 7, imm: -4 }],
    ...end(0),
  );
  const [result] = JSON.parse(run('--json').stdout);
  expect(result).toMatchObject({ name: 'hello', passed: true, console: 'hi' });
});

test('a program that never reports ends after --timeout seconds', () => {
  program('rv64ui-p-lost');
  const { status, stdout } = run('--timeout', '0.5');
  expect(stdout).toContain('rv64ui-p-lost: FAILED: no end after 0.5 s');
  expect(status).toBe(1);
});

test('a command line that cannot be ends with status 2, in one line', () => {
  const { status, stderr } = run('--accel', 'kvm');
  expect(status).toBe(2);
  expect(stderr).toBe("riscv-tests: --accel: expected jit or interp, got 'kvm'\n");
});
