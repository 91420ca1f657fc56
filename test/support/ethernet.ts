/** A host on the other end of a VM's network: frames over QEMU's stream framing, ARP, pings and UDP echoes. */
import { createServer, type Server, type Socket } from 'node:net';
import { connectSocket } from '../../src/host/socket-open.ts';
import { DEADLINE_MS, within } from './vm-process.ts';

export const BROADCAST = Buffer.alloc(6, 0xff);

/** An address of the network that the guests live in. */
export const ip = (host: number): Buffer => Buffer.from([10, 0, 2, host]);

/** RFC 1071. */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (const [i, byte] of bytes.entries()) sum += i % 2 === 0 ? byte << 8 : byte;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

const word = (value: number): Buffer => Buffer.from([(value >>> 8) & 0xff, value & 0xff]);

/** Collects frames, and sends them, over one stream socket. */
export class FrameStream {
  readonly frames: Buffer[] = [];
  readonly #socket: Socket;
  #rest = Buffer.alloc(0);
  readonly #waiters = new Set<() => void>();
  closed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (piece: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, piece]);
      while (this.#rest.length >= 4 && this.#rest.length >= 4 + this.#rest.readUInt32BE(0)) {
        const end = 4 + this.#rest.readUInt32BE(0);
        this.frames.push(Buffer.from(this.#rest.subarray(4, end)));
        this.#rest = Buffer.from(this.#rest.subarray(end));
      }
      for (const look of [...this.#waiters]) look();
    });
    socket.on('error', () => {});
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      this.closed = true;
      for (const look of [...this.#waiters]) look();
    });
  }

  static async connect(path: string): Promise<FrameStream> {
    return new FrameStream(await connectSocket({ kind: 'unix', path }));
  }

  send(frame: Uint8Array): void {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(frame.length);
    this.#socket.write(Buffer.concat([length, frame]));
  }

  /** The first frame from index `from` on that is wanted; undefined if none came in time. */
  async find(wanted: (frame: Buffer) => boolean, from = 0, ms = DEADLINE_MS): Promise<Buffer | undefined> {
    return await new Promise((resolve) => {
      const timer = setTimeout(() => done(undefined), ms);
      const look = (): void => {
        const found = this.frames.slice(from).find(wanted);
        if (found !== undefined || this.closed) done(found);
      };
      const done = (found: Buffer | undefined): void => {
        clearTimeout(timer);
        this.#waiters.delete(look);
        resolve(found);
      };
      this.#waiters.add(look);
      look();
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** A socket that a VM connects to. */
export class FrameServer {
  readonly path: string;
  readonly #server: Server;
  readonly #clients: FrameStream[] = [];
  readonly #waiting: ((client: FrameStream) => void)[] = [];

  private constructor(path: string, server: Server) {
    this.path = path;
    this.#server = server;
    server.on('connection', (socket) => {
      const client = new FrameStream(socket);
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#clients.push(client);
      else waiting(client);
    });
  }

  static async listen(path: string): Promise<FrameServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return new FrameServer(path, server);
  }

  /** The next client. */
  client(): Promise<FrameStream> {
    const client = this.#clients.shift();
    const next =
      client === undefined ? new Promise<FrameStream>((resolve) => this.#waiting.push(resolve)) : client;
    return within(Promise.resolve(next), () => `nobody connected to ${this.path}`);
  }

  close(): void {
    this.#server.close();
  }
}

/** A host with an address, that asks others. */
export class Host {
  readonly stream: FrameStream;
  readonly mac: Buffer;
  readonly ip: Buffer;
  #sequence = 0;

  constructor(stream: FrameStream, number: number) {
    this.stream = stream;
    this.mac = Buffer.from([0x02, 0, 0, 0, 0, number]);
    this.ip = ip(number);
  }

  #ethernet(to: Uint8Array, type: number, payload: Uint8Array): Buffer {
    const frame = Buffer.concat([to, this.mac, word(type), payload]);
    return frame.length < 60 ? Buffer.concat([frame, Buffer.alloc(60 - frame.length)]) : frame;
  }

  #ipv4(to: Uint8Array, toIp: Uint8Array, protocol: number, payload: Uint8Array): Buffer {
    const header = Buffer.concat([
      Buffer.from([0x45, 0]),
      word(20 + payload.length),
      Buffer.from([0, 0, 0, 0, 64, protocol, 0, 0]),
      this.ip,
      toIp,
    ]);
    header.writeUInt16BE(checksum(header), 10);
    return this.#ethernet(to, 0x0800, Buffer.concat([header, payload]));
  }

  /** Who has this address? Its MAC; undefined if nobody answers in time. */
  async arp(address: Buffer, ms?: number): Promise<Buffer | undefined> {
    const from = this.stream.frames.length;
    const head = Buffer.from([0, 1, 8, 0, 6, 4, 0, 1]);
    this.stream.send(
      this.#ethernet(BROADCAST, 0x0806, Buffer.concat([head, this.mac, this.ip, Buffer.alloc(6), address])),
    );
    const isReply = (frame: Buffer): boolean =>
      frame.readUInt16BE(12) === 0x0806 &&
      frame.readUInt16BE(20) === 2 &&
      frame.subarray(28, 32).equals(address);
    const reply = await this.stream.find(isReply, from, ms);
    return reply && Buffer.from(reply.subarray(22, 28));
  }

  /** An ICMP echo; whether it was answered, byte for byte. */
  async ping(to: Buffer, address: Buffer, bytes = 56, ms?: number): Promise<boolean> {
    const from = this.stream.frames.length;
    const sequence = ++this.#sequence;
    const data = Buffer.from(Array.from({ length: bytes }, (_, i) => (i + sequence) & 0xff));
    const request = Buffer.concat([Buffer.from([8, 0, 0, 0]), word(0x1234), word(sequence), data]);
    request.writeUInt16BE(checksum(request), 2);
    this.stream.send(this.#ipv4(to, address, 1, request));
    const isReply = (frame: Buffer): boolean => {
      if (frame.readUInt16BE(12) !== 0x0800 || frame[23] !== 1 || frame[34] !== 0) return false;
      return frame.readUInt16BE(40) === sequence && frame.subarray(26, 30).equals(address);
    };
    const reply = await this.stream.find(isReply, from, ms);
    if (reply === undefined) return false;
    const body = reply.subarray(34, 42 + bytes);
    return checksum(body) === 0 && checksum(reply.subarray(14, 34)) === 0 && body.subarray(8).equals(data);
  }

  /** A datagram to the echo port, without a checksum; what came back. */
  async echo(to: Buffer, address: Buffer, data: Uint8Array, ms?: number): Promise<Buffer | undefined> {
    const from = this.stream.frames.length;
    const port = 40000 + (++this.#sequence % 20000);
    const datagram = Buffer.concat([word(port), word(7), word(8 + data.length), word(0), data]);
    this.stream.send(this.#ipv4(to, address, 17, datagram));
    const isReply = (frame: Buffer): boolean =>
      frame.readUInt16BE(12) === 0x0800 && frame[23] === 17 && frame.readUInt16BE(36) === port;
    const reply = await this.stream.find(isReply, from, ms);
    return reply && Buffer.from(reply.subarray(42, 42 + data.length));
  }
}
