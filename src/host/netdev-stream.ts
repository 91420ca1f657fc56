/**
 * `-netdev stream` and `-netdev socket`: frames over a unix or tcp socket. A server has one client at a time and takes
 * the next when that one has gone; frames without a client are dropped.
 */
import type { Server, Socket } from 'node:net';
import { FrameSocket } from './ethernet-stream.ts';
import { NetdevBase, type NetdevListener, type StreamSpec } from './netdev.ts';
import { boundAddress, connectSocket, listenSocket, socketLabel } from './socket-open.ts';

export class StreamNetdev extends NetdevBase {
  readonly #spec: StreamSpec;
  readonly #listener: NetdevListener;
  #server: Server | undefined;
  #peer: FrameSocket | undefined;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;
  #open = true;

  constructor(spec: StreamSpec, listener: NetdevListener) {
    super(spec);
    this.#spec = spec;
    this.#listener = listener;
  }

  /**
   * Listens, or connects; with `reconnectMs`, whether or not somebody listens yet.
   * @throws GodwitError kind 'transport'.
   */
  static async open(spec: StreamSpec, listener: NetdevListener): Promise<StreamNetdev> {
    const netdev = new StreamNetdev(spec, listener);
    if (spec.server) await netdev.#listen();
    else if (spec.reconnectMs === undefined) netdev.#serve(await connectSocket(spec.address));
    else await netdev.#connect();
    return netdev;
  }

  send(frame: Uint8Array): boolean {
    return this.#peer?.send(frame) ?? false;
  }

  override flush(): void {
    this.#peer?.flush();
  }

  flow(open: boolean): void {
    this.#open = open;
    this.#peer?.flow(open);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#server?.close();
    this.#peer?.close();
  }

  async #listen(): Promise<void> {
    const { address } = this.#spec;
    this.#server = await listenSocket(address, { allowHalfOpen: true });
    this.info = `listening on ${socketLabel(boundAddress(address, this.#server))}`;
    this.#server.on('connection', (socket) => {
      // A second client would have to be told apart from the first: a switch does that.
      if (this.#peer === undefined) this.#serve(socket);
      else socket.destroy();
    });
  }

  async #connect(): Promise<void> {
    try {
      this.#serve(await connectSocket(this.#spec.address));
    } catch {
      this.#again();
    }
  }

  #serve(socket: Socket): void {
    if (this.#closed) {
      socket.destroy();
      return;
    }
    this.#peer = new FrameSocket(socket, {
      frame: (frame) => this.cable?.deliver(frame),
      closed: () => this.#gone(),
    });
    this.#peer.flow(this.#open);
    this.info = socketLabel(this.#spec.address);
    this.#listener.connected(this.id, this.#spec.address);
  }

  #gone(): void {
    this.#peer = undefined;
    this.info = this.#server === undefined ? '' : `listening on ${socketLabel(this.#spec.address)}`;
    if (this.#closed) return;
    this.#listener.disconnected(this.id);
    if (!this.#spec.server) this.#again();
  }

  #again(): void {
    const { reconnectMs } = this.#spec;
    if (reconnectMs === undefined || this.#closed) return;
    this.info = `waiting for ${socketLabel(this.#spec.address)}`;
    this.#retry = setTimeout(() => void this.#connect(), reconnectMs);
  }
}
