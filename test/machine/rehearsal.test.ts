import { expect, test } from 'vitest';
import { ACCELERATORS } from '../../src/cpu/accelerator.ts';
import type { MachinePlan } from '../../src/machine/configuration.ts';
import { isaOf } from '../../src/machine/cpu-models.ts';
import { Rehearsal } from '../../src/machine/rehearsal.ts';

const PLAN: MachinePlan = {
  machine: 'virt-1.0',
  harts: 2,
  cpu: 'rv64',
  isa: isaOf('rv64', 'none'),
  aia: 'none',
  aclint: false,
  ram: 16 * 1024 * 1024,
  uuid: '',
  rom: { size: 4096 },
  boot: { size: 4096 },
  virtioMmioLegacy: true,
  devices: [],
};

test.each(ACCELERATORS)('its program runs for as long as it is to (%s)', (accel) => {
  let ns = 0;
  // Each look at the clock takes 10 µs.
  const clock = { nowNs: () => (ns += 10_000) };
  const rehearsal = new Rehearsal(PLAN, accel, clock, 5e6);
  let bursts = 1;
  while (rehearsal.burst(1e6)) bursts++;
  expect(bursts).toBeGreaterThanOrEqual(3);
  expect(bursts).toBeLessThanOrEqual(6);
  expect(rehearsal.laps).toBeGreaterThan(100);
});
