/**
 * VMs as their users have them: `godwit-system-riscv64` in processes of its own, its console on stdout, a QMP client on
 * a socket. Nothing here sleeps: every wait is for a line, an event, an answer or an exit, and has a deadline that
 * fails with all that the process said.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test as base } from 'vitest';
import { MonitorClient, parseMonitorSocket, type QmpEvent } from '../../src/cli/monitor-client.ts';
import { connectSocket } from '../../src/host/socket-open.ts';
import type { Json, JsonObject } from '../../src/monitor/json-text.ts';
import type { MigrationInfo } from '../../src/monitor/target.ts';

export const SYSTEM = fileURLToPath(new URL('../../bin/godwit-system-riscv64', import.meta.url));

/** How long anything may take that takes a blink on an idle machine. */
export const DEADLINE_MS = 60_000;

/** A promise that fails after a while, with words made at that moment. */
export function within<T>(promise: Promise<T>, what: () => string, ms = DEADLINE_MS): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what()} (waited ${ms} ms)`)), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Text that arrives piece by piece, and those who wait for something in it. */
export class TextLog {
  text = '';
  #open = true;
  readonly #waiters = new Set<() => void>();

  add(chunk: string): void {
    this.text += chunk;
    this.#wake();
  }

  /** Nothing more will come. */
  end(): void {
    this.#open = false;
    this.#wake();
  }

  /** The complete lines from offset `from` of the text on, without their ends. */
  lines(from = 0): string[] {
    return this.text.slice(from).split(/\r?\n/).slice(0, -1);
  }

  /** What `find` returns as soon as it is not undefined; asked again whenever text arrives. */
  async until<T>(find: () => T | undefined, what: string, context: () => string, ms?: number): Promise<T> {
    const found = new Promise<T>((resolve, reject) => {
      const look = (): void => {
        const value = find();
        if (value === undefined && this.#open) return;
        this.#waiters.delete(look);
        if (value !== undefined) resolve(value);
        else reject(new Error(`the text ended without ${what}${context()}`));
      };
      this.#waiters.add(look);
      look();
    });
    return await within(found, () => `there was no ${what}${context()}`, ms);
  }

  #wake(): void {
    for (const look of [...this.#waiters]) look();
  }
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface VmOptions {
  /** Without it no QMP socket is opened. Default true. */
  readonly qmp?: boolean;
  /** Another program with the same options: QEMU. */
  readonly program?: string;
  /** The console on stdout, no human monitor. Default true. */
  readonly console?: boolean;
}

/** One process. */
export class VmProcess {
  readonly child: ChildProcessWithoutNullStreams;
  readonly stdout = new TextLog();
  readonly stderr = new TextLog();
  /** Resolves when the process has ended and all that it said has been read. */
  readonly exit: Promise<Exit>;
  readonly events: QmpEvent[] = [];
  readonly #eventLog = new TextLog();
  readonly #args: readonly string[];
  readonly #qmpPath: string | undefined;
  #client: MonitorClient | undefined;
  #exited: Exit | undefined;

  constructor(args: readonly string[], qmpPath: string | undefined, program?: string) {
    this.#args = args;
    this.#qmpPath = qmpPath;
    this.child = spawn(program ?? SYSTEM, [...args]);
    for (const name of ['stdout', 'stderr'] as const) {
      this.child[name].setEncoding('utf8').on('data', (chunk: string) => this[name].add(chunk));
    }
    // Whoever writes to a process that has ended finds out from its exit.
    this.child.stdin.on('error', () => {});
    this.exit = new Promise((resolve) => {
      this.child.on('close', (code, signal) => {
        this.#exited = { code, signal };
        this.stdout.end();
        this.stderr.end();
        this.#eventLog.end();
        this.#client?.close();
        resolve(this.#exited);
      });
    });
  }

  get running(): boolean {
    return this.#exited === undefined;
  }

  /** The QMP client, once `start` has resolved. */
  get qmp(): MonitorClient {
    if (this.#client === undefined) throw new Error('this VM was started without QMP');
    return this.#client;
  }

  /** Complete lines of the console. */
  lines(from = 0): string[] {
    return this.stdout.lines(from);
  }

  /** Complete lines on stderr. */
  errors(): string[] {
    return this.stderr.lines();
  }

  /** The first complete console line from text offset `from` on that matches. */
  waitForLine(pattern: RegExp, from = 0, ms?: number): Promise<RegExpExecArray> {
    return this.stdout.until(
      () => {
        for (const line of this.lines(from)) {
          const match = pattern.exec(line);
          if (match !== null) return match;
        }
        return undefined;
      },
      `line ${pattern}`,
      () => this.#said(),
      ms,
    );
  }

  /** A console line that matches, and begins after this call. */
  async waitForNewLine(pattern: RegExp, ms?: number): Promise<RegExpExecArray> {
    return await this.waitForLine(pattern, this.stdout.text.length, ms);
  }

  /** The first event from index `from` on of that name and, for MIGRATION, that status. */
  waitForEvent(name: string, status?: string, from = 0, ms?: number): Promise<QmpEvent> {
    return this.#eventLog.until(
      () =>
        this.events
          .slice(from)
          .find(({ event, data }) => event === name && (status === undefined || data?.status === status)),
      `event ${name} ${status ?? ''}`,
      () => `; events: ${this.eventNames().join(', ')}${this.#said()}`,
      ms,
    );
  }

  /** The MIGRATION event that ends a migration. */
  async migrationEnd(from = 0, ms?: number): Promise<string> {
    const final = ['completed', 'failed', 'cancelled'];
    const event = await this.#eventLog.until(
      () =>
        this.events
          .slice(from)
          .find(({ event, data }) => event === 'MIGRATION' && final.includes(String(data?.status))),
      'end of the migration',
      () => `; events: ${this.eventNames().join(', ')}${this.#said()}`,
      ms,
    );
    return String(event.data?.status);
  }

  /** "STOP", "MIGRATION active", "MIGRATION_PASS 1": what happened, in order. */
  eventNames(from = 0): string[] {
    return this.events
      .slice(from)
      .map(({ event, data }) =>
        [event, data?.status ?? data?.pass].filter((part) => part !== undefined).join(' '),
      );
  }

  execute(command: string, args?: JsonObject): Promise<Json> {
    return within(this.qmp.execute(command, args), () => `no answer to ${command}${this.#said()}`);
  }

  /** `query-status`'s status. */
  async status(): Promise<string> {
    return String(((await this.execute('query-status')) as JsonObject).status);
  }

  async migration(): Promise<MigrationInfo> {
    return (await this.execute('query-migrate')) as unknown as MigrationInfo;
  }

  /** Migrates in post-copy from the first instant; the sweep is slow, so the guest has to ask for what it needs. */
  async migrateAtOnce(uri: string): Promise<void> {
    await this.execute('migrate-set-capabilities', {
      capabilities: [{ capability: 'postcopy-ram', state: true }],
    });
    await this.execute('migrate-set-parameters', { 'max-postcopy-bandwidth': 2 ** 20 });
    await this.execute('migrate', { uri });
    await this.execute('migrate-start-postcopy');
  }

  /** Waits for the process to end by itself. */
  exited(ms?: number): Promise<Exit> {
    return within(this.exit, () => `the process did not end${this.#said()}`, ms);
  }

  /** Ends the process and waits until it has gone. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<Exit> {
    if (this.running) this.child.kill(signal);
    return await this.exited();
  }

  /** `quit`, and the exit. */
  async quit(): Promise<Exit> {
    await this.execute('quit').catch(() => {});
    return await this.exited();
  }

  /** Connects to the QMP socket as soon as it is there. */
  async connectQmp(): Promise<void> {
    const path = this.#qmpPath;
    if (path === undefined) return;
    const client = await connectWhenThere(
      () => MonitorClient.connect(parseMonitorSocket(`unix:${path}`), DEADLINE_MS),
      this,
    );
    this.#client = client;
    const events = client.events();
    void (async () => {
      for await (const event of events) {
        this.events.push(event);
        this.#eventLog.add('\n');
      }
    })();
    await client.execute('migrate-set-capabilities', {
      capabilities: [{ capability: 'events', state: true }],
    });
    await this.#launched();
  }

  /** Waits until what the command line asks for has been done: the guest runs, or its arrival is awaited. */
  async #launched(): Promise<void> {
    const deferred = this.#args.includes('defer');
    if (!this.#args.includes('-incoming') && this.#args.includes('-S')) return;
    await poll(async () => {
      const status = await this.status();
      if (status === 'prelaunch') return undefined;
      // The address is known when somebody listens there.
      const listens = deferred || status !== 'inmigrate' || (await this.migration()).status !== undefined;
      return listens || undefined;
    });
  }

  #said(): string {
    const state =
      this.#exited === undefined ? 'runs' : `ended with ${this.#exited.code ?? this.#exited.signal}`;
    return `\n  ${this.#args.join(' ')}\n  ${state}; stdout: ${JSON.stringify(this.stdout.text.slice(-600))}\n  stderr: ${JSON.stringify(this.stderr.text.slice(-600))}`;
  }
}

