/** `godwit monitor`: an interactive monitor on a VM's QMP or human monitor socket. */
import type { CommandModule } from 'yargs';
import { runMonitor } from './monitor-terminal.ts';

export const monitorCommand: CommandModule<object, { socket: string }> = {
  command: 'monitor <socket>',
  describe: 'Talk to the monitor of a running VM',
  builder: (yargs) =>
    yargs.positional('socket', {
      type: 'string',
      demandOption: true,
      describe: 'unix:PATH, tcp:HOST:PORT or a path; QMP and human monitors are told apart',
    }),
  async handler({ socket }) {
    const { stdin, stdout } = process;
    await runMonitor(socket, { stdin, stdout });
    process.exit(0);
  },
};
