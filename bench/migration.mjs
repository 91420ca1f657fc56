/**
 * How long does a live migration take, and for how long does the guest stand still? godwit to godwit and QEMU to QEMU
 * in turn, 256 MiB over a unix socket, as an observer sees it who reads both serial ports.
 *
 * "bulk" is a guest of 1 GiB with 512 MiB of random words in use, and no bandwidth cap: what counts there is the total.
 *
 * Usage: npm run bench:migration -- [--rounds N] [--json] [--only paced|idle|flat-out|postcopy|bulk]
 */
import { existsSync } from 'node:fs';
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
} from './support/bench.mjs';
import { Emulator, withDirectory } from './support/emulator.mjs';

const DIRTY_LINE = /^dirty (\d+) (\d+\.\d{3}) s pages (\d+) passes (\d+)$/;
const TICK_LINE = /^tick (\d+) (\d+\.\d{3}) s$/;

/** `settleMs` is how long the guest runs before it is moved, `afterMs` how long it is watched afterwards. */
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
    name: 'postcopy',
    title: 'dirty, whole pages of 64 MiB as fast as it can, post-copy after 0.5 s',
    guest: 'dirty',
    append: 'size=64M words=512 report=10',
    line: DIRTY_LINE,
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

const POSTCOPY = ['postcopy-ram', 'postcopy-blocktime'];

/** The largest gap (ms) between neighbours of a list of times. */
const largestGap = (times) => Math.max(...times.slice(1).map((time, i) => time - times[i]));

/**
 * The guest's numbered lines, each with the arrival of its end, joined over the two ports: a line that the source began
 * is finished by the destination.
 */
function guestLines(source, destination) {
  const lines = [];
  let text = '';
  for (const [port, pieces] of [source.serial.pieces, destination.serial.pieces].entries()) {
    for (const piece of pieces) {
      const parts = (text + piece.text).split('\n');
      text = parts.pop();
      for (const part of parts) lines.push({ at: piece.at, port, text: part });
    }
  }
  return lines.filter(({ text: line }) => !/^dirty 0x[0-9a-f]+ 0x[0-9a-f]+$/.test(line));
}

/** What the guest's output shows that must never be: a line lost, repeated or in disorder, an ERROR, or silence. */
function damageIn(lines, pattern) {
  for (const [i, line] of lines.entries()) {
    const number = pattern.exec(line.text)?.[1];
    if (number === undefined) return `the guest said "${line.text}"`;
    if (Number(number) !== i + 1) return `line ${number} came where ${i + 1} was expected`;
  }
  return lines.at(-1)?.port === 1 ? undefined : 'the destination has printed nothing';
}

/** The gaps (ms) that an observer sees between the guest's lines. */
function gapsOf(lines, begin) {
  const before = lines.filter(({ at }) => at <= begin).map(({ at }) => at);
  const during = lines.filter(({ at }) => at >= (before.at(-1) ?? begin)).map(({ at }) => at);
  const last = lines.findLast(({ port }) => port === 0);
  const first = lines.find(({ port }) => port === 1);
  if (last === undefined || first === undefined) return {};
  return {
    gap: largestGap(during),
    switchGap: first.at - last.at,
    // The same without a migration, in the second before it.
    baselineGap: largestGap(before.filter((at) => at > begin - 1000)),
  };
}

/** How long the guest waited for pages, in µs. */
function latencies({ 'postcopy-latency-median': median, ...rest }) {
  if (median === undefined) return {};
  const us = (ns) => ns / 1000;
  return {
    latencyMedian: us(median),
    latencyP99: us(rest['postcopy-latency-p99']),
    latencyMax: us(rest['postcopy-latency-max']),
    latencyDistribution: rest['postcopy-latency-dist'],
  };
}

const migrationStatus =
  (wanted) =>
  ({ event, data }) => {
    if (event === 'MIGRATION' && data.status === 'failed') throw new Error('the migration failed');
    return event === 'MIGRATION' && data.status === wanted;
  };

/** One migration from a fresh process to another. All times in ms. */
function migrate(side, scenario) {
  return withDirectory(async (directory) => {
    const machine = ['-M', 'virt', '-bios', 'none', '-m', scenario.memory ?? '256M'];
    const args = [...machine, '-kernel', guestImage(scenario.guest), '-append', scenario.append];
    const link = join(directory, 'link');
    const running = [];
    const start = async (name, more) => {
      const emulator = await Emulator.start(side, { directory, name, args: [...args, ...more] });
      running.push(emulator);
      const wanted = ['events', ...(scenario.postcopyMs === undefined ? [] : POSTCOPY)];
      await emulator.execute('migrate-set-capabilities', {
        capabilities: wanted.map((capability) => ({ capability, state: true })),
      });
      return emulator;
    };
    try {
      const source = await start('source', []);
      const destination = await start('destination', ['-incoming', `unix:${link}`]);
      while (!existsSync(link)) await sleep(5);
      if (scenario.parameters !== undefined) {
        await source.execute('migrate-set-parameters', scenario.parameters);
      }
      if (scenario.ready !== undefined) {
        while (!guestLines(source, destination).some(({ text }) => scenario.ready.test(text)))
          await sleep(20);
      }
      await sleep(scenario.settleMs);
      const begin = performance.now();
      await source.execute('migrate', { uri: `unix:${link}` });
      if (scenario.postcopyMs !== undefined) {
        await sleep(scenario.postcopyMs);
        await source.execute('migrate-start-postcopy');
      }
      const completed = await source.event(migrationStatus('completed'), 'migration');
      const resumed = await destination.event(({ event }) => event === 'RESUME', 'destination');
      if (!destination.ended) await destination.rearmTimer().catch(() => {});
      await sleep(scenario.afterMs);
      const info = await source.execute('query-migrate');
      const waits = await destination.execute('query-migrate');
      const lines = guestLines(source, destination);
      return {
        total: completed.at - begin,
        reportedTotal: info['total-time'],
        reportedDowntime: info.downtime,
        passes: info.ram['dirty-sync-count'],
        mib: info.ram.transferred / 1024 / 1024,
        requests: info.ram['postcopy-requests'],
        // Of godwit; QEMU 7.2 does not measure them.
        ...latencies(waits),
        ...gapsOf(lines, begin),
        damage: damageIn(lines, scenario.line),
        // Where the time went, for --json.
        events: [...source.events, ...destination.events].map(({ at, event, data }) => ({
          at: at - begin,
          event,
          ...data,
        })),
        running: resumed.at - begin,
        passList: info.passes,
        pause: info.pause,
      };
    } finally {
      await Promise.all(running.map((emulator) => emulator.end()));
    }
  });
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