/** Asks again and again until there is an answer: for what can be seen, but does not announce itself. */
export async function poll<T>(
  ask: () => Promise<T | undefined>,
  what: () => string = () => 'there was no answer',
): Promise<T> {
  const until = performance.now() + DEADLINE_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > until) throw new Error(`${what()} (waited ${DEADLINE_MS} ms)`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Tries to connect until it works, the process ends, or time is up. */
function connectWhenThere<T>(connect: () => Promise<T>, vm: VmProcess): Promise<T> {
  return poll(() =>
    connect().catch((error) => {
      if (vm.running) return undefined;
      throw new Error(`the VM ended before its monitor was there: ${vm.stderr.text.trim()}`, {
        cause: error,
      });
    }),
  );
}

/** A text conversation over a socket: a serial port or a human monitor. */
export class Terminal {
  readonly log = new TextLog();
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => this.log.add(chunk));
    socket.on('close', () => this.log.end());
    socket.on('error', () => {});
  }

  /** Connects to "unix:PATH" or "tcp:HOST:PORT" as soon as somebody listens. */
  static async connect(address: string, vm: VmProcess): Promise<Terminal> {
    return new Terminal(await connectWhenThere(() => connectSocket(parseMonitorSocket(address)), vm));
  }

  send(text: string): void {
    this.#socket.write(text);
  }

  /** Waits for text from offset `from` on. Returns the offset behind it. */
  async expect(pattern: RegExp, from = 0, ms?: number): Promise<number> {
    return await this.log.until(
      () => {
        const match = pattern.exec(this.log.text.slice(from));
        return match === null ? undefined : from + match.index + match[0].length;
      },
      `text ${pattern}`,
      () => ` in ${JSON.stringify(this.log.text.slice(from))}`,
      ms,
    );
  }

  /** A line of a human monitor, and what it answers before the next prompt. */
  async command(line: string): Promise<string> {
    const from = this.log.text.length;
    this.send(`${line}\n`);
    const end = await this.expect(/\r\n\(qemu\) $|\n\(qemu\) $/, from);
    return this.log.text.slice(from, end);
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** A temporary folder and all processes of one test; ended with it, whatever happens. */
export class Bench {
  readonly dir = mkdtempSync(join(tmpdir(), 'godwit-'));
  readonly #vms: VmProcess[] = [];
  readonly #cleanups: (() => void | Promise<void>)[] = [];
  #names = 0;

  /** A path that nobody has used yet. */
  path(name = 'file'): string {
    return join(this.dir, `${++this.#names}-${name}`);
  }

  /** Starts a process; resolves when its monitor answers. */
  async start(args: readonly string[], options: VmOptions = {}): Promise<VmProcess> {
    const vm = this.spawn(args, options);
    await vm.connectQmp();
    return vm;
  }

  /** Starts a process and waits for nothing. */
  spawn(args: readonly string[], { qmp = true, console = true, program }: VmOptions = {}): VmProcess {
    const qmpPath = qmp ? this.path('qmp') : undefined;
    const vm = new VmProcess(
      [
        ...(console ? ['-display', 'none', '-serial', 'stdio', '-monitor', 'none'] : []),
        ...(qmpPath === undefined ? [] : ['-qmp', `unix:${qmpPath},server=on,wait=off`]),
        ...args,
      ],
      qmpPath,
      program,
    );
    this.#vms.push(vm);
    return vm;
  }

  /** To be done at the end, too. */
  onEnd(cleanup: () => void | Promise<void>): void {
    this.#cleanups.push(cleanup);
  }

  async end(): Promise<void> {
    await Promise.allSettled(this.#vms.map((vm) => vm.kill()));
    await Promise.allSettled(this.#cleanups.map((cleanup) => cleanup()));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** vitest's `test` with a bench for each test. */
export const test = base.extend<{ bench: Bench }>({
  // biome-ignore lint/correctness/noEmptyPattern: vitest wants a pattern here.
  bench: async ({}, use) => {
    const bench = new Bench();
    try {
      await use(bench);
    } finally {
      await bench.end();
    }
  },
});

/** A tcp port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
