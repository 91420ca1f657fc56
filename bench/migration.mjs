/**
 * How long does a live migration take, and for how long does the guest stand still? godwit to godwit and QEMU to QEMU
 * in turn, 256 MiB over a unix socket, as an observer sees it who reads both serial ports.
 *
 * "bulk" is a guest of 1 GiB with 512 MiB of random words in use, and no bandwidth cap: what counts there is the total.
 *
 * Usage: npm run bench:migration -- [--rounds N] [--json] [--only paced|idle|flat-out|throttled|postcopy|bulk]
 */
import { benchOptions, emulators, environment, progress, ranged, ratio, report } from './support/bench.mjs';
import { DIRTY_LINE, migrate, TICK_LINE } from './support/migrate.mjs';

/** As `migrate` takes them. */
const SCENARIOS = [
  {
    name: 'paced',
    title: 'dirty, 20,000 pages/s in 64 MiB, default limits',
    guest: 'dirty',
    append: 'size=64M rate=20000 report=10',
    line: DIRTY_LINE,
    settleMs: 1500,
    afterMs: 700,
  },
  {
    name: 'idle',
    title: 'idle guest (ticks, one a second), default limits',
    guest: 'ticks',
    append: 'interval=1000',
    line: TICK_LINE,
    settleMs: 1500,
    afterMs: 1300,
  },
  {
    name: 'flat-out',
    title: 'dirty, 64 MiB as fast as it can, no bandwidth cap',
    guest: 'dirty',
    append: 'size=64M report=10',
    line: DIRTY_LINE,
    parameters: { 'max-bandwidth': 0 },
    settleMs: 1500,
    afterMs: 700,
  },
  {
    name: 'throttled',
    title: 'dirty, whole pages of 64 MiB as fast as it can, default limits, auto-converge',
    guest: 'dirty',
    append: 'size=64M words=512 report=10',
    line: DIRTY_LINE,
    capabilities: ['auto-converge'],
    limitMs: 120_000,
    settleMs: 1500,
    afterMs: 700,
  },
  {
    name: 'postcopy',
    title: 'dirty, whole pages of 64 MiB as fast as it can, post-copy after 0.5 s with postcopy-preempt',
    guest: 'dirty',
    append: 'size=64M words=512 report=10',
    line: DIRTY_LINE,
    // Or a fast link has moved it in less than that, with a pause that is allowed.
    parameters: { 'downtime-limit': 1 },
    capabilities: ['postcopy-preempt'],
    postcopyMs: 500,
    settleMs: 1500,
    afterMs: 700,
  },
  {
    name: 'bulk',
    title: '1 GiB, of which 512 MiB are in use, no bandwidth cap',
    guest: 'dirty',
    append: 'size=512M words=512 pattern=random rate=20 report=5',
    memory: '1G',
    line: DIRTY_LINE,
    ready: DIRTY_LINE,
    parameters: { 'max-bandwidth': 0 },
    settleMs: 500,
    afterMs: 700,
  },
];

const options = benchOptions({ rounds: 7, more: { only: { type: 'string' } } });
const scenarios = SCENARIOS.filter(({ name }) => options.only === undefined || name === options.only);
if (scenarios.length === 0) {
  process.stderr.write(`--only: expected ${SCENARIOS.map(({ name }) => name).join(', ')}\n`);
  process.exit(1);
}

const machine = environment();
const sides = emulators();
const results = scenarios.map(({ name, title }) => ({ name, title, godwit: [], qemu: [] }));
for (let round = 1; round <= options.rounds; round++) {
  for (const [i, scenario] of scenarios.entries()) {
    for (const side of sides) {
      progress(`round ${round}: ${scenario.name} in ${side.name}`);
      const figures = await migrate(side, scenario);
      results[i][side.name].push(figures);
      if (figures.damage === undefined) continue;
      process.stderr.write(`round ${round}, ${scenario.name}, ${side.name}: ${figures.damage}\n`);
    }
  }
}
progress('');

const FIGURES = [
  ['total, command to "completed"', 'total', 0],
  ['total, as it reports', 'reportedTotal', 0],
  ['pause, as it reports ("downtime")', 'reportedDowntime', 0],
  ["observer's largest gap", 'gap', 0, 'dirty'],
  ['… over the switch-over', 'switchGap', 0, 'dirty'],
  ['… the second before', 'baselineGap', 0, 'dirty'],
  ["guest's speed meanwhile, of that before, %", 'speed', 0, 'dirty'],
  ['… what it lost, in its time', 'lost', 0, 'dirty'],
  ['passes', 'passes', 0],
  ['MiB sent', 'mib', 1],
  ['pages asked for', 'requests', 0, 'postcopy'],
  ['wait for a page, median, µs', 'latencyMedian', 0, 'postcopy'],
  ['… 99 of 100, µs', 'latencyP99', 0, 'postcopy'],
  ['… longest, µs', 'latencyMax', 0, 'postcopy'],
];
/** The waits of all rounds, by duration. */
function distribution(rounds) {
  const sum = [];
  for (const { latencyDistribution = [] } of rounds) {
    for (const [i, count] of latencyDistribution.entries()) sum[i] = (sum[i] ?? 0) + count;
  }
  const all = sum.reduce((total, count) => total + count, 0);
  return sum.flatMap((count, i) =>
    count === 0
      ? []
      : [[`    ${2 ** i} to ${2 ** (i + 1)} µs`, `${((count / all) * 100).toFixed(1)} %`, '', '']],
  );
}
const damagedRounds = (rounds) =>
  `${rounds.filter(({ damage }) => damage !== undefined).length} of ${rounds.length}`;
const rows = [['in ms, if nothing else is said', 'godwit', 'QEMU', 'godwit/QEMU']];
for (const { title, name, godwit, qemu } of results) {
  rows.push([`${name}: ${title}`, '', '', '']);
  const { guest } = scenarios.find((scenario) => scenario.name === name);
  for (const [label, key, digits, only] of FIGURES) {
    if (only !== undefined && only !== guest && only !== name) continue;
    const [ours, theirs] = [godwit, qemu].map((list) =>
      list.map((round) => round[key]).filter((value) => value !== undefined),
    );
    rows.push([`  ${label}`, ranged(ours, digits), ranged(theirs, digits), ratio(ours, theirs)]);
  }
  rows.push(...distribution(godwit));
  rows.push(['  rounds with a damaged guest', damagedRounds(godwit), damagedRounds(qemu), '']);
}
report({ options, bench: 'migration', machine, rows, results });
// QEMU is not what is tested here; its damaged rounds are shown, and that is all.
if (results.some(({ godwit }) => godwit.some(({ damage }) => damage !== undefined))) {
  process.stderr.write('godwit damaged a guest: see above\n');
  process.exit(1);
}
