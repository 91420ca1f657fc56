/**
 * What every bench has in common: its options, the machine it ran on, medians with ranges, and how results are shown.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = join(import.meta.dirname, '..', '..');
const DIST = pathToFileURL(`${process.env.GODWIT_DIST ?? join(ROOT, 'dist')}/`);

export const GODWIT = {
  name: 'godwit',
  command: [join(ROOT, 'bin', 'godwit-system-riscv64')],
};
export const QEMU = { name: 'qemu', command: ['qemu-system-riscv64'] };

// No emulator that a bench starts finds translations of another one: each run is a guest's first.
process.env.XDG_CACHE_HOME = '/dev/null';

/** A module of the built emulator; `path` as below dist/. */
export const load = (path) => import(new URL(path, DIST).href);

/** The image of a toy guest. */
export const guestImage = (name) => join(ROOT, 'guests', name, `${name}.elf`);

/**
 * Reads `--rounds N`, `--json`, and the bench's own options (as node:util's parseArgs takes them).
 * @returns the values; `rounds` is a number.
 */
export function benchOptions({ rounds, more = {} }) {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: String(rounds) },
      json: { type: 'boolean', default: false },
      ...more,
    },
  });
  const count = Number(values.rounds);
  if (!Number.isInteger(count) || count < 1) {
    usage(`--rounds: expected a number from 1 on, got '${values.rounds}'`);
  }
  return { ...values, rounds: count };
}

/** Ends the bench because of its command line. */
export function usage(text) {
  process.stderr.write(`${text}\n`);
  process.exit(2);
}

function output(command, args) {
  const { status, stdout } = spawnSync(command, args, { cwd: ROOT, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

function commit() {
  const hash = output('git', ['rev-parse', '--short', 'HEAD']);
  if (hash === undefined) return 'unknown';
  const changed = output('git', [
    'status',
    '--porcelain',
    '--untracked-files=no',
    '--',
    'src',
    'guests',
    'bench/programs',
  ]);
  return changed === '' ? hash : `${hash} with local changes`;
}

/** QEMU's version; undefined if it is not installed. */
export function qemuVersion() {
  return /version (\S+)/.exec(output(QEMU.command[0], ['--version']) ?? '')?.[1];
}

/** godwit, and QEMU if there is one; says so if not. */
export function emulators() {
  if (qemuVersion() !== undefined) return [GODWIT, QEMU];
  process.stderr.write(`${QEMU.command[0]} is not installed: its side is skipped\n`);
  return [GODWIT];
}

/** What a result depends on besides the code that is measured. */
export function environment() {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    loadBefore: Number(loadavg()[0]?.toFixed(2)),
    node: process.version,
    qemu: qemuVersion() ?? 'not installed',
    commit: commit(),
  };
}

/** @returns median, lowest and highest of some numbers; undefined if there are none. */
export function summary(values) {
  if (values.length === 0) return undefined;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1), count: sorted.length };
}

/** "356 (340 to 361)" */
export function ranged(values, digits = 0) {
  const all = summary(values);
  if (all === undefined) return '-';
  return `${all.median.toFixed(digits)} (${all.min.toFixed(digits)} to ${all.max.toFixed(digits)})`;
}

/** The ratio of two medians, both ways: "0.25, 1/4.0". */
export function ratio(a, b) {
  const [one, other] = [summary(a)?.median, summary(b)?.median];
  if (one === undefined || other === undefined || one === 0 || other === 0) return '-';
  return `${(one / other).toFixed(2)}, 1/${(other / one).toFixed(2)}`;
}

export function geometricMean(values) {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** Prints rows as aligned columns; the first row is the heading. */
export function printTable(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  for (const row of rows) {
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    );
  }
}

/** Prints the machine and the table, or with `--json` one object with every single measurement. */
export function report({ options, bench, machine, rows, results, notes = [] }) {
  if (options.json) {
    console.log(JSON.stringify({ bench, machine, rounds: options.rounds, results }));
    return;
  }
  const { cpu, cores, node, qemu, commit: hash, loadBefore } = machine;
  console.log(`${bench}: median (lowest to highest) of ${options.rounds} rounds`);
  console.log(
    `${cpu}, ${cores} cores, load ${loadBefore} before; Node ${node}, QEMU ${qemu}, commit ${hash}\n`,
  );
  printTable(rows);
  if (notes.length > 0) console.log(`\n${notes.join('\n')}`);
}

/** Runs a program to its end and returns what it wrote. @throws Error if it fails. */
export function run([program, ...first], args) {
  return execFileSync(program, [...first, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 120_000,
  });
}

/** A line on stderr that says how far a long bench is; overwritten by the next. */
export function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
