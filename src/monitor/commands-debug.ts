/**
 * Commands that look into the guest: memory, the hart that is looked at, the log. QEMU: hmp-commands.hx,
 * qapi/machine.json (memsave, pmemsave).
 */
import { GodwitError } from '../error.ts';
import { didYouMean } from '../suggest.ts';
import {
  type Command,
  command,
  type HumanArgument,
  type HumanOutput,
  type HumanValues,
  humanCommand,
  type MonitorContext,
} from './command.ts';
import type { DumpFormat } from './expression.ts';
import { logHelpLines } from './log-help.ts';
import { memoryLines, valueText } from './memory-text.ts';
import { int, optional, required, string, uint } from './schema.ts';
import type { LogItemInfo, MemoryAddress, MonitorTarget } from './target.ts';

/** Most instructions that are asked for at a time. */
const INSTRUCTIONS_AT_ONCE = 1000;

const DUMP_ARGUMENTS: readonly HumanArgument[] = [
  { kind: 'format', name: 'fmt' },
  { kind: 'expression', name: 'addr' },
];
const SAVE_ARGUMENTS: readonly HumanArgument[] = [
  { kind: 'expression', name: 'addr' },
  { kind: 'expression', name: 'size' },
  { kind: 'word', name: 'file' },
];

/** @throws GodwitError in QEMU's words, if there is no such hart. */
export function checkHart({ target }: MonitorContext, hart: number): void {
  if (hart >= target.harts) throw new GodwitError('usage', "Parameter 'cpu-index' expects a CPU number");
}

/** Runs `x` (of a hart) or `xp`. */
async function dump(
  { target }: MonitorContext,
  values: HumanValues,
  output: HumanOutput,
  where: Omit<MemoryAddress, 'address'>,
): Promise<void> {
  const format = values.fmt as DumpFormat;
  const start = values.addr as bigint;
  if (format.letter === 'i') return disassemble(target, { ...where, address: start }, format.count, output);
  const read = (address: bigint, length: number) => target.readMemory({ ...where, address }, length);
  for await (const line of memoryLines(format, start, read)) output.print(line);
}

async function disassemble(
  target: MonitorTarget,
  at: MemoryAddress,
  count: number,
  { print }: HumanOutput,
): Promise<void> {
  let { address } = at;
  for (let left = count; left > 0; left -= INSTRUCTIONS_AT_ONCE) {
    const { lines, next } = await target.disassemble(
      { ...at, address },
      Math.min(left, INSTRUCTIONS_AT_ONCE),
    );
    for (const line of lines) print(line);
    if (next === undefined) return;
    address = next;
  }
}

const NONE: LogItemInfo = { name: 'none', help: 'remove all logs' };

export const DEBUG_COMMANDS: readonly Command[] = [
  humanCommand('set the default CPU', {
    names: ['cpu'],
    arguments: [{ kind: 'expression', name: 'index' }],
    async run({ target }, { index }, { session, print }) {
      const hart = Number(index as bigint);
      if (hart < 0 || hart >= target.harts) print('invalid CPU index');
      else session.hart = hart;
    },
  }),
  humanCommand("virtual memory dump starting at 'addr'", {
    names: ['x'],
    arguments: DUMP_ARGUMENTS,
    run: (context, values, output) => dump(context, values, output, { hart: output.session.hart }),
  }),
  humanCommand("physical memory dump starting at 'addr'", {
    names: ['xp'],
    arguments: DUMP_ARGUMENTS,
    run: (context, values, output) => dump(context, values, output, {}),
  }),
  humanCommand('print expression value (use $reg for CPU register access)', {
    names: ['print', 'p'],
    arguments: [
      { kind: 'format', name: 'fmt' },
      { kind: 'expression', name: 'expr' },
    ],
    run: async (_context, { fmt, expr }, { print }) =>
      print(valueText(expr as bigint, (fmt as DumpFormat).letter)),
  }),
  command({
    name: 'memsave',
    help: "save to disk virtual memory dump starting at 'addr' of size 'size'",
    arguments: {
      val: required(int),
      size: required(int),
      filename: required(string),
      'cpu-index': optional(uint),
    },
    human: {
      names: ['memsave'],
      arguments: SAVE_ARGUMENTS,
      run: ({ target }, { addr, size, file }, { session }) =>
        target.saveMemory({ address: addr as bigint, hart: session.hart }, size as bigint, String(file)),
    },
    async run(context, { val, size, filename, 'cpu-index': hart = 0 }) {
      checkHart(context, hart);
      await context.target.saveMemory({ address: val, hart }, size, filename);
      return undefined;
    },
  }),
  command({
    name: 'pmemsave',
    help: "save to disk physical memory dump starting at 'addr' of size 'size'",
    arguments: { val: required(int), size: required(int), filename: required(string) },
    human: {
      names: ['pmemsave'],
      arguments: SAVE_ARGUMENTS,
      run: ({ target }, { addr, size, file }) =>
        target.saveMemory({ address: addr as bigint }, size as bigint, String(file)),
    },
    async run({ target }, { val, size, filename }) {
      await target.saveMemory({ address: val }, size, filename);
      return undefined;
    },
  }),
  humanCommand("activate logging of the specified items ('help' lists)", {
    names: ['log'],
    arguments: [
      {
        kind: 'word',
        name: 'items',
        choices: ({ target }) => ['help', 'none', ...target.logItems.map(({ name }) => name)],
      },
    ],
    async run({ target }, { items }, { print }) {
      if (items === 'help') {
        for (const line of logHelpLines([NONE, ...target.logItems])) print(line);
        return;
      }
      const names = items === 'none' ? [] : String(items).split(',');
      const known = target.logItems.map(({ name }) => name);
      const unknown = names.find((name) => !known.includes(name));
      if (unknown !== undefined) {
        const got = `'${unknown}'${didYouMean(unknown, known)}`;
        throw GodwitError.unexpected('usage', 'log', ['none', ...known].join(' or '), got);
      }
      await target.setLogItems(names);
    },
  }),
  humanCommand("output logs to 'filename'", {
    names: ['logfile'],
    arguments: [{ kind: 'word', name: 'filename' }],
    run: ({ target }, { filename }) => target.setLogFile(String(filename)),
  }),
];
