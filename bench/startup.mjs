/**
 * How long from the start of the process to the guest's first byte on the console? The `hello` guest, which prints at
 * once. Beside it what Node alone takes, and what godwit takes before there is a machine (`-version`).
 *
 * Usage: npm run bench:startup -- [--rounds N] [--json]
 */
import { spawn } from 'node:child_process';
import {
  benchOptions,
  emulators,
  environment,
  GODWIT,
  guestImage,
  progress,
  ranged,
  ratio,
  report,
} from './support/bench.mjs';
import { within } from './support/emulator.mjs';

const options = benchOptions({ rounds: 15 });
const machine = environment();

const hello = [
  ...['-M', 'virt', '-bios', 'none', '-m', '256M', '-kernel', guestImage('hello')],
  ...['-display', 'none', '-monitor', 'none', '-serial', 'stdio'],
];
const STARTS = [
  { name: 'node', title: 'node -e, one write', command: [process.execPath], args: ['-e', 'console.log("")'] },
  { name: 'version', title: 'godwit -version', command: GODWIT.command, args: ['-version'] },
  ...emulators().map(({ name, command }) => ({
    name,
    title: `${name}, guest's first byte`,
    command,
    args: hello,
  })),
];

/** From spawn to the first byte, in ms. @throws Error if there is none, or the process fails. */
async function firstByte({ command: [program, ...first], args, title }) {
  const start = performance.now();
  const child = spawn(program, [...first, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const arrived = new Promise((resolve) => child.stdout.once('data', () => resolve(performance.now())));
  try {
    const at = await within(Promise.race([arrived, ended.then(() => undefined)]), title, 10_000);
    if (at === undefined) throw new Error(`${title}: it ended without a byte`);
    await within(ended, title, 10_000);
    if (child.exitCode !== 0) throw new Error(`${title}: exit status ${child.exitCode}`);
    return at - start;
  } finally {
    if (child.exitCode === null) child.kill('SIGKILL');
  }
}

const results = STARTS.map(({ name, title }) => ({ name, title, ms: [] }));
// One of each beforehand: the files come from the disk cache afterwards, for all alike.
for (const start of STARTS) await firstByte(start);
for (let round = 1; round <= options.rounds; round++) {
  for (const [i, start] of STARTS.entries()) {
    progress(`round ${round}: ${start.title}`);
    results[i].ms.push(await firstByte(start));
  }
}
progress('');

const ms = (wanted) => results.find(({ name }) => name === wanted)?.ms ?? [];
report({
  options,
  bench: 'startup, in ms from the start of the process to its first byte',
  machine,
  results,
  rows: [
    ['start', 'ms', 'godwit/this'],
    ...results.map(({ title, ms: all }) => [title, ranged(all), ratio(ms('godwit'), all)]),
  ],
});
