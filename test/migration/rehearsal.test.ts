import { expect, test } from 'vitest';
import { hostClock } from '../../src/host/clock.ts';
import { hostTimers } from '../../src/host/transport-timers.ts';
import { MigrationRehearsal } from '../../src/migration/rehearsal.ts';

test('a rehearsal moves a guest some times, each time all of it', async () => {
  const rehearsal = new MigrationRehearsal(hostClock, hostTimers);
  expect(await rehearsal.run()).toBeGreaterThanOrEqual(10);
  // In each post-copy the first page, at least.
  expect(rehearsal.asked).toBeGreaterThanOrEqual(5);
});

test('a rehearsal ends soon when there is something else to do', async () => {
  const rehearsal = new MigrationRehearsal(hostClock, hostTimers);
  const running = rehearsal.run();
  rehearsal.stop();
  expect(await running).toBe(1);
  expect(await rehearsal.run()).toBe(0);
});
