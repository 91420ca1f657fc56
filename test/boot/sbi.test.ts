/** Our firmware as a supervisor meets it: RISC-V Supervisor Binary Interface Specification 2.0. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { type FdtTree, readFdt } from '../../src/devices/fdt-reader.ts';
import { KERNEL, RAM, SbiMachine, SCRATCH } from './sbi-machine.ts';

const BASE = 0x10;
const TIME = 0x5449_4d45;
const IPI = 0x73_5049;
const RFENCE = 0x5246_4e43;
const HSM = 0x48_534d;
const SRST = 0x5352_5354;
const DBCN = 0x4442_434e;
const ALL = -1n;
const SUCCESS = 0;
const [NOT_SUPPORTED, INVALID_PARAM, INVALID_ADDRESS, ALREADY_AVAILABLE] = [-2, -3, -5, -6];
const [STARTED, STOPPED, SUSPENDED] = [0n, 1n, 4n];

describe('base (§4)', () => {
  test('the version is 2.0, and all extensions that there are say so', () => {
    const probe = [BASE, TIME, IPI, RFENCE, HSM, SRST, DBCN, 0, 1, 2, 8, 0x504d_55];
    const sbi = new SbiMachine(1);
    sbi.run([[BASE, 0], [BASE, 7], [0x999, 0], ...probe.map((id) => [BASE, 3, id] as const)]);
    expect(sbi.answer(0, 0)).toEqual({ error: SUCCESS, value: 0x200_0000n });
    expect(sbi.answer(0, 1).error).toBe(NOT_SUPPORTED);
    expect(sbi.answer(0, 2).error).toBe(NOT_SUPPORTED);
    const found = probe.map((_, i) => Number(sbi.answer(0, 3 + i).value));
    expect(found).toEqual([...probe.slice(0, -1).map(() => 1), 0]);
    expect(sbi.console).toContain('godwit SBI 2.0: 1 harts, 16 MiB, next stage at 0x80200000\r\n');
  });
});

describe('console (§5, §12)', () => {
  test('bytes go out and come in', () => {
    const sbi = new SbiMachine(1);
    sbi.write(SCRATCH, 'hello');
    // The firmware has to have set the UART up: that empties it.
    sbi.run([]);
    sbi.again(0);
    sbi.machine.uart.receive(new TextEncoder().encode('xyz'));
    sbi.run([
      [DBCN, 0, 5, SCRATCH, 0],
      [DBCN, 2, 0x21],
      [1, 0, 0x3f],
      [2, 0],
      [DBCN, 1, 8, SCRATCH + 16, 0],
      [2, 0],
    ]);
    expect(sbi.console).toMatch(/hello!\?$/);
    expect(sbi.answer(0, 0)).toEqual({ error: SUCCESS, value: 5n });
    expect(sbi.answer(0, 3).error).toBe(0x78);
    expect(sbi.answer(0, 4)).toEqual({ error: SUCCESS, value: 2n });
    expect(sbi.read(SCRATCH + 16, 2)).toBe('yz');
    expect(sbi.answer(0, 5).error).toBe(-1);
  });

  test('the firmware does not give its memory away, nor reach beyond RAM', () => {
    const sbi = new SbiMachine(1);
    const ranges = [
      [8, RAM + 0x8000, 0],
      [0x2_0000, RAM - 0x1_0000, 0],
      [2, RAM + 16 * 1024 * 1024 - 1, 0],
      [8, SCRATCH, 1],
      [-1n, SCRATCH, 0],
    ] as const;
    sbi.run([...ranges.map((range) => [DBCN, 0, ...range] as const), [DBCN, 1, 8, RAM, 0]]);
    for (let i = 0; i <= ranges.length; i++) expect(sbi.answer(0, i).error, `${i}`).toBe(INVALID_PARAM);
  });
});

describe('harts (§9)', () => {
  test('all but the first are parked until one starts them; a started one can stop and start again', () => {
    const sbi = new SbiMachine(3);
    sbi.run(
      [
        [HSM, 2, 0],
        [HSM, 2, 1],
        [HSM, 2, 3],
        [HSM, 0, 1, KERNEL, 1],
      ],
      [[BASE, 0]],
    );
    expect([0, 1].map((i) => sbi.answer(0, i).value)).toEqual([STARTED, STOPPED]);
    expect(sbi.answer(0, 2).error).toBe(INVALID_PARAM);
    expect(sbi.answer(0, 3).error).toBe(SUCCESS);
    expect(sbi.answer(1, 0).value).toBe(0x200_0000n);
    expect(sbi.machine.engine.harts.map((hart) => hart.privilege)).toEqual([1, 1, 3]);
  });

  test('what can be refused is', () => {
    const sbi = new SbiMachine(2);
    sbi.run([
      [HSM, 0, 0, KERNEL, 0],
      [HSM, 0, 9, KERNEL, 0],
      [HSM, 0, 1, RAM, 0],
      [HSM, 0, 1, 0x1000, 0],
      [HSM, 3, 1, KERNEL, 0],
      [HSM, 3, 0x1000_0000, KERNEL, 0],
      [HSM, 3, 0x8000_0000, RAM, 0],
      [HSM, 4],
    ]);
    expect([0, 1, 2, 3, 4, 5, 6, 7].map((i) => sbi.answer(0, i).error)).toEqual([
      ALREADY_AVAILABLE,
      INVALID_PARAM,
      ...[INVALID_ADDRESS, INVALID_ADDRESS],
      ...[INVALID_PARAM, NOT_SUPPORTED, INVALID_ADDRESS],
      NOT_SUPPORTED,
    ]);
  });

  test('a suspended hart sleeps until an interrupt that it has enabled, and goes on behind its call', () => {
    const sbi = new SbiMachine(2);
    const [, second] = sbi.machine.engine.harts;
    if (second === undefined) throw new Error('two harts');
    sbi.run(
      [[HSM, 0, 1, KERNEL, 0]],
      [
        [HSM, 3, 0, 0, 0],
        [BASE, 0],
      ],
    );
    sbi.again(0);
    sbi.run([
      [HSM, 2, 1],
      [IPI, 0, 2, 0],
    ]);
    expect(sbi.answer(0, 0).value).toBe(SUSPENDED);
    // It has not enabled SSIE, so it sleeps on with SSIP pending.
    expect(sbi.answer(1, 1)).toEqual({ error: 0, value: 0n });
    expect(second.csr('mip') & 2n).toBe(2n);
    second.setCsr('mie', second.csr('mie') | 2n);
    second.waiting = false;
    sbi.run();
    expect(sbi.answer(1, 1).value).toBe(0x200_0000n);
  });
});

describe('interrupts, fences and time (§6 to §8)', () => {
  test('an IPI sets SSIP of the harts in the mask that run', () => {
    const sbi = new SbiMachine(4);
    sbi.run([
      [HSM, 0, 1, KERNEL, 0],
      [HSM, 0, 3, KERNEL, 0],
      [RFENCE, 0, 0, ALL],
      [IPI, 0, 5, 1],
    ]);
    expect([0, 1, 2, 3].map((i) => sbi.answer(0, i).error)).toEqual([SUCCESS, SUCCESS, SUCCESS, SUCCESS]);
    const ssip = sbi.machine.engine.harts.map((hart) => Number(hart.csr('mip') >> 1n) & 1);
    expect(ssip).toEqual([0, 1, 0, 1]);
  });

  test.each([
    ['a hart that is not there', 4, 0],
    ['one beyond the mask', 1, 64],
    ['a bit that is shifted out', -1n, 3],
  ])('%s is refused', (_, mask, base) => {
    const sbi = new SbiMachine(2);
    sbi.run([
      [IPI, 0, mask, base],
      [RFENCE, 1, mask, base, 0, 0],
    ]);
    expect([0, 1].map((i) => sbi.answer(0, i).error)).toEqual([INVALID_PARAM, INVALID_PARAM]);
  });

  test('harts that fence each other at the same time all get through', () => {
    const sbi = new SbiMachine(4);
    const fences = Array.from(
      { length: 200 },
      (_, i) => [RFENCE, i % 3, 0, ALL, 0x1000 * i, 0x3000, i] as const,
    );
    const start = [1, 2, 3].map((hart) => [HSM, 0, hart, KERNEL, 0] as const);
    sbi.run([...start, ...fences], fences, fences, fences);
    for (const hart of [0, 1, 2, 3]) {
      const first = hart === 0 ? start.length : 0;
      for (let i = 0; i < fences.length; i++)
        expect(sbi.answer(hart, first + i)).toEqual({ error: 0, value: 0n });
    }
  });

  test.each(['rv64', 'rv64imac'])('the timer comes at its time, with Sstc or without (%s)', (cpu) => {
    const sbi = new SbiMachine(1, cpu);
    const [hart] = sbi.machine.engine.harts;
    if (hart === undefined) throw new Error('one hart');
    const stip = (): number => Number(hart.csr('mip') >> 5n) & 1;
    sbi.run([[TIME, 0, 5000]]);
    expect([sbi.answer(0, 0).error, stip()]).toEqual([SUCCESS, 0]);
    sbi.clock.advance(499_900);
    sbi.run();
    expect(stip()).toBe(0);
    sbi.clock.advance(200);
    sbi.run();
    expect(stip()).toBe(1);
  });
});

describe('the end (§10)', () => {
  test.each([
    [0, 0, 0],
    [0, 1, 1],
  ])('reset type %i for reason %i powers off with status %i', (type, reason, status) => {
    const sbi = new SbiMachine(2);
    sbi.run([[SRST, 0, type, reason]]);
    expect(sbi.poweredOff).toBe(status);
  });

  test.each([1, 2])('reset type %i reboots', (type) => {
    const sbi = new SbiMachine(2);
    sbi.run([[SRST, 0, type, 0]]);
    expect(sbi.resetWanted).toBe(true);
    sbi.machine.reset();
    sbi.resetWanted = false;
    sbi.run([[BASE, 0]]);
    expect(sbi.answer(0, 0).value).toBe(0x200_0000n);
  });

  test('unknown types and reasons are refused', () => {
    const sbi = new SbiMachine(1);
    sbi.run([
      [SRST, 0, 3, 0],
      [SRST, 0, 0, 2],
      [SRST, 0, 0xf000_0000, 0],
    ]);
    expect([0, 1, 2].map((i) => sbi.answer(0, i).error)).toEqual([
      INVALID_PARAM,
      INVALID_PARAM,
      NOT_SUPPORTED,
    ]);
  });
});

test('the device tree keeps the supervisor off the firmware, and is whole', () => {
  const sbi = new SbiMachine(2);
  sbi.run([]);
  const at = Number(
    new DataView(sbi.machine.memory.memory.buffer, sbi.machine.memory.block('rom').offset).getBigUint64(
      32,
      true,
    ),
  );
  const ram = sbi.machine.memory.block('ram');
  const blob = sbi.machine.memory.view(ram.offset + at - RAM, 0x1_0000).slice();
  const tree = readFdt(blob);
  const reserved = tree.children.find(({ name }) => name === 'reserved-memory') as FdtTree;
  expect([...reserved.properties.keys()]).toEqual(['#address-cells', '#size-cells', 'ranges']);
  const [firmware] = reserved.children;
  expect(firmware?.name).toBe('mmode_resv0@80000000');
  expect(Buffer.from(firmware?.properties.get('reg') ?? []).toString('hex')).toBe(
    '00000000800000000000000000010000',
  );
  expect(firmware?.properties.has('no-map')).toBe(true);
  expect(tree.children.map(({ name }) => name)).toContain('chosen');
});

const hasToolchain = spawnSync('riscv64-unknown-elf-gcc', ['--version']).status === 0;

test.skipIf(!hasToolchain)('the committed image is what its sources build', () => {
  const build = fileURLToPath(new URL('../../roms/build', import.meta.url));
  const { status, stderr } = spawnSync(build, ['--check'], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
