/**
 * The shape of a monitor command: one entry serves QMP (a name, typed arguments, an answer) and the human monitor
 * (names, words on a line, printed text). Names, arguments and help follow QEMU's qapi/*.json and hmp-commands.hx.
 */
import type { DumpDefaults, DumpFormat } from './expression.ts';
import type { Json } from './json-text.ts';
import { type Fields, type ObjectOf, object } from './schema.ts';
import type { MonitorHost, MonitorTarget } from './target.ts';

/**
 * The QEMU version whose monitor we speak. Management tools decide by `query-version` which commands and fields to
 * expect, so this names the QEMU that ours were compared with; `package` says who we are.
 */
export const QEMU_VERSION = { major: 7, minor: 2, micro: 0 } as const;

/** `version` of the greeting and of query-version. */
export function versionInfo(host: MonitorHost) {
  return { qemu: { ...QEMU_VERSION }, package: `godwit ${host.version}` };
}

/** What every command gets. */
export interface MonitorContext {
  readonly target: MonitorTarget;
  readonly host: MonitorHost;
  readonly commands: readonly Command[];
  /** What the next format leaves out; as in QEMU, all sessions share it. */
  dump: DumpDefaults;
}

/** What one session of the human monitor remembers from line to line. */
export interface HumanSession {
  /** The hart that commands are about: `cpu` sets it. */
  hart: number;
}

/** Where a human command prints. */
export interface HumanOutput {
  readonly session: HumanSession;
  /** Prints a line. */
  print(line: string): void;
  /** Whether a command may keep its user waiting (false for human-monitor-command). */
  readonly mayWait: boolean;
}

/** One word that a human command takes, in order; its name is the QMP argument's. */
export type HumanArgument =
  /** `-x`, before the words. */
  | { readonly kind: 'flag'; readonly name: string; readonly letter: string }
  /** A word, or text in double quotes. */
  | {
      readonly kind: 'word';
      readonly name: string;
      readonly optional?: boolean;
      readonly choices?: (context: MonitorContext) => readonly string[];
    }
  /** "/4xw", right behind the command's name or after a space; it may be missing. */
  | { readonly kind: 'format'; readonly name: string }
  /** A number, or an expression (expression.ts). */
  | { readonly kind: 'expression'; readonly name: string }
  /** `on` or `off`. */
  | { readonly kind: 'switch'; readonly name: string }
  /** All that is left of the line. */
  | {
      readonly kind: 'rest';
      readonly name: string;
      readonly choices?: (context: MonitorContext) => readonly string[];
    };

export type HumanValue = string | boolean | bigint | DumpFormat;

/** What was given for each HumanArgument: words as text, flags and switches as booleans, expressions as bigint. */
export type HumanValues = Readonly<Record<string, HumanValue | undefined>>;

/** A command's side in the human monitor. */
export interface HumanSide {
  /** The first is the main one. */
  readonly names: readonly [string, ...string[]];
  readonly arguments: readonly HumanArgument[];
  /** Without it, the QMP command runs with the values as its arguments and prints nothing. */
  run?(context: MonitorContext, values: HumanValues, output: HumanOutput): Promise<void>;
}

export interface Command {
  /** The name in QMP, if it is there. */
  readonly name?: string;
  /** One line. */
  readonly help: string;
  readonly human?: HumanSide;
  /** Reads the arguments, runs, and gives the answer. Throws GodwitError. */
  execute(context: MonitorContext, args: Json): Promise<Json>;
}

/** A command of QMP, and of the human monitor if `human` is given. */
export function command<F extends Fields>(definition: {
  readonly name: string;
  readonly help: string;
  readonly arguments: F;
  readonly human?: HumanSide;
  /** `undefined` answers `{}`. */
  run(context: MonitorContext, args: ObjectOf<F>): Promise<Json | undefined>;
}): Command {
  const schema = object(definition.arguments);
  return {
    name: definition.name,
    help: definition.help,
    ...(definition.human === undefined ? {} : { human: definition.human }),
    async execute(context, args) {
      return (await definition.run(context, schema.read(args, ''))) ?? {};
    },
  };
}

/** A command of the human monitor only. */
export function humanCommand(help: string, human: HumanSide & Required<Pick<HumanSide, 'run'>>): Command {
  return {
    help,
    human,
    execute: () => Promise.reject(new Error(`${human.names[0]} is no QMP command`)),
  };
}
