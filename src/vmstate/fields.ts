/**
 * The field types a state is described with. Each is one function that validates a value and copies it, because the
 * saved form of a value is its live form: saving and restoring run the same code, and a copy shares nothing with the
 * value it came from.
 */
import { isRecord, type Place, shown } from './place.ts';

/** What a field holds, as plain JSON: travels in dumps and decides compatibility. */
export type FieldDescription = { readonly since?: number } & (
  | { readonly type: 'u8' | 'u16' | 'u32' | 'i32' | 'u64' | 'bool' }
  | { readonly type: 'enum'; readonly values: readonly string[] }
  | { readonly type: 'string' | 'bytesUpTo'; readonly max: number }
  | { readonly type: 'bytes'; readonly length: number }
  | { readonly type: 'array'; readonly length: number; readonly of: FieldDescription }
  | { readonly type: 'arrayUpTo'; readonly max: number; readonly of: FieldDescription }
  | { readonly type: 'struct'; readonly fields: Readonly<Record<string, FieldDescription>> }
);

/** A field type with values of type T. */
export interface Field<T> {
  readonly description: FieldDescription;
  /**
   * A validated copy of `value`.
   * @throws GodwitError of the place's kind when the value is not of this type.
   */
  copy(value: unknown, place: Place): T;
  /** The value when the section is older than `description.since`. */
  readonly absent?: () => T;
}

// biome-ignore lint/suspicious/noExplicitAny: a table of fields mixes value types; StateOfFields recovers each.
export type Fields = Readonly<Record<string, Field<any>>>;

/** The state that a table of fields describes. */
export type StateOfFields<F extends Fields> = {
  -readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never;
};

function unsigned(type: 'u8' | 'u16' | 'u32', max: number): Field<number> {
  return {
    description: { type },
    copy(value, place) {
      if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max) {
        throw place.unexpected(`a ${type} (0 to ${max})`, shown(value));
      }
      return value >>> 0;
    },
  };
}

const U8 = unsigned('u8', 0xff);
const U16 = unsigned('u16', 0xffff);
const U32 = unsigned('u32', 0xffff_ffff);

/** An unsigned 8-bit number. */
export const u8 = (): Field<number> => U8;
/** An unsigned 16-bit number. */
export const u16 = (): Field<number> => U16;
/** An unsigned 32-bit number. */
export const u32 = (): Field<number> => U32;

/** A signed 32-bit number. */
export function i32(): Field<number> {
  return {
    description: { type: 'i32' },
    copy(value, place) {
      if (typeof value !== 'number' || !Number.isInteger(value) || value !== (value | 0)) {
        throw place.unexpected(`an i32 (${-(2 ** 31)} to ${2 ** 31 - 1})`, shown(value));
      }
      return value | 0;
    },
  };
}

/** An unsigned 64-bit number; always a bigint. */
export function u64(): Field<bigint> {
  return {
    description: { type: 'u64' },
    copy(value, place) {
      if (typeof value !== 'bigint' || value < 0n || value > 0xffff_ffff_ffff_ffffn) {
        throw place.unexpected('a u64 (64-bit, 0 to 2^64-1)', shown(value));
      }
      return value;
    },
  };
}

/** A truth value. */
export function bool(): Field<boolean> {
  return {
    description: { type: 'bool' },
    copy(value, place) {
      if (typeof value !== 'boolean') throw place.unexpected('true or false', shown(value));
      return value;
    },
  };
}

/** One of the named values. */
export function enumOf<const V extends readonly string[]>(...values: V): Field<V[number]> {
  return {
    description: { type: 'enum', values },
    copy(value, place) {
      if (typeof value !== 'string' || !values.includes(value)) {
        throw place.unexpected(`one of ${values.join(', ')}`, shown(value));
      }
      return value;
    },
  };
}

/** Text of at most `max` UTF-16 units. */
export function string(max: number): Field<string> {
  return {
    description: { type: 'string', max },
    copy(value, place) {
      if (typeof value !== 'string') throw place.unexpected('a string', shown(value));
      if (value.length > max) throw place.unexpected(`at most ${max} characters`, `${value.length}`);
      return value;
    },
  };
}

/** Exactly `length` bytes. */
export function bytes(length: number): Field<Uint8Array> {
  return {
    description: { type: 'bytes', length },
    copy(value, place) {
      if (!(value instanceof Uint8Array) || value.length !== length) {
        throw place.unexpected(`${length} bytes`, shown(value));
      }
      return Uint8Array.from(value);
    },
  };
}

/** At most `max` bytes. */
export function bytesUpTo(max: number): Field<Uint8Array> {
  return {
    description: { type: 'bytesUpTo', max },
    copy(value, place) {
      if (!(value instanceof Uint8Array) || value.length > max) {
        throw place.unexpected(`at most ${max} bytes`, shown(value));
      }
      return Uint8Array.from(value);
    },
  };
}

function copyElements<T>(field: Field<T>, values: readonly unknown[], place: Place): T[] {
  return values.map((value, index) => field.copy(value, place.element(values, index)));
}

/** Exactly `length` values of one type. */
export function arrayOf<T>(field: Field<T>, length: number): Field<T[]> {
  return {
    description: { type: 'array', length, of: field.description },
    copy(value, place) {
      if (!Array.isArray(value) || value.length !== length) {
        throw place.unexpected(`an array of ${length}`, shown(value));
      }
      return copyElements(field, value, place);
    },
  };
}

/** At most `max` values of one type. */
export function arrayUpTo<T>(field: Field<T>, max: number): Field<T[]> {
  return {
    description: { type: 'arrayUpTo', max, of: field.description },
    copy(value, place) {
      if (!Array.isArray(value) || value.length > max) {
        throw place.unexpected(`an array of at most ${max}`, shown(value));
      }
      return copyElements(field, value, place);
    },
  };
}

/** Named fields inside a field. */
export function struct<F extends Fields>(fields: F): Field<StateOfFields<F>> {
  return {
    description: { type: 'struct', fields: describeFields(fields) },
    copy: (value, place) => copyFields(fields, value, place),
  };
}

/** A field that sections have from `version` on; in older ones it is `absent()`. */
export function since<T>(version: number, field: Field<T>, absent: () => T): Field<T> {
  return { ...field, description: { ...field.description, since: version }, absent };
}

/** The descriptions of a table of fields. */
export function describeFields(fields: Fields): Record<string, FieldDescription> {
  return Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.description]));
}

/**
 * A validated copy of an object that has exactly these fields (as of the place's version).
 * @throws GodwitError for a missing field, one too many, or a value that is not of its type.
 */
export function copyFields<F extends Fields>(fields: F, value: unknown, place: Place): StateOfFields<F> {
  if (!isRecord(value)) throw place.unexpected('an object with named fields', shown(value));
  const copied: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(fields)) {
    const at = place.field(value, name);
    if (field.absent !== undefined && (field.description.since ?? 0) > place.version) {
      if (Object.hasOwn(value, name)) {
        throw at.unexpected(`no such field before version ${field.description.since}`, shown(value[name]));
      }
      copied[name] = field.absent();
    } else {
      copied[name] = field.copy(Object.hasOwn(value, name) ? value[name] : undefined, at);
    }
  }
  for (const name of Object.keys(value)) {
    if (!Object.hasOwn(fields, name)) {
      const known = Object.keys(fields).join(', ') || 'none';
      throw place.field(value, name).unexpected(`only the fields ${known}`, `the field ${shown(name)}`);
    }
  }
  return copied as StateOfFields<F>;
}
