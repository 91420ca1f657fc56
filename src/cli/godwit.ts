/** The program godwit. */
import yargs, { type CommandModule } from 'yargs';
import { hideBin } from 'yargs/helpers';
import { GodwitError } from '../error.ts';
import { VERSION } from '../host/version.ts';
import { didYouMean } from '../suggest.ts';
import { demoCommand } from './command-demo.ts';
import { guestsCommand } from './command-guests.ts';
import { migrateCommand } from './command-migrate.ts';
import { monitorCommand } from './command-monitor.ts';
import { runCommand } from './command-run.ts';
import { switchCommand } from './command-switch.ts';
import { runMain } from './exit.ts';

// yargs' types want one argument type for all.
const COMMANDS = [
  runCommand,
  migrateCommand,
  monitorCommand,
  guestsCommand,
  demoCommand,
  switchCommand,
] as CommandModule[];
const COMMAND_NAMES = COMMANDS.map(({ command }) => String(command).split(' ')[0] ?? '');

void runMain('godwit', async () => {
  const parser = yargs(hideBin(process.argv));
  await parser
    .scriptName('godwit')
    .usage('$0 COMMAND\n\nRISC-V guests that move between processes while they run.')
    .version(VERSION)
    .command(COMMANDS)
    .demandCommand(1, 'a command is needed: see godwit --help')
    .strict()
    .wrap(Math.min(100, parser.terminalWidth()))
    .exitProcess(false)
    .fail((message, error) => {
      if (error !== undefined && error !== null && !(error.name === 'YError')) throw error;
      throw new GodwitError('usage', withSuggestion(message, optionNames(parser)));
    })
    .parseAsync();
  return 0;
});

function optionNames(parser: ReturnType<typeof yargs>): string[] {
  const { key } = (parser as unknown as { getOptions(): { key: Record<string, unknown> } }).getOptions();
  return Object.keys(key);
}

/** yargs' own text, with the nearest command or option for one that it does not know. */
function withSuggestion(message: string, options: readonly string[]): string {
  const unknown = /^Unknown (?:argument|command)s?: ([^,]+)/.exec(message)?.[1];
  if (unknown === undefined) return message;
  if (process.argv.includes(unknown))
    return `${unknown}: unknown command${didYouMean(unknown, COMMAND_NAMES)}`;
  return `--${unknown}: unknown option${didYouMean(unknown, options, '--')}`;
}
