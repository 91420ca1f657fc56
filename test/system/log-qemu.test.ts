/** `-d` side by side with QEMU's: what one guest's log says of code, translations and traps. */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { makeElf } from '../machine/elf-image.ts';
import { assemble, RAM_BASE } from '../support/bare-machine.ts';
import { DATA, pagingGuest } from '../support/paging-guest.ts';
import { hasTool } from '../support/tool.ts';
import { type Bench, poll, test, type VmProcess } from '../support/vm-process.ts';

const QEMU = 'qemu-system-riscv64';
const skip = !hasTool(QEMU);

async function start(
  bench: Bench,
  guest: Uint8Array,
  items: string,
  program?: string,
): Promise<{ vm: VmProcess; lines: () => string[] }> {
  const [elf, log] = [bench.path('guest.elf'), bench.path('log')];
  writeFileSync(elf, guest);
  const machine = ['-M', 'virt', '-m', '128M', '-bios', 'none', '-kernel', elf, '-no-reboot', '-S'];
  const args = [...machine, '-d', items, '-D', log];
  const vm = await bench.start(args, program === undefined ? {} : { program });
  return { vm, lines: () => readFileSync(log, 'utf8').split('\n') };
}

/** The log of a guest whose hart 0 has set its flag. */
async function pagingLog(bench: Bench, items: string, program?: string): Promise<string[]> {
  const { vm, lines } = await start(bench, pagingGuest(), items, program);
  await vm.qmp.execute('cont');
  const line = { 'command-line': `xp/1xg ${DATA}` };
  await poll(async () =>
    /0x0000000000000001/.test(String(await vm.qmp.execute('human-monitor-command', line))) ? true : undefined,
  );
  await vm.qmp.execute('stop');
  return lines();
}

test.skipIf(skip)('in_asm shows the same instructions', async ({ bench }) => {
  const code = (lines: readonly string[]) =>
    new Set(lines.flatMap((line) => /^(0x[0-9a-f]{16}: {2}[0-9a-f]+) /.exec(line)?.[1] ?? []));
  const ours = code(await pagingLog(bench, 'in_asm'));
  expect(ours).toEqual(code(await pagingLog(bench, 'in_asm', QEMU)));
  expect(ours.size).toBeGreaterThan(20);
});

test.skipIf(skip)('mmu shows the same translations', async ({ bench }) => {
  // The last word on each page: TLBs are of different sizes and kinds, so how often one is filled differs.
  const fills = (lines: readonly string[]) => {
    const pages = new Map<string, string>();
    let mode = '';
    for (const line of lines) {
      mode = /^riscv_cpu_tlb_fill ad .* (mmu_idx \d)/.exec(line)?.[1] ?? mode;
      const fill = /^riscv_cpu_tlb_fill address=(\w+)\w{3} (ret \d physical \w+)\w{3} (prot \d)/.exec(line);
      if (fill !== null) pages.set(`${mode} ${fill[1]}`, `${fill[2]} ${fill[3]}`);
    }
    return pages;
  };
  const ours = fills(await pagingLog(bench, 'mmu'));
  expect([...ours].sort()).toEqual([...fills(await pagingLog(bench, 'mmu', QEMU))].sort());
  expect(ours.size).toBe(4);
});

/** Traps of several kinds, one after another (not EBREAK: QEMU's tval is 0 there, and ours is pc); the handler skips the instruction. Then the machine is switched off. */
const TRAPS = makeElf({
  segments: [
    {
      address: RAM_BASE,
      bytes: [
        ...assemble(
          ['auipc', { rd: 5 }],
          ['addi', { rd: 6, rs1: 5, imm: 0x100 }],
          ['csrrw', { rs1: 6, imm: 0x305 }], // mtvec
          ['ecall'],
          ['csrrw', { rd: 7, rs1: 7, imm: 0xf14 }], // mhartid can't be written
          ['ld', { rd: 7, rs1: 0, imm: 0x208 }], // nothing is there
          ['sd', { rs1: 0, rs2: 7, imm: 0x208 }],
          ['lr.w', { rd: 7, rs1: 5 }],
          ['lui', { rd: 28, imm: 0x10_0000 }],
          ['lui', { rd: 29, imm: 0x5000 }],
          ['addi', { rd: 29, rs1: 29, imm: 0x555 }],
          ['sw', { rs1: 28, rs2: 29 }],
          ['jal', { imm: 0 }],
        ),
      ],
    },
    {
      address: RAM_BASE + 0x100,
      bytes: [
        ...assemble(
          ['csrrs', { rd: 30, imm: 0x341 }],
          ['addi', { rd: 30, rs1: 30, imm: 4 }],
          ['csrrw', { rs1: 30, imm: 0x341 }],
          ['mret'],
        ),
      ],
    },
  ],
});

test.skipIf(skip)('int shows the same traps, line for line', async ({ bench }) => {
  const traps = async (program?: string): Promise<string[]> => {
    const { vm, lines } = await start(bench, TRAPS, 'int', program);
    // The guest may be done before the answer is there.
    await vm.qmp.execute('cont').catch(() => {});
    expect(await vm.exited()).toEqual({ code: 0, signal: null });
    return lines();
  };
  const ours = await traps();
  expect(ours).toEqual(await traps(QEMU));
  expect(ours.filter((line) => line.startsWith('riscv_cpu_do_interrupt'))).toHaveLength(4);
});

test('log and logfile change what is logged and where, while the guest runs', async ({ bench }) => {
  const { vm, lines } = await start(bench, pagingGuest(), 'migration');
  const hmp = (line: string) => vm.qmp.execute('human-monitor-command', { 'command-line': line });
  const [registers, code] = [bench.path('registers'), bench.path('code')];
  expect(await hmp(`logfile ${code}`)).toBe('');
  expect(await hmp('log in_asm')).toBe('');
  await vm.qmp.execute('cont');
  await poll(async () => (readFileSync(code, 'utf8').includes('jal') ? true : undefined));
  // Between two files nothing is logged: what the guest comes to meanwhile would be in the wrong one.
  await hmp('log none');
  await hmp(`logfile ${registers}`);
  await hmp('log cpu');
  await poll(async () => (readFileSync(registers, 'utf8').includes('x31/t6') ? true : undefined));
  await hmp('log none');
  await vm.qmp.execute('stop');
  const shown = readFileSync(registers, 'utf8');
  await vm.qmp.execute('cont');
  await vm.qmp.execute('stop');
  expect(readFileSync(registers, 'utf8')).toBe(shown);
  expect(shown).not.toContain('IN:');
  expect(readFileSync(code, 'utf8')).not.toContain('x31/t6');
  expect(lines()).toEqual(['']);
});
