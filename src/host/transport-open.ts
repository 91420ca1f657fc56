/** Makes migration transports from addresses: one function for the source's side, one for the destination's. */
import { createConnection, type Socket } from 'node:net';
import { GodwitError } from '../error.ts';
import { tellRefusal } from '../migration/refusal.ts';
import type { Transport } from '../migration/transport.ts';
import { socketError } from './socket.ts';
import {
  formatTransportAddress,
  parseTransportAddress,
  type SocketAddress,
  type TransportAddress,
} from './transport-address.ts';
import { openExecTransport } from './transport-exec.ts';
import { openFdTransport, statOf } from './transport-fd.ts';
import { createFileTransport, openFileTransport } from './transport-file.ts';
import {
  KEEP_ALIVE_MS,
  type ListenOptions,
  listenOnSocket,
  type TransportListener,
} from './transport-listener.ts';
import { readInto, SocketTransport } from './transport-socket.ts';
import { checkCredentials, secureClient } from './transport-tls.ts';

export type { TransportListener } from './transport-listener.ts';

const SOCKET_OPTIONS = {
  allowHalfOpen: true,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: KEEP_ALIVE_MS,
} as const;
/** Between two attempts to reach a source that is to listen. */
const RETRY_MS = 200;
/** How long who is refused may take to hear why. */
const COURTESY_MS = 1000;

export interface TransportOptions extends Omit<ListenOptions, 'spokenTo'> {
  /** A command answers on its standard output, or is answered on its standard input: the capability `return-path`. */
  readonly returnPath?: boolean;
}

/**
 * The source's side: connects to a socket (or, with server=on, waits there), creates a file, starts a command.
 * @throws GodwitError kind "usage" for an address that can't be read, "transport" if there is no way to it, "refused" if
 * the other side is not who it must be.
 */
export async function connectTransport(uri: string, options: TransportOptions = {}): Promise<Transport> {
  const address = parseTransportAddress(uri);
  refuseTls(address, options);
  switch (address.kind) {
    case 'file':
      return createFileTransport(address.path);
    case 'fd':
      return openFdTransport(address.fd, true);
    case 'exec':
      return openExecTransport(address.command, { writes: true, reads: options.returnPath === true });
    default: {
      if (address.server !== true) return connected(address, options, 'source');
      const listener = await listenOnSocket(address, { ...options, channels: () => false, spokenTo: false });
      return listener.accept();
    }
  }
}

/**
 * The destination's side: listens on a socket (or, with server=off, connects until somebody is there), opens a file,
 * starts a command.
 * @throws GodwitError kind "usage" for an address that can't be read, "transport" if it is in use or missing.
 */
export async function listenTransport(
  uri: string,
  options: TransportOptions = {},
): Promise<TransportListener> {
  const address = parseTransportAddress(uri);
  refuseTls(address, options);
  switch (address.kind) {
    case 'file':
      return new Opened(uri, await openFileTransport(address.path));
    case 'fd':
      return new Opened(uri, openFdTransport(address.fd, false));
    case 'exec':
      return new Opened(
        uri,
        await openExecTransport(address.command, { writes: options.returnPath === true, reads: true }),
      );
    default:
      return address.server === false
        ? new Connector(uri, () => connected(address, options, 'destination'))
        : listenOnSocket(address, options);
  }
}

/** Whether the other side answers: then it has the guest when the migration is complete. */
export function hasReturnPath(uri: string, { returnPath }: TransportOptions): boolean {
  const address = parseTransportAddress(uri);
  switch (address.kind) {
    case 'file':
      return false;
    case 'fd':
      return statOf(address.fd).isSocket();
    case 'exec':
      return returnPath === true;
    default:
      return true;
  }
}

/** Whether a source can make several connections to the address. */
export function takesSeveral(uri: string): boolean {
  const address = parseTransportAddress(uri);
  return (address.kind === 'tcp' || address.kind === 'unix') && address.server !== true;
}

/** Secrets are not sent in the clear because of a word in an address. */
function refuseTls(address: TransportAddress, { tls }: TransportOptions): void {
  if (tls === undefined || address.kind === 'tcp' || address.kind === 'unix') return;
  const what = `tls-creds '${tls.credentials.id}' is set, and only tcp and unix sockets can be secured`;
  throw new GodwitError('usage', `${formatTransportAddress(address)}: ${what}`);
}

/** What needs no waiting for. */
class Opened implements TransportListener {
  readonly address: string;
  readonly #transport: Transport;
  #taken = false;

  constructor(address: string, transport: Transport) {
    this.address = address;
    this.#transport = transport;
  }

  async accept(): Promise<Transport> {
    this.#taken = true;
    return this.#transport;
  }

  channel(): Promise<never> {
    return Promise.reject(
      new GodwitError('transport', `${this.address}: further channels need a socket that listens`),
    );
  }

  close(): void {
    if (!this.#taken) this.#transport.destroy();
  }
}

/** Connects, as soon as somebody listens. */
class Connector implements TransportListener {
  readonly address: string;
  readonly #connect: () => Promise<Transport>;
  #closed = false;

  constructor(address: string, connect: () => Promise<Transport>) {
    this.address = address;
    this.#connect = connect;
  }

  async accept(): Promise<Transport> {
    while (!this.#closed) {
      try {
        return await this.#connect();
      } catch (error) {
        const code = ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code ?? '';
        if (!['ECONNREFUSED', 'ENOENT'].includes(code)) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    throw new GodwitError('cancelled', `${this.address}: connecting was ended`);
  }

  channel(): Promise<never> {
    return Promise.reject(
      new GodwitError('transport', `${this.address}: further channels need a socket that listens`),
    );
  }

  close(): void {
    this.#closed = true;
  }
}

async function connected(
  address: SocketAddress,
  { tls }: TransportOptions,
  side: 'source' | 'destination',
): Promise<SocketTransport> {
  const name = formatTransportAddress(address);
  if (tls === undefined) return plain(address, name);
  checkCredentials(tls, 'client', name);
  const raw = await new Promise<Socket>((resolve, reject) => {
    const socket = createConnection({ ...SOCKET_OPTIONS, ...destination(address) });
    const onError = (error: Error): void => reject(socketError(name, 'connect', error));
    socket.once('error', onError);
    socket.once('connect', () => {
      socket.off('error', onError);
      resolve(socket);
    });
  });
  const host = address.kind === 'tcp' ? address.host || 'localhost' : '';
  const { socket, refusal } = await secureClient(raw, tls, host, name);
  const transport = new SocketTransport((onread) => readInto(socket, onread), name);
  if (refusal === undefined) return transport;
  const timer = setTimeout(() => transport.destroy(), COURTESY_MS);
  await tellRefusal(transport, side, refusal).catch(() => {});
  clearTimeout(timer);
  transport.destroy();
  throw new GodwitError('refused', `${name}: ${refusal}`);
}

function plain(address: SocketAddress, name: string): Promise<SocketTransport> {
  return new Promise((resolve, reject) => {
    const transport = new SocketTransport((onread) => {
      const socket = createConnection({ ...SOCKET_OPTIONS, ...destination(address), onread });
      const onError = (error: Error): void => reject(socketError(name, 'connect', error));
      socket.once('error', onError);
      socket.once('connect', () => {
        socket.off('error', onError);
        resolve(transport);
      });
      return socket;
    }, name);
  });
}

function destination(address: SocketAddress): { path: string } | { host: string; port: number } {
  if (address.kind === 'unix') return { path: address.path };
  return { host: address.host === '' ? 'localhost' : address.host, port: address.port };
}
