/** The benchmark programs compute what they compute in QEMU, bare and under an operating system's kind of paging. */
import { execFileSync } from 'node:child_process';
import { describe, expect } from 'vitest';
import { lapOf, PROGRAMS, programImage } from '../support/programs.ts';
import { hasTool } from '../support/tool.ts';
import { test } from '../support/vm-process.ts';

/** Of one loop, from QEMU 7.2. */
const CHECKSUMS: Record<string, string> = {
  core: '0x3405',
  records: '0xcceec0f6',
  calls: '0x1a4caba',
  sieve: '0xc11a3e82',
  memory: '0xf05bdc7c',
  chase: '0x1d7',
  matrix: '0x9de5d7e2',
  sort: '0x4212c50',
  sha256: '0x5db7b71c',
  bytecode: '0xeb1ce523',
  alu: '0xcdd320f1',
};

const machine = (program: string, settings: string): string[] => [
  ...['-M', 'virt', '-bios', 'none', '-m', '128M', '-kernel', programImage(program)],
  ...['-append', `loops=1 ${settings}`],
];

test('each program has its checksum here', () => {
  expect(Object.keys(CHECKSUMS)).toEqual(PROGRAMS);
});

describe.each(PROGRAMS)('%s', (program) => {
  test.for(['mode=machine', 'mode=supervisor'])('%s', async (settings, { bench }) => {
    const vm = bench.spawn(machine(program, settings), { qmp: false });
    const { code } = await vm.exited(60_000);
    expect(lapOf(vm.stdout.text)?.checksum).toBe(CHECKSUMS[program]);
    expect(code).toBe(0);
  });

  test.skipIf(!hasTool('qemu-system-riscv64'))('as in QEMU', () => {
    const args = [...machine(program, ''), '-display', 'none', '-serial', 'stdio', '-monitor', 'none'];
    const text = execFileSync('qemu-system-riscv64', args, { encoding: 'utf8', timeout: 60_000 });
    expect(lapOf(text)?.checksum).toBe(CHECKSUMS[program]);
  });
});

test('multiplying and adding at once rounds once, which the checksum shows', async ({ bench }) => {
  const vm = bench.spawn(machine('matrix', 'kind=fused'), { qmp: false });
  await vm.exited(60_000);
  expect(lapOf(vm.stdout.text)?.checksum).toBe('0x9de5da4e');
});
