/**
 * A bad line: stands between the two sides of a migration, understands where frames begin and end (src/migration/
 * frame.ts), and breaks exactly what a test asks for.
 */
import { createConnection, createServer, type Socket } from 'node:net';
import { HEADER_SIZE, OPENING_SIZE } from '../../src/migration/frame.ts';
import { type Direction, type FrameName, frameName } from '../../src/migration/protocol.ts';

/** Which frame of a direction: by its number (-1 is the opening), or the first of a type (from number `after` on). */
export type FrameChoice = number | FrameName;

export interface Fault {
  readonly direction: Direction;
  readonly frame: FrameChoice;
  /** Only what comes when this one of the forward direction has passed. */
  readonly behind?: FrameName;
  /** How long a delay is. */
  readonly ms?: number;
  readonly what: /** Both directions end here: all before it has been delivered, nothing more will be. */
    | 'cut-before'
    | 'cut-middle'
    | 'cut-after'
    /** This direction stands still here until `release`, or for a while. */
    | 'stall'
    | 'delay'
    /** This direction ends here; the other one does not. What is said into it vanishes. */
    | 'half'
    | 'duplicate'
    | 'flip-header'
    | 'flip-payload';
}

export interface SeenFrame {
  readonly name: FrameName | 'opening';
  readonly bytes: number;
}

interface Unit {
  readonly index: number;
  readonly name: FrameName | 'opening';
  readonly bytes: Buffer;
}

export class CuttingProxy {
  /** What has passed, or would have. */
  readonly frames: Record<Direction, SeenFrame[]> = { forward: [], return: [] };
  /** Resolves when the fault has happened. */
  readonly struck: Promise<void>;
  /** Releases a stall. */
  release: () => void = () => {};
  readonly #fault: Fault | undefined;
  readonly #sockets: Socket[] = [];
  #strike: () => void = () => {};
  #hasStruck = false;
  #close: () => void = () => {};

  private constructor(fault: Fault | undefined) {
    this.#fault = fault;
    this.struck = new Promise((resolve) => {
      this.#strike = () => {
        this.#hasStruck = true;
        resolve();
      };
    });
  }

  /** Listens at the unix socket `at`; what connects there is connected to the unix socket `to`. */
  static async start(at: string, to: string, fault?: Fault): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(fault);
    const server = createServer({ allowHalfOpen: true }, (source) => {
      const destination = createConnection({ path: to, allowHalfOpen: true });
      proxy.#sockets.push(source, destination);
      for (const socket of [source, destination]) socket.on('error', () => proxy.cut());
      void proxy.#carry('forward', source, destination);
      void proxy.#carry('return', destination, source);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(at, resolve);
    });
    proxy.#close = () => server.close();
    return proxy;
  }

  /** Whether the fault has happened. */
  get hasStruck(): boolean {
    return this.#hasStruck;
  }

  /** Breaks the connection now. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.release();
    this.#close();
    this.cut();
  }

  async #carry(direction: Direction, from: Socket, to: Socket): Promise<void> {
    const state = { index: -1, buffered: Buffer.alloc(0) as Buffer };
    try {
      for await (const chunk of from as AsyncIterable<Buffer>) {
        state.buffered = Buffer.concat([state.buffered, chunk]);
        for (let unit = take(state); unit !== undefined; unit = take(state)) {
          this.frames[direction].push({ name: unit.name, bytes: unit.bytes.length });
          if (!(await this.#pass(direction, unit, to))) return;
        }
      }
      to.end();
    } catch {
      // The connection broke: the other direction ends, too.
      this.cut();
    }
  }

  /** Nothing is handed on to these any more. */
  readonly #ended = new Set<Socket>();

  /** Hands a frame on, or does to it what is wanted. False if nothing more is to come. */
  async #pass(direction: Direction, unit: Unit, to: Socket): Promise<boolean> {
    const { bytes } = unit;
    if (this.#ended.has(to)) return true;
    if (!this.#chosen(direction, unit)) {
      await write(to, bytes);
      return true;
    }
    const what = this.#fault?.what;
    switch (what) {
      case 'cut-before':
      case 'cut-middle':
      case 'cut-after': {
        const length = {
          'cut-before': 0,
          'cut-middle': Math.floor(bytes.length / 2),
          'cut-after': bytes.length,
        }[what];
        await write(to, bytes.subarray(0, length));
        this.#strike();
        this.cut();
        return false;
      }
      case 'stall':
        await new Promise<void>((resolve) => {
          this.release = resolve;
          this.#strike();
        });
        break;
      case 'delay':
        this.#strike();
        await new Promise((resolve) => setTimeout(resolve, this.#fault?.ms ?? 0));
        break;
      case 'half':
        this.#strike();
        to.end();
        this.#ended.add(to);
        return true;
      case 'duplicate':
        await write(to, bytes);
        this.#strike();
        break;
      case 'flip-header':
      case 'flip-payload': {
        const at = what === 'flip-header' ? 4 : HEADER_SIZE + Math.floor((bytes.length - HEADER_SIZE) / 2);
        bytes[at] = (bytes[at] ?? 0) ^ 0x10;
        this.#strike();
        break;
      }
    }
    await write(to, bytes);
    return true;
  }

  #chosen(direction: Direction, { index, name }: Unit): boolean {
    const fault = this.#fault;
    if (fault === undefined || this.#hasStruck || fault.direction !== direction) return false;
    const { behind } = fault;
    if (behind !== undefined && !this.frames.forward.some((seen) => seen.name === behind)) return false;
    return typeof fault.frame === 'number' ? fault.frame === index : fault.frame === name;
  }
}

/** Takes the next whole unit (the opening, or a frame) from the front of what is buffered. */
function take(state: { index: number; buffered: Buffer }): Unit | undefined {
  const { buffered, index } = state;
  let length = OPENING_SIZE;
  if (index >= 0) {
    if (buffered.length < HEADER_SIZE) return undefined;
    length = HEADER_SIZE + buffered.readUInt32LE(8);
  }
  if (buffered.length < length) return undefined;
  const name = index < 0 ? 'opening' : frameName(buffered.readUInt16LE(0));
  if (name === undefined) throw new Error(`frame ${index} has a type that the protocol does not know`);
  state.buffered = buffered.subarray(length);
  state.index++;
  return { index, name, bytes: Buffer.from(buffered.subarray(0, length)) };
}

/** Resolves when the operating system has taken the bytes, so that they arrive even if the socket is then destroyed. */
function write(to: Socket, bytes: Uint8Array): Promise<void> {
  if (bytes.length === 0) return Promise.resolve();
  return new Promise((resolve, reject) => to.write(bytes, (error) => (error ? reject(error) : resolve())));
}
