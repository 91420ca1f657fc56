/**
 * How fast does guest code run, beside QEMU's TCG? The programs of bench/programs, the same image and the same work in
 * both, each time in a process of its own that starts cold, so that translation is paid for. What counts is the time
 * that the guest measures around its work, or by this process's clock, or (where others keep the machine busy) the CPU
 * time of the whole emulator.
 *
 * Usage: npm run bench:cpu -- [--rounds N] [--only NAME,…] [--scale F] [--accel interp|jit] [--mode supervisor]
 *   [--by guest|host|cpu] [--warm N] [--json]
 */
import {
  benchOptions,
  emulators,
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
  TCG,
  timesBy,
  WARM,
  warmLaps,
} from './support/programs.mjs';

const options = benchOptions({
  rounds: 5,
  more: {
    ...ACCEL,
    ...ONLY,
    ...SCALE,
    ...WARM,
    ...byClock('guest'),
    mode: { type: 'string', default: 'machine' },
  },
});
const machine = environment();
const sides = emulators().map(({ name }) => (name === 'qemu' ? TCG : godwitWith(options)));
const results = selected(options).map((workload) => ({
  name: workload.name,
  workload,
  loops: loopsOf(workload, options),
  godwit: [],
  qemu: [],
}));

/** Both must compute the same, and godwit must always count the same instructions. */
function compare({ name, godwit, qemu }) {
  const laps = [...godwit, ...qemu];
  for (const lap of laps) {
    if (lap.checksum !== laps[0].checksum) {
      throw new Error(`${name}: checksums differ: ${laps.map(({ checksum }) => checksum).join(', ')}`);
    }
  }
  const counts = new Set(godwit.map(({ instructions }) => instructions));
  if (counts.size > 1) throw new Error(`${name}: instruction counts differ: ${[...counts].join(', ')}`);
}

for (let round = 1; round <= options.rounds; round++) {
  for (const result of results) {
    // Who is first changes, so that a slow drift of the machine favours nobody.
    for (const side of round % 2 === 0 ? sides.toReversed() : sides) {
      progress(`round ${round}: ${result.name} in ${side.name}`);
      const settings = [`loops=${result.loops}`, `mode=${options.mode}`];
      result[side.name].push(await runProgram(side, result.workload, settings, warmLaps(options)));
    }
    compare(result);
  }
}
progress('');

const seconds = timesBy(options);
const mips = ({ godwit }, laps) => seconds(laps).map((time) => godwit[0].instructions / time / 1e6);
/** How far the guest's clock is from this process's: what an emulator might hide. */
const clocks = results
  .flatMap(({ name, godwit, qemu }) => [...godwit, ...qemu].map((lap) => ({ name, ...lap })))
  .map(({ name, seconds: guest, hostSeconds }) => ({ name, off: Math.abs(hostSeconds - guest), guest }))
  .filter(({ off, guest }) => off > 0.05 * guest + 0.02)
  .map(({ name, off }) => `${name} (${(off * 1000).toFixed(0)} ms)`);
const ten = results.filter(({ workload, qemu }) => !workload.extra && qemu.length > 0);
/** godwit's speed over QEMU's, by `of` each side's times. */
const ratiosBy = (of) =>
  ten.map(({ godwit, qemu }) => summary(seconds(qemu))[of] / summary(seconds(godwit))[of]);
const meanOf = (ratios) => `${geometricMean(ratios).toFixed(2)}, lowest ${Math.min(...ratios).toFixed(2)}`;

report({
  options,
  bench: `cpu${options.accel === undefined ? '' : `, -accel ${options.accel}`}, ${options.mode} mode, in million instructions per second of ${options.by} time${options.warm === '0' ? '' : `, after ${options.warm} laps`}`,
  machine,
  results,
  rows: [
    ['program', 'loops', 'million', 'seconds', 'godwit', 'QEMU TCG', 'godwit/QEMU'],
    ...results.map((result) => [
      result.name,
      String(result.loops),
      (result.godwit[0].instructions / 1e6).toFixed(0),
      summary(seconds(result.godwit)).median.toFixed(2),
      ranged(mips(result, result.godwit)),
      ranged(mips(result, result.qemu)),
      ratio(mips(result, result.godwit), mips(result, result.qemu)),
    ]),
  ],
  notes: [
    ...(ten.length > 1
      ? [
          `geometric mean of ${ten.length}: ${meanOf(ratiosBy('median'))}; by each side's best round: ${meanOf(ratiosBy('min'))}`,
        ]
      : []),
    clocks.length === 0
      ? "the guest's clock and the host's agree in all runs"
      : `the guest's clock and the host's differ: ${clocks.join(', ')}`,
  ],
});
