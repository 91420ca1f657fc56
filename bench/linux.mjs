/**
 * How long does Debian's kernel take to boot? From the start of the process to the READY line of the initramfs that
 * guests/linux/debian.mjs makes, and the processor time that the process has used by then (all its threads). godwit
 * translating (a first boot, and one that finds the translations that another has kept) and interpreting, beside QEMU,
 * alternating in one run. Each starts its own default firmware.
 *
 * Usage: npm run bench:linux -- [--rounds N] [--folder DIR] [--harts N] [--json]
 */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  benchOptions,
  emulators,
  environment,
  GODWIT,
  progress,
  ranged,
  ratio,
  report,
} from './support/bench.mjs';
import { cpuSeconds } from './support/cpu-time.mjs';
import { FOLDER, LinuxGuest, linuxArgs } from './support/linux-guest.mjs';

/** A boot, and what V8 needs to optimize what it has translated. */
const KEPT_MS = 120_000;

const options = benchOptions({
  rounds: 3,
  more: { ...FOLDER, harts: { type: 'string', default: '1' } },
});
const guest = linuxArgs(options.folder, { harts: options.harts, append: 'autooff' });
const machine = environment();

const kept = mkdtempSync(join(tmpdir(), 'godwit-bench-'));
process.on('exit', () => rmSync(kept, { recursive: true, force: true }));

const SIDES = emulators().flatMap(({ name, command }) =>
  name === GODWIT.name
    ? [
        { name: `${name}, first boot`, command, args: guest },
        { name: `${name}, later ones`, command, args: guest, env: { XDG_CACHE_HOME: kept } },
        { name: `${name}, interp`, command, args: ['-accel', 'interp', ...guest] },
      ]
    : [{ name, command, args: guest }],
);

/** @returns seconds to READY: by the clock, and of processor time. @throws Error if it does not get there. */
async function boot({ args, ...side }) {
  const start = performance.now();
  const linux = new LinuxGuest(side, args);
  try {
    await linux.ready();
    return { wall: (performance.now() - start) / 1000, cpu: cpuSeconds(linux.pid) };
  } finally {
    await linux.end();
  }
}

function isKept() {
  const folder = join(kept, 'godwit');
  return existsSync(folder) && readdirSync(folder).some((name) => /^translations-[0-9a-f]+$/.test(name));
}

/** Boots until translations have been kept. */
async function prepare({ args, ...side }) {
  const linux = new LinuxGuest(side, args);
  const deadline = performance.now() + KEPT_MS;
  try {
    await linux.ready();
    while (!isKept()) {
      if (performance.now() > deadline) throw new Error(`no translations after ${KEPT_MS / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } finally {
    await linux.end();
  }
}

progress('a boot whose translations are kept');
for (const side of SIDES) if (side.env !== undefined) await prepare(side);

const results = SIDES.map(({ name }) => ({ name, wall: [], cpu: [] }));
for (let round = 1; round <= options.rounds; round++) {
  for (const [i, side] of SIDES.entries()) {
    progress(`round ${round}: ${side.name}`);
    const { wall, cpu } = await boot(side);
    results[i].wall.push(wall);
    results[i].cpu.push(cpu);
  }
}
progress('');

const qemu = results.find(({ name }) => name === 'qemu');
report({
  options,
  bench: `linux, ${options.harts} harts, in s from the start of the process to READY`,
  machine,
  results,
  rows: [
    ['emulator', 'by the clock', 'this/QEMU', 'processor time', 'this/QEMU'],
    ...results.map(({ name, wall, cpu }) => [
      ...[name, ranged(wall, 2), ratio(wall, qemu?.wall ?? [])],
      ...[ranged(cpu, 2), ratio(cpu, qemu?.cpu ?? [])],
    ]),
  ],
});
