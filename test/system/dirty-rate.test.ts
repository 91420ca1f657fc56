/** How fast a guest makes pages dirty: measured, explained and limited while it runs. */
import { expect } from 'vitest';
import type { DirtyLimitInfo, DirtyRateInfo, DirtyRateMode } from '../../src/monitor/dirty.ts';
import { pagesPerSecond, untilPace } from '../support/dirty-guest.ts';
import { guest } from '../support/guests.ts';
import { poll, test, type VmProcess } from '../support/vm-process.ts';

async function measured(vm: VmProcess, mode: DirtyRateMode): Promise<DirtyRateInfo> {
  await vm.execute('calc-dirty-rate', { 'calc-time': 1, mode });
  const query = async (): Promise<DirtyRateInfo> =>
    (await vm.execute('query-dirty-rate')) as unknown as DirtyRateInfo;
  expect((await query()).status).toBe('measuring');
  return await poll(async () => {
    const info = await query();
    return info.status === 'measured' ? info : undefined;
  });
}

const human = async (vm: VmProcess, line: string): Promise<string> =>
  String(await vm.execute('human-monitor-command', { 'command-line': line })).replaceAll('\r\n', '\n');

test('each mode measures the rate that the guest keeps, and dirty-top names the store', async ({ bench }) => {
  // 3840 pages a second are 15 MiB/s; in a second no page comes twice.
  const vm = await bench.start(guest('dirty', 'rate=3840 size=32M report=100', '64M'));
  await vm.waitForLine(/^dirty 5 /);
  expect(await human(vm, 'info dirty-top')).toContain('the dirty log has not been on');
  for (const mode of ['page-sampling', 'dirty-bitmap', 'dirty-ring'] as const) {
    const info = await measured(vm, mode);
    expect(info.mode).toBe(mode);
    // Samples of 32 pages are a coarse measure: half of them are of the guest's range.
    expect(info['dirty-rate']).toBeGreaterThan(mode === 'page-sampling' ? 3 : 10);
    expect(info['dirty-rate']).toBeLessThan(mode === 'page-sampling' ? 40 : 18);
    const harts = info['vcpu-dirty-rate'];
    if (mode !== 'dirty-ring') expect(harts).toBeUndefined();
    else expect(harts).toEqual([{ id: 0, 'dirty-rate': info['dirty-rate'] }]);
  }
  const top = (await human(vm, 'info dirty-top')).split('\n');
  expect(top[0]).toMatch(/^\d{4} pages dirtied in 1\.\d s$/);
  expect(top[2]).toMatch(
    /^ *(9\d\.\d|100\.0) % +\d{4} +1\d\.\d MiB +0 +0x00000000800[0-9a-f]{5} +guest\+0x[0-9a-f]+$/,
  );
  await vm.quit();
  expect(vm.stdout.text).not.toContain('ERROR');
});

/** Of the guest's own count, in MiB per second. */
const MIB = 256;

test('a limit holds a guest that dirties too fast, and lifted it runs as before', async ({ bench }) => {
  const vm = await bench.start(guest('dirty', 'size=32M words=512 report=100', '64M'));
  await vm.waitForLine(/^dirty 5 /);
  const free = await pagesPerSecond(vm);
  await vm.execute('set-vcpu-dirty-limit', { 'dirty-rate': 20 });
  const limits = async (): Promise<DirtyLimitInfo[]> =>
    (await vm.execute('query-vcpu-dirty-limit')) as unknown as DirtyLimitInfo[];
  await untilPace(vm, (pace) => pace > 8 * MIB && pace < 32 * MIB);
  // It stays there: it is not slowed down more and more, and not let go.
  for (let i = 0; i < 5; i++) {
    const pace = await pagesPerSecond(vm);
    expect(pace).toBeGreaterThan(0);
    expect(pace).toBeLessThan(60 * MIB);
  }
  expect(await human(vm, 'info vcpu_dirty_limit')).toMatch(
    /^vcpu\[0\], limit rate 20 \(MB\/s\), current rate \d+ /,
  );
  await vm.execute('cancel-vcpu-dirty-limit');
  expect(await limits()).toEqual([]);
  await untilPace(vm, (pace) => pace > free / 3);
  await vm.quit();
  expect(vm.stdout.text).not.toContain('ERROR');
});
