/** A machine whose harts are throttled never falls asleep for good: there is always a moment at which it goes on. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import { newMachine } from '../../src/host/new-machine.ts';
import { installBoot } from '../../src/machine/boot-contents.ts';
import { Machine } from '../../src/machine/machine.ts';
import { machineLayout } from '../../src/machine/machine-layout.ts';
import { MAX_THROTTLE } from '../../src/machine/throttle.ts';
import { createSharedMemory } from '../../src/memory/layout.ts';
import { assemble } from '../support/bare-machine.ts';

/** The host's: time passes from each look to the next, and now and then the host does something else for a while. */
class BusyClock extends ManualClock {
  #looks = 0;

  override nowNs(): number {
    this.advance(++this.#looks % 7 === 0 ? 3e6 : 400);
    return super.nowNs();
  }
}

test.each([1, 2])('with %i harts that loop and take no interrupts', (harts) => {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const kernel = join(folder, 'image');
  writeFileSync(kernel, assemble(['addi', { rd: 5, rs1: 5, imm: 1 }], ['jal', { rd: 0, imm: -4 }]));
  const request = { bios: { kind: 'none' as const }, harts, ram: 16 * 1024 * 1024, cpu: 'rv64', kernel };
  const { configuration, boot } = newMachine(request);
  const clock = new BusyClock();
  const machine = new Machine(configuration, createSharedMemory(machineLayout(configuration)), {
    clock,
    random: (bytes) => new Uint8Array(bytes),
    transmit() {},
    powerOff: () => expect.fail('switched off'),
    interrupted() {},
    resetRequested: () => expect.fail('reset'),
    debugStopped: () => expect.fail('stopped'),
  });
  installBoot(machine.memory, boot);
  machine.reset();
  machine.start();
  for (const fraction of [0.3, 0.9, MAX_THROTTLE]) {
    const fractions = machine.engine.harts.map(() => fraction);
    machine.throttle.set('migration', fractions);
    const ran = (): bigint[] => machine.engine.harts.map((hart) => hart.csr('minstret'));
    const before = ran();
    for (let bursts = 0; bursts < 300; bursts++) {
      const end = machine.burst(() => true);
      if (end.kind === 'halted') expect.fail('halted');
      if (end.kind === 'idle') {
        expect(end.timerInNs).toBeDefined();
        clock.advance(end.timerInNs as number);
      }
    }
    for (const [i, count] of ran().entries()) expect(count - (before[i] as bigint)).toBeGreaterThan(10_000n);
  }
});
