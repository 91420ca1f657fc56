/**
 * Does the auto mode choose as well as a user who has tried everything? Guests that write in different ways are moved with
 * each of the settings that can be made by hand, and with `auto`; QEMU with its own settings beside it. Default limits,
 * 256 MiB over a unix socket.
 *
 * Usage: npm run bench:convergence -- [--rounds N] [--json] [--only word,whole,…] [--by plain,auto,…] [--limit SECONDS]
 *   [--without-qemu]
 */
import {
  benchOptions,
  emulators,
  environment,
  GODWIT,
  progress,
  ranged,
  report,
  summary,
  usage,
} from './support/bench.mjs';
import { DIRTY_LINE, migrate, TICK_LINE } from './support/migrate.mjs';

const DIRTY = { guest: 'dirty', line: DIRTY_LINE, ready: DIRTY_LINE, settleMs: 1200, afterMs: 300 };

const WORKLOADS = {
  word: {
    ...DIRTY,
    title: 'one word in every page of 64 MiB, as fast as it can',
    append: 'size=64M report=10',
  },
  whole: {
    ...DIRTY,
    title: 'whole pages of 64 MiB, as fast as it can',
    append: 'size=64M words=512 report=10',
  },
  random: {
    ...DIRTY,
    title: 'whole pages of 64 MiB that no delta fits, as fast as it can',
    append: 'size=64M words=512 pattern=random report=10',
  },
  large: {
    ...DIRTY,
    title: 'whole pages of 192 MiB that no delta fits, as fast as it can',
    append: 'size=192M words=512 pattern=random report=10',
  },
  counters: {
    ...DIRTY,
    title: 'counters: four words in every page of 4 MiB, as fast as it can',
    append: 'size=4M words=4 report=10',
  },
  mixed: {
    ...DIRTY,
    title: 'an eighth of each page of 128 MiB, 40,000 pages/s, random',
    append: 'size=128M words=64 pattern=random rate=40000 report=10',
  },
  idle: {
    guest: 'ticks',
    line: TICK_LINE,
    settleMs: 1500,
    afterMs: 1300,
    title: 'idle: a tick a second',
    append: 'interval=1000',
  },
};

const BY_HAND = {
  plain: [],
  xbzrle: ['xbzrle'],
  'auto-converge': ['auto-converge'],
  both: ['xbzrle', 'auto-converge'],
  multifd: ['multifd'],
};
const CHOICES = { ...BY_HAND, auto: ['auto'] };

const options = benchOptions({
  rounds: 3,
  more: {
    only: { type: 'string', default: Object.keys(WORKLOADS).join() },
    by: { type: 'string', default: Object.keys(CHOICES).join() },
    limit: { type: 'string', default: '40' },
    'without-qemu': { type: 'boolean', default: false },
  },
});

/** The words of an option, each of which is one of `known`. */
function words(name, known) {
  const list = options[name].split(',');
  for (const word of list) {
    if (!(word in known)) usage(`--${name}: expected some of ${Object.keys(known).join()}, got '${word}'`);
  }
  return list;
}
const workloads = words('only', WORKLOADS);
const choices = words('by', CHOICES);
const limitMs = Number(options.limit) * 1000;
if (!(limitMs > 0)) usage(`--limit: expected seconds, got '${options.limit}'`);

const machine = environment();
const sides = options['without-qemu'] ? [GODWIT] : emulators();
const cells = workloads.flatMap((workload) =>
  choices.flatMap((choice) =>
    sides
      .filter((side) => side === GODWIT || choice in BY_HAND)
      .map((side) => ({ workload, choice, side, rounds: [] })),
  ),
);
for (let round = 1; round <= options.rounds; round++) {
  for (const { workload, choice, side, rounds } of cells) {
    progress(`round ${round}: ${workload}, ${choice} in ${side.name}`);
    const scenario = { ...WORKLOADS[workload], capabilities: CHOICES[choice], limitMs };
    const figures = await migrate(side, scenario);
    rounds.push(figures);
    if (figures.damage !== undefined) {
      process.stderr.write(`round ${round}, ${workload}, ${choice}, ${side.name}: ${figures.damage}\n`);
    }
  }
}
progress('');

