/**
 * What does the dirty log cost a guest that computes? A program of bench/programs runs lap after lap; a migration that
 * never ends (its bandwidth is so small that each pass over what was written takes a tenth of a second) takes the log
 * ten times a second, is cancelled, and begins anew: laps with and without are compared. By this process's clock, so
 * that nothing a guest could miss is left out, or by the CPU time of the thread that runs the guest; what the
 * migration's own thread takes is not counted.
 *
 * Usage: npm run bench:dirty-log -- [--rounds N] [--only NAME,…] [--seconds S] [--accel interp|jit]
 *   [--by host|cpu] [--json]
 */
import { existsSync } from 'node:fs';
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
  usage,
} from './support/bench.mjs';
import { threadSeconds } from './support/cpu-time.mjs';
import { Emulator, withDirectory } from './support/emulator.mjs';
import { ACCEL, byClock, godwitWith, machineArgs, ONLY, parseLap, selected } from './support/programs.mjs';

const SYNCS_PER_SECOND = 10;
const PAGE_SIZE = 4096;
/** A lap's part of a usual run: about a tenth of a second in QEMU. */
const LAP = 0.06;
const WARM_UP_MS = 2000;
/** Bytes per second: so small that even the second pass of a program that writes a page or two takes its time. */
const FIRST_BANDWIDTH = 40 * 1024;
/** Passes until it is steady. */
const SETTLE_PASSES = 5;
const POLL_MS = 20;
/** On a busy machine the guest may stand still for a whole pass, and the migration ends: so often it is tried. */
const ATTEMPTS = 3;

const options = benchOptions({
  rounds: 3,
  more: { ...ACCEL, ...ONLY, ...byClock('host'), seconds: { type: 'string', default: '2' } },
});
if (!['host', 'cpu'].includes(options.by)) usage(`--by: expected host or cpu, got '${options.by}'`);
const windowMs = Number(options.seconds) * 1000;
const machine = environment();
const godwit = godwitWith(options);
// Not of this kind: what writes nothing for seconds, so that a migration has nothing to wait for, and what does nothing
// but write all of memory.
const OTHERS = ['alu', 'chase', 'chase-far', 'memory'];
const workloads = selected(options).filter(
  ({ name, extra }) => !OTHERS.includes(name) && (!extra || options.only !== undefined),
);

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @returns how many laps are over, the last one, and the time of all threads, as soon as one more is over. */
async function nextLap({ serial, pid }) {
  const laps = () =>
    serial.pieces
      .map(({ text }) => text)
      .join('')
      .split('\n')
      .slice(0, -1)
      .map(parseLap)
      .filter(Boolean);
  const before = laps().length;
  let now = laps();
  for (; now.length === before; now = laps()) await sleep(5);
  return { count: now.length, lap: now.at(-1), at: performance.now() / 1000, threads: threadSeconds(pid) };
}

/**
 * Lets the guest run for a while, from the end of a lap to the end of another.
 * @returns million instructions per second, by this process's clock and by the CPU time of the thread that runs the guest,
 *   which is the busiest.
 */
async function speed(emulator) {
  const begin = await nextLap(emulator);
  await sleep(windowMs);
  const end = await nextLap(emulator);
  const million = ((end.count - begin.count) * end.lap.instructions) / 1e6;
  const busiest = [...end.threads].map(([thread, time]) => time - (begin.threads.get(thread) ?? 0));
  return { host: million / (end.at - begin.at), cpu: million / Math.max(...busiest) };
}

/** What has become of a migration that was to go on. */
class Ended extends Error {}

/**
 * Holds a migration at so many passes a second, from its first pass on, by the bandwidth: each pass gets a little less
 * than what its pages need, for one that ends early may find nothing written, and then the migration is over.
 */
class SlowMigration {
  #source;
  #steering;
  #stop = false;
  /** How many passes are over. */
  passes = 0;

  constructor(source) {
    this.#source = source;
  }

