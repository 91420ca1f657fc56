/**
 * A migration's state as lines for people: `info migrate` with QEMU 7.2's names and units (memory in KiB), the line
 * of progress, and the line at the end.
 */
import type { MigrationInfo } from './target.ts';

const kbytes = (bytes: number) => `${Math.floor(bytes / 1024)} kbytes`;
const mib = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;

/** How long until the end; null for never. */
function timeLeft(ms: number | null): string {
  return ms === null ? 'not in sight: memory is dirtied faster than it is sent' : `${ms} ms`;
}

/** The lines of `info migrate`. */
export function migrationLines(info: MigrationInfo): string[] {
  const lines: string[] = [];
  const blockers = info['blocked-reasons'] ?? [];
  if (blockers.length > 0) lines.push('Outgoing migration blocked:', ...blockers.map((why) => `  ${why}`));
  const add = (label: string, value: number | undefined, unit = '') => {
    if (value !== undefined) lines.push(`${label}: ${value}${unit}`);
  };
  const reason = info['error-desc'] === undefined ? '' : ` (${info['error-desc']})`;
  lines.push(`Migration status: ${info.status ?? 'none'}${reason}`);
  add('total time', info['total-time'], ' ms');
  add('expected downtime', info['expected-downtime'], ' ms');
  if (info['expected-time-left'] !== undefined) {
    lines.push(`expected time left: ${timeLeft(info['expected-time-left'])}`);
  }
  add('downtime', info.downtime, ' ms');
  add('setup', info['setup-time'], ' ms');
  const { ram } = info;
  if (ram !== undefined) {
    lines.push(
      `transferred ram: ${kbytes(ram.transferred)}`,
      `throughput: ${ram.mbps.toFixed(2)} mbps`,
      `remaining ram: ${kbytes(ram.remaining)}`,
      `total ram: ${kbytes(ram.total)}`,
      `duplicate: ${ram.duplicate} pages`,
      `skipped: ${ram.skipped ?? 0} pages`,
      `normal: ${ram.normal} pages`,
      `normal bytes: ${kbytes(ram['normal-bytes'])}`,
      `dirty sync count: ${ram['dirty-sync-count']}`,
      `page size: ${kbytes(ram['page-size'])}`,
    );
    if (ram['multifd-bytes'] !== undefined) lines.push(`multifd bytes: ${kbytes(ram['multifd-bytes'])}`);
    add('pages-per-second', ram['pages-per-second']);
    if (ram['dirty-pages-rate'] > 0) add('dirty pages rate', ram['dirty-pages-rate'], ' pages');
    add('postcopy request count', ram['postcopy-requests'] || undefined);
    for (const when of ['precopy', 'downtime', 'postcopy'] as const) {
      const bytes = ram[`${when}-bytes`] ?? 0;
      if (bytes > 0) lines.push(`${when} ram: ${kbytes(bytes)}`);
    }
  }
  add('postcopy blocktime', info['postcopy-blocktime'], ' ms');
  const perHart = info['postcopy-vcpu-blocktime'];
  if (perHart !== undefined) lines.push(`postcopy vcpu blocktime: ${perHart.join(', ')} ms`);
  const latency = info['postcopy-latency'];
  if (latency !== undefined) {
    const us = (ns: number | undefined): string => `${((ns ?? 0) / 1000).toFixed(0)} us`;
    lines.push(
      `postcopy latency: mean ${us(latency)}, median ${us(info['postcopy-latency-median'])}, ` +
        `p99 ${us(info['postcopy-latency-p99'])}, longest ${us(info['postcopy-latency-max'])}`,
      ...distributionLines(info['postcopy-latency-dist'] ?? []),
    );
  }
  if (info.rescue !== undefined) lines.push(...rescueLines(info.rescue));
  if (info.disk !== undefined) {
    lines.push(
      `transferred disk: ${kbytes(info.disk.transferred)}`,
      `remaining disk: ${kbytes(info.disk.remaining)}`,
      `total disk: ${kbytes(info.disk.total)}`,
    );
    add('disk write limit', info.disk['write-limit'], ' bytes/s');
    add('disk postcopy requests', info.disk['postcopy-requests']);
    const late = info.disk['postcopy-bytes'];
    if (late !== undefined) lines.push(`postcopy disk: ${kbytes(late)}`);
  }
  const cache = info['xbzrle-cache'];
  if (cache !== undefined) {
    lines.push(
      `cache size: ${cache['cache-size']} bytes`,
      `xbzrle transferred: ${kbytes(cache.bytes)}`,
      `xbzrle pages: ${cache.pages} pages`,
      `xbzrle cache miss: ${cache['cache-miss']} pages`,
      `xbzrle cache miss rate: ${cache['cache-miss-rate'].toFixed(2)}`,
      `xbzrle encoding rate: ${cache['encoding-rate'].toFixed(2)}`,
      `xbzrle overflow: ${cache.overflow}`,
    );
  }
  add('cpu throttle percentage', info['cpu-throttle-percentage']);
  for (const { time, text } of info.decisions ?? []) lines.push(`at ${time} ms, ${text}`);
  for (const pass of info.passes ?? []) {
    lines.push(
      `pass ${pass.pass}: ${pass.duration} ms, ${kbytes(pass.bytes)}, ${pass.pages} pages (${pass.duplicate} zero, ` +
        `${pass.normal} whole: ${kbytes(pass['normal-bytes'])}, ${pass.delta} deltas: ${kbytes(pass['delta-bytes'])}), ` +
        `${pass['disk-bytes'] === 0 ? '' : `disks: ${kbytes(pass['disk-bytes'])}, `}` +
        `dirtied ${pass['dirty-pages-rate']} pages/s`,
    );
  }
  for (const [part, ms] of Object.entries(info.pause ?? {})) add(`pause, ${part}`, ms, ' ms');
  const addresses = (info['socket-address'] ?? []).map((address) => {
    const where = address.path ?? `${address.host}:${address.port}`;
    return `\t${address.type === 'inet' ? 'tcp' : address.type}:${where}`;
  });
  if (addresses.length > 0) lines.push('socket address: [', ...addresses, ']');
  return lines;
}

