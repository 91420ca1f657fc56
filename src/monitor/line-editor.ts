/**
 * A line editor for a terminal at the other end of a byte stream, as small as QEMU's: echo, cursor keys, history,
 * completion. Keys: Backspace, Delete, Left, Right, Home (Ctrl-A), End (Ctrl-E), Up and Down (Ctrl-P, Ctrl-N),
 * Ctrl-K, Ctrl-U, Ctrl-W, Ctrl-C (drops the line), Tab.
 */

export interface LineEditorSink {
  write(text: string): void;
  /** A line is complete; the cursor stands on a fresh line. */
  line(text: string): void;
  /** What the last word of the text before the cursor may become. */
  complete(text: string): readonly string[];
}

/** Longest line, characters; more is not taken. */
export const MAX_LINE = 4095;
const HISTORY = 64;

const ESCAPE = '\x1b';
// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one.
const UNFINISHED_ESCAPE = /^\x1b(\[[0-9;]{0,8}|O)?$/;

export class LineEditor {
  readonly #sink: LineEditorSink;
  readonly #prompt: string;
  readonly #decoder = new TextDecoder();
  #line = '';
  #cursor = 0;
  #history: string[] = [];
  /** Place in the history while moving through it; history.length stands for the line being typed. */
  #place = 0;
  #draft = '';
  /** An escape sequence that has begun. */
  #escape = '';
  #lastWasReturn = false;

  constructor(sink: LineEditorSink, prompt: string) {
    this.#sink = sink;
    this.#prompt = prompt;
  }

  /** Writes the prompt and what has been typed. */
  prompt(): void {
    this.#sink.write(this.#prompt + this.#line + this.#back(this.#line.length - this.#cursor));
  }

  feed(bytes: Uint8Array): void {
    for (const key of this.#decoder.decode(bytes, { stream: true })) this.#key(key);
  }

  #key(key: string): void {
    const afterReturn = this.#lastWasReturn;
    this.#lastWasReturn = key === '\r';
    if (this.#escape !== '') this.#escapeKey(key);
    else if (key === '\r') this.#enter();
    else if (key === '\n') {
      // CR LF is one line end.
      if (!afterReturn) this.#enter();
    } else if (key === ESCAPE) this.#escape = key;
    else if (key >= ' ' && key !== '\x7f') this.#insert(key);
    else this.#actions[key]?.();
  }

  /** What the keys do that are neither text nor line ends: control characters and escape sequences. */
  readonly #actions: Readonly<Record<string, () => void>> = {
    '\b': () => this.#erase(this.#cursor - 1),
    '\x7f': () => this.#erase(this.#cursor - 1),
    '\t': () => this.#complete(),
    '\x01': () => this.#move(0),
    '\x03': () => this.#interrupt(),
    '\x05': () => this.#move(this.#line.length),
    '\x0b': () => this.#replace(this.#line.slice(0, this.#cursor), this.#cursor),
    '\x0e': () => this.#recall(1),
    '\x10': () => this.#recall(-1),
    '\x15': () => this.#replace(this.#line.slice(this.#cursor), 0),
    '\x17': () => this.#eraseWord(),
    '[A': () => this.#recall(-1),
    '[B': () => this.#recall(1),
    '[C': () => this.#move(Math.min(this.#cursor + 1, this.#line.length)),
    '[D': () => this.#move(Math.max(this.#cursor - 1, 0)),
    '[H': () => this.#move(0),
    '[1~': () => this.#move(0),
    '[F': () => this.#move(this.#line.length),
    '[4~': () => this.#move(this.#line.length),
    '[3~': () => this.#erase(this.#cursor),
  };

  #escapeKey(key: string): void {
    this.#escape += key;
    if (UNFINISHED_ESCAPE.test(this.#escape)) return;
    const sequence = this.#escape.slice(1).replace('O', '[');
    this.#escape = '';
    this.#actions[sequence]?.();
  }

  #interrupt(): void {
    this.#sink.write('^C\r\n');
    this.#clear();
    this.prompt();
  }

  #eraseWord(): void {
    const kept = this.#line.slice(0, this.#cursor).replace(/\S+\s*$/, '');
    this.#replace(kept + this.#line.slice(this.#cursor), kept.length);
  }

  #enter(): void {
    const line = this.#line;
    this.#sink.write('\r\n');
    this.#clear();
    if (line.trim() !== '' && this.#history.at(-1) !== line) {
      this.#history = [...this.#history, line].slice(-HISTORY);
    }
    this.#place = this.#history.length;
    this.#sink.line(line);
  }

  #clear(): void {
    this.#line = '';
    this.#cursor = 0;
    this.#draft = '';
    this.#place = this.#history.length;
  }

  #back(columns: number): string {
    return columns > 0 ? `${ESCAPE}[${columns}D` : '';
  }

  #move(cursor: number): void {
    const columns = cursor - this.#cursor;
    this.#sink.write(columns > 0 ? `${ESCAPE}[${columns}C` : this.#back(-columns));
    this.#cursor = cursor;
  }

  #replace(line: string, cursor: number): void {
    this.#sink.write(`${this.#back(this.#cursor)}${line}${ESCAPE}[K${this.#back(line.length - cursor)}`);
    this.#line = line;
    this.#cursor = cursor;
  }

  #insert(text: string): void {
    if (this.#line.length + text.length > MAX_LINE) return;
    const end = this.#cursor === this.#line.length;
    const line = this.#line.slice(0, this.#cursor) + text + this.#line.slice(this.#cursor);
    const cursor = this.#cursor + text.length;
    if (!end) {
      this.#replace(line, cursor);
      return;
    }
    this.#sink.write(text);
    this.#line = line;
    this.#cursor = cursor;
  }

  /** Takes out the character at `index`, if there is one. */
  #erase(index: number): void {
    if (index < 0 || index >= this.#line.length) return;
    this.#replace(this.#line.slice(0, index) + this.#line.slice(index + 1), index);
  }

  #recall(step: number): void {
    const place = this.#place + step;
    if (place < 0 || place > this.#history.length) return;
    if (this.#place === this.#history.length) this.#draft = this.#line;
    this.#place = place;
    const line = this.#history[place] ?? this.#draft;
    this.#replace(line, line.length);
  }

  #complete(): void {
    const before = this.#line.slice(0, this.#cursor);
    const last = /\S*$/.exec(before)?.[0] ?? '';
    const choices = this.#sink.complete(before);
    const [first] = choices;
    if (first === undefined) return;
    if (choices.length === 1) {
      this.#insert(`${first.slice(last.length)} `);
      return;
    }
    let shared = first;
    for (const choice of choices) {
      while (!choice.startsWith(shared)) shared = shared.slice(0, -1);
    }
    if (shared.length > last.length) {
      this.#insert(shared.slice(last.length));
      return;
    }
    this.#sink.write(`\r\n${choices.join('  ')}\r\n`);
    this.prompt();
  }
}
