import { expect } from 'vitest';
import type { Bench, VmProcess } from './vm-process.ts';

/** A process that waits for a guest at a unix socket of its own. @param more of its arguments. */
export async function destination(bench: Bench, ...more: string[]): Promise<{ vm: VmProcess; uri: string }> {
  const uri = `unix:${bench.path('migration')}`;
  return { vm: await bench.start(['-incoming', uri, ...more]), uri };
}

/** Migrates and waits for the end on both sides. */
export async function move(source: VmProcess, target: VmProcess, uri: string): Promise<void> {
  const [from, at] = [source.events.length, target.events.length];
  await source.execute('migrate', { uri });
  expect(await source.migrationEnd(from), JSON.stringify(await source.migration())).toBe('completed');
  await target.waitForEvent('MIGRATION', 'completed', at);
}
