/** Waits for the connections of one migration on a socket. */
import { unlink } from 'node:fs/promises';
import { createServer, type OnReadOpts, type Server, Socket, type SocketConstructorOpts } from 'node:net';
import { errorMessage, GodwitError } from '../error.ts';
import { tellRefusal } from '../migration/refusal.ts';
import type { Transport } from '../migration/transport.ts';
import { isStaleSocket, socketError } from './socket.ts';
import type { TlsSettings } from './tls-credentials.ts';
import { formatTransportAddress, type SocketAddress } from './transport-address.ts';
import { readInto, SocketTransport } from './transport-socket.ts';
import { checkCredentials, secureServer } from './transport-tls.ts';

/** Tells a peer that is gone without a word from one that has nothing to say. */
export const KEEP_ALIVE_MS = 10_000;
/** How long who is refused may take to hear why. */
const COURTESY_MS = 1000;

/**
 * The side that does not connect, ready: one connection is taken, the first that says something. (Who only looks whether
 * somebody listens does not use it up.)
 */
export interface TransportListener {
  /** Where it really listens: port 0 has become a port. */
  readonly address: string;
  /**
   * The one connection. Listening ends with it, unless further channels are to come, and the socket's file is removed.
   * @throws GodwitError kind "cancelled" after `close`.
   */
  accept(): Promise<Transport>;
  /** The next one after that, if there may be several. @throws GodwitError kind "cancelled". */
  channel(): Promise<Transport>;
  /** Stops listening. Connections that were handed out stay. Idempotent. */
  close(): void;
}

export interface ListenOptions {
  readonly tls?: TlsSettings;
  /** Whether further connections are taken after the first; asked when that has come. */
  readonly channels?: () => boolean;
  /** Whether who connects speaks first; otherwise the first to connect is taken. Default true. */
  readonly spokenTo?: boolean;
  /** Somebody was sent away, and why. Listening goes on. */
  readonly onRefused?: (reason: string) => void;
}

/** @throws GodwitError kind "transport" if the address is in use or can't be. */
export async function listenOnSocket(
  address: SocketAddress,
  options: ListenOptions,
): Promise<TransportListener> {
  if (options.tls !== undefined) checkCredentials(options.tls, 'server', formatTransportAddress(address));
  if (address.kind === 'unix' && (await isStaleSocket(address.path))) await unlink(address.path);
  return new SocketListener(await listening(address, options), address, options);
}

interface Waiter {
  readonly resolve: (transport: Transport) => void;
  readonly reject: (error: GodwitError) => void;
}

class SocketListener implements TransportListener {
  readonly address: string;
  readonly #server: Server;
  readonly #options: ListenOptions;
  /** Connected, and silent so far. */
  readonly #candidates = new Set<SocketTransport>();
  /** Those that have spoken and were not asked for yet, and those who wait for one. */
  readonly #spoken: SocketTransport[] = [];
  readonly #waiters: Waiter[] = [];
  #ended = false;
  #error: GodwitError | undefined;

  constructor(server: Server, address: SocketAddress, options: ListenOptions) {
    const bound = server.address();
    const port = typeof bound === 'object' && bound !== null ? bound.port : undefined;
    this.address = formatTransportAddress(
      address.kind === 'tcp' && port !== undefined ? { ...address, port } : address,
    );
    this.#server = server;
    this.#options = options;
    server.on('connection', (socket) => void this.#connected(socket));
    server.on('error', (error) => this.#fail(socketError(formatTransportAddress(address), 'listen', error)));
  }

  accept(): Promise<Transport> {
    return this.channel();
  }

  channel(): Promise<Transport> {
    const spoken = this.#spoken.shift();
    if (spoken !== undefined) return Promise.resolve(spoken);
    if (this.#error !== undefined) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  close(): void {
    this.#end();
    for (const transport of this.#spoken.splice(0)) transport.destroy();
    this.#fail(new GodwitError('cancelled', `${this.address}: listening was ended`));
  }

  async #connected(socket: Socket): Promise<void> {
    let transport: SocketTransport | undefined;
    try {
      transport = await this.#secured(socket);
    } catch (error) {
      this.#options.onRefused?.(errorMessage(error));
    }
    if (transport === undefined) return;
    if (this.#ended) {
      transport.destroy();
      return;
    }
    this.#candidates.add(transport);
    const speaks = this.#options.spokenTo === false || (await transport.speaks());
    if (!this.#candidates.delete(transport) || !speaks) {
      transport.destroy();
      return;
    }
    const waiter = this.#waiters.shift();
    if (waiter === undefined) this.#spoken.push(transport);
    else waiter.resolve(transport);
    if (this.#options.channels?.() !== true) this.#end();
  }

  /** The connection, secured if it is to be; undefined if it was refused. */
  async #secured(socket: Socket): Promise<SocketTransport | undefined> {
    const name = `connection to ${this.address}`;
    if (this.#options.tls === undefined) return new SocketTransport(adopted(socket), name);
    const secured = await secureServer(socket, this.#options.tls, name);
    const transport = new SocketTransport((onread) => readInto(secured.socket, onread), name);
    if (secured.refusal === undefined) return transport;
    this.#options.onRefused?.(`${name}: ${secured.refusal}`);
    const timer = setTimeout(() => transport.destroy(), COURTESY_MS);
    try {
      await tellRefusal(transport, 'destination', secured.refusal);
      // A connection that is dropped with unread bytes in it may take our last words with it.
      while ((await transport.read()) !== undefined);
    } catch {
      // It did not want to hear.
    }
    clearTimeout(timer);
    transport.destroy();
    return undefined;
  }

  /** Nobody else gets in. */
  #end(): void {
    this.#ended = true;
    this.#server.close();
    for (const other of this.#candidates) other.destroy();
    this.#candidates.clear();
  }

  #fail(error: GodwitError): void {
    this.#error ??= error;
    for (const { reject } of this.#waiters.splice(0)) reject(error);
  }
}

/**
 * Takes the connection out of a socket that a server has accepted, and into one that reads with `onread`: Node offers
 * that option for outgoing connections only. The server must have been made with `pauseOnConnect`.
 */
function adopted(accepted: Socket): (onread: OnReadOpts) => Socket {
  return (onread) => {
    const holder = accepted as unknown as { _handle: unknown };
    const options = {
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
      handle: holder._handle,
      onread,
    };
    holder._handle = null;
    const socket = new Socket(options as SocketConstructorOpts);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    return socket;
  };
}

function listening(address: SocketAddress, { tls }: ListenOptions): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer(
      tls === undefined
        ? { pauseOnConnect: true }
        : { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS },
    );
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
