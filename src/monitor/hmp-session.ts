/**
 * One connection of the human monitor. Greeting, prompt and echo are QEMU's ("(qemu) " too: scripts wait for it).
 */
import type { CharStream } from './char-stream.ts';
import type { HumanSession, MonitorContext } from './command.ts';
import { completions, runHumanLine } from './human-line.ts';
import { LineEditor } from './line-editor.ts';

export const PROMPT = '(qemu) ';
/** Bytes typed ahead while a command runs before the other side is asked to pause. */
const TYPE_AHEAD = 64 * 1024;

export class HmpSession {
  readonly #stream: CharStream;
  readonly #context: MonitorContext;
  readonly #session: HumanSession = { hart: 0 };
  readonly #encoder = new TextEncoder();
  readonly #editor: LineEditor;
  /** Input that came while a command runs. */
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #busy = false;
  #closed = false;
  /** No more input will come. */
  #ended = false;

  /** Greets at once and serves until the stream closes. */
  constructor(stream: CharStream, context: MonitorContext) {
    this.#stream = stream;
    this.#context = context;
    this.#editor = new LineEditor(
      {
        write: (text) => this.#write(text),
        line: (text) => this.#run(text),
        complete: (text) => completions(context, text),
      },
      PROMPT,
    );
    stream.onClose(() => {
      this.#closed = true;
    });
    stream.onEnd?.(() => {
      this.#ended = true;
      if (!this.#busy) stream.close();
    });
    this.#write(`godwit ${context.host.version} monitor - type 'help' for more information\r\n`);
    this.#editor.prompt();
    stream.onData((bytes) => this.#data(bytes));
  }

  /** The multiplexed terminal shows the monitor again: writes the prompt anew. */
  refresh(): void {
    if (!this.#busy) this.#editor.prompt();
  }

  #write(text: string): void {
    if (!this.#closed) this.#stream.write(this.#encoder.encode(text));
  }

  #data(bytes: Uint8Array): void {
    // Byte by byte, because what follows a line's end has to wait until the line has run.
    for (let at = 0; at < bytes.length; at++) {
      if (!this.#busy) {
        this.#editor.feed(bytes.subarray(at, at + 1));
        continue;
      }
      this.#waiting.push(bytes.slice(at));
      this.#waitingBytes += bytes.length - at;
      if (this.#waitingBytes > TYPE_AHEAD) this.#stream.pause?.();
      return;
    }
  }

  #run(line: string): void {
    this.#busy = true;
    const output = {
      mayWait: true,
      session: this.#session,
      print: (text: string) => this.#write(`${text}\r\n`),
    };
    void runHumanLine(this.#context, line, output).then(() => {
      this.#busy = false;
      this.#editor.prompt();
      const waiting = this.#waiting;
      this.#waiting = [];
      this.#waitingBytes = 0;
      for (const bytes of waiting) this.#data(bytes);
      if (this.#waitingBytes <= TYPE_AHEAD) this.#stream.resume?.();
      if (this.#ended && !this.#busy) this.#stream.close();
    });
  }
}
