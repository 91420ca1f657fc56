/** A migration's figures as people read them: the bar while it runs, the tables at its end. */
import type { MigrationInfo, MigrationPass } from '../monitor/target.ts';
import type { MigrationOutcome } from './migrate.ts';
import { formatTable } from './table.ts';

const MiB = 1024 * 1024;
/** Columns of the bar itself: as many as there is room for, between these. */
const BAR = { min: 10, max: 30 };

const mib = (bytes: number): string => `${(bytes / MiB).toFixed(1)} MiB`;
const ms = (value: number | undefined): string => (value === undefined ? '' : `${value.toFixed(1)} ms`);
const duration = (value: number): string =>
  value < 10_000 ? `${value} ms` : `${(value / 1000).toFixed(0)} s`;

/**
 * One line: status, bar, pass, what remains, rate, the pause and the time to be expected, throttle, dirty rate.
 * @param columns of the terminal: what does not fit is left out, the last of these first.
 */
export function progressBar(info: MigrationInfo, columns = 120): string {
  const { ram, disk, status = 'none' } = info;
  if (ram === undefined) return status.slice(0, columns);
  const total = ram.total + (disk?.total ?? 0);
  const remaining = ram.remaining + (disk?.remaining ?? 0);
  const done = status === 'setup' ? 0 : total === 0 ? 1 : 1 - remaining / total;
  const expected = info['expected-downtime'];
  const throttle = info['cpu-throttle-percentage'] ?? 0;
  const left = info['expected-time-left'];
  const late = status.startsWith('postcopy-');
  if (status === 'setup') return bar(status, done, ['connecting'], columns);
  const facts = [
    late
      ? `${ram['postcopy-requests']} asked for`
      : `pass ${(info.passes?.at(-1)?.pass ?? 0) + (status === 'completed' ? 0 : 1)}`,
    status === 'completed' ? `${mib(ram.transferred)} sent` : `${mib(remaining)} left`,
    `${(ram.mbps / 8).toFixed(0)} MB/s`,
    ...(disk === undefined ? [] : [`disks ${mib(disk.remaining)}`]),
    ...(info.downtime === undefined ? [] : [`pause ${duration(info.downtime)}`]),
    ...(expected === undefined ? [] : [`pause ~${duration(expected)}`]),
    ...(left === undefined ? [] : [left === null ? 'does not converge' : `~${duration(left)} to go`]),
    ...(throttle === 0 ? [] : [`throttle ${throttle} %`]),
    ...(late ? [] : [`dirty ${((ram['dirty-pages-rate'] * ram['page-size']) / 1e6).toFixed(0)} MB/s`]),
  ];
  return bar(status, done, facts, columns);
}

function bar(status: string, done: number, facts: string[], columns: number): string {
  const label = status.padEnd(9);
  const room = (shown: readonly string[]): number => columns - label.length - shown.join('  ').length - 5;
  while (facts.length > 1 && room(facts) < BAR.min) facts.pop();
  const width = Math.max(BAR.min, Math.min(BAR.max, room(facts)));
  const filled = Math.max(0, Math.min(width, Math.round(done * width)));
  return `${label} [${'█'.repeat(filled)}${'·'.repeat(width - filled)}]  ${facts.join('  ')}`.slice(
    0,
    columns,
  );
}

/** A row for each pass, under a head; kinds of which nothing was sent have no columns. */
export function passRows({ passes = [] }: MigrationInfo): string[][] {
  const column = (
    head: string,
    cell: (pass: MigrationPass) => string,
    has: (pass: MigrationPass) => boolean = () => true,
  ): string[][] => (passes.length === 0 || passes.some(has) ? [[head, ...passes.map(cell)]] : []);
  const columns = [
    ...column('pass', (p) => String(p.pass)),
    ...column('duration', (p) => ms(p.duration)),
    ...column('zero', (p) => String(p.duplicate)),
    ...column('whole', (p) => String(p.normal)),
    ...column(
      'deltas',
      (p) => String(p.delta),
      (p) => p.delta > 0,
    ),
    ...column(
      'in deltas',
      (p) => mib(p['delta-bytes']),
      (p) => p.delta > 0,
    ),
    ...column(
      'disks',
      (p) => mib(p['disk-bytes']),
      (p) => p['disk-bytes'] > 0,
    ),
    ...column('sent', (p) => mib(p.bytes)),
    ...column('dirtied', (p) => `${p['dirty-pages-rate']} pages/s`),
  ];
  return Array.from({ length: passes.length + 1 }, (_, row) => columns.map((cells) => cells[row] ?? ''));
}

/** What became of the migration: names and values. */
export function resultRows(info: MigrationOutcome): string[][] {
  const { ram, pause, disk, destination } = info;
  const cache = info['xbzrle-cache'];
  const throttle = info['cpu-throttle-percentage'];
  return [
    ['status', info.status ?? 'none'],
    ...(info['error-desc'] === undefined ? [] : [['reason', info['error-desc']]]),
    ...(info['total-time'] === undefined ? [] : [['total time', ms(info['total-time'])]]),
    ...(info.downtime === undefined ? [] : [['pause', ms(info.downtime)]]),
    ...(info.downtime === undefined || pause === undefined
      ? []
      : Object.entries(pause).map(([part, value]) => [`  ${part}`, ms(value)])),
    ...(destination?.downtime === undefined ? [] : [['pause, seen there', ms(destination.downtime)]]),
    ...(ram === undefined
      ? []
      : [
          ['sent', mib(ram.transferred)],
          ['whole pages', String(ram.normal)],
          ['zero pages', String(ram.duplicate)],
          ['throughput', `${(ram.mbps / 8).toFixed(0)} MB/s`],
        ]),
    ...(cache === undefined || cache.pages === 0
      ? []
      : [['xbzrle pages', `${cache.pages}, ${mib(cache.bytes)}`]]),
    ...(disk === undefined ? [] : [['disks', `${mib(disk.transferred)} of ${mib(disk.total)}`]]),
    ...(throttle === undefined ? [] : [['throttle', `${throttle} %`]]),
    ...postcopyRows(info),
  ];
}

const us = (ns: number | undefined): string => (ns === undefined ? '?' : `${(ns / 1000).toFixed(0)} µs`);

/** How long the guest waited for pages, as the destination of a post-copy knows. */
function postcopyRows({ ram, destination = {} }: MigrationOutcome): string[][] {
  const { 'postcopy-latency-median': median, 'postcopy-latency-p99': p99 } = destination;
  if (destination['postcopy-latency'] === undefined) return [];
  const longest = destination['postcopy-latency-max'];
  return [
    ['pages asked for', String(ram?.['postcopy-requests'] ?? 0)],
    ['waits for pages', `median ${us(median)}, p99 ${us(p99)}, longest ${us(longest)}`],
    ['all harts waited', ms(destination['postcopy-blocktime'])],
  ];
}

/** The passes, and what became of the migration. */
export function finalReport(info: MigrationOutcome): string {
  const passes = passRows(info);
  const rows = resultRows(info);
  const width = Math.max(...rows.map(([label = '']) => label.length));
  const result = rows.map(([label = '', value = '']) => `${label.padEnd(width)}  ${value}`).join('\n');
  const decisions = (info.decisions ?? []).map(({ time, text }) => `at ${time} ms  ${text}`).join('\n');
  const table = passes.length > 1 ? formatTable(passes) : '';
  return [table, decisions, result].filter((part) => part !== '').join('\n\n');
}
