/** `-netdev dgram`, and `-netdev socket,udp=`: a frame is a UDP datagram from one address to another. */
import { createSocket, type Socket } from 'node:dgram';
import { MAX_FRAME_BYTES } from '../devices/network.ts';
import { type DgramSpec, type InetAddress, NetdevBase } from './netdev.ts';
import { socketError } from './socket.ts';

/** Datagrams that the system has not taken yet; beyond that, frames are dropped. */
const MAX_UNDER_WAY = 1024;

export class DgramNetdev extends NetdevBase {
  readonly #remote: InetAddress;
  readonly #socket: Socket;
  #underWay = 0;
  #open = true;

  private constructor(spec: DgramSpec, socket: Socket) {
    super(spec);
    const { local, remote } = spec;
    this.#remote = remote;
    this.#socket = socket;
    this.info = `udp=${local.host}:${socket.address().port}/${remote.host}:${remote.port}`;
    // A datagram that nobody takes, or that could not be sent, is a lost frame.
    socket.on('error', () => {});
    socket.on('message', (message) => {
      if (this.#open && message.length <= MAX_FRAME_BYTES) this.cable?.deliver(Uint8Array.from(message));
    });
  }

  /** @throws GodwitError kind 'transport'. */
  static async open(spec: DgramSpec): Promise<DgramNetdev> {
    const { host, port } = spec.local;
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (error) => reject(socketError(`udp:${host}:${port}`, 'listen', error)));
      socket.bind({ port, address: host }, resolve);
    });
    socket.removeAllListeners('error');
    return new DgramNetdev(spec, socket);
  }

  send(frame: Uint8Array): boolean {
    if (this.#underWay >= MAX_UNDER_WAY) return false;
    this.#underWay++;
    this.#socket.send(frame, this.#remote.port, this.#remote.host, () => {
      this.#underWay--;
    });
    return true;
  }

  /** A datagram can't be held back: while there is no room, what comes is lost. */
  flow(open: boolean): void {
    this.#open = open;
  }

  close(): void {
    this.#socket.close();
  }
}
