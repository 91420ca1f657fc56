/** `godwit switch`: an Ethernet switch for the VMs of a host, in a process of its own. */
import type { CommandModule } from 'yargs';
import { GodwitError } from '../error.ts';
import { hostClock } from '../host/clock.ts';
import { DEFAULT_AGE_SECONDS } from '../host/learning-switch.ts';
import { type SocketAddress, socketLabel } from '../host/socket-open.ts';
import { askSwitch, type SwitchState, startSwitch } from '../host/switch-server.ts';
import { parseMonitorSocket } from './monitor-client.ts';
import { formatTable } from './table.ts';

interface SwitchArguments {
  addresses?: string[] | undefined;
  control?: string | undefined;
  age: number;
  show?: string | undefined;
  json: boolean;
}

export const switchCommand: CommandModule<object, SwitchArguments> = {
  command: 'switch [addresses..]',
  describe: 'Join VMs: a learning Ethernet switch on unix or tcp sockets',
  builder: (yargs) =>
    yargs
      .positional('addresses', {
        type: 'string',
        array: true,
        describe: 'where VMs connect to (-netdev stream): unix:PATH or tcp:HOST:PORT',
      })
      .option('control', {
        type: 'string',
        requiresArg: true,
        describe: 'where --show finds it (default: the first unix PATH with .control behind it)',
      })
      .option('age', {
        type: 'number',
        default: DEFAULT_AGE_SECONDS,
        requiresArg: true,
        describe: 'seconds that an address is remembered which is not heard of',
      })
      .option('show', {
        type: 'string',
        requiresArg: true,
        describe: "show a running switch's ports and addresses, by its socket",
      })
      .option('json', { type: 'boolean', default: false, describe: 'show as JSON' }),
  async handler({ addresses = [], control, age, show, json }) {
    if (show !== undefined) {
      const state = await askSwitch(controlOf(parseMonitorSocket(show)));
      process.stdout.write(json ? `${JSON.stringify(state)}\n` : shown(state));
      return;
    }
    await run(
      addresses.map(parseMonitorSocket),
      control === undefined ? undefined : parseMonitorSocket(control),
      age,
    );
  },
};

async function run(
  listen: SocketAddress[],
  given: SocketAddress | undefined,
  ageSeconds: number,
): Promise<void> {
  const [first] = listen;
  if (first === undefined)
    throw new GodwitError('usage', 'godwit switch: expected unix:PATH or tcp:HOST:PORT, got nothing');
  if (!(ageSeconds > 0))
    throw GodwitError.unexpected('usage', '--age', 'seconds, more than 0', `${ageSeconds}`);
  const unix = listen.find(({ kind }) => kind === 'unix');
  const control = given ?? (unix === undefined ? undefined : controlOf(unix));
  const server = await startSwitch({
    listen,
    ...(control === undefined ? {} : { control }),
    ageSeconds,
    clock: hostClock,
    changed: (line) => process.stdout.write(`${line}\n`),
  });
  for (const address of server.addresses) process.stdout.write(`listening on ${socketLabel(address)}\n`);
  process.on('SIGUSR1', () => process.stdout.write(shown(server.state())));
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
  server.close();
}

/** Where a switch on this socket tells of itself, unless it was told otherwise. */
function controlOf(address: SocketAddress): SocketAddress {
  if (address.kind !== 'unix' || address.path.endsWith('.control')) return address;
  return { kind: 'unix', path: `${address.path}.control` };
}

function shown({ ports, addresses }: SwitchState): string {
  const portRows = ports.map((port) => [
    `${port.port}`,
    port.peer,
    ...[port.receivedFrames, port.receivedBytes, port.sentFrames, port.sentBytes, port.dropped].map(String),
  ]);
  const addressRows = addresses.map(({ address, port, age }) => [address, `${port}`, `${age.toFixed(1)} s`]);
  return [
    formatTable([['port', 'peer', 'received', 'bytes', 'sent', 'bytes', 'dropped'], ...portRows]),
    '',
    formatTable([['address', 'port', 'heard'], ...addressRows]),
    '',
  ].join('\n');
}
