/** Interrupts of a machine between its bursts: a hart that waits is woken, and goes on waiting at a destination. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, describe as suite, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import { newMachine } from '../../src/host/new-machine.ts';
import { installBoot } from '../../src/machine/boot-contents.ts';
import { Machine } from '../../src/machine/machine.ts';
import { machineLayout } from '../../src/machine/machine-layout.ts';
import { createSharedMemory } from '../../src/memory/layout.ts';
import {
  expectedNumber,
  INTERRUPT_PROGRAMS,
  type InterruptProgram,
  interruptProgram,
} from '../support/interrupt-program.ts';

/** A machine with the program, reset and running, and what it told its host. */
function makeMachine(program: InterruptProgram) {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-'));
  const kernel = join(folder, 'program');
  writeFileSync(kernel, interruptProgram(program));
  const { aia } = program;
  const request = {
    bios: { kind: 'none' },
    harts: 2,
    ram: 16 * 1024 * 1024,
    cpu: 'rv64',
    kernel,
    aia,
  } as const;
  const { configuration, boot } = newMachine(request);
  rmSync(folder, { recursive: true });
  const told = { console: '', code: -1, interrupted: 0 };
  const machine = new Machine(configuration, createSharedMemory(machineLayout(configuration)), {
    clock: new ManualClock(),
    random: (bytes) => new Uint8Array(bytes),
    transmit: (byte) => {
      told.console += String.fromCharCode(byte);
    },
    powerOff: (code) => {
      told.code = code;
    },
    interrupted: () => {
      told.interrupted++;
    },
    debugStopped: () => expect.fail('nobody debugs'),
    resetRequested: () => expect.fail('no reset is asked for'),
  });
  installBoot(machine.memory, boot);
  machine.reset();
  machine.start();
  told.interrupted = 0;
  return { machine, told, burst: () => machine.burst(() => false) };
}

const type = (machine: Machine) => machine.uart.receive(Uint8Array.of(0x78));

suite.each(INTERRUPT_PROGRAMS)('aia=$aia, $level level, hart $hart', (program) => {
  const expected = { console: 'x40', code: expectedNumber(program) };

  test('a character that comes while all harts wait asks for a burst, which the interrupt begins', () => {
    const { machine, told, burst } = makeMachine(program);
    expect(burst()).toEqual({ kind: 'idle', timerInNs: undefined });
    expect(told).toEqual({ console: '', code: -1, interrupted: 0 });
    type(machine);
    expect(told.interrupted).toBeGreaterThan(0);
    expect(burst()).toEqual({ kind: 'halted' });
    expect(told).toMatchObject(expected);
  });

  test.each([
    ['before', true],
    ['after', false],
  ])('a character that comes %s the machine moves interrupts at the destination', (_, before) => {
    const source = makeMachine(program);
    source.burst();
    source.machine.stop();
    if (before) type(source.machine);
    const target = makeMachine(program);
    const [from, to] = [source.machine.memory, target.machine.memory];
    const [ram, there] = [from.block('ram'), to.block('ram')];
    to.view(there.offset, there.size).set(from.view(ram.offset, ram.size));
    target.machine.prepareState(source.machine.saveState())();
    if (!before) type(target.machine);
    expect(target.burst()).toEqual({ kind: 'halted' });
    expect(target.told).toMatchObject(expected);
    expect(source.told.code).toBe(-1);
  });
});
