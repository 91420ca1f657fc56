/** release-ram between processes: while a guest runs on at the destination, the process of the source gets smaller. */
import { readFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import { canRelease } from '../../src/host/page-release.ts';
import { guest } from '../support/guests.ts';
import { poll, test, type VmProcess } from '../support/vm-process.ts';

const MiB = 1024 * 1024;
const LINE = /^dirty \d+ /;

const enable = (vm: VmProcess, ...names: string[]) =>
  vm.execute('migrate-set-capabilities', {
    capabilities: names.map((capability) => ({ capability, state: true })),
  });

/** Bytes of memory that the process has. */
function resident(vm: VmProcess): number {
  const status = readFileSync(`/proc/${vm.child.pid}/status`, 'utf8');
  return Number(/^RssAnon:\s*(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

describe.skipIf(!canRelease())('128 MiB of memory', () => {
  test.for([
    { name: 'over one connection', more: [] },
    { name: 'over two', more: ['postcopy-preempt'] },
  ])('go back to the host as they arrive, $name', async ({ more }, { bench }) => {
    const path = bench.path('link');
    const source = await bench.start(
      guest('dirty', 'size=128M words=512 pattern=random rate=20 report=2', '160M'),
    );
    const target = await bench.start(['-incoming', 'defer']);
    await enable(source, 'postcopy-ram', 'release-ram', ...more);
    await enable(target, 'postcopy-ram', ...more);
    await target.execute('migrate-incoming', { uri: `unix:${path}` });
    await source.execute('migrate-set-parameters', { 'max-postcopy-bandwidth': 8 * MiB });
    await source.waitForLine(LINE);
    const before = resident(source);
    await source.execute('migrate', { uri: `unix:${path}` });
    await source.execute('migrate-start-postcopy');
    await poll(async () => (resident(source) < before - 24 * MiB ? true : undefined));
    expect((await source.migration()).status).toBe('postcopy-active');
    await source.execute('migrate-set-parameters', { 'max-postcopy-bandwidth': 0 });
    expect(await source.migrationEnd()).toBe('completed');
    expect(resident(source)).toBeLessThan(before - 96 * MiB);
    expect(await target.migrationEnd()).toBe('completed');
    // The guest finds every word where it comes as it was.
    await target.waitForNewLine(LINE);
    expect(target.stdout.text).not.toContain('ERROR');
  });
});

test('memory from which the guest may have to be taken up again is not given back', async ({ bench }) => {
  const vm = await bench.start(['-incoming', 'defer']);
  await expect(enable(vm, 'postcopy-ram', 'postcopy-rescue', 'release-ram')).rejects.toThrow(
    'release-ram conflicts with postcopy-rescue',
  );
});
