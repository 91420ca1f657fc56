/**
 * How long does Debian's kernel take to boot? From the start of the process to the READY line of the initramfs that
 * guests/linux/debian.mjs makes, and the processor time that the process has used by then (all its threads). godwit
 * translating and interpreting, beside QEMU, alternating in one run. Each starts its own default firmware.
 *
 * Usage: npm run bench:linux -- [--rounds N] [--folder DIR] [--harts N] [--json]
 */
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

const options = benchOptions({
  rounds: 3,
  more: { ...FOLDER, harts: { type: 'string', default: '1' } },
});
const guest = linuxArgs(options.folder, { harts: options.harts, append: 'autooff' });
const machine = environment();

const SIDES = emulators().flatMap(({ name, command }) =>
  name === GODWIT.name
    ? ['jit', 'interp'].map((accel) => ({
        name: `${name}, ${accel}`,
        command,
        args: ['-accel', accel, ...guest],
      }))
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
