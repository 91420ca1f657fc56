/**
 * A migration through a command of the shell's, as QEMU's `exec:`. At the source the stream is the command's standard
 * input, at the destination its standard output; with the capability `return-path` both are used, and the other side
 * answers.
 *
 * One way, nobody says "ready": what the source can know is that the command took everything and ended with status 0.
 * Anything else is an error with its status and what it wrote to standard error.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { errorMessage, GodwitError } from '../error.ts';
import type { Transport } from '../migration/transport.ts';
import { readInto, SocketTransport } from './transport-socket.ts';

/** Characters of what a command said that an error quotes. */
const MAX_SAID = 500;
/** How long a command may take to end after a pipe to it broke, so that the error can tell its status. */
const LAST_WORDS_MS = 500;

export interface ExecDirections {
  /** Bytes go to the command. */
  readonly writes: boolean;
  /** Bytes come from it. */
  readonly reads: boolean;
}

/** @throws GodwitError kind "transport" if there is no shell. */
export function openExecTransport(command: string, directions: ExecDirections): Promise<Transport> {
  return new Promise((resolve, reject) => {
    const { writes, reads } = directions;
    const child = spawn('/bin/sh', ['-c', command], { stdio: [writes ? 'pipe' : 'ignore', 'pipe', 'pipe'] });
    const onError = (error: Error): void =>
      reject(new GodwitError('transport', `exec: /bin/sh can't be run (${error.message})`, {}, error));
    child.once('error', onError);
    child.once('spawn', () => {
      child.off('error', onError);
      child.on('error', () => {});
      resolve(new ExecTransport(command, child, reads));
    });
  });
}

class ExecTransport implements Transport {
  readonly duplex: boolean;
  readonly live = true;
  readonly #command: string;
  readonly #child: ChildProcess;
  readonly #input: SocketTransport | undefined;
  readonly #output: SocketTransport | undefined;
  /** What it wrote to standard error, and to a standard output that is not the stream; its end. */
  #said = '';
  /** How it ended, in words; undefined while it runs. */
  #end: string | undefined;
  readonly #ended: Promise<void>;
  #finished = false;

  constructor(command: string, child: ChildProcess, reads: boolean) {
    this.#command = command;
    this.#child = child;
    this.duplex = reads && child.stdin !== null;
    const pipe = (socket: unknown): SocketTransport =>
      new SocketTransport((onread) => readInto(socket as Socket, onread), `exec:${command}`);
    this.#input = child.stdin === null ? undefined : pipe(child.stdin);
    this.#output = reads ? pipe(child.stdout) : undefined;
    const listen = (text: string): void => {
      this.#said = (this.#said + text).slice(-MAX_SAID);
    };
    for (const stream of reads ? [child.stderr] : [child.stderr, child.stdout]) {
      stream?.setEncoding('utf8').on('data', listen);
    }
    this.#ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        // What it said last may still be in the pipe, which others that it started may hold open.
        const timer = setTimeout(done, LAST_WORDS_MS);
        child.once('close', done);
        const end = signal === null ? `ended with exit status ${code}` : `was killed by ${signal}`;
        const told = (): void => {
          this.#end = end;
          resolve();
        };
        function done(): void {
          clearTimeout(timer);
          told();
        }
      });
    });
  }

  async write(chunks: readonly Uint8Array[]): Promise<void> {
    if (this.#input === undefined)
      throw new GodwitError('internal', `${this.#name}: nothing can be written back`);
    try {
      await this.#input.write(chunks);
    } catch (error) {
      throw await this.#failure(error);
    }
  }

  async read(): Promise<Uint8Array | undefined> {
    if (this.#output === undefined)
      throw new GodwitError('internal', `${this.#name}: nothing can be read back`);
    let bytes: Uint8Array | undefined;
    try {
      bytes = await this.#output.read();
    } catch (error) {
      throw await this.#failure(error);
    }
    if (bytes === undefined) {
      // Of a command that answers, the end is for the protocol to judge, unless it failed.
      await (this.duplex ? this.#lastWords() : this.#ended);
      if (this.#failed) throw this.#error();
    }
    return bytes;
  }

  async end(): Promise<void> {
    if (this.#input === undefined) return;
    if (this.#end !== undefined) throw this.#error('before it had everything');
    this.#finished = true;
    try {
      await this.#input.end();
    } catch (error) {
      throw await this.#failure(error);
    }
    await this.#ended;
    if (this.#failed) throw this.#error();
  }

  destroy(): void {
    this.#input?.destroy();
    this.#output?.destroy();
    // One that has been given everything delivers it and ends by itself.
    if (!this.#finished && this.#end === undefined) this.#child.kill('SIGTERM');
    this.#child.unref();
  }

  get #name(): string {
    return `exec:${this.#command}`;
  }

  get #failed(): boolean {
    return this.#end !== undefined && this.#end !== 'ended with exit status 0';
  }

  #error(more = ''): GodwitError {
    const said = this.#said
      .trim()
      .split(/\s*\n\s*/)
      .join(' / ');
    const when = more === '' ? '' : `, ${more}`;
    return new GodwitError(
      'transport',
      `${this.#name}: the command ${this.#end}${when}${said === '' ? '' : `: ${said}`}`,
    );
  }

  /** Why a pipe to it broke. */
  async #failure(error: unknown): Promise<GodwitError> {
    await this.#lastWords();
    if (this.#end !== undefined) return this.#error('before it had everything');
    return error instanceof GodwitError
      ? error
      : new GodwitError('transport', `${this.#name}: ${errorMessage(error)}`, {}, error);
  }

  #lastWords(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 2 * LAST_WORDS_MS);
      void this.#ended.then(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}
