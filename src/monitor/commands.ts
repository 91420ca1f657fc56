/**
 * The one table of monitor commands: QMP, the human monitor, help, completion and query-commands derive from it.
 */
import { type Command, command, humanCommand, type MonitorContext } from './command.ts';
import { checkHart, DEBUG_COMMANDS } from './commands-debug.ts';
import { DIRTY_COMMANDS } from './commands-dirty.ts';
import { MACHINE_COMMANDS } from './commands-machine.ts';
import { MIGRATION_COMMANDS } from './commands-migration.ts';
import { NETWORK_COMMANDS } from './commands-network.ts';
import { FIRST_DUMP } from './expression.ts';
import { helpLines, runHumanLine, runInfo } from './human-line.ts';
import { infoTopics } from './info.ts';
import { array, optional, required, string, uint } from './schema.ts';
import type { MonitorHost, MonitorTarget } from './target.ts';

const commandNames = ({ commands }: MonitorContext) => commands.flatMap(({ human }) => human?.names ?? []);

const MONITOR_COMMANDS: readonly Command[] = [
  command({
    name: 'qmp_capabilities',
    help: 'leave negotiation mode',
    arguments: { enable: optional(array(string)) },
    // Only a session in negotiation mode gets past this (qmp-session.ts).
    run: async () => undefined,
  }),
  command({
    name: 'human-monitor-command',
    help: 'run a line of the human monitor and answer what it prints',
    arguments: { 'command-line': required(string), 'cpu-index': optional(uint) },
    async run(context, args) {
      let text = '';
      const hart = args['cpu-index'] ?? 0;
      if (hart !== 0) checkHart(context, hart);
      await runHumanLine(context, args['command-line'], {
        mayWait: false,
        session: { hart },
        print: (line) => {
          text += `${line}\r\n`;
        },
      });
      return text;
    },
  }),
  humanCommand('show the help', {
    names: ['help', '?'],
    arguments: [{ kind: 'rest', name: 'cmd', choices: commandNames }],
    async run(context, { cmd }, output) {
      const name = String(cmd).trim();
      if (/^info\b/.test(name)) await runInfo(context, '', output);
      else for (const line of helpLines(context, name === '' ? undefined : name)) output.print(line);
    },
  }),
  humanCommand('show various information about the system state', {
    names: ['info'],
    arguments: [
      {
        kind: 'rest',
        name: 'subcommand',
        choices: (context) => infoTopics(context).map(({ name }) => name),
      },
    ],
    run: (context, { subcommand }, output) => runInfo(context, String(subcommand), output),
  }),
];

export const COMMANDS: readonly Command[] = [
  ...MONITOR_COMMANDS,
  ...MACHINE_COMMANDS,
  ...NETWORK_COMMANDS,
  ...DEBUG_COMMANDS,
  ...MIGRATION_COMMANDS,
  ...DIRTY_COMMANDS,
];

/** What all sessions of one machine share. */
export function monitorContext(target: MonitorTarget, host: MonitorHost): MonitorContext {
  return { target, host, commands: COMMANDS, dump: FIRST_DUMP };
}
