/** An emulator as a child process, driven through its sockets as a user's script would. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load, QEMU } from './bench.mjs';

const GIVE_UP_MS = 30_000;

/** Something that was waited for did not come. */
export class TimeoutError extends Error {}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Runs `body` with a fresh directory for sockets, and removes it. */
export async function withDirectory(body) {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-bench-'));
  try {
    return await body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** @throws Error "… did not …" if the promise takes too long. */
export async function within(promise, what, ms = GIVE_UP_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing after ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * QEMU's test socket, for one repair: QEMU up to at least 7.2 migrates mtimecmp but does not arm the timer again, so
 * that a guest that sleeps for it sleeps for ever. Storing the same value once more arms it.
 */
class TestSocket {
  #path;
  #socket;

  constructor(path) {
    this.#path = path;
  }

  get args() {
    return ['-qtest', `unix:${this.#path},server=on,wait=off`, '-qtest-log', 'none'];
  }

  async connect() {
    this.#socket = createConnection(this.#path);
    await new Promise((resolve, reject) => {
      this.#socket.once('connect', resolve);
      this.#socket.once('error', reject);
    });
    this.#socket.on('error', () => {});
  }

  async rearmTimer(mtimecmp) {
    const value = /^OK (0x[0-9a-f]+)/.exec(await this.#ask(`readq ${mtimecmp}`))?.[1];
    if (value === undefined) throw new Error('the test socket does not give mtimecmp');
    await this.#ask(`writeq ${mtimecmp} ${value}`);
  }

  close() {
    this.#socket?.destroy();
  }

  #ask(line) {
    const answer = new Promise((resolve) => this.#socket.once('data', (bytes) => resolve(String(bytes))));
    this.#socket.write(`${line}\n`);
    return within(answer, line);
  }
}

/** The bytes of a serial port, each piece with the time of its arrival (ms). */
class SerialPort {
  pieces = [];
  #server;

  /** Listens; the emulator connects when it starts, so that no byte is missed. */
  async listen(path) {
    this.#server = createServer((socket) => {
      socket.on('data', (bytes) =>
        this.pieces.push({ at: performance.now(), text: bytes.toString('latin1') }),
      );
      socket.on('error', () => {});
    });
    await new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(path, resolve);
    });
  }

  close() {
    this.#server?.close();
  }
}

/** One VM: its process, its serial port, its QMP monitor, and the QMP events with the times of their arrival. */
export class Emulator {
  events = [];
  serial = new SerialPort();
  #child;
  #exited;
  #monitor;
  #tests;
  #stderr = '';

  /**
   * Starts it and waits until its monitor answers.
   * @param side GODWIT or QEMU.
   * @param name unique in `directory`; its sockets are named after it.
   */
  static async start(side, { directory, name, args }) {
    const emulator = new Emulator();
    if (side === QEMU) emulator.#tests = new TestSocket(join(directory, `${name}.qtest`));
    const [serial, qmp] = [join(directory, `${name}.serial`), join(directory, `${name}.qmp`)];
    await emulator.serial.listen(serial);
    const [program, ...first] = side.command;
    const devices = ['-display', 'none', '-monitor', 'none', '-serial', `unix:${serial}`];
    const monitor = ['-qmp', `unix:${qmp},server=on,wait=off`];
    const all = [...first, ...args, ...devices, ...monitor, ...(emulator.#tests?.args ?? [])];
    // Whatever translations a VM keeps, the other one of its measurement finds, and no later one.
    const env = { ...process.env, XDG_CACHE_HOME: directory };
    const child = spawn(program, all, { stdio: ['ignore', 'ignore', 'pipe'], env });
    emulator.#child = child;
    child.stderr.on('data', (bytes) => {
      emulator.#stderr += bytes;
    });
    emulator.#exited = new Promise((resolve) => child.once('exit', resolve));
    try {
      await emulator.#connect(qmp);
      await emulator.#tests?.connect();
    } catch (error) {
      await emulator.end();
      throw new Error(`${name}: ${error.message} ${emulator.#stderr}`);
    }
    return emulator;
  }

  get pid() {
    return this.#child.pid;
  }

  execute(command, args) {
    return within(this.#monitor.execute(command, args), command);
  }

  /** Makes up for what QEMU forgets: see TestSocket. */
  async rearmTimer() {
    await this.#tests?.rearmTimer('0x2004000');
  }

  /** Whether the process has ended, as a guest that found itself damaged makes it. */
  get ended() {
    return this.#child.exitCode !== null;
  }

  /** Waits for the QMP event that `wanted` says yes to; one that has arrived already counts. @throws TimeoutError */
  async event(wanted, what, ms = GIVE_UP_MS) {
    const end = performance.now() + ms;
    while (performance.now() < end) {
      const found = this.events.find(wanted);
      if (found !== undefined) return found;
      if (this.#child.exitCode !== null) throw new Error(`${what}: the emulator ended: ${this.#stderr}`);
      await sleep(1);
    }
    throw new TimeoutError(`${what}: nothing after ${ms} ms ${this.#stderr}`);
  }

  /** Ends the process, politely first. */
  async end() {
    this.#monitor?.execute('quit').catch(() => {});
    const done = await Promise.race([this.#exited.then(() => true), sleep(2000)]);
    if (done !== true) this.#child.kill('SIGKILL');
    await this.#exited;
    this.#tests?.close();
    this.#monitor?.close();
    this.serial.close();
  }

  async #connect(path) {
    const { MonitorClient } = await load('cli/monitor-client.js');
    const end = performance.now() + GIVE_UP_MS;
    for (;;) {
      try {
        this.#monitor = await MonitorClient.connect({ kind: 'unix', path, server: false });
        break;
      } catch (error) {
        if (this.#child.exitCode !== null || performance.now() > end) throw error;
        await sleep(20);
      }
    }
    const events = this.#monitor.events();
    (async () => {
      for await (const event of events) this.events.push({ at: performance.now(), ...event });
    })();
  }
}
