/** -drive: keys, values and defaults as in QEMU 7.2 (qemu-options.hx, blockdev.c); images are raw files. */
import { GodwitError } from '../error.ts';
import type { DriveSpec, ErrorPolicy } from '../host/drive.ts';
import { didYouMean } from '../suggest.ts';
import { parseChoice, parseKeyValues, usageError } from './system-options-values.ts';

/** A -drive option: the image, and how it gets into the machine. */
export interface DriveOption {
  readonly spec: DriveSpec;
  /** "virtio": a virtio-blk-pci is added for it. */
  readonly interface: 'none' | 'virtio';
  /** The interface was named, and is not just the default. */
  readonly interfaceGiven: boolean;
}

const KEYS = [
  ...['file', 'id', 'if', 'format', 'driver', 'media', 'index', 'readonly', 'read-only', 'snapshot'],
  ...['cache', 'cache.writeback', 'cache.direct', 'cache.no-flush', 'aio', 'discard', 'detect-zeroes'],
  ...['werror', 'rerror', 'file.filename', 'file.driver', 'file.locking', 'locking'],
];

/** cache=: whether there is a write cache that a flush empties, and whether flushes count. */
const CACHE_MODES = {
  writeback: { writeback: true, noFlush: false },
  none: { writeback: true, noFlush: false },
  writethrough: { writeback: false, noFlush: false },
  directsync: { writeback: false, noFlush: false },
  unsafe: { writeback: true, noFlush: true },
} as const;

const ERROR_POLICIES: readonly ErrorPolicy[] = ['report', 'ignore', 'stop', 'enospc'];

/**
 * Reads a -drive option.
 * @param drives those before it: ids are distinct, and those without one are numbered ("none0", "virtio1").
 * @throws GodwitError kind "usage".
 */
export function parseDrive(option: string, text: string, drives: readonly DriveOption[]): DriveOption {
  const where = `${option} ${text}`;
  const values = parseKeyValues(option, text, 'any');
  for (const key of values.keys()) {
    if (KEYS.includes(key)) continue;
    const hint = didYouMean(key, KEYS);
    throw new GodwitError(
      'usage',
      `${where}: Block format 'raw' does not support the option '${key}'${hint}`,
    );
  }
  const choice = <T extends string>(key: string, choices: readonly T[], byDefault: T): T => {
    const value = values.get(key);
    return value === undefined ? byDefault : parseChoice(`${option}: ${key}`, value, choices);
  };
  const flag = (key: string, byDefault: boolean): boolean =>
    choice(key, ['on', 'off', 'yes', 'no', 'true', 'false'], byDefault ? 'on' : 'off').match(
      /^(on|yes|true)$/,
    ) !== null;

  const file = values.get('file') ?? values.get('file.filename') ?? '';
  if (file === '') throw usageError(where, 'file=FILE', 'none');
  const format = values.get('format') ?? values.get('driver');
  if (format !== undefined) parseChoice(`${option}: format`, format, ['raw']);
  choice('media', ['disk'], 'disk');
  choice('aio', ['threads', 'native', 'io_uring'], 'threads');
  choice('detect-zeroes', ['off'], 'off');
  choice('file.driver', ['file'], 'file');
  const kind = choice('if', ['none', 'virtio'], 'virtio');
  const cache =
    CACHE_MODES[choice('cache', Object.keys(CACHE_MODES) as (keyof typeof CACHE_MODES)[], 'writeback')];
  const unmap = choice('discard', ['ignore', 'off', 'unmap', 'on'], 'ignore').match(/^(unmap|on)$/) !== null;
  const id = values.get('id') ?? `${kind}${drives.filter((other) => other.interface === kind).length}`;
  if (id === '') throw usageError(where, 'an id', "''");
  if (drives.some(({ spec }) => spec.id === id)) {
    throw new GodwitError('usage', `${where}: Duplicate ID '${id}' for drive`);
  }
  return {
    interface: kind,
    interfaceGiven: values.has('if'),
    spec: {
      id,
      file,
      raw: format !== undefined,
      readonly: flag('readonly', flag('read-only', false)),
      snapshot: flag('snapshot', false),
      writeback: flag('cache.writeback', cache.writeback),
      noFlush: flag('cache.no-flush', cache.noFlush),
      unmap,
      werror: choice('werror', ERROR_POLICIES, 'enospc'),
      rerror: choice(
        'rerror',
        ERROR_POLICIES.filter((policy) => policy !== 'enospc'),
        'report',
      ),
      where,
    },
  };
}
