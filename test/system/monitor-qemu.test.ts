/** What the human monitor prints about memory, side by side with QEMU's: one guest, the same commands, equal lines. */
import { writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { DATA, pagingGuest, TEXT_OFFSET, VIRTUAL } from '../support/paging-guest.ts';
import { hasTool } from '../support/tool.ts';
import { type Bench, poll, test, type VmProcess } from '../support/vm-process.ts';

const QEMU = 'qemu-system-riscv64';

const hmp = async (vm: VmProcess, hart: number, line: string): Promise<string> =>
  String(await vm.qmp.execute('human-monitor-command', { 'command-line': line, 'cpu-index': hart }));

/** Runs the guest until both harts have set their flags, and stops it. */
async function start(bench: Bench, program?: string): Promise<VmProcess> {
  const guest = bench.path('guest.elf');
  writeFileSync(guest, pagingGuest());
  const args = ['-M', 'virt', '-m', '128M', '-smp', '2', '-bios', 'none', '-kernel', guest];
  const vm = await bench.start(args, program === undefined ? {} : { program });
  const flags = `${DATA.toString(16).padStart(16, '0')}: 0x0000000000000001 0x0000000000000001\r\n`;
  await poll(async () => ((await hmp(vm, 0, `xp/2xg ${DATA}`)) === flags ? true : undefined));
  await vm.qmp.execute('stop');
  return vm;
}

const text = DATA + TEXT_OFFSET;
const COMMANDS: readonly string[] = [
  'info mem',
  // Counts, letters and sizes.
  ...['x', 'd', 'u', 'o', 'c'].flatMap((letter) =>
    ['b', 'h', 'w', 'g'].map((size) => `xp/21${letter}${size} ${text - 3}`),
  ),
  `xp/x ${text}`,
  `xp/0xw ${text}`,
  'xp/4xw 0x1000',
  // The end of memory, and where none is.
  'xp/4xw 0x87fffff8',
  'xp/20xb 0x87fffff8',
  'xp/1xb 0',
  'xp/1xb 0x180000000',
  'xp/1xg 0xfffffffffffffff8',
  // By virtual address: a page, a megapage, the gigapage, and addresses that the tables don't map.
  ...VIRTUAL.map((address) => `x/2xg ${address}`),
  'x/4xw 0x41000000',
  'x/4xw 0x413ffff8',
  'x/2xg 0x80000100',
  'x/1xb 0xc0000000',
  'x/1xb 0x40004000',
  'x/1xb 0x4000000000',
  'x/1xb 0xffffffffffffffff',
  'x/12xb 0x40000ffc',
  // Expressions, and what is wrong with them.
  'print/x (0x1000 + 8) * 2',
  'print/d -1',
  'print/u -1',
  'print/o 8',
  'print/c 65',
  'print/x 0',
  'xp/1xw 0x80000000+0x100',
  'x/1xw 5/0',
  'x/1xw (8',
  'x/1xw $nosuch',
  'x/1xw 0x80000000,3',
  'xp/s 0',
  'x',
  'cpu 0',
  'cpu 2',
];

test.skipIf(!hasTool(QEMU))('x, xp, info mem, print and cpu print what QEMU prints', async ({ bench }) => {
  const [ours, theirs] = await Promise.all([start(bench), start(bench, QEMU)]);
  // `info mem` of both harts comes first: QEMU 7.2 sets A bits when its user looks through the tables.
  for (const line of COMMANDS) {
    for (const hart of [0, 1]) {
      const [mine, other] = await Promise.all([hmp(ours, hart, line), hmp(theirs, hart, line)]);
      expect(`${hart}: ${line}\r\n${mine}`).toBe(`${hart}: ${line}\r\n${other}`);
    }
  }
});

test('looking changes nothing: not the page tables, not the guest', async ({ bench }) => {
  const vm = await start(bench);
  const all = async (): Promise<string[]> =>
    Promise.all([hmp(vm, 0, 'xp/4096xg 0x80010000'), hmp(vm, 0, 'info registers -a')]);
  const before = await all();
  for (const hart of [0, 1]) {
    for (const line of [
      'x/1024xg 0x40002000',
      'x/4xw 0x41000000',
      'info mem',
      'x/8i $pc',
      'xp/1xb 0x10000000',
    ]) {
      await hmp(vm, hart, line);
    }
  }
  expect(await all()).toEqual(before);
});

test('x/i shows addresses, bits and text in columns', async ({ bench }) => {
  const vm = await start(bench);
  expect((await hmp(vm, 1, 'x/3i $pc-8')).split('\r\n')).toEqual([
    '0x0000000080000044:  00100e13          addi                    t3,zero,1',
    '0x0000000080000048:  01c43023          sd                      t3,0(s0)',
    '0x000000008000004c:  0000006f          jal                     zero,0x8000004c',
    '',
  ]);
});
