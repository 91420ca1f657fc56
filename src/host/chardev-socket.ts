/**
 * Character devices on unix and tcp sockets. A server has one client at a time; further ones are accepted but wait,
 * unanswered, until the present one has gone (as QEMU's do in the listen queue). Clients do not connect again.
 */
import { existsSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { GodwitError } from '../error.ts';
import { type Chardev, ChardevBase } from './chardev.ts';
import { type ChardevBackend, chardevLabel } from './chardev-spec.ts';
import { isStaleSocket, socketError } from './socket.ts';

type SocketSpec = Extract<ChardevBackend, { kind: 'unix' | 'tcp' }>;

/** Clients that may wait for their turn. */
const MAX_WAITING = 8;
/** Output that a client does not read is dropped beyond this, so that it can't take all memory. */
const MAX_BACKLOG = 4 * 1024 * 1024;

/** How long a client that will go gets for what is still under way. */
const GRACE_MS = 1000;

/** Socket files to remove however the process exits. */
const socketFiles = new Set<string>();
let exitHook = false;

function removeAtExit(path: string): void {
  socketFiles.add(path);
  if (exitHook) return;
  exitHook = true;
  process.on('exit', () => {
    for (const file of socketFiles) rmSync(file, { force: true });
  });
}

function addressOf(spec: SocketSpec): { path: string } | { host?: string; port: number } {
  if (spec.kind === 'unix') {
    // The kernel's sockaddr_un; Node would cut a longer path silently or fail without naming it.
    if (Buffer.byteLength(spec.path) > 107) {
      throw new GodwitError('transport', `${chardevLabel(spec)}: the path is longer than 107 bytes`);
    }
    return { path: spec.path };
  }
  return spec.host === '' ? { port: spec.port } : { host: spec.host, port: spec.port };
}

/** Connects to a socket. @throws GodwitError kind 'transport'. */
export async function connectSocket(spec: SocketSpec): Promise<Socket> {
  const address = addressOf(spec);
  return await new Promise((resolve, reject) => {
    const socket = createConnection({ ...address, allowHalfOpen: true });
    socket.once('error', (error) => reject(socketError(chardevLabel(spec), 'connect', error)));
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

async function listen(spec: SocketSpec, server: Server): Promise<void> {
  const address = addressOf(spec);
  if (spec.kind === 'unix' && !existsSync(dirname(spec.path))) {
    // libuv would call this EACCES.
    throw Object.assign(new Error('no such directory'), { code: 'ENOENT' });
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(address, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

export class SocketChardev extends ChardevBase implements Chardev {
  readonly label: string;
  readonly #server: Server | undefined;
  readonly #path: string | undefined;
  #client: Socket | undefined;
  #waiting: Socket[] = [];
  #closed = false;

  private constructor(label: string, server: Server | undefined, path: string | undefined) {
    super();
    this.label = label;
    this.#server = server;
    this.#path = path;
  }

  /**
   * Listens or connects. With `server=on,wait=on` this resolves when the first client has come.
   * @throws GodwitError kind 'transport'.
   */
  static async open(spec: SocketSpec): Promise<SocketChardev> {
    const label = chardevLabel(spec);
    if (!spec.server) {
      const chardev = new SocketChardev(label, undefined, undefined);
      chardev.#serve(await connectSocket(spec));
      return chardev;
    }
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
    try {
      await listen(spec, server).catch(async (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EADDRINUSE' || spec.kind !== 'unix' || !(await isStaleSocket(spec.path)))
          throw error;
        rmSync(spec.path, { force: true });
        await listen(spec, server);
      });
    } catch (error) {
      throw error instanceof GodwitError ? error : socketError(label, 'listen', error);
    }
    const path = spec.kind === 'unix' ? spec.path : undefined;
    if (path !== undefined) removeAtExit(path);
    const chardev = new SocketChardev(boundLabel(spec, server), server, path);
    server.on('connection', (socket) => chardev.#accept(socket));
    // Too many open files, say: that client is lost, the server stays.
    server.on('error', () => {});
    if (spec.wait) await new Promise<void>((resolve) => server.once('connection', () => resolve()));
    return chardev;
  }

  get connected(): boolean {
    return this.#client !== undefined;
  }

  get backlogBytes(): number {
    return this.#client?.writableLength ?? 0;
  }

  write(bytes: Uint8Array): void {
    const client = this.#client;
    if (client === undefined || client.writableLength > MAX_BACKLOG) return;
    // Copied: the caller may use the memory again, and Node may still hold it.
    client.write(Uint8Array.from(bytes));
  }

  hangup(): void {
    this.#client?.destroySoon();
  }

  pause(): void {
    this.#client?.pause();
  }

  resume(): void {
    this.#client?.resume();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const socket of this.#waiting.splice(0)) socket.destroy();
    const client = this.#client;
    if (client !== undefined) {
      // What was written is sent, but a client that doesn't read can't hold us up.
      const gone = new Promise<void>((resolve) => client.once('close', () => resolve()));
      client.setTimeout(GRACE_MS, () => client.destroy());
      client.destroySoon();
      await gone;
    }
    const server = this.#server;
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()));
    // Closing the server has removed its socket file.
    if (this.#path !== undefined) socketFiles.delete(this.#path);
  }

  #accept(socket: Socket): void {
    // A client that breaks off is no error of ours; 'close' follows.
    socket.on('error', () => {});
    if (this.#client === undefined) this.#serve(socket);
    else if (this.#waiting.length < MAX_WAITING) this.#waiting.push(socket);
    else socket.destroy();
  }

  #serve(socket: Socket): void {
    this.#client = socket;
    socket.setNoDelay(true);
    if (this.#server === undefined) socket.on('error', () => {});
    socket.on('data', (bytes: Buffer) => this.emitData(bytes));
    socket.on('end', () => {
      if (this.emitEnd()) setTimeout(() => socket.destroySoon(), GRACE_MS).unref();
      else socket.destroySoon();
    });
    socket.on('close', () => {
      this.#client = undefined;
      this.emitHangup();
      const next = this.#closed ? undefined : this.#waiting.shift();
      if (next !== undefined) this.#serve(next);
    });
    this.emitOpen();
    socket.resume();
  }
}

/** The label, with the port that was really given for port 0. */
function boundLabel(spec: SocketSpec, server: Server): string {
  const address = server.address();
  if (spec.kind !== 'tcp' || address === null || typeof address === 'string') return chardevLabel(spec);
  return chardevLabel({ ...spec, port: address.port });
}