  async start(uri) {
    await this.#source.execute('migrate-set-parameters', {
      'max-bandwidth': FIRST_BANDWIDTH,
      'downtime-limit': 0,
    });
    await this.#source.execute('migrate', { uri });
    this.#steering = this.#steer();
    while (this.passes < SETTLE_PASSES) await Promise.race([sleep(10), this.#steering]);
  }

  /** @throws Ended if it was over before. */
  async cancel() {
    this.#stop = true;
    await this.#steering;
    await this.#source.execute('migrate_cancel');
    while ((await this.#status()).status !== 'cancelled') await sleep(5);
  }

  async #steer() {
    let steered = 0;
    let since = performance.now();
    while (!this.#stop) {
      const { status, passes = [], ram } = await this.#status();
      if (!['setup', 'active'].includes(status)) throw new Ended(`the migration is ${status}`);
      const last = passes.at(-1);
      this.passes = last?.pass ?? 0;
      // The first pass is over all of memory, which says nothing; then there is only what is left of the second.
      const bytes = this.passes > 1 ? last.bytes : ram.remaining;
      // A pass that has more to send than the one before would take for ever: it gets what it needs from here.
      const late = performance.now() - since > 2000 / SYNCS_PER_SECOND;
      if (this.passes > steered ? bytes > 0 : late) {
        steered = this.passes;
        since = performance.now();
        const wanted = Math.max(late ? ram.remaining : bytes, PAGE_SIZE);
        const bandwidth = Math.round(0.9 * wanted * SYNCS_PER_SECOND);
        await this.#source.execute('migrate-set-parameters', { 'max-bandwidth': bandwidth });
      }
      await sleep(POLL_MS);
    }
  }

  #status() {
    return this.#source.execute('query-migrate');
  }
}

function measure(workload, rounds) {
  return withDirectory(async (directory) => {
    const running = [];
    const start = async (name, args) => {
      const emulator = await Emulator.start(godwit, { directory, name, args });
      running.push(emulator);
      return emulator;
    };
    try {
      const loops = Math.max(1, Math.round(workload.loops * LAP));
      const source = await start('source', machineArgs(workload, ['laps=0', `loops=${loops}`]));
      await sleep(WARM_UP_MS);
      const result = { name: workload.name, off: [], on: [], syncs: [] };
      for (let round = 1; round <= rounds; round++) {
        progress(`round ${round}: ${workload.name}`);
        const off = await speed(source);
        const link = join(directory, `link${round}`);
        const destination = await start(`destination${round}`, ['-incoming', `unix:${link}`]);
        while (!existsSync(link)) await sleep(5);
        const migration = new SlowMigration(source);
        await migration.start(`unix:${link}`);
        const [before, begin] = [migration.passes, performance.now()];
        const on = await speed(source);
        const syncs = (1000 * (migration.passes - before)) / (performance.now() - begin);
        await migration.cancel();
        await destination.end();
        result.off.push(off);
        result.on.push(on);
        result.syncs.push(syncs);
      }
      return result;
    } finally {
      await Promise.all(running.map((emulator) => emulator.end()));
    }
  });
}

const results = [];
for (const workload of workloads) {
  for (let attempt = 1; ; attempt++) {
    try {
      results.push(await measure(workload, options.rounds));
      break;
    } catch (error) {
      if (!(error instanceof Ended) || attempt === ATTEMPTS) throw error;
      process.stderr.write(`${workload.name}: ${error.message} before its time; once more\n`);
    }
  }
}
progress('');

const mips = (speeds) => speeds.map((one) => one[options.by]);
const ratios = results.map(({ on, off }) => summary(mips(on)).median / summary(mips(off)).median);
report({
  options,
  bench: `dirty-log${options.accel === undefined ? '' : `, -accel ${options.accel}`}, in million instructions per second of ${options.by} time`,
  machine,
  results,
  rows: [
    ['program', 'log off', 'log on', 'syncs per second', 'on/off'],
    ...results.map(({ name, on, off, syncs }) => [
      name,
      ranged(mips(off)),
      ranged(mips(on)),
      ranged(syncs, 1),
      ratio(mips(on), mips(off)),
    ]),
  ],
  notes: [`geometric mean: ${geometricMean(ratios).toFixed(2)}, lowest ${Math.min(...ratios).toFixed(2)}`],
});
