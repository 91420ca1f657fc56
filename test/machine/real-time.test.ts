/** The real-time clock in a machine: its alarm wakes a hart, and with virtual time a run repeats. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import { newMachine } from '../../src/host/new-machine.ts';
import { installBoot } from '../../src/machine/boot-contents.ts';
import { Machine, type MachineHost } from '../../src/machine/machine.ts';
import { machineLayout } from '../../src/machine/machine-layout.ts';
import { createSharedMemory } from '../../src/memory/layout.ts';
import { base, CSR, csrs, csrw, la, li, sleep, sw, value, zero } from '../support/bare-code.ts';
import { assemble, type Line } from '../support/bare-machine.ts';

const [RTC, RTC_IRQ, PLIC, FINISHER] = [0x10_1000, 11, 0xc00_0000, 0x10_0000];
const HANDLER = 0x200;
const SECONDS = 5;
/** 2000-01-01, where virtual time starts. */
const VIRTUAL_START = 946_684_800;

/** Sets an alarm, sleeps, and ends with (seconds since 1970) mod 128 when it rings; 128 more if it is not the RTC. */
function program(): Uint8Array {
  const [time, high, billion] = [7, 8, 9];
  const readTime: Line[] = [
    ...li(base, RTC),
    ['lwu', { rd: time, rs1: base, imm: 0 }],
    ['lwu', { rd: high, rs1: base, imm: 4 }],
    ['slli', { rd: high, rs1: high, imm: 32 }],
    ['or', { rd: time, rs1: time, rs2: high }],
    ...li(billion, 1_000_000_000),
  ];
  const before: Line[] = [
    ...sw(PLIC + 4 * RTC_IRQ, 1),
    ...sw(PLIC + 0x2000, 1 << RTC_IRQ),
    ...sw(PLIC + 0x20_0000, 0),
    ...readTime,
    ...li(value, SECONDS),
    ['mul', { rd: value, rs1: value, rs2: billion }],
    ['add', { rd: time, rs1: time, rs2: value }],
    ['srli', { rd: high, rs1: time, imm: 32 }],
    ['sw', { rs1: base, rs2: high, imm: 0x0c }],
    ['sw', { rs1: base, rs2: time, imm: 0x08 }],
    ...sw(RTC + 0x10, 1),
  ];
  const main: Line[] = [
    ...before,
    ...la(base, HANDLER, 4 * before.length),
    ['csrrw', { rd: zero, rs1: base, imm: CSR.mtvec }],
    ...csrw(CSR.mie, 1 << 11),
    ...csrs(CSR.mstatus, 1 << 3),
    ...sleep(),
  ];
  const [claimed, code] = [10, 11];
  const handler: Line[] = [
    ...readTime,
    ['divu', { rd: code, rs1: time, rs2: billion }],
    ['andi', { rd: code, rs1: code, imm: 127 }],
    ...li(base, PLIC + 0x20_0004),
    ['lw', { rd: claimed, rs1: base, imm: 0 }],
    ['addi', { rd: claimed, rs1: claimed, imm: -RTC_IRQ }],
    ['sltu', { rd: claimed, rs1: zero, rs2: claimed }],
    ['slli', { rd: claimed, rs1: claimed, imm: 7 }],
    ['or', { rd: code, rs1: code, rs2: claimed }],
    ['slli', { rd: code, rs1: code, imm: 16 }],
    ...li(value, 0x3333),
    ['or', { rd: code, rs1: code, rs2: value }],
    ...li(base, FINISHER),
    ['sw', { rs1: base, rs2: code, imm: 0 }],
    ...sleep(),
  ];
  const image = new Uint8Array(0x400);
  image.set(assemble(...main), 0);
  image.set(assemble(...handler), HANDLER);
  return image;
}

function makeMachine(options: Partial<MachineHost>) {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-'));
  const kernel = join(folder, 'program');
  writeFileSync(kernel, program());
  const request = { bios: { kind: 'none' }, harts: 1, ram: 16 * 1024 * 1024, cpu: 'rv64', kernel } as const;
  const { configuration, boot } = newMachine(request);
  rmSync(folder, { recursive: true });
  const told = { code: -1, interrupted: 0 };
  const machine = new Machine(configuration, createSharedMemory(machineLayout(configuration)), {
    clock: new ManualClock(),
    random: (bytes) => new Uint8Array(bytes),
    transmit: () => {},
    powerOff: (code) => {
      told.code = code;
    },
    interrupted: () => {},
    debugStopped: () => expect.fail('nobody debugs'),
    resetRequested: () => expect.fail('no reset is asked for'),
    ...options,
  });
  installBoot(machine.memory, boot);
  machine.reset();
  machine.start();
  return { machine, told, burst: () => machine.burst(() => false) };
}

test('an alarm ends an idle time, which is as long as it takes', () => {
  const clock = new ManualClock();
  const { told, burst } = makeMachine({ clock });
  const end = burst();
  expect(end.kind).toBe('idle');
  expect(end.kind === 'idle' && end.timerInNs).toBe(SECONDS * 1e9);
  clock.advance(SECONDS * 1e9 - 1e6);
  expect(burst().kind).toBe('idle');
  clock.advance(1e6);
  expect(burst()).toEqual({ kind: 'halted' });
  expect(told.code).toBe((VIRTUAL_START + SECONDS) % 128);
});

test('while the machine stands still its clock does, too, if it follows the machine', () => {
  const clock = new ManualClock();
  const { machine, told, burst } = makeMachine({ clock });
  burst();
  machine.stop();
  clock.advance(100e9);
  machine.start();
  expect(burst().kind).toBe('idle');
  clock.advance(SECONDS * 1e9);
  burst();
  expect(told.code).toBe((VIRTUAL_START + SECONDS) % 128);
});

test('with virtual time the wait is skipped, and two runs are alike', () => {
  const runs = [0, 1].map(() => {
    const { machine, told, burst } = makeMachine({ icount: 0 });
    expect(burst()).toEqual({ kind: 'halted' });
    return { code: told.code, instructions: machine.engine.instructions };
  });
  expect(runs[0]?.code).toBe((VIRTUAL_START + SECONDS) % 128);
  expect(runs[1]).toEqual(runs[0]);
});

test('a clock that follows the host’s starts at its base and rings by the host’s time', () => {
  const clock = new ManualClock();
  const host = { seconds: 1_150_560_081 };
  const { told, burst } = makeMachine({
    clock,
    realTime: {
      start: 1_000_000_000n * 10n ** 9n,
      follows: { now: () => BigInt(host.seconds) * 10n ** 9n, shared: true },
    },
  });
  expect(burst().kind).toBe('idle');
  for (let second = 0; second < SECONDS; second++) {
    expect(told.code).toBe(-1);
    host.seconds++;
    clock.advance(1e9);
    burst();
  }
  expect(told.code).toBe((1_000_000_000 + SECONDS) % 128);
});
