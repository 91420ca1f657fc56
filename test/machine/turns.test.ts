/** A machine that a debugger stops and lets go on, as often as it likes, runs as one that nobody stops. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import type { Hart } from '../../src/cpu/hart.ts';
import { newMachine } from '../../src/host/new-machine.ts';
import { installBoot } from '../../src/machine/boot-contents.ts';
import { Machine } from '../../src/machine/machine.ts';
import { machineLayout } from '../../src/machine/machine-layout.ts';
import { type DebugStop, RUN_ALL, type RunPlan } from '../../src/machine/turns.ts';
import { createSharedMemory } from '../../src/memory/layout.ts';
import { assemble, type Line, RAM_BASE } from '../support/bare-machine.ts';

const folder = mkdtempSync(join(tmpdir(), 'godwit-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** All harts add to one counter and mix what they find there into a value of their own; a timer interrupt mixes, too. */
const LOOP = RAM_BASE + 0x100;
const HANDLER = RAM_BASE + 0x180;
const SETUP: Line[] = [
  ['auipc', { rd: 5, imm: 0x10000 }],
  ['slli', { rd: 6, rs1: 10, imm: 6 }],
  ['add', { rd: 6, rs1: 6, rs2: 5 }],
  ['addi', { rd: 7, rs1: 0, imm: 1 }],
  ['addi', { rd: 8, rs1: 0, imm: 33 }],
  // mtvec, and mtimecmp of hart 0 at 7 ticks from now and then.
  ['auipc', { rd: 11, imm: 0 }],
  ['addi', { rd: 11, rs1: 11, imm: 0x180 - 0x14 }],
  ['csrrw', { rd: 0, rs1: 11, imm: 0x305 }],
  ['lui', { rd: 12, imm: 0x200_4000 }],
  ['sd', { rs1: 12, rs2: 0, imm: 0 }],
  ['addi', { rd: 13, rs1: 0, imm: 128 }],
  ['csrrs', { rd: 0, rs1: 13, imm: 0x304 }],
  ['csrrsi', { rd: 0, zimm: 8, imm: 0x300 }],
  ['jal', { rd: 0, imm: 0x100 - 0x34 }],
];
const BODY: Line[] = [
  ['amoadd.d', { rd: 9, rs1: 5, rs2: 7 }],
  ['mul', { rd: 14, rs1: 14, rs2: 8 }],
  ['add', { rd: 14, rs1: 14, rs2: 9 }],
  ['sd', { rs1: 6, rs2: 14, imm: 64 }],
  ['jal', { rd: 0, imm: -16 }],
];
const TRAP: Line[] = [
  ['csrrs', { rd: 15, rs1: 0, imm: 0x342 }],
  ['csrrs', { rd: 16, rs1: 0, imm: 0xc01 }],
  ['add', { rd: 14, rs1: 14, rs2: 16 }],
  ['addi', { rd: 16, rs1: 16, imm: 7 }],
  ['sd', { rs1: 12, rs2: 16, imm: 0 }],
  ['mret', {}],
];

const INSTRUCTIONS = 30_000;

interface Outcome {
  readonly instructions: number;
  readonly harts: readonly (readonly bigint[])[];
}

