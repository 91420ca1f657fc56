/** What -rtc says is what the guest reads, here and in QEMU. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { base, li, sleep, value } from '../support/bare-code.ts';
import { assemble, type Line } from '../support/bare-machine.ts';
import { hasTool } from '../support/tool.ts';

const GODWIT = new URL('../../bin/godwit-system-riscv64', import.meta.url).pathname;
const QEMU = 'qemu-system-riscv64';

let folder: string;
let kernel: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-rtc-'));
  kernel = join(folder, 'program');
  writeFileSync(kernel, program());
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Ends with the day since 1970, mod 256. */
function program(): Uint8Array {
  const [time, high] = [7, 8];
  const lines: Line[] = [
    ...li(base, 0x10_1000),
    ['lwu', { rd: time, rs1: base, imm: 0 }],
    ['lwu', { rd: high, rs1: base, imm: 4 }],
    ['slli', { rd: high, rs1: high, imm: 32 }],
    ['or', { rd: time, rs1: time, rs2: high }],
    ...li(value, 1_000_000_000),
    ['divu', { rd: time, rs1: time, rs2: value }],
    ...li(value, 24 * 60 * 60),
    ['divu', { rd: time, rs1: time, rs2: value }],
    ['slli', { rd: time, rs1: time, imm: 16 }],
    ...li(value, 0x3333),
    ['or', { rd: time, rs1: time, rs2: value }],
    ...li(base, 0x10_0000),
    ['sw', { rs1: base, rs2: time, imm: 0 }],
    ...sleep(),
  ];
  return assemble(...lines);
}

function run(machine: string, options: readonly string[]): number | null {
  const args = ['-M', 'virt', '-m', '64M', '-bios', 'none', '-kernel', kernel, '-display', 'none'];
  const rest = ['-serial', 'null', '-monitor', 'none', ...options];
  return spawnSync(machine, [...args, ...rest], { timeout: 30_000, killSignal: 'SIGKILL' }).status;
}

const day = (year: number, month: number, date: number): number =>
  (Date.UTC(year, month - 1, date) / 86_400_000) % 256;

describe.each([
  ['base=2006-06-17T16:01:21,clock=vm', day(2006, 6, 17)],
  ['base=2038-01-19,clock=host', day(2038, 1, 19)],
  ['base=1970-01-02', 1],
])('-rtc %s', (rtc, expected) => {
  test('is where the clock starts', () => {
    expect(run(GODWIT, ['-rtc', rtc])).toBe(expected);
  });

  test.skipIf(!hasTool(QEMU))('as in QEMU', () => {
    expect(run(QEMU, ['-rtc', rtc])).toBe(expected);
  });
});

test('by default it is the host’s time in UTC', () => {
  const before = Math.floor(Date.now() / 86_400_000) % 256;
  const status = run(GODWIT, []);
  // Unless midnight comes in between.
  expect([before, Math.floor(Date.now() / 86_400_000) % 256]).toContain(status);
});

test('with -icount it is 2000-01-01', () => {
  expect(run(GODWIT, ['-icount', 'shift=0'])).toBe(day(2000, 1, 1));
});
