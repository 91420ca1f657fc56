/**
 * What does paging cost? The programs of bench/programs bare in M-mode, and in S-mode under Sv39 with pages of 4 KiB, the
 * same image and the same work, each time in a process of its own.
 *
 * Usage: npm run bench:supervisor -- [--rounds N] [--only NAME,…] [--scale F] [--accel interp|jit]
 *   [--by guest|host|cpu] [--warm N] [--json]
 */
import {
  benchOptions,
  environment,
  geometricMean,
  progress,
  ranged,
  ratio,
  report,
  summary,
} from './support/bench.mjs';
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
} from './support/programs.mjs';

const MODES = ['machine', 'supervisor'];

const options = benchOptions({
  rounds: 5,
  more: { ...ACCEL, ...ONLY, ...SCALE, ...WARM, ...byClock('guest') },
});
const machine = environment();
const godwit = godwitWith(options);
const results = selected(options).map((workload) => ({
  name: workload.name,
  workload,
  loops: loopsOf(workload, options),
  machine: [],
  supervisor: [],
}));

for (let round = 1; round <= options.rounds; round++) {
  for (const result of results) {
    for (const mode of round % 2 === 0 ? MODES.toReversed() : MODES) {
      progress(`round ${round}: ${result.name} in ${mode} mode`);
      const settings = [`loops=${result.loops}`, `mode=${mode}`];
      result[mode].push(await runProgram(godwit, result.workload, settings, warmLaps(options)));
    }
    const done = new Set(
      [...result.machine, ...result.supervisor].map((lap) => `${lap.checksum} ${lap.instructions}`),
    );
    if (done.size > 1) throw new Error(`${result.name}: results differ: ${[...done].join(', ')}`);
  }
}
progress('');

const seconds = timesBy(options);
const mips = (laps) => seconds(laps).map((time) => laps[0].instructions / time / 1e6);
const ratios = results.map(
  (result) => summary(mips(result.supervisor)).median / summary(mips(result.machine)).median,
);

report({
  options,
  bench: `supervisor${options.accel === undefined ? '' : `, -accel ${options.accel}`}, in million instructions per second of ${options.by} time${options.warm === '0' ? '' : `, after ${options.warm} laps`}`,
  machine,
  results,
  rows: [
    ['program', 'bare', 'S-mode, Sv39', 'S-mode/bare'],
    ...results.map((result) => [
      result.name,
      ranged(mips(result.machine)),
      ranged(mips(result.supervisor)),
      ratio(mips(result.supervisor), mips(result.machine)),
    ]),
  ],
  notes: [`geometric mean: ${geometricMean(ratios).toFixed(2)}, lowest ${Math.min(...ratios).toFixed(2)}`],
});
