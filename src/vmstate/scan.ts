/**
 * A strict reader of MessagePack's grammar (https://github.com/msgpack/msgpack/blob/master/spec.md), run over bytes
 * before they are decoded. The decoder is lenient: it takes records, dates and other extensions, lets the last of two
 * equal keys win, and builds what a length promises. After this scan none of that can occur, and each value's offset
 * is known.
 *
 * Allowed: nil, booleans, integers, floats, UTF-8 strings, binaries, arrays, and maps whose keys are distinct strings.
 */
import { GodwitError } from '../error.ts';

/** Limits on hostile input. */
export interface ScanLimits {
  /** Containers inside containers. */
  readonly depth: number;
  /** Values in total, map keys not counted. */
  readonly values: number;
}

/** Where a value stands, and where its entries do if it is an array or a map. */
export interface Scanned {
  /** Byte offset of the value's first byte. */
  readonly offset: number;
  readonly items?: readonly Scanned[];
  readonly entries?: ReadonlyMap<string, Scanned>;
}

type Kind = 'scalar' | 'string' | 'binary' | 'array' | 'map';

/** Per leading byte 0xc0…0xdf: what it starts, and how many bytes hold the value or its length; absent: refused. */
const LEADS: Readonly<Record<number, readonly [Kind, number]>> = {
  192: ['scalar', 0], // nil
  194: ['scalar', 0], // false
  195: ['scalar', 0], // true
  196: ['binary', 1],
  197: ['binary', 2],
  198: ['binary', 4],
  202: ['scalar', 4], // float 32
  203: ['scalar', 8], // float 64
  204: ['scalar', 1], // uint 8 to 64
  205: ['scalar', 2],
  206: ['scalar', 4],
  207: ['scalar', 8],
  208: ['scalar', 1], // int 8 to 64
  209: ['scalar', 2],
  210: ['scalar', 4],
  211: ['scalar', 8],
  217: ['string', 1],
  218: ['string', 2],
  219: ['string', 4],
  220: ['array', 2],
  221: ['array', 4],
  222: ['map', 2],
  223: ['map', 4],
};

/**
 * Scans exactly one value that fills `bytes`.
 * @param where names the bytes in errors; `baseOffset` is added to every offset.
 * @throws GodwitError kind "format" with the offset.
 */
export function scan(bytes: Uint8Array, where: string, baseOffset: number, limits: ScanLimits): Scanned {
  return new Scanner(bytes, where, baseOffset, limits).whole();
}

class Scanner {
  readonly #bytes: Uint8Array;
  readonly #where: string;
  readonly #base: number;
  readonly #limits: ScanLimits;
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  #at = 0;
  #values = 0;

  constructor(bytes: Uint8Array, where: string, base: number, limits: ScanLimits) {
    this.#bytes = bytes;
    this.#where = where;
    this.#base = base;
    this.#limits = limits;
  }

  whole(): Scanned {
    const scanned = this.#value(0);
    const rest = this.#bytes.length - this.#at;
    if (rest !== 0) throw this.#unexpected('the end', `${rest} more bytes`, this.#at);
    return scanned;
  }

  #value(depth: number): Scanned {
    const start = this.#at;
    if (++this.#values > this.#limits.values) {
      throw this.#unexpected(`at most ${this.#limits.values} values`, 'more', start);
    }
    const { kind, length } = this.#head();
    const offset = this.#base + start;
    if (kind === 'scalar') return { offset };
    if (kind === 'binary') {
      this.#take(length, 'binary data');
      return { offset };
    }
    if (kind === 'string') {
      this.#text(length, start);
      return { offset };
    }
    if (depth >= this.#limits.depth) {
      throw this.#unexpected(`at most ${this.#limits.depth} levels`, 'a deeper one', start);
    }
    if (kind === 'array') {
      const items: Scanned[] = [];
      for (let i = 0; i < length; i++) items.push(this.#value(depth + 1));
      return { offset, items };
    }
    const entries = new Map<string, Scanned>();
    for (let i = 0; i < length; i++) {
      const key = this.#key(entries);
      entries.set(key, this.#value(depth + 1));
    }
    return { offset, entries };
  }

  #key(entries: ReadonlyMap<string, Scanned>): string {
    const start = this.#at;
    const { kind, length } = this.#head();
    if (kind !== 'string') throw this.#unexpected('a name', 'something else', start);
    const key = this.#text(length, start);
    // The decoder would rename this one; nobody has a field of that name.
    if (key === '__proto__') throw this.#unexpected('a name', `"${key}"`, start);
    if (entries.has(key)) throw this.#unexpected('distinct names', `${JSON.stringify(key)} twice`, start);
    return key;
  }

  /** Reads a leading byte and its length; a scalar's payload is passed over. */
  #head(): { kind: Kind; length: number } {
    const start = this.#at;
    const lead = this.#bytes[this.#take(1, 'a value')] as number;
    if (lead < 0x80 || lead >= 0xe0) return { kind: 'scalar', length: 0 };
    if (lead < 0x90) return { kind: 'map', length: lead & 0x0f };
    if (lead < 0xa0) return { kind: 'array', length: lead & 0x0f };
    if (lead < 0xc0) return { kind: 'string', length: lead & 0x1f };
    const found = LEADS[lead];
    if (found === undefined) {
      throw this.#unexpected('plain data', `the type byte 0x${lead.toString(16)}`, start);
    }
    const [kind, size] = found;
    let length = 0;
    for (let i = this.#take(size, 'a number'); i < this.#at; i++) {
      length = length * 0x100 + (this.#bytes[i] as number);
    }
    return { kind, length };
  }

  #text(length: number, start: number): string {
    const at = this.#take(length, 'a string');
    try {
      return this.#utf8.decode(this.#bytes.subarray(at, this.#at));
    } catch {
      throw this.#unexpected('UTF-8 text', 'other bytes', start);
    }
  }

  /** Moves on by `count` bytes; returns where they start. */
  #take(count: number, what: string): number {
    const start = this.#at;
    const left = this.#bytes.length - start;
    if (count > left) throw this.#unexpected(`${what} of ${count} bytes`, `the end after ${left}`, start);
    this.#at = start + count;
    return start;
  }

  #unexpected(expected: string, got: string, at: number): GodwitError {
    return GodwitError.unexpected('format', this.#where, expected, got, this.#base + at);
  }
}
