/** `godwit guests`: the toy guests, a line and their settings each. */
import type { CommandModule } from 'yargs';
import { GUESTS } from './guests.ts';

export const guestsCommand: CommandModule<object, { json: boolean }> = {
  command: 'guests',
  describe: 'List the guests that come with godwit, and their settings',
  builder: (yargs) => yargs.option('json', { type: 'boolean', default: false, describe: 'as JSON' }),
  handler({ json }) {
    process.stdout.write(json ? `${JSON.stringify(GUESTS, undefined, 2)}\n` : `${listing()}\n`);
  },
};

function listing(): string {
  return GUESTS.map(({ name, summary, settings }) => {
    const lines = settings.map(({ name: setting, default: value, help, values }) => {
      const takes = values === undefined ? '' : ` [${values}]`;
      return `    ${`${setting}=${value}`.padEnd(16)} ${help}${takes}`;
    });
    return [`${name.padEnd(8)} ${summary}`, ...lines].join('\n');
  }).join('\n\n');
}
