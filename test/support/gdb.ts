/** Debuggers for tests: gdb-multiarch in batch mode, and a client that speaks the bare protocol. */
import { spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { packet } from '../../src/gdb/packet.ts';
import { hasTool } from './tool.ts';
import { DEADLINE_MS, poll, TextLog, within } from './vm-process.ts';

export const GDB = 'gdb-multiarch';
export const hasGdb = hasTool(GDB);

/**
 * Runs commands in gdb, after it has attached, and gives what it prints on either stream. It ends with the last command or
 * the first that fails, and then detaches if it still can.
 * @param where "unix:PATH" or "tcp:HOST:PORT"
 */
export async function gdb(
  where: string,
  symbols: string | undefined,
  ...commands: string[]
): Promise<string> {
  const address = where.replace(/^unix:/, '').replace(/^tcp:/, '');
  const lines = [
    'set confirm off',
    'set pagination off',
    'set width 0',
    // Of no operating system: gdb then steps by the stub, and not by breakpoints of its own.
    'set osabi none',
    'set architecture riscv:rv64',
    `target remote ${address}`,
    ...commands,
  ];
  const child = spawn(GDB, [
    ...['-nx', '-batch'],
    ...lines.flatMap((line) => ['-ex', line]),
    ...(symbols === undefined ? [] : [symbols]),
  ]);
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  }
  const exit = new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', () => resolve());
  });
  await within(exit, () => `gdb did not end; it said: ${text}`, 2 * DEADLINE_MS).finally(() =>
    child.kill('SIGKILL'),
  );
  return text;
}

/** Speaks packets. */
export class PacketClient {
  readonly #socket: Socket;
  readonly #log = new TextLog();
  #read = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('latin1').on('data', (chunk: string) => this.#log.add(chunk));
    socket.on('close', () => this.#log.end());
    socket.on('error', () => {});
  }

  static async connect(path: string): Promise<PacketClient> {
    const socket = connect(path);
    await within(
      new Promise<void>((resolve, reject) => {
        socket.once('connect', () => resolve());
        socket.once('error', reject);
      }),
      () => `nobody listens at ${path}`,
    );
    return new PacketClient(socket);
  }

  /** Waits until somebody listens. */
  static async waitFor(path: string): Promise<void> {
    const client = await poll(() => PacketClient.connect(path).catch(() => undefined));
    client.close();
  }

  /** Bytes as they are. */
  send(text: string): void {
    this.#socket.write(Buffer.from(text, 'latin1'));
  }

  /** Sends a packet, without waiting for anything. */
  post(body: string): void {
    this.#socket.write(packet(body));
  }

  /** The body of the next packet that comes. */
  async next(): Promise<string> {
    const found = await this.#log.until(
      () => /\$([^#]*)#[0-9a-f]{2}/.exec(this.#log.text.slice(this.#read)) ?? undefined,
      'packet',
      () => ` in ${JSON.stringify(this.#log.text.slice(this.#read))}`,
    );
    this.#read += found.index + found[0].length;
    this.send('+');
    return found[1] ?? '';
  }

  /** Sends a packet; the body of the next one that comes. */
  async ask(body: string): Promise<string> {
    this.post(body);
    return await this.next();
  }

  close(): void {
    this.#socket.destroy();
  }
}
