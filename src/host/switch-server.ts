/**
 * A switch as a process: everyone who connects to one of its sockets is plugged in. On a socket of its own it tells
 * whoever connects what it knows, as one line of JSON.
 */
import type { Server, Socket } from 'node:net';
import type { Clock } from '../clock.ts';
import { GodwitError } from '../error.ts';
import { FrameSocket } from './ethernet-stream.ts';
import { type AddressInfo, LearningSwitch, type PortInfo } from './learning-switch.ts';
import { boundAddress, connectSocket, listenSocket, type SocketAddress, socketLabel } from './socket-open.ts';

/** What a switch tells of itself. */
export interface SwitchState {
  readonly ports: readonly PortInfo[];
  readonly addresses: readonly AddressInfo[];
}

export interface SwitchOptions {
  readonly listen: readonly SocketAddress[];
  readonly control?: SocketAddress;
  /** How long an address is remembered. */
  readonly ageSeconds: number;
  readonly clock: Clock;
  /** Somebody was plugged in, or has gone. */
  changed(line: string): void;
}

export interface SwitchServer {
  /** Where it listens, with the ports that were really given for port 0. */
  readonly addresses: readonly SocketAddress[];
  state(): SwitchState;
  close(): void;
}

/** @throws GodwitError kind 'transport'. */
export async function startSwitch(options: SwitchOptions): Promise<SwitchServer> {
  const learning = new LearningSwitch(options.clock, options.ageSeconds);
  const servers: Server[] = [];
  const sockets = new Set<FrameSocket>();
  const state = (): SwitchState => ({ ports: learning.ports(), addresses: learning.addresses() });
  const plug = (socket: Socket, label: string): void => {
    const remote =
      socket.remoteAddress === undefined ? label : `tcp:${socket.remoteAddress}:${socket.remotePort}`;
    const plugged = learning.plug({ peer: remote, send: (frame) => frames.send(frame) });
    const frames: FrameSocket = new FrameSocket(socket, {
      frame: (frame) => plugged.receive(frame),
      closed(reason) {
        plugged.unplug();
        sockets.delete(frames);
        options.changed(`${remote} has gone${reason === undefined ? '' : `: ${reason}`}`);
      },
    });
    sockets.add(frames);
    options.changed(`${remote} is plugged in`);
  };
  const listen = async (address: SocketAddress, served: (socket: Socket) => void): Promise<SocketAddress> => {
    const server = await listenSocket(address, { allowHalfOpen: true });
    servers.push(server);
    server.on('connection', served);
    return boundAddress(address, server);
  };
  const addresses: SocketAddress[] = [];
  for (const address of options.listen) {
    addresses.push(await listen(address, (socket) => plug(socket, socketLabel(address))));
  }
  if (options.control !== undefined) {
    await listen(options.control, (socket) => {
      socket.on('error', () => {});
      socket.end(`${JSON.stringify(state())}\n`);
    });
  }
  return {
    addresses,
    state,
    close() {
      for (const server of servers) server.close();
      for (const socket of sockets) socket.close();
    },
  };
}

/** How long a switch may take to answer. */
const ANSWER_MS = 5000;

/** Asks a running switch. @throws GodwitError kind 'transport' if there is none, or something else. */
export async function askSwitch(control: SocketAddress): Promise<SwitchState> {
  const socket = await connectSocket(control);
  socket.setTimeout(ANSWER_MS, () => socket.destroy());
  let text = '';
  try {
    for await (const piece of socket.setEncoding('utf8')) text += piece;
    return JSON.parse(text) as SwitchState;
  } catch (error) {
    const where = socketLabel(control);
    throw new GodwitError(
      'transport',
      `${where}: does not answer as a switch's control socket`,
      { where },
      error,
    );
  } finally {
    socket.destroy();
  }
}
