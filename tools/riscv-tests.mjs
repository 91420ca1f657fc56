#!/usr/bin/env node
/**
 * Runs programs that report through HTIF, as the official riscv-tests do, on the machine and tells which pass.
 *
 * Usage: tools/riscv-tests.mjs PATH… [--cpu MODEL] [--accel jit|interp] [--eager] [--timeout SECONDS] [--verbose] [--json]
 *
 * A PATH is a program or a folder of them: of a checkout of riscv-tests that was built as its README says, `isa` and
 * `benchmarks`. What is no RISC-V program with a symbol `tohost` is passed by. Nothing is built or fetched here.
 *
 * --eager translates a page as soon as it is jumped to: most of the tests are over before anything is hot.
 *
 * HTIF (the host-target interface of the Berkeley test programs) needs no device: a program stores to `tohost` and the
 * host polls it. An odd value ends the program (value >> 1 is its status: in the ISA tests, the number of the check that
 * failed); an even one is a character for the console, or the address of a system call's block.
 *
 * Exit status: 0 if all pass but those that need an extension which the processor does not have, 1 if not, 2 for a
 * command line that can't be.
 */
import { readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';

const RAM = 128 * 1024 * 1024;
/** Virtual time, so that every run is the same: 2^N ns an instruction. */
const ICOUNT_SHIFT = 3;
const HTIF_CONSOLE_PUT = 0x0101n;
const SYS_WRITE = 64n;

const load = (path) => import(new URL(`../dist/${path}`, import.meta.url).href);
const { ACCELERATORS } = await load('cpu/accelerator.js');
const { newMachine } = await load('host/new-machine.js');
const { openBootFile } = await load('host/boot-file.js');
const { installBoot } = await load('machine/boot-contents.js');
const { Machine } = await load('machine/machine.js');
const { machineLayout } = await load('machine/machine-layout.js');
const { MEMORY_MAP } = await load('machine/memory-map.js');
const { parseElf } = await load('machine/elf.js');
const { createSharedMemory } = await load('memory/layout.js');
const { ManualClock } = await load('clock.js');
const { extensionsOf } = await load('isa/isa-string.js');
const { cpuModel } = await load('machine/cpu-models.js');

const { options, paths } = commandLine();
const extensions = extensionsOf(isaOf(options.cpu));
const results = [];
for (const file of paths.flatMap(programsOf)) {
  const symbols = htifSymbols(file);
  if (symbols === undefined) continue;
  const result = { name: basename(file), ...runProgram(file, symbols) };
  result.absent = result.passed ? undefined : absentExtension(result.name);
  results.push(result);
  if (options.verbose) {
    process.stderr.write(`${result.name}: ${outcome(result)}\n`);
    if (result.console !== '') process.stderr.write(`${result.console.trimEnd()}\n`);
  }
}
if (results.length === 0) fail(1, `no RISC-V program with a symbol 'tohost' in ${paths.join(' ')}`);
if (options.json) console.log(JSON.stringify(results));
else printReport();
process.exitCode = results.every(({ passed, absent }) => passed || absent !== undefined) ? 0 : 1;

function commandLine() {
  const known = {
    cpu: { type: 'string', default: 'rv64' },
    accel: { type: 'string', default: 'jit' },
    eager: { type: 'boolean', default: false },
    timeout: { type: 'string', default: '10' },
    verbose: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  };
  try {
    const { values, positionals } = parseArgs({ options: known, allowPositionals: true });
    if (positionals.length === 0) throw new Error('expected a program or a folder of programs, got none');
    const seconds = Number(values.timeout);
    if (!(seconds > 0))
      throw new Error(`--timeout: expected seconds for each program, got '${values.timeout}'`);
    if (!ACCELERATORS.includes(values.accel)) {
      throw new Error(`--accel: expected ${ACCELERATORS.join(' or ')}, got '${values.accel}'`);
    }
    if (values.eager && values.accel !== 'jit')
      throw new Error(`--eager: there is nothing to translate with --accel ${values.accel}`);
    return { options: { ...values, seconds }, paths: positionals };
  } catch (error) {
    return fail(2, error.message);
  }
}

function fail(status, message) {
  process.stderr.write(`riscv-tests: ${message}\n`);
  process.exit(status);
}

function isaOf(cpu) {
  try {
    return cpuModel(cpu).isa;
  } catch (error) {
    return fail(2, error.message);
  }
}

/** The file itself, or the files of a folder, by name. */
function programsOf(path) {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return fail(1, `${path}: no such file or folder`);
  if (!found.isDirectory()) return [path];
  const names = readdirSync(path).sort();
  return names.map((name) => join(path, name)).filter((file) => statSync(file).isFile());
}

/** Addresses of `tohost` and, if there is one, `fromhost`; undefined if the file is no program with HTIF. */
function htifSymbols(file) {
  let symbols;
  try {
    symbols = parseElf(openBootFile(file), [{ base: MEMORY_MAP.ram.base, size: RAM }]).symbols();
  } catch {
    return undefined;
  }
  const addressOf = (name) => symbols.find((symbol) => symbol.name === name)?.address;
  const tohost = addressOf('tohost');
  return tohost === undefined ? undefined : { tohost, fromhost: addressOf('fromhost') };
}

/** Runs a program until it reports. */
function runProgram(kernel, { tohost, fromhost }) {
  const { configuration, boot } = newMachine({
    bios: { kind: 'none' },
    harts: 1,
    ram: RAM,
    cpu: options.cpu,
    kernel,
  });
  const machine = new Machine(configuration, createSharedMemory(machineLayout(configuration)), {
    clock: new ManualClock(),
    icount: ICOUNT_SHIFT,
    accel: options.accel,
    jit: options.eager ? { eager: true, heat: 1, patience: 0 } : {},
    random: () => fail(1, 'virtual time has no real entropy'),
    transmit() {},
    powerOff() {},
    interrupted() {},
    debugStopped() {},
    resetRequested() {},
  });
  installBoot(machine.memory, boot);
  machine.reset();
  machine.start();
  const ram = machine.memory.block('ram');
  const at = (address) => ram.offset + Number(address) - MEMORY_MAP.ram.base;
  const view = (address, size) => Buffer.from(machine.memory.view(at(address), size));
  const read = (address) => view(address, 8).readBigUInt64LE();
  const write = (address, value) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(value);
    machine.memory.write(at(address), bytes);
  };
  let text = '';
  let status;
  const end = performance.now() + options.seconds * 1000;
  /** One look at `tohost`. @returns whether there is nothing more to run. */
  const poll = () => {
    const command = read(tohost);
    if ((command & 1n) === 1n) status = command >> 1n;
    else if (command >> 48n === HTIF_CONSOLE_PUT) {
      text += String.fromCharCode(Number(command & 0xffn));
      write(tohost, 0n);
    } else if (command !== 0n) {
      // number, file descriptor, address, length; the answer takes the number's place.
      const [number, , address, length] = [0n, 8n, 16n, 24n].map((offset) => read(command + offset));
      if (number === SYS_WRITE) text += view(address, Number(length)).toString('latin1');
      write(command, number === SYS_WRITE ? length : -1n & 0xffff_ffff_ffff_ffffn);
      write(tohost, 0n);
      write(fromhost, 1n);
    }
    return status !== undefined || performance.now() > end;
  };
  const { kind } = machine.burst(poll);
  const instructions = machine.engine.instructions;
  const translated = machine.engine.harts[0].translated.instructions;
  const stopped = kind === 'busy' ? `no end after ${options.seconds} s` : `the machine is ${kind}`;
  return {
    passed: status === 0n,
    why: status === undefined ? stopped : status === 0n ? '' : `status ${status}`,
    instructions,
    translated,
    console: text,
  };
}