/** Runs INSTRUCTIONS or a few more; `debug` is told of each stop and says how it goes on. */
function run(
  harts: number,
  prepare: (machine: Machine) => RunPlan,
  debug: (machine: Machine, stop: DebugStop) => RunPlan,
): Outcome {
  const image = new Uint8Array(0x200);
  image.set(assemble(...SETUP));
  image.set(assemble(...BODY), LOOP - RAM_BASE);
  image.set(assemble(...TRAP), HANDLER - RAM_BASE);
  const kernel = join(folder, 'image');
  writeFileSync(kernel, image);
  const request = { bios: { kind: 'none' as const }, harts, ram: 16 * 1024 * 1024, cpu: 'rv64', kernel };
  const { configuration, boot } = newMachine(request);
  const stops: DebugStop[] = [];
  const machine: Machine = new Machine(configuration, createSharedMemory(machineLayout(configuration)), {
    clock: new ManualClock(),
    icount: 4,
    random: () => expect.fail('virtual time has no real entropy'),
    transmit() {},
    powerOff: () => expect.fail('switched off'),
    interrupted() {},
    resetRequested: () => expect.fail('reset'),
    debugStopped: (stop) => stops.push(stop),
  });
  installBoot(machine.memory, boot);
  machine.reset();
  machine.start(prepare(machine));
  const over = (): boolean => machine.engine.instructions >= INSTRUCTIONS;
  while (machine.burst(over).kind !== 'busy') {
    const [stop] = stops.splice(0);
    if (stop === undefined) expect.fail('the machine stands still for no reason');
    expect(machine.running).toBe(false);
    machine.start(debug(machine, stop));
  }
  return {
    instructions: machine.engine.instructions,
    harts: machine.engine.harts.map((hart) => [
      hart.pc,
      ...Array.from({ length: 31 }, (_, i) => hart.x(i + 1)),
      hart.csr('minstret'),
    ]),
  };
}

const undisturbed = (harts: number): Outcome =>
  run(
    harts,
    () => RUN_ALL,
    () => RUN_ALL,
  );

test.each([1, 3])('with %i harts, a breakpoint in a loop changes nothing', (harts) => {
  let stops = 0;
  const stopped = run(
    harts,
    ({ engine }) => {
      engine.points.insert({ kind: 'software', address: BigInt(LOOP + 12) });
      return RUN_ALL;
    },
    ({ engine }, stop) => {
      stops++;
      expect(stop.reason).toBe('breakpoint');
      expect(engine.harts[stop.hart]?.pc).toBe(BigInt(LOOP + 12));
      return RUN_ALL;
    },
  );
  expect(stopped).toEqual(undisturbed(harts));
  expect(stops).toBeGreaterThan(2000);
});

test.each([1, 3])(
  'with %i harts, single steps of one change nothing: interrupts come where they would',
  (harts) => {
    const last = harts - 1;
    const step = {
      ...RUN_ALL,
      actions: Array.from({ length: harts }, (_, i) => (i === last ? 'step' : 'run')),
    } as RunPlan;
    let handled = 0;
    const stepped = run(
      harts,
      () => step,
      ({ engine }, stop) => {
        expect(stop).toEqual({ reason: 'step', hart: last });
        const hart = engine.harts[last];
        if (hart?.pc === BigInt(HANDLER)) handled++;
        return step;
      },
    );
    expect(stepped).toEqual(undisturbed(harts));
    if (harts === 1) expect(handled).toBeGreaterThan(0);
  },
);

test('a step without interrupts runs one instruction and takes none; a hart that is to stay does', () => {
  const quiet: RunPlan = { actions: ['stay', 'step'], stepInterrupts: false, time: false };
  let steps = 0;
  run(
    2,
    () => quiet,
    (machine, stop) => {
      const [first, second] = machine.engine.harts;
      expect(stop).toEqual({ reason: 'step', hart: 1 });
      expect(first?.csr('minstret')).toBe(0n);
      expect(second?.csr('minstret')).toBe(BigInt(++steps));
      // Pending and enabled, and still not taken.
      second?.setCsr('mie', 8n);
      second?.setInterrupt(3, true);
      return steps < 200 ? quiet : { ...RUN_ALL, actions: ['run', 'run'] };
    },
  );
  expect(steps).toBe(200);
});

test('a step goes on from WFI, as the Debug Specification has it', () => {
  const stopsAt: bigint[] = [];
  run(
    1,
    (machine) => {
      (machine.engine.harts[0] as Hart).waiting = true;
      return { actions: ['step'], stepInterrupts: false, time: false };
    },
    ({ engine }) => {
      stopsAt.push(engine.harts[0]?.csr('minstret') ?? 0n);
      return RUN_ALL;
    },
  );
  expect(stopsAt).toEqual([1n]);
});
