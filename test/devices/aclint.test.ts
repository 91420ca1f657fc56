import { expect, describe as suite, test } from 'vitest';
import { ManualClock } from '../../src/clock.ts';
import { Aclint } from '../../src/devices/aclint.ts';
import { ClockTimebase } from '../../src/devices/timebase.ts';
import { AddressSpace } from '../../src/memory/address-space.ts';

const BASE = 0x200_0000;
const MTIMECMP = BASE + 0x4000;
const MTIME = BASE + 0xbff8;

function machine(harts = 2) {
  const clock = new ManualClock();
  const timebase = new ClockTimebase(clock);
  timebase.start();
  const msip = new Array<boolean>(harts).fill(false);
  const mtip = new Array<boolean>(harts).fill(false);
  const aclint = new Aclint({
    base: BASE,
    timebase,
    lines: msip.map((_, hart) => ({
      msip: (level) => {
        msip[hart] = level;
      },
      mtip: (level) => {
        mtip[hart] = level;
      },
    })),
  });
  const space = new AddressSpace();
  for (const region of aclint.regions) space.add(region);
  return { aclint, timebase, space, msip, mtip, ticks: (n: number) => clock.advance(n * 100) };
}

suite('software interrupts', () => {
  test('follow bit 0 of each hart and no other bit', () => {
    const m = machine();
    m.space.write(BASE + 4, 4, 0xffff_ffff);
    expect(m.space.read(BASE + 4, 4)).toBe(1);
    expect(m.msip).toEqual([false, true]);
    m.space.write(BASE + 4, 4, 0xffff_fffe);
    expect(m.msip).toEqual([false, false]);
  });

  test('of a hart that is not there are neither stored nor raised', () => {
    const m = machine();
    m.space.write(BASE + 8, 4, 1);
    expect(m.space.read(BASE + 8, 4)).toBe(0);
    expect(m.msip).toEqual([false, false]);
  });
});

suite('the timer', () => {
  test('fires when mtime reaches mtimecmp, and stops when mtimecmp moves on', () => {
    const m = machine();
    m.space.write64(MTIMECMP + 8, 100n);
    m.ticks(99);
    m.aclint.update();
    expect(m.mtip).toEqual([false, false]);
    m.ticks(1);
    m.aclint.update();
    expect(m.mtip).toEqual([false, true]);
    m.space.write64(MTIMECMP + 8, 101n);
    expect(m.mtip).toEqual([false, false]);
    m.space.write64(MTIMECMP + 8, 0n);
    expect(m.mtip).toEqual([false, true]);
  });

  test('does not fire before it is set', () => {
    const m = machine();
    m.ticks(1e9);
    m.aclint.update();
    expect(m.mtip).toEqual([false, false]);
  });

  test('is written and read in halves as well', () => {
    const m = machine();
    m.space.write(MTIMECMP, 4, 0xffff_ffff);
    m.space.write(MTIMECMP + 4, 4, 0x1234_5678);
    expect(m.space.read64(MTIMECMP)).toBe(0x1234_5678_ffff_ffffn);
    expect(m.space.read(MTIMECMP + 4, 4)).toBe(0x1234_5678);
  });

  test('knows the next deadline of all harts', () => {
    const m = machine(3);
    expect(m.aclint.nextDeadline()).toBeUndefined();
    m.space.write64(MTIMECMP, 500n);
    m.space.write64(MTIMECMP + 8, 300n);
    expect(m.aclint.nextDeadline()).toBe(300n);
    m.ticks(299);
    expect(m.aclint.nextDeadline()).toBe(300n);
    m.ticks(1);
    expect(m.aclint.nextDeadline()).toBe(500n);
    m.ticks(1000);
    expect(m.aclint.nextDeadline()).toBeUndefined();
  });
});

suite('mtime', () => {
  test('is the timebase, to read and to write, whole or in halves', () => {
    const m = machine();
    m.ticks(42);
    expect(m.space.read64(MTIME)).toBe(42n);
    m.space.write64(MTIME, 2n ** 33n + 1n);
    m.ticks(1);
    expect(m.space.read(MTIME, 4)).toBe(2);
    expect(m.space.read(MTIME + 4, 4)).toBe(2);
    m.space.write(MTIME + 4, 4, 7);
    expect(m.timebase.now()).toBe(7n * 2n ** 32n + 2n);
  });

  test('written past a deadline fires its timer', () => {
    const m = machine();
    m.space.write64(MTIMECMP, 1000n);
    m.space.write64(MTIME, 1000n);
    expect(m.mtip[0]).toBe(true);
  });

  test('is 0 after a reset, and no interrupt is left', () => {
    const m = machine();
    m.ticks(10);
    m.space.write64(MTIMECMP, 5n);
    m.space.write(BASE, 4, 1);
    m.aclint.reset();
    expect([m.timebase.now(), m.msip[0], m.mtip[0]]).toEqual([0n, false, false]);
  });
});

suite('a move', () => {
  test('goes on from the same time with the same timers and lines', () => {
    const from = machine();
    from.ticks(1000);
    from.space.write64(MTIMECMP, 1500n);
    from.space.write64(MTIMECMP + 8, 900n);
    from.space.write(BASE, 4, 1);
    from.timebase.stop();
    const section = from.aclint.state.save();
    const to = machine();
    to.timebase.stop();
    to.aclint.state.prepare(section)();
    expect([to.msip, to.mtip]).toEqual([
      [true, false],
      [false, true],
    ]);
    to.ticks(1e6);
    expect(to.space.read64(MTIME)).toBe(1000n);
    to.timebase.start();
    to.ticks(500);
    to.aclint.update();
    expect(to.mtip).toEqual([true, true]);
  });

  test('to a machine of another number of harts is refused', () => {
    expect(() => machine(1).aclint.state.prepare(machine(2).aclint.state.save())).toThrow(
      'aclint.msip: expected an array of 1, got an array of 2',
    );
  });
});

test('the monitor sees every register at its offset', () => {
  const m = machine(2);
  m.space.write64(MTIMECMP + 8, 255n);
  expect(m.aclint.dump()).toEqual([
    { name: 'msip[0]', offset: 0, value: '0x00000000' },
    { name: 'msip[1]', offset: 4, value: '0x00000000' },
    { name: 'mtimecmp[0]', offset: 0x4000, value: '0xffffffffffffffff' },
    { name: 'mtimecmp[1]', offset: 0x4008, value: '0x00000000000000ff' },
  ]);
});

test('the regions are the two that QEMU has', () => {
  expect(machine().aclint.regions.map(({ base, size }) => [base, size])).toEqual([
    [BASE, 0x4000],
    [BASE + 0x4000, 0x8000],
  ]);
});