/** The extension that a test is named after ("rv64uzbc-p-clmul", "vec-daxpy"), if the processor does not have it. */
function absentExtension(name) {
  const [, found] = /^rv64(?:[ums](\w+)-|up)|^(?:vec)-/.exec(name) ?? [];
  const extension = name.startsWith('vec-') ? 'v' : found;
  if (extension === undefined) return undefined;
  const written = extension[0].toUpperCase() + extension.slice(1);
  return [...extensions].some((present) => present.startsWith(written)) ? undefined : written;
}

function outcome({ passed, why, absent, instructions }) {
  if (passed) return `passed, ${instructions} instructions`;
  return absent === undefined ? `FAILED: ${why}` : `not passed: the processor has no ${absent}`;
}

/** "rv64ui-p", "benchmarks". */
function suiteOf(name) {
  return /^[a-z0-9]+-[pv](?=-)/.exec(name)?.[0] ?? 'benchmarks';
}

function printReport() {
  const suites = new Map();
  for (const result of results) {
    const suite = suiteOf(result.name);
    suites.set(suite, [...(suites.get(suite) ?? []), result]);
  }
  const rows = [['suite', 'passed', 'of', 'instructions', 'translated']];
  for (const [suite, members] of suites) {
    const passed = members.filter((result) => result.passed).length;
    const sum = (count) => members.reduce((total, result) => total + count(result), 0);
    const instructions = sum((result) => result.instructions);
    const share = sum((result) => result.translated) / instructions;
    const counts = [passed, members.length, instructions].map(String);
    rows.push([suite, ...counts, `${(100 * share).toFixed(0)} %`]);
  }
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  for (const row of rows) {
    console.log(
      row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '),
    );
  }
  const others = results.filter(({ passed }) => !passed);
  console.log(`\n${results.length - others.length} of ${results.length} pass`);
  for (const result of others) console.log(`${result.name}: ${outcome(result)}`);
}
