#!/usr/bin/env node
/**
 * Holds the layer rule of src/README.md: a file may import only from the layers named for its own, and only host/ and
 * cli/ may import node: modules or reach for timers of their own. Prints every offence; exits 1 if there is one.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** layer → the layers it may import from, beside itself and the root files (error.ts, clock.ts, suggest.ts). */
const LAYERS = {
  wasm: [],
  isa: ['wasm'],
  memory: ['wasm'],
  vmstate: [],
  cpu: ['wasm', 'isa', 'memory', 'vmstate'],
  devices: ['memory', 'vmstate'],
  machine: ['isa', 'cpu', 'memory', 'vmstate', 'devices'],
  // Migration sees a MigratableVm: no cpu, no device.
  migration: ['wasm', 'memory', 'vmstate'],
  monitor: ['migration', 'vmstate'],
  // Of the monitor, its streams.
  gdb: ['monitor'],
  host: ['wasm', 'isa', 'memory', 'vmstate', 'cpu', 'devices', 'machine', 'migration', 'monitor', 'gdb'],
  cli: [
    'wasm',
    'isa',
    'memory',
    'vmstate',
    'cpu',
    'devices',
    'machine',
    'migration',
    'monitor',
    'gdb',
    'host',
  ],
};
const MAY_USE_NODE = new Set(['host', 'cli']);

const src = resolve(dirname(fileURLToPath(import.meta.url)), '..', 'src');
const offences = [];

function* sources(dir) {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) yield* sources(path);
    else if (entry.name.endsWith('.ts')) yield path;
  }
}

let files = 0;
for (const file of sources(src)) {
  files++;
  const name = relative(src, file);
  const layer = name.includes('/') ? name.split('/')[0] : undefined;
  if (layer !== undefined && !(layer in LAYERS)) {
    offences.push(`${name}: the folder ${layer}/ is no layer: name it in tools/check-layers.mjs`);
    continue;
  }
  const text = readFileSync(file, 'utf8');
  for (const [, spec] of text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)) {
    if (!spec.startsWith('.')) {
      if (spec.startsWith('node:') && !MAY_USE_NODE.has(layer)) {
        offences.push(`${name}: imports ${spec}; only host/ and cli/ may import node: modules`);
      }
      continue;
    }
    const target = relative(src, resolve(dirname(file), spec));
    const to = target.includes('/') ? target.split('/')[0] : undefined;
    if (to === undefined || to === layer) continue;
    if (layer === undefined)
      offences.push(`${name}: a root file imports ${target}: root files stand below all layers`);
    else if (!LAYERS[layer].includes(to)) offences.push(`${name}: ${layer}/ may not import ${to}/ (${spec})`);
  }
  if (!MAY_USE_NODE.has(layer) && /\b(Date\.now|performance\.now)\b/.test(text)) {
    offences.push(`${name}: reads the host's time; take a Clock (src/clock.ts) instead`);
  }
}

for (const offence of offences) console.error(offence);
console.log(`layers: ${files} files, ${offences.length} offences`);
process.exit(offences.length === 0 ? 0 : 1);
