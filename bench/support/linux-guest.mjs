/** Debian's kernel in an emulator (guests/linux/debian.mjs makes what it boots), and a shell on its console. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { usage } from './bench.mjs';
import { within } from './emulator.mjs';

/** A boot beside others on a busy machine. */
const BOOT_MS = 600_000;
const COMMAND_MS = 600_000;

/** The option that says where kernel and initramfs are. */
export const FOLDER = {
  folder: { type: 'string', default: process.env.GODWIT_LINUX ?? 'guests/linux/debian' },
};

/** @returns the arguments that start Linux from that folder; ends the bench if it is not there. */
export function linuxArgs(folder, { harts = 1, append = '' } = {}) {
  const [kernel, initrd] = ['vmlinux', 'initrd.gz'].map((name) => join(folder, name));
  for (const file of [kernel, initrd]) {
    if (!existsSync(file)) usage(`${file} is not there: node guests/linux/debian.mjs ${folder} makes it`);
  }
  return [
    ...['-M', 'virt', '-m', '512M', '-smp', String(harts), '-kernel', kernel, '-initrd', initrd],
    ...['-append', `console=ttyS0 ${append}`.trim()],
    ...['-display', 'none', '-monitor', 'none', '-serial', 'stdio'],
  ];
}

export class LinuxGuest {
  #name;
  #child;
  #text = '';
  #wake = () => {};

  /** @param side what `emulators` lists, and variables of its environment; the guest starts to boot. */
  constructor({ name, command: [program, ...first], env = {} }, args) {
    this.#name = name;
    const stdio = ['pipe', 'pipe', 'inherit'];
    this.#child = spawn(program, [...first, ...args], { stdio, env: { ...process.env, ...env } });
    this.#child.stdin.on('error', () => {});
    this.#child.stdout.setEncoding('latin1').on('data', (chunk) => {
      this.#text += chunk;
      this.#wake();
    });
    this.#child.once('close', () => this.#wake());
  }

  get pid() {
    return this.#child.pid;
  }

  /** Waits for the initramfs's READY line. @throws Error if the guest ends before, or takes too long. */
  async ready() {
    await this.#expect(/^READY .*[\r\n]/m, BOOT_MS);
  }

  /** Waits for the shell behind it. */
  async shell() {
    await this.#expect(/^READY .*# /ms, BOOT_MS);
  }

  /** Runs a command line in the shell. @returns what it printed. @throws Error if it does not end with status 0. */
  async run(command) {
    const from = this.#text.length;
    // What the terminal echoes has no digits behind the word.
    this.#child.stdin.write(`${command}; echo ENDED-$?\n`);
    const [all, status] = await this.#expect(/ENDED-(\d+)\r?\n.*# /s, COMMAND_MS, from);
    const output = this.#text.slice(from, this.#text.indexOf(all, from));
    if (status !== '0') throw new Error(`${this.#name}: '${command}' ended with ${status}: ${output}`);
    return output;
  }

  async end() {
    this.#child.kill('SIGKILL');
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      await new Promise((resolve) => this.#child.once('close', resolve));
    }
  }

  #expect(pattern, ms, from = 0) {
    const found = new Promise((resolve, reject) => {
      this.#wake = () => {
        const match = pattern.exec(this.#text.slice(from));
        if (match !== null) resolve(match);
        else if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
          reject(new Error(`${this.#name} ended: ${this.#text.slice(-500)}`));
        }
      };
      this.#wake();
    });
    return within(found, `${this.#name}, ${pattern}: ${this.#text.slice(-200)}`, ms);
  }
}
