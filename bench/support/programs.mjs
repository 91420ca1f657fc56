/** The benchmark programs of bench/programs: which there are, and how one is run and timed in an emulator. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GODWIT, QEMU, usage } from './bench.mjs';
import { cpuSeconds } from './cpu-time.mjs';

const FOLDER = join(import.meta.dirname, '..', 'programs');
const GIVE_UP_MS = 300_000;

const programs = new Map(
  JSON.parse(readFileSync(join(FOLDER, 'programs.json'), 'utf8')).map((program) => [program.name, program]),
);

export const programSource = (name) => join(FOLDER, `${name}.c`);
export const programImage = (name) => join(FOLDER, programs.get(name).image);

/**
 * What is measured. `name` is what `--only` takes; `settings` are words of the program's command line. The ten that a
 * geometric mean is taken of come first; `extra` ones stand beside them: the interpreter's anchor, and two that change
 * one thing about one of the ten.
 */
export const WORKLOADS = [
  ...['core', 'records', 'calls', 'sieve', 'memory', 'chase', 'matrix', 'sort', 'sha256', 'bytecode'].map(
    (name) => ({ name, program: name, settings: [], extra: false }),
  ),
  { name: 'alu', program: 'alu', settings: [], extra: true },
  { name: 'chase-far', program: 'chase', settings: ['size=32M'], loops: 0.1, extra: true },
  { name: 'matrix-fused', program: 'matrix', settings: ['kind=fused'], extra: true },
].map(({ loops = 1, ...workload }) => ({ ...workload, loops: loops * defaultLoops(workload.program) }));

function defaultLoops(program) {
  const { default: loops } = programs.get(program).settings.find(({ name }) => name === 'loops');
  return Number(loops);
}

/** The option `--only NAME,…` and what it selects; without it all. */
export const ONLY = { only: { type: 'string' } };

export function selected({ only }) {
  if (only === undefined) return WORKLOADS;
  const names = only.split(',');
  const unknown = names.find((wanted) => WORKLOADS.every(({ name }) => name !== wanted));
  if (unknown !== undefined) {
    usage(`--only: there is no '${unknown}'; there are ${WORKLOADS.map(({ name }) => name).join(', ')}`);
  }
  return WORKLOADS.filter(({ name }) => names.includes(name));
}

/** The option `--scale F`: so much of the usual number of loops. An interpreter needs no more than a tenth. */
export const SCALE = { scale: { type: 'string', default: '1' } };

export function loopsOf(workload, { scale }) {
  const factor = Number(scale);
  if (!(factor > 0)) usage(`--scale: expected a number above 0, got '${scale}'`);
  return Math.max(1, Math.round(workload.loops * factor));
}

/** The option `--accel NAME`: handed to godwit if it is given. */
export const ACCEL = { accel: { type: 'string' } };

/** godwit with the accelerator that was asked for. */
export function godwitWith({ accel }) {
  return accel === undefined ? GODWIT : { ...GODWIT, command: [...GODWIT.command, '-accel', accel] };
}

/** QEMU as the benches mean it: one thread, and (its default) no counting of instructions. */
export const TCG = { ...QEMU, command: [...QEMU.command, '-accel', 'tcg,thread=single'] };

/** What an emulator is told about a workload. `settings` are further words for the program. */
export function machineArgs(workload, settings) {
  return [
    ...['-M', 'virt', '-bios', 'none', '-m', '128M', '-kernel', programImage(workload.program)],
    ...['-append', [...workload.settings, ...settings].join(' ')],
  ];
}

const LAP = /^(\S+) loops (\d+) checksum (\S+) microseconds (\d+) instructions (\d+)$/;

/** A line of a program as figures; undefined for any other line. `seconds` are by the guest's clock. */
export function parseLap(line) {
  const found = LAP.exec(line);
  if (found === null) return undefined;
  const [, program, loops, checksum, microseconds, instructions] = found;
  return {
    program,
    loops: Number(loops),
    checksum,
    seconds: Number(microseconds) / 1e6,
    instructions: Number(instructions),
  };
}

/** The whole command line of an emulator that runs a workload with its console on stdout. */
function systemArgs(workload, settings) {
  return [
    ...machineArgs(workload, settings),
    ...['-display', 'none', '-monitor', 'none', '-serial', 'stdio'],
  ];
}

/** The option `--warm N`: laps to run before the one that counts. Without it, that one starts cold. */
export const WARM = { warm: { type: 'string', default: '0' } };

export function warmLaps({ warm }) {
  const laps = Number(warm);
  if (!Number.isInteger(laps) || laps < 0) usage(`--warm: expected a number of laps, got '${warm}'`);
  return laps;
}

/** By which clock laps are compared: `--by CLOCK`. */
const CLOCKS = { guest: 'seconds', host: 'hostSeconds', cpu: 'cpuSeconds' };

export const byClock = (standard) => ({ by: { type: 'string', default: standard } });

/** @returns a function: laps → their times in s. */
export function timesBy({ by }) {
  const field = CLOCKS[by];
  if (field === undefined) usage(`--by: there is no '${by}'; there are ${Object.keys(CLOCKS).join(', ')}`);
  return (laps) =>
    laps.map((lap) => {
      if (!(lap[field] > 0))
        throw new Error(`${lap.program}: no time by '${by}': too short, or not to be had`);
      return lap[field];
    });
}

/**
 * Runs a workload for a lap, in a process of its own that is killed when the lap is over.
 * @param side its `args`, a function as `systemArgs`, is for one that is not spoken to as QEMU is.
 * @param warm laps before it, which do not count.
 * @returns the lap; beside the guest's time `hostSeconds`, by this process's clock from line to line, and `cpuSeconds`, the
 *   CPU time of the whole process in between (undefined where there is no /proc).
 * @throws Error if the process ends by itself.
 */
export async function runProgram(side, workload, settings, warm = 0) {
  const { name, command, args = systemArgs } = side;
  const [program, ...first] = command;
  // One lap more, so that there is a process to look at when this one is over, and none for ever if the bench dies.
  const child = spawn(program, [...first, ...args(workload, [...settings, `laps=${warm + 2}`])], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: GIVE_UP_MS,
    killSignal: 'SIGKILL',
  });
  let text = '';
  /** When the line before the lap's came. */
  let begin;
  let lap;
  child.stdout.setEncoding('latin1').on('data', (piece) => {
    text += piece;
    const lines = text.split('\n').slice(0, -1);
    // The first line says that the work begins.
    if (lap !== undefined || lines.length <= warm) return;
    const now = { host: performance.now() / 1000, cpu: cpuSeconds(child.pid) };
    begin ??= now;
    const found = lines.map(parseLap)[warm + 1];
    if (found === undefined) return;
    lap = { ...found, hostSeconds: now.host - begin.host, cpuSeconds: now.cpu - begin.cpu };
    child.kill('SIGKILL');
  });
  const status = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(signal ?? code));
  });
  if (lap !== undefined) return lap;
  throw new Error(`${workload.name} in ${name}: exit status ${status}, output: ${text.trim()}`);
}
