/** Unix and tcp sockets, connected to or listened on: what character devices and networks share. */
import { existsSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Server, type ServerOpts, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { GodwitError } from '../error.ts';
import { isStaleSocket, socketError } from './socket.ts';

/** An empty host is all addresses for a server, and this machine for a client. */
export type SocketAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** The longest path of a unix socket on Linux, in bytes (unix(7), sun_path less the final 0). */
const MAX_UNIX_PATH = 107;

/** "unix:/run/s", "tcp:127.0.0.1:1234" */
export function socketLabel(address: SocketAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return `tcp:${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

function nodeAddress(address: SocketAddress): { path: string } | { host?: string; port: number } {
  if (address.kind === 'unix') {
    // Node would cut a longer path silently, or fail without naming it.
    if (Buffer.byteLength(address.path) > MAX_UNIX_PATH) {
      throw new GodwitError(
        'transport',
        `${socketLabel(address)}: the path is longer than ${MAX_UNIX_PATH} bytes`,
      );
    }
    return { path: address.path };
  }
  return address.host === '' ? { port: address.port } : { host: address.host, port: address.port };
}

/** Connects to a socket. @throws GodwitError kind 'transport'. */
export async function connectSocket(address: SocketAddress): Promise<Socket> {
  const target = nodeAddress(address);
  return await new Promise((resolve, reject) => {
    const socket = createConnection({ ...target, allowHalfOpen: true });
    socket.once('error', (error) => reject(socketError(socketLabel(address), 'connect', error)));
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

/**
 * Listens; a unix socket that a process left behind is replaced, and ours goes with this process.
 * @throws GodwitError kind 'transport'.
 */
export async function listenSocket(address: SocketAddress, options: ServerOpts): Promise<Server> {
  const server = createServer(options);
  try {
    await listen(address, server).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE' || address.kind !== 'unix' || !(await isStaleSocket(address.path))) {
        throw error;
      }
      rmSync(address.path, { force: true });
      await listen(address, server);
    });
  } catch (error) {
    throw error instanceof GodwitError ? error : socketError(socketLabel(address), 'listen', error);
  }
  if (address.kind === 'unix') {
    const { path } = address;
    removeAtExit(path);
    // Closing the server removes the file.
    server.once('close', () => exitFiles.delete(path));
  }
  // Too many open files, say: that client is lost, the server stays.
  server.on('error', () => {});
  return server;
}

/** The address, with the port that was really given for port 0. */
export function boundAddress<A extends SocketAddress>(address: A, server: Server): A {
  const bound = server.address();
  if (address.kind !== 'tcp' || bound === null || typeof bound === 'string') return address;
  return { ...address, port: bound.port };
}

async function listen(address: SocketAddress, server: Server): Promise<void> {
  const at = nodeAddress(address);
  if (address.kind === 'unix' && !existsSync(dirname(address.path))) {
    // libuv would call this EACCES.
    throw Object.assign(new Error('no such directory'), { code: 'ENOENT' });
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(at, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

/** Files to remove however the process, or the thread, exits. */
const exitFiles = new Set<string>();
let exitHook = false;

/** A file of ours, a socket as a rule, is gone when the process is. */
export function removeAtExit(path: string): void {
  exitFiles.add(path);
  if (exitHook) return;
  exitHook = true;
  process.on('exit', () => {
    for (const file of exitFiles) rmSync(file, { force: true });
  });
}

/** The file is gone, or somebody else's. */
export function keepAtExit(path: string): void {
  exitFiles.delete(path);
}
