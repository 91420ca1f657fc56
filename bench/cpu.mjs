/**
 * How fast does guest code run, beside QEMU's TCG? The `spin` guest, the same image in both; what counts is the time
 * that the guest itself measures around its loop.
 *
 * Usage: npm run bench:cpu -- [--rounds N] [--loops N] [--json]
 */
import {
  benchOptions,
  emulators,
  environment,
  guestImage,
  progress,
  ranged,
  ratio,
  report,
  run,
} from './support/bench.mjs';
import { instructionsPerLoop, KINDS } from './support/spin.mjs';

const options = benchOptions({ rounds: 7, more: { loops: { type: 'string', default: '500' } } });
const machine = environment();
const sides = emulators();
const results = [];
for (const kind of KINDS) {
  results.push({
    kind,
    instructionsPerLoop: await instructionsPerLoop(kind),
    mips: { godwit: [], qemu: [] },
  });
}

/** Million instructions per second, by the guest's clock. */
function measure({ command }, { kind, instructionsPerLoop: perLoop }, loops) {
  const args = ['-M', 'virt', '-bios', 'none', '-display', 'none', '-serial', 'stdio', '-monitor', 'none'];
  const text = run(command, [
    ...args,
    '-kernel',
    guestImage('spin'),
    '-append',
    `kind=${kind} loops=${loops}`,
  ]);
  const line = new RegExp(`^spin ${kind} loops ${loops} checksum (\\S+) time (\\S+) s$`, 'm').exec(text);
  if (line === null) throw new Error(`the guest said: ${text}`);
  const checksum = line[1];
  return { mips: (perLoop * loops) / Number(line[2]) / 1e6, checksum };
}

// QEMU gets more of them, for the guest's clock is read to a millisecond.
const loopsOf = ({ name }) => Number(options.loops) * (name === 'qemu' ? 4 : 1);

const checksums = new Map();
for (let round = 1; round <= options.rounds; round++) {
  for (const result of results) {
    for (const side of sides) {
      progress(`round ${round}: ${result.kind} in ${side.name}`);
      const loops = loopsOf(side);
      const { mips, checksum } = measure(side, result, loops);
      result.mips[side.name].push(mips);
      const key = `${result.kind} ${loops}`;
      if ((checksums.get(key) ?? checksum) !== checksum) throw new Error(`${key}: checksums differ`);
      checksums.set(key, checksum);
    }
  }
}
// The two must compute the same: once with equal loops.
for (const { kind, instructionsPerLoop: perLoop } of results) {
  const found = sides.map((side) => measure(side, { kind, instructionsPerLoop: perLoop }, 20).checksum);
  if (new Set(found).size !== 1) throw new Error(`${kind}: checksums differ: ${found.join(', ')}`);
}
progress('');

report({
  options,
  bench: 'cpu, in million instructions per second',
  machine,
  results,
  rows: [
    ['loop', 'instructions', 'godwit', 'QEMU TCG', 'godwit/QEMU'],
    ...results.map(({ kind, instructionsPerLoop: perLoop, mips }) => [
      kind,
      String(perLoop),
      ranged(mips.godwit),
      ranged(mips.qemu),
      ratio(mips.godwit, mips.qemu),
    ]),
  ],
});
