/** The program godwit-system-riscv64. */
import { VERSION } from '../host/version.ts';
import { runMain } from './exit.ts';
import { runSystem } from './system.ts';
import { parseSystemOptions } from './system-options.ts';
import { systemHelp } from './system-options-table.ts';

const PROGRAM = 'godwit-system-riscv64';

void runMain(PROGRAM, async () => {
  const command = parseSystemOptions(process.argv.slice(2));
  switch (command.action) {
    case 'help':
      process.stdout.write(`${systemHelp(PROGRAM)}\n`);
      return 0;
    case 'version':
      process.stdout.write(`godwit emulator version ${VERSION}\n`);
      return 0;
    case 'list':
      process.stdout.write(`${command.lines.join('\n')}\n`);
      return 0;
    case 'run':
      return await runSystem(command.options, PROGRAM);
  }
});
