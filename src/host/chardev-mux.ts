/**
 * One terminal for a console and a monitor (QEMU's `mon:stdio`): input goes to whichever has the focus, output of
 * both is shown, and Ctrl-A followed by a key commands the multiplexer. Pure: knows no terminal.
 */

export const MUX_HELP = [
  'C-a h    print this help',
  'C-a x    exit emulator',
  'C-a b    send break (magic sysrq)',
  'C-a c    switch between console and monitor',
  'C-a C-a  sends C-a',
];

const ESCAPE = 0x01;

/** What is on the two sides and behind the keys. */
export interface MuxSink {
  /** To the terminal. */
  write(bytes: Uint8Array): void;
  /** To the guest's console. */
  console(bytes: Uint8Array): void;
  /** To the monitor. */
  monitor(bytes: Uint8Array): void;
  /** The focus has moved. */
  focus(to: 'console' | 'monitor'): void;
  /** Ctrl-A x. */
  quit(): void;
  /** Ctrl-A b while the console has the focus. */
  break(): void;
}

export class ChardevMux {
  readonly #sink: MuxSink;
  #focus: 'console' | 'monitor' = 'console';
  #escaped = false;

  constructor(sink: MuxSink) {
    this.#sink = sink;
  }

  get focus(): 'console' | 'monitor' {
    return this.#focus;
  }

  /** Input from the terminal. */
  feed(bytes: Uint8Array): void {
    let start = 0;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at] as number;
      if (this.#escaped) {
        this.#escaped = false;
        start = at + 1;
        this.#command(byte);
      } else if (byte === ESCAPE) {
        this.#deliver(bytes.subarray(start, at));
        start = at + 1;
        this.#escaped = true;
      }
    }
    this.#deliver(bytes.subarray(start));
  }

  #deliver(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#sink[this.#focus](bytes);
  }

  #say(lines: readonly string[]): void {
    this.#sink.write(new TextEncoder().encode(lines.map((line) => `\r\n${line}`).join('')));
  }

  /** The key after Ctrl-A; QEMU takes small letters only, and ignores keys that mean nothing. */
  #command(byte: number): void {
    switch (byte) {
      case ESCAPE:
        this.#deliver(Uint8Array.of(ESCAPE));
        break;
      case 0x68: // h
      case 0x3f: // ?
        this.#say([...MUX_HELP, '']);
        break;
      case 0x78: // x
        this.#say(['godwit: terminated', '']);
        this.#sink.quit();
        break;
      case 0x62: // b
        if (this.#focus === 'console') this.#sink.break();
        break;
      case 0x63: // c
        this.#focus = this.#focus === 'console' ? 'monitor' : 'console';
        this.#sink.focus(this.#focus);
        break;
    }
  }
}