function rescueLines(rescue: NonNullable<MigrationInfo['rescue']>): string[] {
  const { checkpoints, pages, bytes, age, 'pause-mean': mean, 'pause-max': longest } = rescue;
  const ms = (ns: number): string => `${(ns / 1e6).toFixed(2)} ms`;
  return [
    `rescue checkpoints: ${checkpoints}, ${pages} pages, ${kbytes(bytes)}`,
    ...(age === undefined ? [] : [`rescue point: ${age} ms ago`]),
    ...(mean === undefined || longest === undefined
      ? []
      : [`rescue pauses: mean ${ms(mean)}, longest ${ms(longest)}`]),
  ];
}

/** How many waits took how long. */
function distributionLines(counts: readonly number[]): string[] {
  return counts.flatMap((count, bucket) =>
    count === 0 ? [] : [`  ${bucket === 0 ? 0 : 2 ** bucket} to ${2 ** (bucket + 1)} us: ${count}`],
  );
}

/** One line on how far a migration is, or undefined while there is nothing to say. */
export function progressLine(info: MigrationInfo): string | undefined {
  const { ram } = info;
  if (ram === undefined || info.status === undefined) return undefined;
  const expected = info['expected-downtime'];
  return [
    `${info.status}: pass ${ram['dirty-sync-count']}`,
    `${mib(ram.transferred)} sent`,
    `${mib(ram.remaining)} of ${mib(ram.total)} remaining`,
    ...(info.disk === undefined ? [] : [`disks ${mib(info.disk.remaining)} of ${mib(info.disk.total)}`]),
    `${ram.mbps.toFixed(1)} Mbit/s`,
    ...(expected === undefined ? [] : [`expected pause ${expected} ms`]),
  ].join(', ');
}

/** The line after a migration that has ended. */
export function resultLine(info: MigrationInfo): string {
  const parts = [`Migration status: ${info.status ?? 'none'}`];
  if (info['total-time'] !== undefined) parts.push(`total time ${info['total-time']} ms`);
  if (info.downtime !== undefined) parts.push(`pause ${info.downtime} ms`);
  if (info.ram !== undefined) parts.push(`${mib(info.ram.transferred)} sent`);
  return parts.join(', ');
}
