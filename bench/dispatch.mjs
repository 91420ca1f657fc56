/**
 * Which of the interpreter's two dispatchers is faster: 'tree' (compares) or 'table' (an indirect jump)? The engine
 * alone, in a fresh process for each measurement, so that where the code comes to lie differs from round to round.
 * Time is the process's CPU time: what others do on this machine at the same time counts as little as possible.
 *
 * Usage: node bench/dispatch.mjs [--rounds N] [--json]
 */
import { benchOptions, environment, progress, ranged, ratio, report, run } from './support/bench.mjs';
import { programMachine } from './support/in-process.mjs';
import { selected } from './support/programs.mjs';

const PROGRAMS = selected({ only: 'alu,calls,memory,sieve,bytecode' });
const DISPATCHERS = ['tree', 'table'];
/** Instructions until the engine's code is compiled by the optimising compiler, with plenty to spare. */
const WARM_UP = 150e6;
const MEASURED = 200e6;

const options = benchOptions({ rounds: 15, more: { measure: { type: 'string' } } });

/** Million instructions per second of CPU time, in this process. */
async function measure(name, dispatch) {
  const [workload] = selected({ only: name });
  const machine = await programMachine(workload, ['loops=1G'], { dispatch });
  machine.run(WARM_UP);
  const before = process.cpuUsage();
  const ran = machine.run(MEASURED);
  const { user, system } = process.cpuUsage(before);
  return ran / (user + system);
}

if (options.measure !== undefined) {
  const [name, dispatch] = options.measure.split(' ');
  console.log(await measure(name, dispatch));
} else {
  const machine = environment();
  const results = PROGRAMS.map(({ name }) => ({ name, mips: { tree: [], table: [] } }));
  for (let round = 1; round <= options.rounds; round++) {
    for (const { name, mips } of results) {
      // Who is first changes, so that a slow drift of the machine favours nobody.
      for (const dispatch of round % 2 === 0 ? DISPATCHERS.toReversed() : DISPATCHERS) {
        progress(`round ${round}: ${name} by ${dispatch}`);
        const text = run([process.execPath, import.meta.filename], ['--measure', `${name} ${dispatch}`]);
        mips[dispatch].push(Number(text));
      }
    }
  }
  progress('');
  const wins = ({ tree, table }) => tree.filter((mips, round) => mips > table[round]).length;
  report({
    options,
    bench: 'dispatch, in million instructions per second of CPU time',
    machine,
    results,
    rows: [
      ['program', 'tree', 'table', 'tree/table', 'tree faster in'],
      ...results.map(({ name, mips }) => [
        name,
        ranged(mips.tree),
        ranged(mips.table),
        ratio(mips.tree, mips.table),
        `${wins(mips)} of ${options.rounds} rounds`,
      ]),
    ],
  });
}
