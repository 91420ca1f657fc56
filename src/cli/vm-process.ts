/** A VM in a process of its own, with its console's lines and its QMP monitor: for the demo. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { GodwitError } from '../error.ts';
import { MonitorClient, parseMonitorSocket } from './monitor-client.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/godwit-system-riscv64', import.meta.url));

/** How long a VM may take to do what it is waited for, in ms. */
const PATIENCE_MS = 15_000;

export interface ConsoleLine {
  readonly text: string;
  /** When it arrived here, in ms of the host's monotonic clock. */
  readonly atMs: number;
}

export class VmProcess {
  readonly label: string;
  readonly lines: ConsoleLine[] = [];
  readonly #child: ChildProcess;
  readonly #qmpPath: string;
  readonly #exit: Promise<unknown>;
  #onLine: () => void = () => {};
  #stderr = '';

  /** Starts it; the console is the process's standard output. */
  constructor(label: string, qmpPath: string, args: readonly string[], onLine: (line: ConsoleLine) => void) {
    this.label = label;
    this.#qmpPath = qmpPath;
    const common = ['-display', 'none', '-monitor', 'none', '-serial', 'stdio'];
    this.#child = spawn(
      process.execPath,
      [PROGRAM, ...common, '-qmp', `unix:${qmpPath},server=on,wait=off`, ...args],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.#exit = once(this.#child, 'exit');
    this.#child.stderr?.on('data', (bytes: Uint8Array) => {
      this.#stderr += new TextDecoder().decode(bytes);
    });
    if (this.#child.stdout === null) throw new GodwitError('internal', 'the child has no standard output');
    createInterface({ input: this.#child.stdout }).on('line', (text) => {
      const line = { text, atMs: performance.now() };
      this.lines.push(line);
      onLine(line);
      this.#onLine();
    });
  }

  /** Resolves when the console has shown a line for which `test` holds. @throws GodwitError if the VM ends, or after a time. */
  async line(test: (text: string) => boolean): Promise<ConsoleLine> {
    return await this.#patiently(
      `${this.label}: waiting for its console`,
      new Promise((resolve) => {
        const look = (): void => {
          const found = this.lines.find(({ text }) => test(text));
          if (found !== undefined) resolve(found);
        };
        this.#onLine = look;
        look();
      }),
    );
  }

  /** Its monitor, once it answers. */
  async monitor(): Promise<MonitorClient> {
    const attempt = async (): Promise<MonitorClient> => {
      for (;;) {
        try {
          return await MonitorClient.connect(parseMonitorSocket(this.#qmpPath));
        } catch {
          // The process has not made its socket yet; its end, or our patience's, ends this.
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
    };
    return await this.#patiently(`${this.label}: waiting for its monitor`, attempt());
  }

  /** Ends the process, whatever it does. */
  async end(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGTERM');
    await this.#exit;
  }

  async #patiently<T>(what: string, wanted: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    try {
      return await Promise.race([
        wanted,
        this.#exit.then((): never => {
          throw new GodwitError('state', `${what}: the process has ended: ${this.#stderr.trim()}`);
        }),
        new Promise<never>((_, reject) => {
          timer = setTimeout(
            () => reject(new GodwitError('state', `${what}: nothing for ${PATIENCE_MS / 1000} s`)),
            PATIENCE_MS,
          );
        }),
      ]);
    } finally {
      clearTimeout(timer);
    }
  }
}
