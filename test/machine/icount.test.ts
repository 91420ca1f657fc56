/** With virtual time, a run is a function of the machine alone: the same instructions, the same memory, every time. */

import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { type Clock, ManualClock } from '../../src/clock.ts';
import { ACCELERATORS, type Accelerator } from '../../src/cpu/accelerator.ts';
import { newMachine } from '../../src/host/new-machine.ts';
import { installBoot } from '../../src/machine/boot-contents.ts';
import { Machine } from '../../src/machine/machine.ts';
import { machineLayout } from '../../src/machine/machine-layout.ts';
import { createSharedMemory } from '../../src/memory/layout.ts';
import { guestImage } from '../support/guests.ts';
import { lapOf, programImage } from '../support/programs.ts';

interface Run {
  readonly console: string;
  readonly instructions: number;
  readonly memory: string;
  /** Of program counter and registers of every hart, at every turn. */
  readonly trace: string;
}

/** Runs an image until it switches the machine off, in bursts that end where `enough` says. */
function run(
  kernel: string,
  append: string,
  icount: number,
  harts: number,
  enough: () => boolean,
  accel: Accelerator = 'jit',
  throttled?: { readonly fractions: readonly number[]; readonly onPause: () => void },
): Run {
  const { configuration, boot } = newMachine({
    bios: { kind: 'none' },
    harts,
    ram: 16 * 1024 * 1024,
    cpu: 'rv64',
    kernel,
    append,
  });
  const memory = createSharedMemory(machineLayout(configuration));
  // The host's time passes whenever somebody looks at it.
  const time = new ManualClock();
  const clock: Clock = {
    nowNs() {
      time.advance(1000);
      return time.nowNs();
    },
  };
  let console = '';
  let over = false;
  const machine = new Machine(configuration, memory, {
    clock,
    accel,
    icount,
    random: () => expect.fail('virtual time has no real entropy'),
    transmit: (byte) => {
      console += String.fromCharCode(byte);
    },
    powerOff: () => {
      over = true;
    },
    interrupted() {},
    resetRequested() {},
    debugStopped() {},
  });
  installBoot(machine.memory, boot);
  machine.reset();
  machine.start();
  const trace = createHash('sha256');
  const look = (): boolean => {
    for (const hart of machine.engine.harts) {
      trace.update(`${hart.pc} ${Array.from({ length: 31 }, (_, i) => hart.x(i + 1)).join(' ')}\n`);
    }
    return enough();
  };
  machine.throttle.set('migration', throttled?.fractions ?? []);
  while (!over) {
    const end = machine.burst(look);
    if (end.kind !== 'idle') continue;
    // Only a throttle is waited for.
    expect(end.timerInNs).toBeGreaterThan(0);
    time.advance(end.timerInNs as number);
    throttled?.onPause();
  }
  const ram = machine.memory.block('ram');
  const bytes = machine.memory.view(ram.offset, ram.size).slice();
  return {
    console,
    instructions: machine.engine.instructions,
    memory: createHash('sha256').update(bytes).digest('hex'),
    trace: trace.digest('hex'),
  };
}

test.each([1, 4])(
  'two runs with %i harts end alike to the instruction, however the host cuts them up',
  (harts) => {
    let calls = 0;
    const whole = run(guestImage('ticks'), 'count=20 interval=7', 0, harts, () => false);
    const pieces = run(guestImage('ticks'), 'count=20 interval=7', 0, harts, () => ++calls % 3 === 0);
    expect(pieces).toEqual(whole);
    const interpreted = run(guestImage('ticks'), 'count=20 interval=7', 0, harts, () => false, 'interp');
    expect(interpreted).toEqual(whole);
    expect(whole.console).toContain('tick 20 ');
  },
);

test('harts that wait for one another, lock and interrupt: the same trace and memory, translated or not', () => {
  const smp = (accel: Accelerator, enough: () => boolean): Run =>
    run(guestImage('smp'), 'size=4M words=16 limit=1 report=500', 8, 4, enough, accel);
  const whole = smp('jit', () => false);
  let calls = 0;
  expect(smp('jit', () => ++calls % 5 === 0)).toEqual(whole);
  expect(smp('interp', () => false)).toEqual(whole);
  expect(whole.console).toMatch(/^smp /m);
  expect(whole.console).not.toContain('ERROR');
});

test.each(['records', 'bytecode'] as const)(
  'in S-mode under Sv39: %s has one trace and memory',
  (program) => {
    const supervised = (accel: Accelerator, enough: () => boolean): Run =>
      run(programImage(program), 'loops=2 mode=supervisor', 0, 1, enough, accel);
    const whole = supervised('jit', () => false);
    let calls = 0;
    expect(supervised('jit', () => ++calls % 3 === 0)).toEqual(whole);
    expect(supervised('interp', () => false)).toEqual(whole);
    const bare = run(programImage(program), 'loops=2 mode=machine', 0, 1, () => false);
    expect(lapOf(whole.console)?.checksum).toBe(lapOf(bare.console)?.checksum);
    expect(whole.trace).not.toBe(bare.trace);
  },
);

test.each(['records', 'sort', 'matrix'] as const)(
  'translated or interpreted, %s ends alike to the instruction',
  (program) => {
    const [translated, interpreted] = ACCELERATORS.map((accel) =>
      run(programImage(program), 'loops=2', 0, 1, () => false, accel),
    );
    expect(translated).toEqual(interpreted);
  },
);

test('a throttle, of all harts or of one, changes neither trace nor memory', () => {
  const smp = (fractions: readonly number[]): { run: Run; pauses: number } => {
    let pauses = 0;
    const onPause = (): void => void pauses++;
    const throttled = fractions.length === 0 ? undefined : { fractions, onPause };
    const append = 'size=4M words=16 limit=1 report=500';
    return { run: run(guestImage('smp'), append, 8, 3, () => false, 'jit', throttled), pauses };
  };
  const undisturbed = smp([]);
  for (const fractions of [
    [0.5, 0.5, 0.5],
    [0, 0.99, 0],
  ]) {
    const { run: throttled, pauses } = smp(fractions);
    expect(throttled).toEqual(undisturbed.run);
    expect(pauses).toBeGreaterThan(50);
  }
});

test('idle time is skipped, and ticks come at their time', () => {
  const { console, instructions } = run(guestImage('ticks'), 'count=3 interval=1000', 3, 1, () => false);
  expect(console).toMatch(/^tick 1 1\.000 s\ntick 2 2\.000 s\ntick 3 3\.000 s\n/);
  expect(instructions).toBeLessThan(100_000);
});

test('an instruction takes 2^N ns', () => {
  const time = (shift: number): number => {
    const { console } = run(programImage('alu'), 'loops=2', shift, 1, () => false);
    return Number(lapOf(console)?.microseconds);
  };
  expect(time(3) / time(1)).toBeCloseTo(4, 1);
});
