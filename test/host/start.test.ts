/** What V8 compiled when the bundles were built saves compiling it again, and nothing depends on it. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';
import { expect, test } from 'vitest';
import { setCompilerFlags } from '../../src/host/compiler-flags.ts';

const PACKAGE = fileURLToPath(new URL('../../', import.meta.url));
const PROGRAMS = join(PACKAGE, 'dist/programs');

function taken(name: string): boolean {
  const file = join(PROGRAMS, `${name}.js`);
  const cachedData = readFileSync(`${file}.cache`);
  return new Script(readFileSync(file, 'utf8'), { filename: file, cachedData }).cachedDataRejected === false;
}

test('V8 takes it back with the flags that it has then', () => {
  const first = ['godwit', 'system-main', 'machine-thread'];
  const later = ['migration-thread', 'ram-helper-thread'];
  expect(first.map(taken)).toEqual([true, true, true]);
  setCompilerFlags();
  expect(later.map(taken)).toEqual([true, true]);
  // The test can fail.
  setFlagsFromString('--no-wasm-bounds-checks');
  expect(taken('ram-helper-thread')).toBe(false);
  setFlagsFromString('--wasm-bounds-checks');
});

test.each(['without it', 'with what another V8 has left'])('programs run %s', (how) => {
  const dir = mkdtempSync(join(tmpdir(), 'godwit-'));
  try {
    for (const part of ['package.json', 'bin', 'dist/programs', 'guests/hello']) {
      cpSync(join(PACKAGE, part), join(dir, part), { recursive: true });
    }
    const programs = join(dir, 'dist/programs');
    for (const file of readdirSync(programs).filter((name) => name.endsWith('.cache'))) {
      if (how === 'without it') rmSync(join(programs, file));
      else writeFileSync(join(programs, file), 'of another V8');
    }
    const args = ['-bios', 'none', '-kernel', join(dir, 'guests/hello/hello.elf'), '-nographic'];
    const { status, stdout } = spawnSync(process.execPath, [join(dir, 'bin/godwit-system-riscv64'), ...args]);
    expect(stdout.toString()).toContain('hello from hart 0');
    expect(status).toBe(0);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
