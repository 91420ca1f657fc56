/**
 * How the values of QEMU-style options are written: key=value lists with ",," for a comma, sizes, counts, UUIDs.
 * Every error is a GodwitError of kind 'usage' that names the option, what was expected, and what was given.
 */
import { GodwitError } from '../error.ts';
import { splitCommas } from '../host/chardev-spec.ts';
import type { RtcBase } from '../host/real-time.ts';
import { LIMITS } from '../machine/memory-map.ts';
import { parseSize } from '../monitor/migration-parameter-text.ts';
import { didYouMean } from '../suggest.ts';

export const MiB = 1024 * 1024;
/** Sizes that RAM may have (design: 16 MiB to 3.5 GiB). */

export function usageError(option: string, expected: string, got: string): GodwitError {
  return GodwitError.unexpected('usage', option, expected, got);
}

/** Reads a list "first,key=value,key"; a key alone means "on". `implied` is the key that the first value may leave out. Keys not in `known` are refused. */
export function parseKeyValues(
  option: string,
  text: string,
  known: readonly string[] | 'any',
  implied?: string,
): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  splitCommas(text).forEach((part, index) => {
    const equals = part.indexOf('=');
    const bare = equals < 0;
    const key = bare ? (index === 0 && implied !== undefined ? implied : part) : part.slice(0, equals);
    const value = bare ? (key === implied ? part : 'on') : part.slice(equals + 1);
    if (key === '') throw usageError(option, 'KEY=VALUE,…', `'${text}'`);
    if (known !== 'any' && !known.includes(key)) {
      throw usageError(option, `one of ${known.join(', ')}`, `'${key}'${didYouMean(key, known)}`);
    }
    values.set(key, value);
  });
  return values;
}

/** "256M", "size=1G", "512" (MiB). */
export function parseMemory(option: string, text: string): number {
  const size = parseKeyValues(option, text, ['size', 'slots', 'maxmem'], 'size');
  for (const key of ['slots', 'maxmem']) {
    if (size.has(key)) {
      throw new GodwitError('usage', `${option}: memory hotplug (${key}=) is not available in this version`);
    }
  }
  const given = size.get('size') ?? '';
  const bytes = parseSize(given, 'M');
  if (bytes === undefined) {
    throw usageError(option, 'a size such as 256M or 1G (MiB without suffix)', `'${given}'`);
  }
  if (bytes < LIMITS.minRam || bytes > LIMITS.maxRam)
    throw usageError(option, 'RAM of 16M to 3584M (3.5G)', `'${given}'`);
  if (bytes % MiB !== 0) throw usageError(option, 'whole MiB', `'${given}'`);
  return bytes;
}

function parseCount(option: string, text: string, what: string): number {
  if (!/^\d{1,6}$/.test(text)) throw usageError(option, what, `'${text}'`);
  return Number(text);
}

/** "2", "cpus=2", and topologies whose product fits: the harts are all alike. */
export function parseHarts(option: string, text: string): number {
  const parts = ['sockets', 'cores', 'threads'];
  const smp = parseKeyValues(option, text, ['cpus', 'maxcpus', ...parts], 'cpus');
  const count = (key: string) => {
    const value = smp.get(key);
    return value === undefined ? undefined : parseCount(option, value, `a number for ${key}`);
  };
  const product = parts.reduce((all, key) => all * (count(key) ?? 1), 1);
  const harts = count('cpus') ?? product;
  if (harts < 1 || harts > LIMITS.maxHarts)
    throw usageError(option, `1 to ${LIMITS.maxHarts} harts`, `'${text}'`);
  if (parts.some((key) => smp.has(key)) && product !== harts) {
    throw usageError(option, `sockets × cores × threads to be ${harts} harts`, `${product}`);
  }
  const max = count('maxcpus');
  if (max !== undefined && max !== harts) {
    throw usageError(option, `maxcpus=${harts} (harts can't be added later)`, `maxcpus=${max}`);
  }
  return harts;
}

/** A UUID in lower case. */
export function parseUuid(option: string, text: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) {
    throw usageError(option, 'a UUID such as 550e8400-e29b-41d4-a716-446655440000', `'${text}'`);
  }
  return text.toLowerCase();
}

/** A word of a closed list. */
export function parseChoice<T extends string>(option: string, text: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found !== undefined) return found;
  throw usageError(option, choices.join(' or '), `'${text}'${didYouMean(text, choices)}`);
}

/** What -rtc base says; a date is in UTC. */
export function parseRtcBase(option: string, text: string): RtcBase {
  if (text === 'utc' || text === 'localtime') return text;
  const date = /^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d)?$/.test(text)
    ? Date.parse(text.length > 10 ? `${text}Z` : text)
    : Number.NaN;
  if (!Number.isNaN(date)) return date;
  throw usageError(
    option,
    "utc, localtime or a date as in '2006-06-17T16:01:21' or '2006-06-17'",
    `'${text}'`,
  );
}
