/** A guest that runs again starts with the translations of the first time. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect } from 'vitest';
import { canKeepCompiled } from '../../src/host/compiled-wasm.ts';
import { guest } from '../support/guests.ts';
import { poll, test, type VmProcess } from '../support/vm-process.ts';

const { XDG_CACHE_HOME } = process.env;
const GUEST = guest('dirty', 'size=4M words=512 report=50', '32M');

afterEach(() => {
  process.env.XDG_CACHE_HOME = XDG_CACHE_HOME;
});

/** How many regions it has translated, and how many were known. */
async function regions(vm: VmProcess): Promise<[translated: number, known: number] | undefined> {
  const shown = String(await vm.execute('human-monitor-command', { 'command-line': 'info jit' }));
  const [, translated, known] = shown.match(/translated: (\d+) regions, and (\d+) that were known/) ?? [];
  return translated === undefined ? undefined : [Number(translated), Number(known)];
}

/** Names of the files in a cache folder. */
function keptFiles(folder: string): string[] {
  const cache = join(folder, 'godwit');
  return existsSync(cache) ? readdirSync(cache).filter((name) => /^translations-[0-9a-f]+$/.test(name)) : [];
}

const untilKnown = (vm: VmProcess): Promise<unknown> =>
  poll(async () => ((await regions(vm))?.[1] ?? 0) > 0 || undefined);
const untilTranslated = (vm: VmProcess): Promise<unknown> =>
  poll(async () => ((await regions(vm))?.[0] ?? 0) > 0 || undefined);

test.runIf(canKeepCompiled)('translations are kept, and used by the next VM', async ({ bench }) => {
  const folder = join(bench.dir, 'cache');
  process.env.XDG_CACHE_HOME = folder;
  const first = await bench.start(GUEST);
  await untilTranslated(first);
  expect((await regions(first))?.[1]).toBe(0);
  const files = await poll(async () => (keptFiles(folder).length > 0 ? keptFiles(folder) : undefined));
  expect(files).toHaveLength(1);
  await first.quit();

  const second = await bench.start(GUEST);
  await untilKnown(second);
  await second.waitForLine(/passes [1-9]/);
  await second.quit();

  const without = await bench.start([...GUEST, '-accel', 'jit,cache=off']);
  await untilTranslated(without);
  expect((await regions(without))?.[1]).toBe(0);

  // Another machine: what stands where in memory is part of its code.
  const larger = await bench.start([...GUEST, '-m', '64M']);
  await untilTranslated(larger);
  expect((await regions(larger))?.[1]).toBe(0);
});

test.runIf(canKeepCompiled)('a destination has the translations of its source', async ({ bench }) => {
  const folder = join(bench.dir, 'cache');
  process.env.XDG_CACHE_HOME = folder;
  const uri = `unix:${bench.path('migration')}`;
  const source = await bench.start(GUEST);
  const target = await bench.start([...GUEST, '-incoming', uri]);
  await untilTranslated(source);
  const migrate = (to: string): Promise<true | undefined> =>
    source.execute('migrate', { uri: to }).then(
      () => true,
      // The one before is not over yet.
      () => undefined,
    );
  // They are kept when a migration begins; which V8 has optimized by then, nobody knows.
  await poll(async () => {
    await migrate(`unix:${bench.path('nobody')}`);
    return keptFiles(folder).length > 0 || undefined;
  });
  await poll(() => migrate(uri));
  await untilKnown(target);
});

test('a VM runs where no translations can be kept', async ({ bench }) => {
  process.env.XDG_CACHE_HOME = '/dev/null';
  const vm = await bench.start(GUEST);
  await untilTranslated(vm);
  await vm.quit();
  expect(vm.stderr.text).toBe('');
});
