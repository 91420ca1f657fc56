/**
 * Typed argument schemas of QMP commands. Reading checks everything, gives TypeScript the argument's type, and says
 * what is wrong in QEMU's words (qapi/qobject-input-visitor: "Parameter 'uri' is missing").
 */
import { GodwitError } from '../error.ts';
import type { Json, JsonObject } from './json-text.ts';

/** Reads a value of type T, or throws a GodwitError of kind 'usage'. `path` is the value's full name. */
export interface Schema<T> {
  read(value: Json, path: string): T;
}

/** A member of an object: its schema, and whether it may be left out. */
export interface Field<T, O extends boolean> {
  readonly schema: Schema<T>;
  readonly optional: O;
}
// biome-ignore lint/suspicious/noExplicitAny: the values' types are recovered by ObjectOf.
export type Fields = Readonly<Record<string, Field<any, boolean>>>;

/** The TypeScript type that a set of fields reads. */
export type ObjectOf<F extends Fields> = {
  readonly [K in keyof F as F[K]['optional'] extends true ? never : K]: F[K] extends Field<infer T, boolean>
    ? T
    : never;
} & {
  readonly [K in keyof F as F[K]['optional'] extends true ? K : never]?: F[K] extends Field<infer T, boolean>
    ? T
    : never;
};

function refuse(message: string, path: string): never {
  throw new GodwitError('usage', message, { where: path });
}

function wrongType(path: string, expected: string): never {
  throw new GodwitError('usage', `Invalid parameter type for '${path}', expected: ${expected}`, {
    where: path,
    expected,
  });
}

export function required<T>(schema: Schema<T>): Field<T, false> {
  return { schema, optional: false };
}

export function optional<T>(schema: Schema<T>): Field<T, true> {
  return { schema, optional: true };
}

export const string: Schema<string> = {
  read: (value, path) => (typeof value === 'string' ? value : wrongType(path, 'string')),
};

export const boolean: Schema<boolean> = {
  read: (value, path) => (typeof value === 'boolean' ? value : wrongType(path, 'boolean')),
};

/** A whole number from 0 that a double holds exactly. */
export const uint: Schema<number> = {
  read(value, path) {
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    return refuse(`Parameter '${path}' expects uint64`, path);
  },
};

/** A whole number of 64 bits, with or without sign. */
export const int: Schema<bigint> = {
  read(value, path) {
    const number = typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : value;
    if (typeof number === 'bigint' && BigInt.asIntN(64, number) === number) return number;
    return typeof value === 'number' || typeof value === 'bigint'
      ? refuse(`Parameter '${path}' expects int64`, path)
      : wrongType(path, 'integer');
  },
};

/** One of a set of words. */
export function oneOf<T extends string>(words: readonly T[]): Schema<T> {
  return {
    read(value, path) {
      const word = string.read(value, path);
      const found = words.find((known) => known === word);
      // QEMU names only the last part of the path here.
      const name = path.slice(path.lastIndexOf('.') + 1);
      return found ?? refuse(`Parameter '${name}' does not accept value '${word}'`, path);
    },
  };
}

export function array<T>(element: Schema<T>): Schema<T[]> {
  return {
    read(value, path) {
      if (!Array.isArray(value)) return wrongType(path, 'array');
      return value.map((item: Json, index) => element.read(item, `${path}[${index}]`));
    },
  };
}

/** An object of exactly these members. The path of a command's own arguments is ''. */
export function object<F extends Fields>(fields: F): Schema<ObjectOf<F>> {
  return {
    read(value, path) {
      if (value === null || typeof value !== 'object' || Array.isArray(value)) {
        return wrongType(path, 'object');
      }
      const given = value as JsonObject;
      const prefix = path === '' ? '' : `${path}.`;
      const result: Record<string, unknown> = {};
      for (const [name, field] of Object.entries(fields)) {
        const member = Object.hasOwn(given, name) ? given[name] : undefined;
        if (member !== undefined) result[name] = field.schema.read(member, `${prefix}${name}`);
        else if (!field.optional) refuse(`Parameter '${prefix}${name}' is missing`, `${prefix}${name}`);
      }
      for (const name of Object.keys(given)) {
        if (!Object.hasOwn(fields, name)) refuse(`Parameter '${prefix}${name}' is unexpected`, name);
      }
      return result as ObjectOf<F>;
    },
  };
}
