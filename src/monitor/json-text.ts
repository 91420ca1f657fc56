/**
 * JSON as QMP speaks it (QEMU docs/interop/qmp-spec: RFC 8259, ASCII output): a strict reader whose errors have QEMU's
 * texts, and a writer with QEMU's spacing, so that scripts that search for `"status": "running"` find it. Integers
 * beyond 2^53 are kept exactly (as bigint), because a client's `id` must come back as it was.
 */

export type Json = null | boolean | number | bigint | string | readonly Json[] | JsonObject;
/** Read objects have no prototype: no key of a client's can be mistaken for a method. */
export interface JsonObject {
  readonly [key: string]: Json | undefined;
}

/** Input that is no JSON; the message is what follows "JSON parse error, ". */
export class JsonError extends Error {
  override readonly name = 'JsonError';
}

/** Levels of arrays and objects within each other; the reader is recursive. */
export const MAX_JSON_DEPTH = 1024;

const KEYWORDS: ReadonlyMap<string, Json> = new Map<string, Json>([
  ['true', true],
  ['false', false],
  ['null', null],
]);
const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
  ['"', '"'],
  ["'", "'"],
  ['\\', '\\'],
  ['/', '/'],
]);
const SPACE = /[ \t\r\n]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/y;
const KEYWORD = /[a-z]+/y;

class JsonReader {
  #at = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  document(): Json {
    const value = this.#value(0);
    this.#skipSpace();
    if (this.#at < this.#text.length) throw new JsonError('expecting end of value');
    return value;
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match !== null) this.#at += match[0].length;
    return match;
  }

  #skipSpace(): void {
    this.#match(SPACE);
  }

  /** The next character that is no space, not taken; '' at the end. */
  #peek(): string {
    this.#skipSpace();
    return this.#text.charAt(this.#at);
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at++;
    return true;
  }

  #value(depth: number): Json {
    if (depth > MAX_JSON_DEPTH) throw new JsonError('nesting depth limit exceeded');
    const first = this.#peek();
    if (first === '{') return this.#object(depth);
    if (first === '[') return this.#array(depth);
    if (first === '"' || first === "'") return this.#string();
    if (first === '-' || (first >= '0' && first <= '9')) return this.#number();
    const word = this.#match(KEYWORD)?.[0];
    if (word !== undefined) {
      const value = KEYWORDS.get(word);
      if (value === undefined) throw new JsonError(`invalid keyword '${word}'`);
      return value;
    }
    if (first === '' || '{}[],:'.includes(first)) throw new JsonError('expecting value');
    throw new JsonError(`stray '${first}'`);
  }

  #object(depth: number): JsonObject {
    const object: Record<string, Json> = Object.create(null);
    this.#at++;
    if (this.#take('}')) return object;
    for (;;) {
      const quote = this.#peek();
      if (quote !== '"' && quote !== "'") {
        throw new JsonError(quote === '}' ? 'expecting value' : 'key is not a string in object');
      }
      const key = this.#string();
      if (Object.hasOwn(object, key)) throw new JsonError('duplicate key');
      if (!this.#take(':')) throw new JsonError('missing : in object pair');
      object[key] = this.#value(depth + 1);
      if (this.#take('}')) return object;
      if (!this.#take(',')) throw new JsonError('expected separator in dict');
    }
  }

  #array(depth: number): Json[] {
    const array: Json[] = [];
    this.#at++;
    if (this.#take(']')) return array;
    for (;;) {
      array.push(this.#value(depth + 1));
      if (this.#take(']')) return array;
      if (!this.#take(',')) throw new JsonError('expected separator in list');
    }
  }

  #string(): string {
    const start = this.#at;
    const quote = this.#text.charAt(this.#at++);
    let value = '';
    for (;;) {
      const character = this.#text.charAt(this.#at++);
      if (character === quote) return value;
      if (character === '' || character < ' ') {
        throw new JsonError(`stray '${this.#text.slice(start, Math.min(this.#at, start + 60))}'`);
      }
      if (character !== '\\') {
        value += character;
        continue;
      }
      const letter = this.#text.charAt(this.#at++);
      const hex = this.#text.slice(this.#at, this.#at + 4);
      if (letter === 'u' && /^[0-9a-fA-F]{4}$/.test(hex)) {
        value += String.fromCharCode(Number.parseInt(hex, 16));
        this.#at += 4;
        continue;
      }
      const plain = ESCAPES.get(letter);
      if (plain === undefined) throw new JsonError(`invalid escape sequence '\\${letter}' in string`);
      value += plain;
    }
  }

  #number(): number | bigint {
    const match = this.#match(NUMBER);
    if (match === null) throw new JsonError(`stray '${this.#text.charAt(this.#at)}'`);
    const value = Number(match[0]);
    const whole = match[1] === undefined && match[2] === undefined;
    if (whole && !Number.isSafeInteger(value)) {
      if (match[0].length > 20) throw new JsonError('integer out of range');
      return BigInt(match[0]);
    }
    if (!Number.isFinite(value)) throw new JsonError('number out of range');
    return value;
  }
}

/** The value of a whole document. Throws JsonError. */
export function parseJson(text: string): Json {
  return new JsonReader(text).document();
}

function jsonString(text: string): string {
  const toEscape = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`;
  return JSON.stringify(text).replace(/[^\x20-\x7e]/g, toEscape);
}

/** One line of JSON with QEMU's spacing; undefined members are left out. */
export function stringifyJson(value: Json): string {
  if (typeof value === 'string') return jsonString(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return 'null';
  if (value === null || typeof value !== 'object') return String(value);
  if (Array.isArray(value)) return `[${value.map(stringifyJson).join(', ')}]`;
  const members = Object.entries(value as JsonObject)
    .filter((entry): entry is [string, Json] => entry[1] !== undefined)
    .map(([key, member]) => `${jsonString(key)}: ${stringifyJson(member)}`);
  return `{${members.join(', ')}}`;
}
