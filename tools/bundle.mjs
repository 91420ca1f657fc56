#!/usr/bin/env node
/**
 * Bundles the programs and threads that tsc has compiled into dist/programs, each with what V8 compiles of it: loading
 * takes a third of the time that two hundred modules took. The files keep their depth, so that paths relative to them stay
 * right. What begins a process or a thread, and loads the others, is start.cjs.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';
import { rolldown } from 'rolldown';
import { setCompilerFlags } from '../dist/host/compiler-flags.js';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const folder = `${dist}programs/`;
const modules = fileURLToPath(new URL('../node_modules/', import.meta.url));

/** Those that start.cjs runs. */
const BUNDLES = {
  godwit: 'cli/godwit.js',
  'system-main': 'cli/system-main.js',
  'machine-thread': 'host/machine-thread.js',
};
/** Those that start when the machine's thread has set V8's flags. */
const LATER_BUNDLES = {
  'migration-thread': 'host/migration-thread.js',
  'ram-helper-thread': 'host/ram-helper-thread.js',
};

// What an earlier build left would only be dead weight.
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder);
writeFileSync(`${folder}start.cjs`, await bundled('host/start.js'));
await write(BUNDLES);
setCompilerFlags();
await write(LATER_BUNDLES);

async function write(bundles) {
  for (const [name, input] of Object.entries(bundles)) {
    const filename = `${folder}${name}.js`;
    const source = `(function (require, __filename) {${await bundled(input)}\n})`;
    writeFileSync(filename, source);
    writeFileSync(`${filename}.cache`, compiled(source, filename));
  }
}

/** One script with everything that a module imports. */
async function bundled(input) {
  const bundle = await rolldown({
    input: dist + input,
    platform: 'node',
    // yargs looks for modules that a configuration names; ours names none.
    checks: { emptyImportMeta: false },
    // Without its native helper, which takes longer to load than it ever saves here.
    resolve: { alias: { msgpackr: `${modules}msgpackr/index.js` } },
  });
  const { output } = await bundle.generate({ format: 'cjs', minify: true, codeSplitting: false });
  return output[0].code;
}

/** V8's code of all functions of a script. V8 takes it back only with the flags that it has now; else it compiles again. */
function compiled(source, filename) {
  setFlagsFromString('--no-lazy');
  const script = new Script(source, { filename });
  setFlagsFromString('--lazy');
  return script.createCachedData();
}
