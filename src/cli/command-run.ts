/** `godwit run`: godwit-system-riscv64 in yargs' idiom; a guest of ours can be named instead of a kernel file. */
import type { Argv, CommandModule } from 'yargs';
import { GodwitError } from '../error.ts';
import { LOG_NAMES } from '../host/log.ts';
import { didYouMean } from '../suggest.ts';
import { commandLine, GUESTS, guestNamed, imageOf } from './guests.ts';
import { runSystem } from './system.ts';
import { parseSystemOptions } from './system-options.ts';

/** Option of `run` → option of godwit-system-riscv64. The value goes on as it is. */
const OPTIONS = {
  machine: ['-M', 'the machine (default virt)'],
  memory: ['-m', 'RAM: 16M to 3584M (default 128M, or what the guest wants)'],
  harts: ['-smp', 'number of harts, 1 to 8 (default 1)'],
  cpu: ['-cpu', 'CPU model (default rv64)'],
  bios: ['-bios', 'none (the default here), default (our own SBI) or a firmware file'],
  append: ['-append', "the kernel's command line"],
  drive: ['-drive', 'a disk image; several times for several'],
  netdev: ['-netdev', 'a network back end: stream, dgram, socket or user'],
  device: ['-device', 'adds a device (godwit-system-riscv64 -device help lists them)'],
  global: ['-global', 'a property of all devices of a kind: virtio-mmio.force-legacy=false'],
  object: [
    '-object',
    'filter-dump,…: writes the frames of a back end to a pcap file; tls-creds-x509,…: credentials',
  ],
  serial: ['-serial', 'where the serial port goes: stdio, unix:PATH, tcp:HOST:PORT, file:PATH, null'],
  monitor: ['-monitor', 'where the human monitor goes (default: behind Ctrl-A c)'],
  qmp: ['-qmp', 'where QMP goes: unix:PATH,server=on,wait=off or tcp:…'],
  gdb: ['-gdb', 'wait for gdb there: tcp::PORT, unix:PATH,server=on,wait=off'],
  incoming: ['-incoming', 'wait for a guest that migrates in: a URI, or defer'],
  name: ['-name', "the machine's name"],
  uuid: ['-uuid', "the machine's UUID"],
  pidfile: ['-pidfile', "write the process's id there"],
  accel: [
    '-accel',
    'how guest code is run: jit (the default; jit,cache=off keeps no translations) or interp',
  ],
  icount: ['-icount', 'virtual time: 2^N ns an instruction'],
  log: ['-d', `log items: ${LOG_NAMES.join(', ')}`],
  'log-file': ['-D', 'log to a file instead of stderr'],
} as const satisfies Record<string, readonly [string, string]>;

const FLAGS = {
  paused: ['-S', 'do not start; cont in a monitor does'],
  'no-reboot': ['-no-reboot', 'exit instead of rebooting'],
  'only-migratable': ['-only-migratable', 'refuse to start with what keeps the guest from being moved'],
  'no-shutdown': ['-no-shutdown', 'stop instead of exiting when the guest powers off'],
} as const satisfies Record<string, readonly [string, string]>;

type RunArguments = { what?: string; settings?: string[] } & Record<string, unknown>;

export const runCommand: CommandModule<object, RunArguments> = {
  command: 'run [what] [settings..]',
  describe: 'Run a guest: one of ours by name, or a kernel file (ELF or raw)',
  builder: (yargs: Argv) => {
    yargs
      .positional('what', { type: 'string', describe: "a guest's name (see godwit guests) or a kernel file" })
      .positional('settings', { type: 'string', array: true, describe: 'settings of the guest: name=value' });
    for (const [name, [, describe]] of Object.entries(OPTIONS)) {
      yargs.option(name, { type: 'string', describe, requiresArg: true });
    }
    for (const [name, [, describe]] of Object.entries(FLAGS))
      yargs.option(name, { type: 'boolean', describe });
    // "no-reboot" is a name, not the negation of "reboot".
    return yargs.parserConfiguration({ 'boolean-negation': false }) as Argv<RunArguments>;
  },
  async handler(args) {
    const command = parseSystemOptions(systemArguments(args));
    if (command.action !== 'run')
      throw new GodwitError('usage', 'that only asks for help: see godwit-system-riscv64');
    process.exitCode = await runSystem(command.options, 'godwit');
    process.exit();
  },
};

/** What godwit-system-riscv64 would be given. */
function systemArguments(args: RunArguments): string[] {
  const { what, settings = [] } = args;
  const list = ['-nographic'];
  if (args.bios === undefined) list.push('-bios', 'none');
  // Console and monitor share the terminal whatever else is asked for.
  if (args.serial === undefined) list.push('-serial', args.monitor === undefined ? 'mon:stdio' : 'stdio');
  if (what !== undefined) list.push(...kernelArguments(what, settings, args));
  for (const [name, [option]] of Object.entries(OPTIONS)) {
    const value = args[name];
    // An option that is given several times has several values.
    for (const one of value === undefined ? [] : [value].flat()) list.push(option, String(one));
  }
  for (const [name, [option]] of Object.entries(FLAGS)) if (args[name] === true) list.push(option);
  return list;
}

function kernelArguments(what: string, settings: readonly string[], args: RunArguments): string[] {
  const guest = guestNamed(what);
  if (guest === undefined) {
    const names = GUESTS.map(({ name }) => name);
    if (!/[./]/.test(what)) {
      throw new GodwitError(
        'usage',
        `${what}: no guest of this name, and no file (./${what}?)${didYouMean(what, names)}`,
      );
    }
    if (settings.length > 0)
      throw new GodwitError('usage', 'settings are for our guests: give a kernel its --append');
    return ['-kernel', what];
  }
  const line = commandLine(guest, settings);
  return [
    '-kernel',
    imageOf(guest),
    ...(args.memory === undefined ? ['-m', guest.memory] : []),
    ...(line === '' || args.append !== undefined ? [] : ['-append', line]),
  ];
}
