/**
 * How fast is the same C on another emulator that generates WebAssembly? The programs of bench/programs, built for i386
 * and run in v86, beside godwit; each time in a process of its own, the same work, by this process's clock (or by CPU time). An anchor:
 * the compilers' code differs as the instruction sets do.
 *
 * Needs a compiler for i386 and, the first time, npm: v86 is installed into this folder (package.json has its version).
 *
 * Usage: npm run bench:v86 -- [--rounds N] [--only NAME,…] [--scale F] [--accel interp|jit]
 *   [--by host|cpu] [--warm N] [--json]
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  benchOptions,
  environment,
  geometricMean,
  progress,
  ranged,
  ratio,
  report,
  summary,
} from '../support/bench.mjs';
import { withDirectory } from '../support/emulator.mjs';
import {
  ACCEL,
  byClock,
  godwitWith,
  loopsOf,
  ONLY,
  runProgram,
  SCALE,
  selected,
  timesBy,
  WARM,
  warmLaps,
} from '../support/programs.mjs';

const FOLDER = import.meta.dirname;

const options = benchOptions({
  rounds: 5,
  more: { ...ACCEL, ...ONLY, ...SCALE, ...WARM, ...byClock('host') },
});

/** Ends the bench, which is no failure: an anchor that is not there is nobody's fault. */
function skip(why) {
  process.stderr.write(`skipped: bench:v86: ${why}\n`);
  process.exit(0);
}

/** Runs a program of this folder's. @returns whether it succeeded, and what it said to stderr. */
function tool(command, args) {
  const { status, stderr, error } = spawnSync(command, args, { cwd: FOLDER, encoding: 'utf8' });
  return { done: status === 0, said: (error?.message ?? stderr).trim().split('\n')[0] };
}

/** Installs v86 as package.json says. @returns its version. */
function install() {
  const file = join(FOLDER, 'node_modules', 'v86', 'package.json');
  const wanted = JSON.parse(readFileSync(join(FOLDER, 'package.json'), 'utf8')).dependencies.v86;
  const version = () => (existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).version : '');
  if (version().split('+')[0] !== wanted) {
    progress(`installing v86 ${wanted}`);
    const { said } = tool('npm', [
      'install',
      '--no-package-lock',
      '--no-audit',
      '--no-fund',
      '--ignore-scripts',
    ]);
    if (version().split('+')[0] !== wanted) skip(`v86 ${wanted} could not be installed: ${said}`);
  }
  return version();
}

const version = install();
const machine = { ...environment(), v86: version };
const results = await withDirectory(async (images) => {
  const { done, said } = tool(join(FOLDER, 'build'), [images]);
  if (!done) skip(said);
  const v86 = {
    name: 'v86',
    command: [process.execPath, join(FOLDER, 'machine.mjs')],
    args: ({ program, settings: own }, settings) => [
      join(images, `${program}.elf`),
      [...own, ...settings].join(' '),
    ],
  };
  const sides = [godwitWith(options), v86];
  const all = selected(options)
    // i386 has no instruction that multiplies and adds.
    .filter(({ name }) => name !== 'matrix-fused')
    .map((workload) => ({
      name: workload.name,
      workload,
      loops: loopsOf(workload, options),
      godwit: [],
      v86: [],
    }));
  for (let round = 1; round <= options.rounds; round++) {
    for (const result of all) {
      for (const side of round % 2 === 0 ? sides.toReversed() : sides) {
        progress(`round ${round}: ${result.name} in ${side.name}`);
        result[side.name].push(
          await runProgram(side, result.workload, [`loops=${result.loops}`], warmLaps(options)),
        );
      }
      const checksums = new Set([...result.godwit, ...result.v86].map(({ checksum }) => checksum));
      if (checksums.size > 1)
        throw new Error(`${result.name}: checksums differ: ${[...checksums].join(', ')}`);
    }
  }
  return all;
});
progress('');

const seconds = timesBy(options);
const faster = results
  .filter(({ workload }) => !workload.extra)
  .map(({ godwit, v86 }) => summary(seconds(v86)).median / summary(seconds(godwit)).median);

report({
  options,
  bench: `v86 ${version}${options.accel === undefined ? '' : `, -accel ${options.accel}`}, in seconds of ${options.by} time${options.warm === '0' ? '' : `, after ${options.warm} laps`}`,
  machine,
  results,
  rows: [
    ['program', 'loops', 'godwit', 'v86', "godwit's speed/v86's"],
    ...results.map(({ name, loops, godwit, v86 }) => [
      name,
      String(loops),
      ranged(seconds(godwit), 2),
      ranged(seconds(v86), 2),
      ratio(seconds(v86), seconds(godwit)),
    ]),
  ],
  notes:
    faster.length > 1
      ? [
          `geometric mean of ${faster.length}: ${geometricMean(faster).toFixed(2)}, lowest ${Math.min(...faster).toFixed(2)}`,
        ]
      : [],
});
