/** How fast a guest makes pages dirty: measured, explained and limited while it runs. */
import { expect } from 'vitest';
import type { DirtyLimitInfo, DirtyRateInfo, DirtyRateMode } from '../../src/monitor/dirty.ts';
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

test('a limit holds a guest that dirties too fast, and lifted it runs as before', async ({ bench }) => {
  const vm = await bench.start(guest('dirty', 'size=32M words=512 report=100', '64M'));
  await vm.waitForLine(/^dirty 5 /);
  const pagesIn = async (reports: number): Promise<number> => {
    const first = await vm.waitForNewLine(/^dirty (\d+) .* pages (\d+)/);
    const next = new RegExp(`^dirty ${Number(first[1]) + reports} .* pages (\\d+)`);
    return Number((await vm.waitForLine(next))[1]) - Number(first[2]);
  };
  const free = await pagesIn(5);
  await vm.execute('set-vcpu-dirty-limit', { 'dirty-rate': 20 });
  const limits = async (): Promise<DirtyLimitInfo[]> =>
    (await vm.execute('query-vcpu-dirty-limit')) as unknown as DirtyLimitInfo[];
  // The rate of a look stays near the limit.
  let held = 0;
  await poll(async () => {
    const [limit] = await limits();
    const rate = limit?.['current-rate'] ?? 0;
    held = rate > 10 && rate < 30 ? held + 1 : 0;
    return held === 50 || undefined;
  });
  const limited = await pagesIn(5);
  expect(limited).toBeLessThan(free / 4);
  expect(limited).toBeGreaterThan(0);
  expect(await human(vm, 'info vcpu_dirty_limit')).toMatch(
    /^vcpu\[0\], limit rate 20 \(MB\/s\), current rate \d+ /,
  );
  await vm.execute('cancel-vcpu-dirty-limit');
  expect(await limits()).toEqual([]);
  expect(await pagesIn(5)).toBeGreaterThan(free / 3);
  await vm.quit();
  expect(vm.stdout.text).not.toContain('ERROR');
});
