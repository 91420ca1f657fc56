/**
 * Where does the time of one program go? Runs it in this process and thread and shows how its speed comes up, what
 * translating costs, which of the guest's functions its instructions and its time belong to, and which functions of
 * ours, as V8's sampling profiler sees them (generated code as wasm-function[N], or by the names that it carries).
 *
 * Usage: node bench/profile.mjs NAME [--scale F] [--mode supervisor] [--accel interp|jit] [--cpuprofile FILE]
 * FILE is for Chrome's developer tools or any other reader of .cpuprofile.
 */
import { writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { parseArgs } from 'node:util';
import { load, printTable, usage } from './support/bench.mjs';
import { programMachine } from './support/in-process.mjs';
import { ACCEL, loopsOf, programImage, SCALE, selected } from './support/programs.mjs';

/** Instructions from one look at the guest's pc to the next: prime, so that no loop of the guest is in step with it. */
const SAMPLE = 24_989;
const SAMPLING_US = 200;
const SHOWN = 14;
const STEPS_MS = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    ...ACCEL,
    ...SCALE,
    mode: { type: 'string', default: 'machine' },
    cpuprofile: { type: 'string' },
  },
});
if (positionals.length !== 1) usage('usage: node bench/profile.mjs NAME [options]');
const [workload] = selected({ only: positionals[0] });

/** @returns what names the function that an address is in: the nearest symbol at or below it. */
async function symbolTable() {
  const { openBootFile } = await load('host/boot-file.js');
  const { parseKernel } = await load('machine/kernel.js');
  const file = programImage(workload.program);
  const image = parseKernel(openBootFile(file), { base: 0x8000_0000, size: 2 ** 27 });
  const sorted = image
    .symbols()
    .filter(({ name }) => !name.startsWith('$')) // $x, $d: where code and data begin
    .map(({ name, address }) => ({ name, address: Number(address) }))
    .sort((a, b) => a.address - b.address);
  return (pc) => sorted.findLast(({ address }) => address <= pc)?.name ?? `0x${pc.toString(16)}`;
}

function post(session, method, parameters) {
  return new Promise((resolve, reject) => {
    session.post(method, parameters, (error, result) => (error === null ? resolve(result) : reject(error)));
  });
}

const settings = [`loops=${loopsOf(workload, options)}`, `mode=${options.mode}`];
const { hostClock } = await load('host/clock.js');
const engineOptions = { accel: options.accel ?? 'jit', jit: { clock: hostClock } };
const session = new Session();
session.connect();
await post(session, 'Profiler.enable');
await post(session, 'Profiler.setSamplingInterval', { interval: SAMPLING_US });
const machine = await programMachine(workload, settings, engineOptions);

await post(session, 'Profiler.start');
/** pc → what ran in samples that ended there. */
const places = new Map();
const steps = [];
let total = 0;
const start = performance.now();
let now = start;
let step = { instructions: 0, start: 0 };
while (!machine.off) {
  const ran = machine.run(SAMPLE);
  const before = now;
  now = performance.now();
  total += ran;
  step.instructions += ran;
  const place = places.get(machine.pc) ?? { instructions: 0, ms: 0 };
  places.set(machine.pc, place);
  place.instructions += ran;
  place.ms += now - before;
  if (now - start >= STEPS_MS[steps.length] || machine.off) {
    steps.push({ ...step, end: now - start });
    step = { instructions: 0, start: now - start };
  }
}
const { profile } = await post(session, 'Profiler.stop');
if (options.cpuprofile !== undefined) writeFileSync(options.cpuprofile, JSON.stringify(profile));

const all = now - start;
const percent = (part, whole) => `${((100 * part) / whole).toFixed(1)} %`;
const mips = ({ instructions, ms }) => (instructions / ms / 1000).toFixed(0);
/** The rows with the largest `of`, that one first. */
const largest = (rows, of) => [...rows].sort((a, b) => of(b) - of(a)).slice(0, SHOWN);

console.log(machine.text.trim());
console.log(
  `\n${(total / 1e6).toFixed(0)} million instructions in ${(all / 1000).toFixed(2)} s: ${mips({ instructions: total, ms: all })} MIPS\n`,
);
printTable([
  ['time', 'MIPS'],
  ...steps.map(({ start: from, end, instructions }) => [
    `${from.toFixed(0)} to ${end.toFixed(0)} ms`,
    mips({ instructions, ms: end - from }),
  ]),
]);

if (machine.jit !== undefined) {
  const { regions, instructions, bytes, modules, translated, invalidated, evicted, generateNs, compileNs } =
    machine.jit;
  const ms = (ns) => `${(ns / 1e6).toFixed(1)} ms`;
  console.log(
    `\n${regions} regions of ${instructions} instructions, ${bytes} bytes; ${translated} translated in ${modules} modules, ` +
      `${invalidated} invalidated, ${evicted} evicted\ngenerating ${ms(generateNs)}, compiling ${ms(compileNs)}: ` +
      `${percent((generateNs + compileNs) / 1e6, all)} of the time`,
  );
}

const nameOf = await symbolTable();
const functions = new Map();
for (const [pc, { instructions, ms }] of places) {
  const name = nameOf(pc);
  const found = functions.get(name) ?? { instructions: 0, ms: 0 };
  functions.set(name, { instructions: found.instructions + instructions, ms: found.ms + ms });
}
console.log(`\nthe guest, looked at every ${SAMPLE} instructions`);
printTable([
  ['function', 'instructions', 'time', 'MIPS'],
  ...largest(functions, ([, { ms }]) => ms).map(([name, found]) => [
    name,
    percent(found.instructions, total),
    percent(found.ms, all),
    mips(found),
  ]),
]);

const ours = new Map();
const byId = new Map(profile.nodes.map((node) => [node.id, node.callFrame]));
for (const [i, id] of profile.samples.entries()) {
  const { functionName, url, lineNumber } = byId.get(id);
  const file = url.replace(/^.*\/(?=[^/]+\/[^/]+$)/, '');
  const name = `${functionName || '(nameless)'}${url === '' ? '' : `  ${file}:${lineNumber + 1}`}`;
  ours.set(name, (ours.get(name) ?? 0) + profile.timeDeltas[i]);
}
const sampled = profile.timeDeltas.reduce((sum, delta) => sum + delta, 0);
console.log('\nof ours, without what they call');
printTable([
  ['function', 'time'],
  ...largest(ours, ([, us]) => us).map(([name, us]) => [name, percent(us, sampled)]),
]);
