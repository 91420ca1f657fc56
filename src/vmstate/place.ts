/**
 * Where a value stands in a saved state: its path for people ("uart16550.fifo[3]") and, when the state came from a
 * stream, its byte offset there. A place is carried down while a state is validated, so that every refusal names it.
 */
import { type ErrorKind, GodwitError } from '../error.ts';

type Key = string | number;

/** Offsets of decoded containers' entries, kept beside the plain data so that the data stays plain. */
const entryOffsets = new WeakMap<object, ReadonlyMap<Key, number>>();

/** Remembers at which byte offset of the stream each entry of a decoded object or array stands. */
export function recordOffsets(container: object, offsets: ReadonlyMap<Key, number>): void {
  entryOffsets.set(container, offsets);
}

/** A position inside a saved state. */
export class Place {
  readonly path: string;
  /** Byte offset in the stream; undefined for a state that did not come from one. */
  readonly offset: number | undefined;
  /** Version of the section being read: decides which fields it must have. */
  readonly version: number;
  /** "format" for what came from outside, "internal" for the live state that is being saved. */
  readonly kind: ErrorKind;

  constructor(path: string, offset?: number, version = 0, kind: ErrorKind = 'format') {
    this.path = path;
    this.offset = offset;
    this.version = version;
    this.kind = kind;
  }

  /** The place of `container[name]`. */
  field(container: object, name: string): Place {
    return this.#inside(container, name, this.path === '' ? name : `${this.path}.${name}`);
  }

  /** The place of `container[index]`. */
  element(container: object, index: number): Place {
    return this.#inside(container, index, `${this.path}[${index}]`);
  }

  /** The same place, inside a section of this version. */
  inVersion(version: number): Place {
    return new Place(this.path, this.offset, version, this.kind);
  }

  /** The error "PATH: expected EXPECTED, got GOT (at byte OFFSET)". */
  unexpected(expected: string, got: string): GodwitError {
    return GodwitError.unexpected(this.kind, this.path, expected, got, this.offset);
  }

  #inside(container: object, key: Key, path: string): Place {
    const offset = entryOffsets.get(container)?.get(key) ?? this.offset;
    return new Place(path, offset, this.version, this.kind);
  }
}

const SHOWN_TEXT = 40;

/** A value as an error message shows it: short, and telling types apart. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (typeof value === 'string') {
    const text = value.length > SHOWN_TEXT ? `${value.slice(0, SHOWN_TEXT)}…` : value;
    return JSON.stringify(text);
  }
  if (typeof value === 'bigint') return `${value} (64-bit)`;
  if (typeof value !== 'object') return String(value);
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return 'an object';
}

/** Whether a value is an object with named entries: neither null, an array nor bytes. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
  );
}
