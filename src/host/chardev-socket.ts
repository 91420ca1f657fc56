/**
 * Character devices on unix and tcp sockets. A server has one client at a time; further ones are accepted but wait,
 * unanswered, until the present one has gone (as QEMU's do in the listen queue). Clients do not connect again.
 */
import type { Server, Socket } from 'node:net';
import { type Chardev, ChardevBase } from './chardev.ts';
import { type ChardevBackend, chardevLabel } from './chardev-spec.ts';
import { boundAddress, connectSocket, listenSocket } from './socket-open.ts';

type SocketSpec = Extract<ChardevBackend, { kind: 'unix' | 'tcp' }>;

/** Clients that may wait for their turn. */
const MAX_WAITING = 8;
/** Output that a client does not read is dropped beyond this, so that it can't take all memory. */
const MAX_BACKLOG = 4 * 1024 * 1024;

/** How long a client that will go gets for what is still under way. */
const GRACE_MS = 1000;

export class SocketChardev extends ChardevBase implements Chardev {
  readonly label: string;
  readonly #server: Server | undefined;
  #client: Socket | undefined;
  #waiting: Socket[] = [];
  #closed = false;

  private constructor(label: string, server: Server | undefined) {
    super();
    this.label = label;
    this.#server = server;
  }

  /**
   * Listens or connects. With `server=on,wait=on` this resolves when the first client has come.
   * @throws GodwitError kind 'transport'.
   */
  static async open(spec: SocketSpec): Promise<SocketChardev> {
    if (!spec.server) {
      const chardev = new SocketChardev(chardevLabel(spec), undefined);
      chardev.#serve(await connectSocket(spec));
      return chardev;
    }
    const server = await listenSocket(spec, { pauseOnConnect: true, allowHalfOpen: true });
    const chardev = new SocketChardev(chardevLabel(boundAddress(spec, server)), server);
    server.on('connection', (socket) => chardev.#accept(socket));
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
