/**
 * A line of the human monitor: cut into words, matched with a command's arguments, run, and completed. The error
 * texts are those of QEMU's monitor/hmp.c.
 */
import { errorMessage, GodwitError } from '../error.ts';
import { didYouMean } from '../suggest.ts';
import type {
  Command,
  HumanArgument,
  HumanOutput,
  HumanSide,
  HumanValue,
  HumanValues,
  MonitorContext,
} from './command.ts';
import {
  ExpressionError,
  namesRegister,
  type Parsed,
  parseExpression,
  parseFormat,
  type RegisterValue,
} from './expression.ts';
import { infoTopics } from './info.ts';
import type { JsonObject } from './json-text.ts';
import { parseOnOff } from './migration-parameter-text.ts';

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['n', '\n'],
  ['r', '\r'],
  ['\\', '\\'],
  ["'", "'"],
  ['"', '"'],
]);

/** Takes words off the front of a line. */
class Words {
  #rest: string;

  constructor(line: string) {
    this.#rest = line.trim();
  }

  get rest(): string {
    return this.#rest;
  }

  /** Reads what the line goes on with in another way. */
  parse<T>(how: (text: string) => Parsed<T>): T {
    const { value, rest } = how(this.#rest);
    this.#rest = rest;
    return value;
  }

  /** The command's name, which is never quoted. A format may stand right behind it. */
  command(): string {
    const name = /^[^\s/]*/.exec(this.#rest)?.[0] ?? '';
    this.#rest = this.#rest.slice(name.length).trimStart();
    return name;
  }

  /** The next word, or undefined at the end. */
  next(): string | undefined {
    if (this.#rest === '') return undefined;
    if (this.#rest.startsWith('"')) return this.#quoted();
    const word = /^\S+/.exec(this.#rest)?.[0] ?? '';
    this.#rest = this.#rest.slice(word.length).trimStart();
    return word;
  }

  #quoted(): string {
    let word = '';
    for (let at = 1; at < this.#rest.length; at++) {
      const character = this.#rest.charAt(at);
      if (character === '"') {
        this.#rest = this.#rest.slice(at + 1).trimStart();
        return word;
      }
      if (character !== '\\') {
        word += character;
        continue;
      }
      const letter = this.#rest.charAt(++at);
      const plain = ESCAPES.get(letter);
      if (plain === undefined) throw new GodwitError('usage', `unsupported escape code: '\\${letter}'`);
      word += plain;
    }
    throw new GodwitError('usage', 'unterminated string');
  }
}

/** "migrate [-d] uri": how a command is called. */
export function usage(side: HumanSide): string {
  const words = side.arguments.map((argument) => {
    if (argument.kind === 'flag') return `[-${argument.letter}]`;
    if (argument.kind === 'format') return `/${argument.name}`;
    if (argument.kind === 'rest') return `[${argument.name}]`;
    return argument.kind === 'word' && argument.optional ? `[${argument.name}]` : argument.name;
  });
  return `${side.names.join('|')} ${words.join(' ')}`;
}

/** The lines of `help`, or of `help NAME`. */
export function helpLines({ commands }: MonitorContext, name?: string): string[] {
  const all = commands.flatMap(({ human, help }) => (human === undefined ? [] : [{ human, help }]));
  const shown = name === undefined ? all : all.filter(({ human }) => human.names.includes(name));
  if (name !== undefined && shown.length === 0) {
    return [
      `unknown command: '${name}'${didYouMean(
        name,
        all.flatMap(({ human }) => human.names),
      )}`,
    ];
  }
  return shown
    .map(({ human, help }) => `${usage(human)} -- ${help}`)
    .sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

function humanSide(
  context: MonitorContext,
  name: string,
): { command: Command; human: HumanSide } | undefined {
  for (const command of context.commands) {
    if (command.human?.names.includes(name)) return { command, human: command.human };
  }
  return undefined;
}

/** Reads what the arguments take; throws a GodwitError without the command's name. */
function readValues(
  words: Words,
  expected: readonly HumanArgument[],
  context: MonitorContext,
  register: RegisterValue,
): HumanValues {
  const values: Record<string, HumanValue> = {};
  const flags = expected.filter((argument) => argument.kind === 'flag');
  while (flags.length > 0 && /^-./.test(words.rest)) {
    for (const letter of (words.next() ?? '').slice(1)) {
      const flag = flags.find((candidate) => candidate.letter === letter);
      if (flag === undefined) throw new GodwitError('usage', `unsupported option -${letter}`);
      values[flag.name] = true;
    }
  }
  for (const argument of expected) {
    switch (argument.kind) {
      case 'flag':
        break;
      case 'word': {
        const word = words.next();
        if (word !== undefined) values[argument.name] = word;
        else if (!argument.optional) throw new GodwitError('usage', 'string expected');
        break;
      }
      case 'format': {
        const format = words.parse((text) => parseFormat(text, context.dump));
        // As in QEMU, instructions leave the size of the next dump alone.
        context.dump = { ...format, size: format.letter === 'i' ? context.dump.size : format.size };
        values[argument.name] = format;
        break;
      }
      case 'expression':
        values[argument.name] = words.parse((text) => parseExpression(text, register));
        break;
      case 'switch': {
        const state = parseOnOff(words.next() ?? '');
        if (state === undefined) throw new GodwitError('usage', "Expected 'on' or 'off'");
        values[argument.name] = state;
        break;
      }
      case 'rest':
        values[argument.name] = words.rest;
        return values;
    }
  }
  if (words.rest !== '') throw new GodwitError('usage', 'extraneous characters at the end of line');
  return values;
}

/** Runs one line; every error is printed, so this never rejects. */
export async function runHumanLine(
  context: MonitorContext,
  line: string,
  output: HumanOutput,
): Promise<void> {
  const words = new Words(line);
  const name = words.command();
  if (name === '') return;
  const found = humanSide(context, name);
  if (found === undefined) {
    const known = context.commands.flatMap(({ human }) => human?.names ?? []);
    output.print(`unknown command: '${name}'${didYouMean(name, known)}`);
    return;
  }
  const { command, human } = found;
  let values: HumanValues;
  try {
    const registers =
      takesExpression(human) && namesRegister(words.rest)
        ? await context.target.registers(output.session.hart)
        : new Map<string, bigint>();
    values = readValues(words, human.arguments, context, (name) => registers.get(name));
  } catch (error) {
    const who = error instanceof ExpressionError ? '' : `${human.names.join('|')}: `;
    output.print(`${who}${errorMessage(error)}`);
    output.print(`Try "help ${human.names[0]}" for more information`);
    return;
  }
  try {
    if (human.run !== undefined) await human.run(context, values, output);
    else await command.execute(context, { ...values } as JsonObject);
  } catch (error) {
    for (const text of errorMessage(error).split('\n')) output.print(`Error: ${text}`);
  }
}

const takesExpression = ({ arguments: expected }: HumanSide): boolean =>
  expected.some(({ kind }) => kind === 'expression');

/** What the last word of `line` may become: whole words. */
export function completions(context: MonitorContext, line: string): string[] {
  const words = line.trimStart().split(/\s+/);
  const last = words.pop() ?? '';
  const name = words.shift();
  const startsWithLast = (choice: string) => choice.startsWith(last);
  if (name === undefined) {
    return context.commands
      .flatMap(({ human }) => human?.names ?? [])
      .filter((choice) => startsWithLast(choice) && /[a-z]/.test(choice))
      .sort();
  }
  const expected = humanSide(context, name)?.human.arguments.filter(({ kind }) => kind !== 'flag') ?? [];
  const argument = expected[words.filter((word) => !word.startsWith('-')).length];
  if (argument?.kind === 'switch') return ['off', 'on'].filter(startsWithLast);
  if (argument?.kind !== 'word' && argument?.kind !== 'rest') return [];
  return [...(argument.choices?.(context) ?? [])].filter(startsWithLast).sort();
}

/** Runs `info TOPIC ARGS`. */
export async function runInfo(context: MonitorContext, text: string, output: HumanOutput): Promise<void> {
  const topic = /^\S*/.exec(text)?.[0] ?? '';
  const topics = infoTopics(context);
  if (topic === '') {
    for (const { name, params = '', help } of topics) output.print(`info ${name} ${params} -- ${help}`);
    return;
  }
  const found = topics.find(({ name }) => name === topic);
  if (found === undefined) {
    const known = topics.map(({ name }) => name);
    output.print(`unknown command: 'info ${topic}'${didYouMean(topic, known, 'info ')}`);
    return;
  }
  const answer = await found.text(text.slice(topic.length).trim(), output.session.hart);
  if (answer === '') return;
  for (const line of answer.replace(/\n$/, '').split('\n')) output.print(line);
}
