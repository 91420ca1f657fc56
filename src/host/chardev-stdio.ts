/**
 * The process's own terminal (or pipe) as a character device. A terminal is put into raw mode and given back as it
 * was, however the process ends.
 */
import type { Readable, Writable } from 'node:stream';
import { type Chardev, ChardevBase } from './chardev.ts';

/** stdin, as far as it is needed: `isTTY` and `setRawMode` exist on terminals only. */
export interface TerminalInput extends Readable {
  readonly isTTY?: boolean;
  setRawMode?(raw: boolean): unknown;
}

const INTERRUPT = 0x03;

export class StdioChardev extends ChardevBase implements Chardev {
  readonly label = 'stdio';
  readonly #input: TerminalInput;
  readonly #output: Writable;
  readonly #raw: boolean;
  readonly #restore = () => {
    if (this.#raw) this.#input.setRawMode?.(false);
  };
  #open = true;

  /**
   * `interrupt` is called for Ctrl-C at a terminal; without it the guest or monitor gets the character (as with
   * QEMU's -nographic and mon:stdio).
   */
  constructor(input: TerminalInput, output: Writable, interrupt?: () => void) {
    super();
    this.#input = input;
    this.#output = output;
    this.#raw = input.isTTY === true;
    if (this.#raw) {
      input.setRawMode?.(true);
      process.on('exit', this.#restore);
    }
    input.on('data', (bytes: Uint8Array) => {
      if (!this.#open) return;
      if (interrupt !== undefined && this.#raw && bytes.includes(INTERRUPT)) interrupt();
      else this.emitData(bytes);
    });
    // The reader of our output has gone (`… | head`): go on without it.
    output.on('error', () => {});
  }

  get connected(): boolean {
    return this.#open;
  }

  get backlogBytes(): number {
    return this.#output.writableLength;
  }

  write(bytes: Uint8Array): void {
    if (this.#open) this.#output.write(Uint8Array.from(bytes));
  }

  /** The terminal can't be hung up. */
  hangup(): void {}

  pause(): void {
    this.#input.pause();
  }

  resume(): void {
    this.#input.resume();
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    this.#restore();
    process.off('exit', this.#restore);
    this.#input.pause();
    this.emitHangup();
  }
}
