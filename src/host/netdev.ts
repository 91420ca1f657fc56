/**
 * Network back ends (-netdev): what a user says of one, and what all of them are. They live in the machine's thread,
 * whose event loop serves their sockets between two bursts.
 */
import type { BackendFacts } from '../devices/model.ts';
import type { NetworkBackend, NetworkCable } from '../devices/network.ts';
import type { SocketAddress } from './socket-open.ts';

/** HOST:PORT of a datagram socket. */
export interface InetAddress {
  readonly host: string;
  readonly port: number;
}

interface Named {
  readonly id: string;
  /** The option as it was written, for errors. */
  readonly where: string;
}

export interface StreamSpec extends Named {
  /** "socket" is the older option's name for the same; "user" has a user-mode network at the other end. */
  readonly type: 'stream' | 'socket' | 'user';
  readonly server: boolean;
  readonly address: SocketAddress;
  /** A client whose connection is gone, or that found nobody, tries again so often; never, if undefined. */
  readonly reconnectMs?: number;
}

export interface DgramSpec extends Named {
  readonly type: 'dgram' | 'socket';
  readonly local: InetAddress;
  /** Where frames are sent to. */
  readonly remote: InetAddress;
}

/** A user-mode network, before there is one. */
export interface UserSpec extends Named {
  readonly type: 'user';
  /** What `passt` is told beside the socket. */
  readonly passt: readonly string[];
}

/** A back end as a user describes it. */
export type NetdevSpec = StreamSpec | DgramSpec | UserSpec;
/** One that the machine's thread can open. */
export type SocketNetdevSpec = StreamSpec | DgramSpec;

/** What the machine's configuration holds of a back end: its id. */
export function netdevFacts({ id }: NetdevSpec): BackendFacts {
  return { kind: 'netdev', id, facts: {} };
}

/** What happens to a back end, for events. */
export interface NetdevListener {
  connected(id: string, address: SocketAddress): void;
  disconnected(id: string): void;
}

/** A peer's address as QMP names it (SocketAddress, qapi/sockets.json). */
export type NetdevAddress = Readonly<Record<string, string>>;

export function netdevAddress(address: SocketAddress): NetdevAddress {
  if (address.kind === 'unix') return { path: address.path, type: 'unix' };
  return { port: `${address.port}`, host: address.host, type: 'inet' };
}

/** A back end of this process. */
export interface Netdev extends NetworkBackend {
  /** Hands what has been sent to the system: the thread may sleep now. */
  flush(): void;
  close(): void;
}

/** What back ends share: a cable that may be plugged in later than frames arrive. */
export abstract class NetdevBase implements Netdev {
  readonly id: string;
  readonly #type: string;
  protected cable: NetworkCable | undefined;
  /** What `info network` says of its peer. */
  protected info = '';

  constructor({ id, type }: SocketNetdevSpec) {
    this.id = id;
    this.#type = type;
  }

  plugged(cable: NetworkCable): void {
    this.cable = cable;
  }

  describe(): string {
    return `index=0,type=${this.#type},${this.info}`;
  }

  flush(): void {}

  abstract send(frame: Uint8Array): boolean;
  abstract flow(open: boolean): void;
  abstract close(): void;
}
