/**
 * How long does Debian's kernel take to boot? From the start of the process to the READY line of the initramfs that
 * guests/linux/debian.mjs makes, and the processor time that the process has used by then (all its threads). godwit
 * translating and interpreting, beside QEMU, alternating in one run. Each starts its own default firmware.
 *
 * Usage: npm run bench:linux -- [--rounds N] [--folder DIR] [--harts N] [--json]
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
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
  usage,
} from './support/bench.mjs';
import { within } from './support/emulator.mjs';

const GIVE_UP_MS = 180_000;
/** Clock ticks per second in /proc/PID/stat: the same on every Linux that Node runs on. */
const TICKS_PER_S = 100;

const options = benchOptions({
  rounds: 3,
  more: {
    folder: { type: 'string', default: process.env.GODWIT_LINUX ?? 'guests/linux/debian' },
    harts: { type: 'string', default: '1' },
  },
});
const [kernel, initrd] = ['vmlinux', 'initrd.gz'].map((name) => join(options.folder, name));
for (const file of [kernel, initrd]) {
  if (!existsSync(file))
    usage(`${file} is not there: node guests/linux/debian.mjs ${options.folder} makes it`);
}
const machine = environment();

const guest = [
  ...['-M', 'virt', '-m', '512M', '-smp', options.harts, '-kernel', kernel, '-initrd', initrd],
  ...['-append', 'console=ttyS0 autooff', '-display', 'none', '-monitor', 'none', '-serial', 'stdio'],
];
const SIDES = emulators().flatMap(({ name, command }) =>
  name === GODWIT.name
    ? ['jit', 'interp'].map((accel) => ({
        name: `${name}, ${accel}`,
        command,
        args: ['-accel', accel, ...guest],
      }))
    : [{ name, command, args: guest }],
);

/** Seconds of processor time that the process has used. */
function processorTime(pid) {
  // Behind the command's name: state is field 3, utime and stime are 14 and 15.
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
}

/** @returns seconds to READY: by the clock, and of processor time. @throws Error if it does not get there. */
async function boot({ name, command: [program, ...first], args }) {
  const start = performance.now();
  const child = spawn(program, [...first, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  const ready = new Promise((resolve, reject) => {
    child.stdout.setEncoding('latin1').on('data', (chunk) => {
      text += chunk;
      if (/^READY .*[\r\n]/m.test(text)) {
        resolve({ wall: (performance.now() - start) / 1000, cpu: processorTime(child.pid) });
      }
    });
    child.once('close', () => reject(new Error(`${name} ended before READY: ${text.slice(-500)}`)));
  });
  try {
    return await within(ready, name, GIVE_UP_MS);
  } finally {
    child.kill('SIGKILL');
    if (child.exitCode === null) await new Promise((resolve) => child.once('close', resolve));
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