/** A round that was given up took for ever, and its pause never came. */
const figuresOf = (cell, key) => cell.rounds.map((round) => round[key] ?? Infinity);
const median = (cell, key) => summary(figuresOf(cell, key)).median;
const text = (cell, key) => {
  const done = cell.rounds.map((round) => round[key]).filter((value) => value !== undefined);
  const given = cell.rounds.length - done.length;
  if (done.length === 0) return 'never';
  return `${ranged(done)}${given === 0 ? '' : `, ${given} × never`}`;
};
const shareText = ({ rounds }) => {
  const shares = rounds.map(({ share }) => share).filter((share) => share !== undefined);
  return shares.length === 0 ? '-' : `${ranged(shares.map((share) => 100 * share))} %`;
};

const rows = [['', '', 'time, ms', 'pause, ms', "observer's gap, ms", "guest's share", 'MiB', 'passes']];
for (const name of workloads) {
  rows.push([`${name}: ${WORKLOADS[name].title}`, '', '', '', '', '', '', '']);
  for (const cell of cells.filter(({ workload }) => workload === name)) {
    const { choice, side, rounds } = cell;
    const of = (key) => rounds.map((round) => round[key]).filter((value) => value !== undefined);
    rows.push([
      `  ${choice}`,
      side.name,
      text(cell, 'total'),
      text(cell, 'reportedDowntime'),
      WORKLOADS[name].guest === 'dirty' ? ranged(of('gap')) : '-',
      shareText(cell),
      ranged(of('mib')),
      ranged(of('passes')),
    ]);
  }
}

/** Choices that take so much longer than the fastest are as good. */
const AS_FAST = 1.2;

/**
 * The auto mode beside the best that can be set by hand: its time beside that of the fastest choice, its pause beside that
 * of the one that leaves the guest most of its speed among those that are as fast. (The shortest pause has whoever throttles
 * the guest for the whole migration; it is named, too.)
 */
function compared(name) {
  const ours = cells.filter(({ workload, side }) => workload === name && side === GODWIT);
  const auto = ours.find(({ choice }) => choice === 'auto');
  const others = ours.filter(({ choice }) => choice !== 'auto');
  if (auto === undefined || others.length === 0) return { notes: [], factors: [] };
  const least = (list, figure) => list.reduce((best, cell) => (figure(cell) < figure(best) ? cell : best));
  const time = (cell) => median(cell, 'total');
  const pause = (cell) => median(cell, 'reportedDowntime');
  const fastest = least(others, time);
  const asFast = others.filter((cell) => time(cell) <= AS_FAST * time(fastest));
  const share = ({ rounds }) => summary(rounds.map((round) => round.share ?? 0)).median;
  const kindest = WORKLOADS[name].guest === 'dirty' ? least(asFast, (cell) => -share(cell)) : fastest;
  const shortest = least(others, pause);
  const factors = [
    { name, what: 'time', factor: time(auto) / time(fastest), beside: fastest.choice },
    { name, what: 'pause', factor: pause(auto) / pause(kindest), beside: kindest.choice },
  ];
  const said = factors.map(({ what, factor, beside }) => `${what} ${factor.toFixed(2)} × that of ${beside}`);
  const other = `${(pause(auto) / pause(shortest)).toFixed(2)} × that of ${shortest.choice}`;
  const decisions = auto.rounds.at(-1).decisions ?? [];
  return {
    factors,
    notes: [
      `${name}: auto's ${said.join(', its ')}; the shortest pause: ${other}, which leaves ${shareText(shortest)} of the speed`,
      ...decisions.map(({ time: ms, text: why }) => `    at ${ms} ms, ${why}`),
    ],
  };
}

const all = workloads.map(compared);
const notes = all.flatMap((workload) => workload.notes);
const worst = all.flatMap(({ factors }) => factors).toSorted((x, y) => y.factor - x.factor)[0];
if (worst !== undefined) {
  notes.push(`worst: ${worst.factor.toFixed(2)} (${worst.what} of ${worst.name}, beside ${worst.beside})`);
}
const results = cells.map(({ side, ...cell }) => ({ ...cell, side: side.name }));
report({ options, bench: 'convergence', machine, rows, results, notes });
if (cells.some(({ side, rounds }) => side === GODWIT && rounds.some(({ damage }) => damage !== undefined))) {
  process.stderr.write('godwit damaged a guest: see above\n');
  process.exit(1);
}
