/**
 * Commands about the machine as a whole: what runs, who we are, stop and go. QEMU: qapi/run-state.json,
 * qapi/control.json, qapi/misc.json.
 */
import { blockJson } from './block.ts';
import { type Command, command, humanCommand, versionInfo } from './command.ts';
import type { Json } from './json-text.ts';

const nothing = {};

/** What `-s` stands for. */
export const DEFAULT_GDB_DEVICE = 'tcp::1234';

export const MACHINE_COMMANDS: readonly Command[] = [
  command({
    name: 'query-status',
    help: 'whether the machine runs',
    arguments: nothing,
    async run({ target }): Promise<Json> {
      const { status, running, singlestep = false } = await target.queryStatus();
      return { status, singlestep, running };
    },
  }),
  command({
    name: 'query-version',
    help: 'the version of QEMU whose monitor this is, and our own',
    arguments: nothing,
    run: async ({ host }) => versionInfo(host),
  }),
  command({
    name: 'query-commands',
    help: 'the names of all QMP commands',
    arguments: nothing,
    run: async ({ commands }) =>
      commands.flatMap(({ name }): { name: string }[] => (name === undefined ? [] : [{ name }])),
  }),
  command({
    name: 'query-name',
    help: "the machine's name, if it has one",
    arguments: nothing,
    run: async ({ target }) => (target.name === undefined ? {} : { name: target.name }),
  }),
  command({
    name: 'query-uuid',
    help: "the machine's UUID",
    arguments: nothing,
    run: async ({ target }) => ({ UUID: target.uuid }),
  }),
  command({
    name: 'query-block',
    help: 'the disks, and what shows them to the guest',
    arguments: nothing,
    run: async ({ target }) => (await target.queryBlock()).map(blockJson),
  }),
  command({
    name: 'query-blockstats',
    help: 'what the disks have done so far',
    arguments: nothing,
    run: async ({ target }): Promise<Json> =>
      [...(await target.queryBlockStats())].map(([device, stats]) => ({ device, stats: { ...stats } })),
  }),
  command({
    name: 'stop',
    help: 'stop emulation',
    arguments: nothing,
    human: { names: ['stop', 's'], arguments: [] },
    run: async ({ target }) => void (await target.stop()),
  }),
  command({
    name: 'cont',
    help: 'resume emulation',
    arguments: nothing,
    human: { names: ['cont', 'c'], arguments: [] },
    run: async ({ target }) => void (await target.cont()),
  }),
  command({
    name: 'system_reset',
    help: 'reset the system',
    arguments: nothing,
    human: { names: ['system_reset'], arguments: [] },
    run: async ({ target }) => void (await target.systemReset()),
  }),
  command({
    name: 'system_powerdown',
    help: 'send system power down event',
    arguments: nothing,
    human: { names: ['system_powerdown'], arguments: [] },
    run: async ({ target }) => void (await target.systemPowerdown()),
  }),
  humanCommand(`start gdbserver on given device (default '${DEFAULT_GDB_DEVICE}'), stop with 'none'`, {
    names: ['gdbserver'],
    arguments: [{ kind: 'word', name: 'device', optional: true }],
    async run({ host }, { device = DEFAULT_GDB_DEVICE }, output) {
      await host.gdbserver(String(device));
      output.print(
        device === 'none' ? 'Disabled gdbserver' : `Waiting for gdb connection on device '${device}'`,
      );
    },
  }),
  command({
    name: 'quit',
    help: 'quit the emulator',
    arguments: nothing,
    human: { names: ['quit', 'q'], arguments: [] },
    run: async ({ target }) => void (await target.quit()),
  }),
];
