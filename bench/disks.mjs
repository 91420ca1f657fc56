/**
 * How long does a disk take to go along with its guest, and what does its image occupy there? godwit and QEMU in turn,
 * over a unix socket, without a bandwidth cap: a thin image of 4 GiB with 200 MiB in it, an image of 200 MiB that is full,
 * and one that the guest writes and reads back all the time.
 *
 * Usage: npm run bench:disks -- [--rounds N] [--json] [--only thin|full|written]
 */
import { randomFillSync } from 'node:crypto';
import { existsSync, openSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  benchOptions,
  emulators,
  environment,
  guestImage,
  progress,
  ranged,
  ratio,
  report,
  usage,
} from './support/bench.mjs';
import { Emulator, withDirectory, within } from './support/emulator.mjs';

const MiB = 1024 * 1024;
const LIMIT_MS = 120_000;

const SCENARIOS = [
  { name: 'thin', title: '4 GiB, 200 MiB of it in 8 places', size: 4096 * MiB, data: 200, places: 8 },
  { name: 'full', title: '200 MiB, all of it', size: 200 * MiB, data: 200, places: 1 },
  {
    name: 'written',
    title: 'the guest writes 64 MiB of it round and round, as fast as it can',
    size: 128 * MiB,
    data: 0,
    places: 1,
    guest: 'disk',
    append: 'size=64M report=20',
  },
];

const options = benchOptions({ rounds: 5, more: { only: { type: 'string' } } });
const scenarios = SCENARIOS.filter(({ name }) => options.only === undefined || name === options.only);
if (scenarios.length === 0) usage(`--only: expected ${SCENARIOS.map(({ name }) => name).join(', ')}`);

/** An image with `data` MiB of noise in `places` places. */
function image(file, { size, data, places }) {
  writeFileSync(file, '');
  truncateSync(file, size);
  const fd = openSync(file, 'r+');
  const noise = randomFillSync(Buffer.alloc(MiB));
  for (let place = 0; place < places; place++) {
    for (let i = 0; i < data / places; i++) {
      writeSync(fd, noise, 0, MiB, Math.floor((place * size) / places) + i * MiB);
    }
  }
  return file;
}

const drive = (file) => ['-drive', `file=${file},format=raw,if=none,id=d0`];
const DEVICE = ['-device', 'virtio-blk-device,drive=d0'];

function migrate(side, scenario) {
  return withDirectory(async (directory) => {
    const { guest = 'ticks', append = 'interval=1000', size } = scenario;
    const machine = [
      '-M',
      'virt',
      '-bios',
      'none',
      '-m',
      '128M',
      '-kernel',
      guestImage(guest),
      '-append',
      append,
    ];
    const link = join(directory, 'link');
    const from = image(join(directory, 'from'), scenario);
    const to = image(join(directory, 'to'), { size, data: 0, places: 1 });
    const running = [];
    const start = async (name, more) => {
      const emulator = await Emulator.start(side, {
        directory,
        name,
        args: [...machine, ...DEVICE, ...more],
      });
      running.push(emulator);
      return emulator;
    };
    try {
      const source = await start('source', drive(from));
      const destination = await start('destination', [...drive(to), '-incoming', `unix:${link}`]);
      const events = [{ capability: 'events', state: true }];
      await source.execute('migrate-set-capabilities', { capabilities: events });
      await source.execute('migrate-set-parameters', { 'max-bandwidth': side.name === 'qemu' ? 1e12 : 0 });
      while (!existsSync(link)) await sleep(5);
      await sleep(1000);
      const begin = performance.now();
      await source.execute('migrate', { uri: `unix:${link}`, blk: true });
      let info;
      for (;;) {
        info = await source.execute('query-migrate');
        if (info.status === 'completed' || info.status === 'failed') break;
        if (performance.now() - begin > LIMIT_MS) break;
        await sleep(10);
      }
      const total = performance.now() - begin;
      if (info.status !== 'completed') return { failed: info['error-desc'] ?? `not done in ${LIMIT_MS} ms` };
      await within(destination.execute('query-status'), 'destination');
      await sleep(guest === 'disk' ? 2000 : 0);
      const text = destination.serial.pieces.map((piece) => piece.text).join('');
      return {
        total,
        pause: info.downtime,
        // Where it went, for --json.
        split: info.pause,
        sent: (info.disk?.transferred ?? 0) / MiB,
        here: (statSync(from).blocks * 512) / MiB,
        there: (statSync(to).blocks * 512) / MiB,
        passes: info.ram['dirty-sync-count'],
        limit: info.disk?.['write-limit'] === undefined ? undefined : info.disk['write-limit'] / 1e6,
        damage: /ERROR/.test(text) ? text.slice(0, 200) : undefined,
      };
    } finally {
      await Promise.all(running.map((emulator) => emulator.end()));
    }
  });
}

const machine = environment();
const results = scenarios.map(({ name, title }) => ({ name, title, godwit: [], qemu: [] }));
const sides = emulators();
for (let round = 1; round <= options.rounds; round++) {
  for (const [i, scenario] of scenarios.entries()) {
    for (const side of sides) {
      progress(`round ${round}: ${scenario.name} in ${side.name}`);
      results[i][side.name].push(await migrate(side, scenario));
    }
  }
}
progress('');

const FIGURES = [
  ['total', 'total', 0],
  ['pause, as it reports', 'pause', 0],
  ['passes', 'passes', 0],
  ['MiB sent of the disk', 'sent', 1],
  ['MiB that the image occupies at the source', 'here', 1],
  ['… at the destination', 'there', 1],
  ['limit on writes at the end, MB/s', 'limit', 1],
];
const rows = [['in ms, if nothing else is said', 'godwit', 'QEMU', 'godwit/QEMU']];
for (const { title, name, godwit, qemu } of results) {
  rows.push([`${name}: ${title}`, '', '', '']);
  for (const [label, key, digits] of FIGURES) {
    const [ours, theirs] = [godwit, qemu].map((list) =>
      list.map((round) => round[key]).filter((value) => value !== undefined),
    );
    if (ours.length + theirs.length > 0) {
      rows.push([`  ${label}`, ranged(ours, digits), ranged(theirs, digits), ratio(ours, theirs)]);
    }
  }
  const bad = (list) =>
    list.filter(({ failed, damage }) => failed !== undefined || damage !== undefined).length;
  rows.push([
    '  rounds that failed or damaged the guest',
    `${bad(godwit)} of ${godwit.length}`,
    `${bad(qemu)} of ${qemu.length}`,
    '',
  ]);
}
const notes = results.flatMap(({ godwit, qemu }) =>
  [...godwit, ...qemu].flatMap(({ failed, damage }) => failed ?? damage ?? []),
);
report({ options, bench: 'disks', machine, rows, results, notes });
if (results.some(({ godwit }) => godwit.some(({ failed, damage }) => (failed ?? damage) !== undefined)))
  process.exit(1);
