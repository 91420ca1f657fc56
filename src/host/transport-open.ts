/** Makes migration transports from addresses: one function for the source's side, one for the destination's. */
import { unlink } from 'node:fs/promises';
import {
  createConnection,
  createServer,
  type OnReadOpts,
  type Server,
  Socket,
  type SocketConstructorOpts,
} from 'node:net';
import { GodwitError } from '../error.ts';
import type { Transport } from '../migration/transport.ts';
import { isStaleSocket, socketError } from './socket.ts';
import { formatTransportAddress, parseTransportAddress, type TransportAddress } from './transport-address.ts';
import { createFileTransport, openFileTransport } from './transport-file.ts';
import { SocketTransport } from './transport-socket.ts';

/** Tells a peer that is gone without a word from one that has nothing to say. */
const KEEP_ALIVE_MS = 10_000;
const SOCKET_OPTIONS = {
  allowHalfOpen: true,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: KEEP_ALIVE_MS,
} as const;

type SocketAddress = Exclude<TransportAddress, { kind: 'file' }>;

/**
 * The source's side: connects to a socket, or creates a file.
 * @throws GodwitError kind "usage" for an address that can't be read, "transport" if there is no way to it.
 */
export async function connectTransport(uri: string): Promise<Transport> {
  const address = parseTransportAddress(uri);
  if (address.kind === 'file') return createFileTransport(address.path);
  return connected(address);
}

/**
 * The destination's side, ready: exactly one connection is taken, the first that says something. (Who only looks
 * whether somebody listens does not use it up.)
 */
export interface TransportListener {
  /** Where it really listens: port 0 has become a port. */
  readonly address: string;
  /**
   * The one connection. Listening ends with it, and the socket's file is removed.
   * @throws GodwitError kind "cancelled" after `close`.
   */
  accept(): Promise<Transport>;
  /** Stops listening. A connection that was accepted stays. Idempotent. */
  close(): void;
}

/**
 * The destination's side: listens on a socket, or opens a file.
 * @throws GodwitError kind "usage" for an address that can't be read, "transport" if it is in use or missing.
 */
export async function listenTransport(uri: string): Promise<TransportListener> {
  const address = parseTransportAddress(uri);
  if (address.kind === 'file') {
    const transport = await openFileTransport(address.path);
    let taken = false;
    return {
      address: uri,
      accept: async () => {
        taken = true;
        return transport;
      },
      close: () => {
        if (!taken) transport.destroy();
      },
    };
  }
  if (address.kind === 'unix' && (await isStaleSocket(address.path))) await unlink(address.path);
  return new SocketListener(await listening(address), address);
}

class SocketListener implements TransportListener {
  readonly address: string;
  readonly #server: Server;
  readonly #connection: Promise<Transport>;
  #refuse: (error: GodwitError) => void = () => {};

  constructor(server: Server, address: SocketAddress) {
    const bound = server.address();
    const port = typeof bound === 'object' && bound !== null ? bound.port : undefined;
    this.address = formatTransportAddress(
      address.kind === 'tcp' && port !== undefined ? { ...address, port } : address,
    );
    this.#server = server;
    this.#connection = new Promise((resolve, reject) => {
      const candidates = new Set<SocketTransport>();
      this.#refuse = reject;
      server.on('connection', async (socket) => {
        const transport = new SocketTransport(adopted(socket), `connection to ${this.address}`);
        candidates.add(transport);
        const speaks = await transport.speaks();
        if (!candidates.delete(transport) || !speaks) {
          transport.destroy();
          return;
        }
        resolve(transport);
        server.close();
        for (const other of candidates) other.destroy();
        candidates.clear();
      });
      server.on('error', (error) => reject(socketError(formatTransportAddress(address), 'listen', error)));
    });
    this.#connection.catch(() => {});
  }

  accept(): Promise<Transport> {
    return this.#connection;
  }

  close(): void {
    this.#server.close();
    this.#refuse(new GodwitError('cancelled', `${this.address}: listening was ended`));
  }
}

function connected(address: SocketAddress): Promise<SocketTransport> {
  return new Promise((resolve, reject) => {
    const transport = new SocketTransport((onread) => {
      const socket =
        address.kind === 'unix'
          ? createConnection({ ...SOCKET_OPTIONS, path: address.path, onread })
          : createConnection({
              ...SOCKET_OPTIONS,
              host: address.host === '' ? 'localhost' : address.host,
              port: address.port,
              onread,
            });
      const onError = (error: Error): void =>
        reject(socketError(formatTransportAddress(address), 'connect', error));
      socket.once('error', onError);
      socket.once('connect', () => {
        socket.off('error', onError);
        resolve(transport);
      });
      return socket;
    }, formatTransportAddress(address));
  });
}

/**
 * Takes the connection out of a socket that a server has accepted, and into one that reads with `onread`: Node offers
 * that option for outgoing connections only. The server must have been made with `pauseOnConnect`.
 */
function adopted(accepted: Socket): (onread: OnReadOpts) => Socket {
  return (onread) => {
    const holder = accepted as unknown as { _handle: unknown };
    const options = { ...SOCKET_OPTIONS, handle: holder._handle, onread };
    holder._handle = null;
    const socket = new Socket(options as SocketConstructorOpts);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    return socket;
  };
}

function listening(address: SocketAddress): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ pauseOnConnect: true });
    const onError = (error: Error): void =>
      reject(socketError(formatTransportAddress(address), 'listen', error));
    server.once('error', onError);
    server.once('listening', () => {
      server.off('error', onError);
      resolve(server);
    });
    if (address.kind === 'unix') server.listen({ path: address.path });
    else server.listen({ port: address.port, ...(address.host === '' ? {} : { host: address.host }) });
  });
}
